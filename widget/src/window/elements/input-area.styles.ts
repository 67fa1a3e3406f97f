import { css } from '../base/chat-element.ts';

export const styles = css`
  :host {
    --_size: var(--_tap, 38px); --_pad: calc(var(--_size) / 2 - .75rem);
    width: 100%; max-width: 748px; margin: 0 auto; padding: 4px 14px 8px;
  }
  form {
    display: flex; align-items: flex-end; gap: 6px; padding: 5px; border: 1px solid var(--_line);
    border-radius: calc(var(--_radius) + 6px); background: var(--_bg); box-shadow: 0 1px 3px #0000000d;
    transition: .15s;
  }
  form:focus-within { border-color: var(--_focus); box-shadow: 0 0 0 3px color-mix(in srgb, var(--_focus) 18%, transparent); }
  textarea {
    flex: 1; min-width: 0; max-height: min(10.5rem, 40vh); margin: 0; padding: var(--_pad) 0; padding-inline: 12px 4px; border: 0; outline: 0 !important; resize: none;
    background: none; color: inherit; font: inherit; font-size: min(1rem, var(--_tap, .9375rem)); line-height: 1.5rem;
    overscroll-behavior: var(--_over); scrollbar-width: thin;
  }
  .send {
    flex: none; width: var(--_size); height: var(--_size); border-radius: 50%; background: var(--a4w-primary-color);
    color: var(--a4w-on-primary);
  }
  .send:hover:not([disabled]) { transform: scale(1.05); }
  .send[disabled] { background: var(--_secondary); color: var(--_muted); }
  .stop { background: var(--_text); color: var(--_bg); }
  .stop svg { fill: currentColor; }
  @media (forced-colors: active) { .send { border: 1px solid ButtonText; } }
`;
