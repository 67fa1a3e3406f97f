import { css } from '../base/chat-element.ts';

/**
 * The documented custom properties can be set by the host; unset ones follow the theme. If only one of background and text colour
 * is set, the other is black or white, and intermediate colours are mixed from both, so that everything stays readable.
 */
export const styles = css`
  :host {
    --_onbg: color(from var(--a4w-bg-color) xyz-d65 var(--_best) var(--_best) var(--_best));
    --_ontext: color(from var(--a4w-text-color) xyz-d65 var(--_best) var(--_best) var(--_best));
    --_bg: var(--a4w-bg-color, var(--_ontext, #fff));
    --_text: var(--a4w-text-color, var(--_onbg, #14161a));
    --_secondary: var(--a4w-secondary-bg, color-mix(in srgb, var(--_text) 6%, var(--_bg)));
    --_border: var(--a4w-border-color, color-mix(in srgb, var(--_text) 13%, var(--_bg)));
    --_muted: color-mix(in srgb, var(--_text) 68%, var(--_bg));
    --_focus: color-mix(in srgb, var(--a4w-primary-color) 45%, var(--_text));
    --_line: color-mix(in srgb, var(--_text) 55%, var(--_bg));
    --_danger: color-mix(in srgb, #e5322d 70%, var(--_text));
    --_radius: var(--a4w-radius, 16px);
    --_hit: var(--_tap, 36px);
    position: fixed; inset: 0; display: flex; flex-direction: column; overflow-wrap: anywhere; overflow: hidden;
    background: var(--_bg); color: var(--_text); color-scheme: light;
    font: .9375rem/1.5 var(--a4w-font, system-ui, sans-serif);
    -webkit-text-size-adjust: 100%;
  }
  :host([theme='dark']) {
    --_bg: var(--a4w-bg-color, var(--_ontext, #15171b));
    --_text: var(--a4w-text-color, var(--_onbg, #eceef1));
    color-scheme: dark;
  }
  @media (prefers-contrast: more) { :host { --_muted: var(--_text); --_line: var(--_text); --_border: currentColor; } }
  :host([full]) {
    --_tap: 44px;
    padding: env(safe-area-inset-top) env(safe-area-inset-right) env(safe-area-inset-bottom) env(safe-area-inset-left);
  }
  :host([mode='bubble']) { --_over: contain; touch-action: pinch-zoom; }
  :host(:not([full], [mode='page']))::after {
    content: ''; position: absolute; inset: 0; border: 1px solid color-mix(in srgb, var(--_text) 9%, transparent);
    border-radius: 18px; pointer-events: none;
  }
  header {
    display: flex; align-items: center; gap: 12px; padding: 14px; padding-inline: 18px 12px; border-bottom: 1px solid var(--_border);
  }
  :host([full]) header { padding-inline: 14px 6px; }
  .avatar { width: 38px; height: 38px; border-radius: 12px; }
  .who { flex: 1; min-width: 0; }
  h1 {
    width: fit-content; max-width: 100%; margin: 0; font-size: .9375rem; font-weight: 650; line-height: 1.3;
  }
  .status { color: var(--_muted); font-size: .8125rem; line-height: 1.4; }
  h1, .status { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  .status::before {
    content: ''; display: inline-block; margin-inline-end: 6px; width: 7px; height: 7px; border-radius: 50%; background: #17a35b;
    animation: breathe .9s infinite alternate ease-in-out;
  }
  :is([data-status='idle'], [data-status='offline'], [data-status='down'])::before { animation: none; }
  :is([data-status='reconnecting'], [data-status='down'])::before { background: #d98a00; }
  [data-status='offline']::before { background: var(--_muted); }
  .controls { position: relative; display: flex; }
  .more svg { stroke-width: 3; }
  message-list { overflow: hidden; flex: 1; }
  .offline, .consent { width: calc(100% - 28px); max-width: 720px; margin: 0 auto 8px; padding: 10px 14px; border-radius: var(--_radius); background: var(--_secondary); font-size: .8125rem; }
  .consent { display: grid; gap: 12px; overflow: auto; padding: 14px; }
  .primary { min-height: 44px; background: var(--a4w-primary-color); color: var(--a4w-on-primary); font-size: .875rem; font-weight: 600; }
  .primary:hover { background: var(--a4w-primary-color); opacity: .9; }
  footer { padding: 4px 16px 10px; color: var(--_muted); font-size: .75rem; text-align: center; }
  @media (max-height: 420px) { header { padding: 0 8px; } .avatar, footer:not(.notice) { display: none; } }
  @media (pointer: coarse) { :host { --_tap: 44px; } }
  @media (forced-colors: active) { .avatar, .primary { border: 1px solid; } }
`;
