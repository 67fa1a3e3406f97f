import { css } from '../base/chat-element.ts';

/** For the window, once it has a menu. */
export const menuStyles = css`
  .menu {
    position: absolute; z-index: 1; top: calc(100% + 6px); inset-inline-end: 0; width: max-content; max-width: calc(100vw - 24px);
    padding: 6px; border: 1px solid var(--_border); border-radius: 14px; background: var(--_bg); box-shadow: 0 12px 32px #0000002e;
    font-size: 14px; animation: rise .2s;
  }
  .menu button { display: flex; justify-content: flex-start; gap: 12px; width: 100%; min-height: var(--_tap, 40px); padding: 4px 12px; border-radius: 9px; }
  .menu button:is(:hover, :focus-visible) { background: var(--_secondary); outline-offset: -2px; }
  .menu svg { width: 18px; color: var(--_muted); }
  .menu span { flex: 1; }
`;
