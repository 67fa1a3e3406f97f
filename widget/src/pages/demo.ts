/** The demo page: buttons that ask questions, snippets to copy, and a switch that restyles the page to show isolation. */
import type {} from '../../types/a4-chat-widget';
import { copy } from './copy.ts';

const HOSTILE = `
  body * { font-family: cursive !important; rotate: -.6deg !important; color: crimson !important }
  iframe, div { opacity: .2 !important; position: static !important; border: 9px dotted !important }
`;

/** The minimum width at which the open chat fits beside the page. */
const WIDE = 1100;

/** This page's snippet. The chat starts open if it fits. */
function embed(): void {
  const { apiKey = '', widgetId = '' } = document.body.dataset;
  const script = document.createElement('script');
  script.src = new URL('widget.js', location.href).href;
  Object.assign(script.dataset, { apiKey, widgetId });
  if (innerWidth >= WIDE) {
    script.dataset.open = '';
    document.body.classList.add('beside');
  }
  window.A4ChatWidget = [
    ['on', 'open', () => document.body.classList.add('beside')],
    ['on', 'close', () => document.body.classList.remove('beside')],
  ];
  document.body.append(script);
}

function ask(text: string): void {
  const widget = window.A4ChatWidget ?? [];
  // An array queues calls until the widget has loaded.
  window.A4ChatWidget = widget;
  if (Array.isArray(widget)) widget.push(['send', text]);
  else widget.send(text);
}

embed();
for (const button of document.querySelectorAll<HTMLButtonElement>('[data-ask]')) {
  button.addEventListener('click', () => ask(button.dataset.ask ?? ''));
}

for (const button of document.querySelectorAll<HTMLButtonElement>('[data-copy]')) {
  const source = document.getElementById(button.dataset.copy ?? '') ?? button;
  button.addEventListener('click', () => void copy(button, source.textContent ?? '', source));
}

for (const element of document.querySelectorAll('[data-origin]')) {
  element.textContent = new URL('.', location.href).href.replace(/\/$/, '');
}

const hostile = new CSSStyleSheet();
hostile.replaceSync(HOSTILE);
const box = document.querySelector<HTMLInputElement>('#hostile');
box?.addEventListener('change', () => {
  document.adoptedStyleSheets = box.checked ? [hostile] : [];
});
