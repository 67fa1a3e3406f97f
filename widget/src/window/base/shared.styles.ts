import { css } from './chat-element.ts';

/** The shared styles of the window's elements: basics, icon buttons, and text for screen readers only. */
export const shared = css`
  *, ::before, ::after { box-sizing: border-box; }
  :host([hidden]), [hidden] { display: none !important; }
  button {
    all: unset; box-sizing: border-box; display: inline-flex; align-items: center; justify-content: center; gap: 6px;
    cursor: pointer; -webkit-tap-highlight-color: transparent; transition: .15s;
  }
  :focus-visible { outline: 2px solid var(--_focus); outline-offset: 2px; }
  [tabindex]:focus-visible { outline-offset: -2px; }
  ::placeholder { color: var(--_muted); opacity: 1; }
  button[disabled] { cursor: default; }
  svg {
    flex: none; width: 20px; fill: none; stroke: currentColor; stroke-width: 1.8;
    stroke-linecap: round; stroke-linejoin: round;
  }
  .icon { flex: none; width: var(--_hit); height: var(--_hit); border-radius: 10px; color: var(--_muted); }
  .icon:hover { background: var(--_secondary); color: var(--_text); }
  .pill {
    min-height: var(--_tap, 32px); padding: 5px 12px; border: 1px solid var(--_border); border-radius: 999px;
    background: var(--_bg); color: var(--_text); font-size: .8125rem; font-weight: 500;
  }
  .pill:hover { background: var(--_secondary); }
  .pill[disabled] { opacity: .6; }
  .pill svg { width: 15px; }
  .avatar, .mark {
    display: grid; flex: none; place-items: center; overflow: hidden; background: var(--a4w-primary-color); color: var(--a4w-on-primary);
  }
  img { width: 100%; height: 100%; object-fit: cover; }
  a { color: inherit; text-underline-offset: 2px; border-radius: 4px; }
  .privacy { margin: 0; color: var(--_muted); font-size: .8125rem; }
  .hidden {
    position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
  }
  @keyframes breathe { to { opacity: .35; } }
  @keyframes rise { from { opacity: 0; transform: translateY(8px); } }
  @media (prefers-reduced-motion: reduce) {
    *, ::before, ::after { animation: none !important; transition: none !important; }
  }
`;
