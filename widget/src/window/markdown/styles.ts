import { css } from '../base/chat-element.ts';

/** Styles for an answer rendered by `createMarkdown`. It uses the window's colours. */
export const styles = css`
  .md { white-space: normal; }
  :where(.md *) { margin: 0; unicode-bidi: isolate; }
  .md > * + *, :is(li, blockquote) > * + *, * + .apart { margin-block-start: .7em; }
  li + li, li > :is(ul, ol) { margin-block-start: .25em; }
  .md :is(h3, h4, h5, h6) { font-size: 1em; font-weight: 650; line-height: 1.3; text-wrap: balance; }
  .md > * + :is(h3, h4, h5, h6) { margin-block-start: 1.25em; }
  .md > :is(h3, h4, h5, h6) + * { margin-block-start: .4em; }
  .md h3 { font-size: 1.3em; }
  .md h4 { font-size: 1.15em; }
  :is(ul, ol) { padding-inline-start: 1.6em; }
  li::marker { color: var(--_muted); font-variant-numeric: tabular-nums; }
  .task { position: relative; list-style: none; }
  [role=checkbox] {
    position: absolute; inset-block-start: .3em; margin-inline-start: -1.6em; width: 1.1em; height: 1.1em;
    border: 1.5px solid var(--_muted); border-radius: 4px; font-size: .85em; font-weight: 700; line-height: 1.1;
    text-align: center;
  }
  [role=checkbox] + * { margin-block-start: 0; }
  [aria-checked=true] { background: var(--a4w-primary-color); color: var(--a4w-on-primary); border: 0; }
  [aria-checked=true]::before { content: '✓'; }
  blockquote { padding-inline-start: .9em; border-inline-start: 3px solid var(--_border); color: var(--_muted); }
  hr { width: 100%; border: 0; border-block-start: 1px solid var(--_border); }
  code, kbd, .cite { direction: ltr; padding: .15em .35em; border-radius: 5px; background: var(--_secondary); font: .88em/1.5 ui-monospace, Menlo, Consolas, monospace; }
  .cite { border-radius: 1em; color: var(--_muted); font-size: .72em; line-height: 1; }
  .plain { white-space: pre-wrap; }
  .code, .table { overflow: auto; border: 1px solid var(--_border); border-radius: 10px; }
  .code { background: var(--_secondary); direction: ltr; text-align: left; }
  .code > div { display: flex; align-items: center; justify-content: space-between; padding: 4px 6px 0 12px; color: var(--_muted); font-size: .75rem; }
  .code button { min-height: var(--_tap, 24px); padding: 0 6px; border-radius: 6px; }
  .code button:hover { color: var(--_text); }
  pre { overflow: auto; padding: 6px 12px 12px; }
  .wide:not(:focus-visible) { mask: linear-gradient(90deg, #000 calc(100% - 32px), #0000); }
  pre code { padding: 0; background: none; white-space: pre; }
  table { width: max-content; min-width: 100%; border-collapse: collapse; font-size: .93em; }
  th, td { max-width: 15em; padding: 6px 10px; text-align: start; vertical-align: top; }
  th { background: var(--_secondary); font-weight: 600; }
  tr + tr { border-block-start: 1px solid var(--_border); }
  .center { text-align: center; }
  .right { text-align: end; font-variant-numeric: tabular-nums; }
  .md a { text-decoration-color: var(--_focus); }
  .cite a { text-decoration: none; }
  .sources { padding-block-start: .7em; border-block-start: 1px solid var(--_border); color: var(--_muted); font-size: .85em; }
  small, .note { color: var(--_muted); font-size: .85em; }
  .image { display: inline-block; padding: 4px 12px; border: 1px solid var(--_border); border-radius: 1em; text-decoration: none; }
  .note + .note { margin-block-start: .2em; }
`;
