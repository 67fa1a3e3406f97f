import { css } from '../base/chat-element.ts';

export const styles = css`
  :host { flex: 1; min-height: 0; padding: 8px; overflow-y: auto; overscroll-behavior: var(--_over); scrollbar-width: thin; animation: rise .2s; }
  .bar, p, section { max-width: 720px; margin-inline: auto; }
  .back:dir(rtl) svg { scale: -1 1; }
  .bar, li { display: flex; align-items: center; gap: 4px; }
  h2, h3 { margin: 0; font-size: .9375rem; font-weight: 600; }
  h3 { padding: 16px 12px 4px; color: var(--_muted); font-size: .8125rem; font-weight: 500; }
  ul { margin: 0; padding: 0; list-style: none; }
  .chat { position: relative; flex: 1; min-width: 0; min-height: 44px; padding: 8px 12px; gap: 12px; border-radius: 12px; }
  .chat:hover, [aria-current] { background: var(--_secondary); }
  [aria-current]::before {
    content: ''; position: absolute; inset-block: 10px; inset-inline-start: 0; width: 3px; border-radius: 3px; background: var(--_focus);
  }
  .title { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  time, p { color: var(--_muted); font-size: .8125rem; font-variant-numeric: tabular-nums; }
  h3::first-letter { text-transform: uppercase; }
  @media (forced-colors: active) { [aria-current]::before { background: CanvasText; } }
  p { margin-block: 0; padding: 0 12px; }
`;
