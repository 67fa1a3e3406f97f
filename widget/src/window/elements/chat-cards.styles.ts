import { css } from '../base/chat-element.ts';

/** Styles for rarely used parts of the window and the message list, loaded with them. */
export const cardStyles = css`
  .menu {
    position: absolute; z-index: 1; top: calc(100% + 6px); inset-inline-end: 0; width: max-content; max-width: calc(100vw - 24px);
    max-height: calc(100vh - 52px); overflow: auto;
    padding: 6px; border: 1px solid var(--_border); border-radius: 14px; background: var(--_bg); box-shadow: 0 12px 32px #0000002e;
    font-size: .875rem; animation: rise .2s;
  }
  :is(.menu, .problem) a { display: inline-flex; align-items: center; gap: 6px; color: inherit; text-decoration: none; }
  .menu :is(a, button) { display: flex; justify-content: flex-start; gap: 12px; width: 100%; min-height: var(--_tap, 40px); padding: 4px 12px; border-radius: 9px; }
  .menu :is(a, button):is(:hover, :focus-visible) { background: var(--_secondary); outline-offset: -2px; }
  .menu svg { width: 18px; color: var(--_muted); }
  .menu span { flex: 1; }
  .card {
    display: grid; gap: 4px 8px; width: calc(100% - 28px); max-width: 720px; margin: 0 auto 8px; padding: 14px; border: 1px solid var(--_border); border-radius: var(--_radius);
    background: var(--_bg); box-shadow: 0 4px 16px #0000001f; font-size: .875rem; animation: rise .2s;
  }
  @media (max-height: 300px) { .card ~ input-area { display: none; } }
  .card b { font-weight: 600; }
  .card p { margin: 0; color: var(--_muted); }
  .card div { display: flex; flex-wrap: wrap; gap: 8px; margin-block-start: 8px; }
  .card .danger { border-color: transparent; background: #c0261f; color: #fff; }
  .card .danger:hover { background: #a51d17; }
  .notice.problem {
    display: grid; grid-template-columns: auto 1fr; align-items: start; align-self: stretch; padding: 12px 14px;
    border-radius: var(--_radius); color: var(--_text); background: color-mix(in srgb, var(--_danger) 8%, var(--_bg));
    box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--_danger) 22%, transparent);
  }
  .notice.problem > svg { width: 18px; color: var(--_danger); }
  .notice.problem .pill { grid-column: 2; justify-self: start; }
  @media (forced-colors: active) { .notice.problem { border: 1px solid; } }
  .count { padding: 4px 12px 0; color: var(--_muted); font-size: .75rem; text-align: end; font-variant-numeric: tabular-nums; }
  .count.over { color: var(--_danger); font-weight: 600; }
  .edited { display: flex; align-items: center; gap: 8px; padding: 0 0 8px; padding-inline-start: 8px; color: var(--_muted); font-size: .8125rem; }
  .edited svg { width: 16px; }
  .edited span { flex: 1; }
  .reference { grid-column: 2; justify-self: start; min-height: var(--_tap, 24px); color: var(--_muted); font-size: .75rem; text-align: start; }
  .reference:hover { color: var(--_text); }
  .comment { display: flex; align-self: stretch; gap: 4px; animation: rise .2s; }
  .comment input {
    flex: 1; min-width: 0; padding: 4px 12px; border: 1px solid var(--_line); border-radius: 999px; background: var(--_bg); color: inherit;
    font: inherit; font-size: min(1rem, var(--_tap, .8125rem)); text-overflow: ellipsis;
  }
  .comment input:focus { outline-offset: -1px; }
`;
