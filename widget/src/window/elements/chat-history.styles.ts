import { css } from '../base/chat-element.ts';

export const styles = css`
  :host { flex: 1; min-height: 0; padding: 8px; overflow-y: auto; overscroll-behavior: var(--_over); scrollbar-width: thin; animation: rise .2s; }
  .bar, li { display: flex; align-items: center; gap: 4px; }
  h2 { margin: 0; font-size: 15px; font-weight: 600; }
  ul { margin: 8px 0 0; padding: 0; list-style: none; }
  .chat { flex: 1; flex-direction: column; align-items: flex-start; gap: 0; min-width: 0; min-height: 56px; padding: 8px 12px; border-radius: 12px; }
  .chat:hover, [aria-current] { background: var(--_secondary); }
  .title { max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  time, p { color: var(--_muted); font-size: 13px; }
  time::first-letter { text-transform: uppercase; }
  p { padding: 0 12px; }
`;
