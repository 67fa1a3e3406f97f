import { css } from 'lit';

/** For an answer that `createMarkdown` draws; the colours are those of the window around it. */
export const styles = css`
  .md { overflow-wrap: anywhere; white-space: normal; }
  .md * { margin: 0; unicode-bidi: isolate; }
  .md :is(p, ul, ol, blockquote, hr, h1, h2, h3, h4, h5, h6, .code, .table, .apart) { margin-block-start: .7em; }
  .md :is(h1, h2, h3, h4, h5, h6) { margin-block-start: 1.2em; font-size: 1em; font-weight: 650; line-height: 1.3; text-wrap: balance; }
  .md h1 { font-size: 1.3em; letter-spacing: -.015em; }
  .md h2 { font-size: 1.17em; letter-spacing: -.01em; }
  .md :is(h1, h2, h3, h4, h5, h6) + * { margin-block-start: .4em; }
  .md :is(ul, ol) { padding-inline-start: 1.6em; }
  .md li::marker { color: var(--_muted); font-variant-numeric: tabular-nums; }
  .md li + li { margin-block-start: .25em; }
  .md li + .apart { margin-block-start: .7em; }
  .md li > :is(ul, ol) { margin-block-start: .25em; }
  .md :is(.md, li, blockquote) > :first-child, .md > :first-child { margin-block-start: 0; }
  .md .task { position: relative; list-style: none; }
  .md .task::before {
    content: ''; position: absolute; inset: .26em auto auto; margin-inline-start: -1.5em; width: 1em; height: 1em; border-radius: 4px;
    box-shadow: inset 0 0 0 1.5px var(--_muted); font-size: .9em; font-weight: 700; line-height: 1.05; text-align: center;
  }
  .md .done::before { content: '✓'; background: var(--a4w-primary-color); color: var(--a4w-on-primary); box-shadow: none; }
  .md blockquote { padding-inline-start: .9em; border-inline-start: 3px solid var(--_border); color: var(--_muted); }
  .md hr { border: 0; border-block-start: 1px solid var(--_border); }
  .md code { padding: .12em .35em; border-radius: 5px; background: var(--_secondary); font: .88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
  .md .code { overflow: hidden; border: 1px solid var(--_border); border-radius: 10px; background: var(--_secondary); direction: ltr; text-align: start; }
  .md .code > div { display: flex; justify-content: space-between; padding: 3px 6px 0 12px; color: var(--_muted); font-size: 12px; }
  .md button { padding: 3px 6px; border-radius: 6px; }
  .md button:hover { color: var(--_text); }
  .md pre { overflow: auto; padding: 6px 12px 12px; overflow-wrap: normal; }
  .md pre code { padding: 0; background: none; }
  .md .table { overflow: auto; border: 1px solid var(--_border); border-radius: 10px; }
  .md table { width: 100%; border-spacing: 0; font-size: .93em; overflow-wrap: normal; }
  .md :is(th, td) { padding: 6px 10px; text-align: start; vertical-align: top; }
  .md th { background: var(--_secondary); font-weight: 600; white-space: nowrap; }
  .md td { border-block-start: 1px solid var(--_border); }
  .md .center { text-align: center; }
  .md .right { text-align: end; font-variant-numeric: tabular-nums; }
  .md a { color: var(--_link); text-decoration: underline; text-underline-offset: 2px; }
  .md small { color: var(--_muted); font-size: .8em; }
  .md sup { padding: 0 .35em; border-radius: 1em; background: var(--_secondary); color: var(--_muted); font-size: .72em; line-height: 1; }
  .md .image { display: inline-block; padding: 2px 10px; border: 1px solid var(--_border); border-radius: 1em; font-size: .9em; text-decoration: none; }
  .md .note { color: var(--_muted); font-size: .9em; }
  .md .note + .note { margin-block-start: .2em; }
`;
