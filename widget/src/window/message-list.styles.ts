import { css } from 'lit';

export const styles = css`
  :host { position: relative; display: block; }
  .scroll {
    display: flex; flex-direction: column; gap: 18px; height: 100%; padding: 20px 18px 16px; overflow-y: auto;
    overscroll-behavior: contain; scrollbar-width: thin; scrollbar-color: var(--_border) transparent; outline: 0;
  }
  .scroll:focus-visible { box-shadow: inset 0 0 0 2px var(--_focus); }
  .turn { display: flex; flex-direction: column; gap: 12px; }
  .question {
    align-self: flex-end; max-width: 86%; padding: 9px 14px; border-radius: 18px 18px 5px 18px;
    background: var(--a4w-primary-color); color: var(--a4w-on-primary);
    box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--_text) 8%, transparent); animation: rise .22s cubic-bezier(.2, .8, .2, 1);
  }
  .question:dir(rtl) { border-radius: 18px 18px 18px 5px; }
  .text { white-space: pre-wrap; overflow-wrap: anywhere; }
  .answer { display: flex; flex-direction: column; align-items: flex-start; gap: 8px; line-height: 1.6; }
  .answer .text { align-self: stretch; }
  .live .text::after {
    content: ''; display: inline-block; width: 8px; height: 8px; margin-inline-start: 4px; border-radius: 50%;
    background: var(--a4w-primary-color); animation: breathe .9s infinite alternate ease-in-out;
  }
  .actions { display: flex; gap: 2px; margin: -2px 0 0 -7px; }
  .actions .icon { width: max(30px, var(--_hit) - 6px); height: max(30px, var(--_hit) - 6px); border-radius: 8px; }
  .actions svg { width: 16px; height: 16px; }
  .notice {
    display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; color: var(--_muted); font-size: 13.5px; line-height: 1.45;
  }
  .problem {
    display: grid; grid-template-columns: auto 1fr; align-items: start; align-self: stretch; padding: 12px 14px;
    border-radius: var(--_radius); color: var(--_text); background: color-mix(in srgb, var(--_danger) 8%, var(--_bg));
    box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--_danger) 22%, transparent);
  }
  .problem > svg { width: 18px; height: 18px; color: var(--_danger); }
  .problem .pill { grid-column: 2; justify-self: start; }
  .welcome { display: flex; flex: 1; flex-direction: column; gap: 20px; animation: rise .3s cubic-bezier(.2, .8, .2, 1); }
  .hello { display: flex; flex: 1; flex-direction: column; align-items: center; justify-content: center; gap: 18px; text-align: center; }
  .mark {
    display: grid; place-items: center; width: 56px; height: 56px; border-radius: 18px; background: var(--a4w-primary-color);
    color: var(--a4w-on-primary); box-shadow: 0 8px 24px -6px color-mix(in srgb, var(--a4w-primary-color) 55%, transparent);
  }
  .mark svg { width: 28px; height: 28px; }
  .greeting { max-width: 15em; margin: 0; font-size: 22px; font-weight: 650; line-height: 1.3; letter-spacing: -.02em; text-wrap: balance; }
  .long { max-width: 22em; font-size: 16px; font-weight: 450; line-height: 1.55; letter-spacing: 0; text-wrap: pretty; }
  .suggestions { display: flex; flex-direction: column; gap: 8px; }
  .suggestions .pill {
    justify-content: flex-start; min-height: 44px; padding: 9px 14px; border-radius: 14px; font-size: 14px; line-height: 1.4;
  }
  .suggestions .pill:hover { border-color: color-mix(in srgb, var(--_text) 30%, var(--_border)); }
  .latest {
    position: absolute; bottom: 12px; left: 50%; translate: -50% 0; width: max(36px, var(--_hit)); height: max(36px, var(--_hit)); border: 1px solid var(--_border);
    border-radius: 50%; background: var(--_bg); color: var(--_text); box-shadow: 0 2px 10px #00000026; animation: rise .2s;
  }
  .skeleton { width: 70%; height: 14px; border-radius: 7px; background: var(--_secondary); animation: breathe .9s infinite alternate ease-in-out; }
  .skeleton:nth-child(2n) { align-self: flex-end; width: 45%; height: 36px; border-radius: 18px; }
  @keyframes rise { from { opacity: 0; transform: translateY(8px); } }
  @keyframes breathe { to { opacity: .35; } }
  @media (forced-colors: active) { .question, .problem { border: 1px solid; } .live .text::after { background: CanvasText; } }
`;
