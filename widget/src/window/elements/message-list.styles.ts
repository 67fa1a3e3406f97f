import { css } from '../base/chat-element.ts';

export const styles = css`
  :host { position: relative; }
  .scroll {
    position: relative; display: flex; flex-direction: column; gap: 16px; height: 100%; padding: 20px 18px 16px; overflow-y: auto;
    overscroll-behavior: var(--_over); scrollbar-width: thin; scrollbar-color: var(--_border) transparent;
  }
  .scroll > * { width: 100%; max-width: 720px; margin-inline: auto; }
  .turn, .answer, .welcome, .hello, .chips { display: flex; flex-direction: column; gap: 8px; }
  .turn { gap: 12px; }
  /* Messages far from the end aren't rendered until they are scrolled into view. */
  .turn:nth-last-child(n + 12) { content-visibility: auto; contain-intrinsic-size: auto 200px; }
  .day { color: var(--_muted); font-size: .75rem; font-weight: 500; text-align: center; }
  .day::first-letter { text-transform: uppercase; }
  .asked { display: flex; flex-direction: row-reverse; align-items: center; gap: 4px; padding-inline-start: 10%; }
  .question {
    min-width: 0; padding: 9px 14px; border-radius: 18px; border-end-end-radius: 5px;
    background: var(--a4w-primary-color); color: var(--a4w-on-primary);
    box-shadow: inset 0 0 0 1px color-mix(in srgb, var(--_text) 8%, transparent); animation: rise .3s cubic-bezier(.2, .8, .2, 1);
  }
  .editing { outline: 2px dashed var(--_focus); outline-offset: 3px; }
  .question .text { white-space: pre-wrap; }
  .answer { align-items: flex-start; line-height: 1.6; }
  .answer .text { align-self: stretch; }
  [data-growing]::after {
    content: ''; display: inline-block; width: 8px; height: 8px; margin-inline-start: 4px; border-radius: 50%;
    background: var(--a4w-primary-color); animation: breathe .9s infinite alternate ease-in-out;
  }
  .asked, .actions { --_hit: var(--_tap, 30px); }
  .actions { display: flex; align-items: center; gap: 2px; margin-inline-start: calc(8px - var(--_hit) / 2); }
  .icon { border-radius: 8px; }
  .icon svg { width: 16px; }
  .icon[aria-pressed='true'] { color: var(--_focus); }
  .icon[aria-pressed='true'] svg { fill: color-mix(in srgb, currentColor 24%, transparent); }
  .over svg { rotate: 180deg; }
  time { margin-inline-start: 6px; color: var(--_muted); font-size: .75rem; font-variant-numeric: tabular-nums; }
  @media (hover: hover) {
    .turn:not(:hover, :focus-within, .last) :is(.icon, time) { opacity: 0; }
  }
  .notice {
    display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; color: var(--_muted); font-size: .875rem;
  }
  .welcome { flex: 1; gap: 16px; animation: rise .3s cubic-bezier(.2, .8, .2, 1); }
  .hello { flex: 1; align-items: center; justify-content: center; gap: 20px; text-align: center; }
  .mark {
    width: 56px; height: 56px; border-radius: 18px;
    box-shadow: 0 8px 24px -6px color-mix(in srgb, var(--a4w-primary-color) 55%, transparent);
  }
  .mark svg { width: 28px; }
  .greeting { max-width: 15em; margin: 0; font-size: 1.375rem; font-weight: 650; line-height: 1.3; text-wrap: balance; white-space: pre-line; }
  .long { max-width: 22em; font-size: 1rem; font-weight: 450; line-height: 1.55; }
  .chips .pill { min-height: 44px; padding: 9px 14px; border-radius: 14px; font-size: .875rem; line-height: 1.4; }
  .chips .pill:hover { border-color: color-mix(in srgb, var(--_text) 30%, var(--_border)); }
  .welcome .pill { justify-content: flex-start; }
  .turn + .chips { flex-flow: wrap; justify-content: flex-end; }
  .turn + .chips .pill { min-height: var(--_hit); padding: 6px 14px; }
  .latest {
    position: absolute; bottom: 12px; inset-inline: 0; width: var(--_hit); height: var(--_hit); margin: auto; border: 1px solid var(--_border);
    border-radius: 50%; background: var(--_bg); color: var(--_text); box-shadow: 0 2px 10px #00000026; animation: rise .2s;
  }
  .skeleton { width: 70%; height: 14px; border-radius: 7px; background: var(--_secondary); animation: breathe .9s infinite alternate ease-in-out; }
  .skeleton:nth-child(2n) { width: 45%; height: 36px; margin-inline-end: 0; border-radius: 18px; }
  typing-indicator { display: flex; gap: 5px; align-items: center; height: 24px; }
  /* Once part of the answer is visible. */
  :not(:empty) + typing-indicator { display: none; }
  i { width: 7px; height: 7px; border-radius: 50%; background: var(--_muted); animation: bounce 1.2s infinite ease-in-out; }
  i:nth-child(2) { animation-delay: .15s; }
  i:nth-child(3) { animation-delay: .3s; }
  @keyframes bounce { 0%, 60%, 100% { opacity: .35; transform: none; } 30% { opacity: 1; transform: translateY(-4px); } }
  @media (forced-colors: active) { .question { border: 1px solid; } [data-growing]::after, i { background: CanvasText; } }
`;
