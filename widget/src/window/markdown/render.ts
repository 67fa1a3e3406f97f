import { copyText } from '../base/clipboard.ts';
import { createParser } from './parser.ts';
import type { MarkdownLabels, Source, Tree, TreeElement } from './tree.ts';

/** How long a button says "Copied", in milliseconds. */
const COPIED = 1500;

/** The node that each element shows. A finished block's node never changes. */
const drawn = new WeakMap<Node, TreeElement>();

/** Updates an element's children to match `nodes`, leaving unchanged ones alone. */
function patch(parent: Element, nodes: Tree[]): void {
  nodes.forEach((node, index) => {
    const child = parent.childNodes[index];
    let shown: Node | undefined = child;
    if (typeof node === 'string') {
      if (!(child instanceof Text)) shown = new Text(node);
      else if (node.startsWith(child.data)) child.appendData(node.slice(child.length));
      else child.data = node;
    } else if (!child || drawn.get(child) !== node) {
      const element =
        child instanceof HTMLElement && child.localName === node.tag ? child : document.createElement(node.tag);
      for (const { name } of [...element.attributes]) if (!(name in node.attributes)) element.removeAttribute(name);
      for (const [name, value] of Object.entries(node.attributes)) {
        if (element.getAttribute(name) !== value) element.setAttribute(name, value);
      }
      patch(element, node.nodes);
      drawn.set(element, node);
      shown = element;
    }
    if (!child) parent.append(shown as Node);
    else if (child !== shown) child.replaceWith(shown as Node);
  });
  while (parent.childNodes.length > nodes.length) parent.lastChild?.remove();
}

/**
 * Renders growing Markdown into `root`. `update` takes the whole text so far; a text that doesn't continue the previous one
 * starts over. With `done`, incomplete markup is no longer completed, unless the text was `cut` off. Relative links resolve
 * against `site`, the host page's address. Overflowing blocks can be scrolled with the keyboard.
 *
 * Fires `notice` with a text to announce.
 */
export function createMarkdown(root: HTMLElement | ShadowRoot, strings: MarkdownLabels, site = '') {
  const container = document.createElement('div');
  container.className = 'md';
  container.addEventListener('click', async ({ target }) => {
    const button = target instanceof HTMLButtonElement && target;
    if (!button) return;
    const code = button.parentElement?.nextSibling?.textContent ?? '';
    if (!(await copyText(code, container, strings))) return;
    button.textContent = strings.copied;
    setTimeout(() => {
      button.textContent = strings.copyCode;
    }, COPIED);
  });
  const measure = () => {
    for (const part of container.querySelectorAll<HTMLElement>('pre, .table')) {
      const hidden = part.scrollWidth - part.clientWidth;
      const isCode = part.localName === 'pre';
      part.classList.toggle('wide', isCode && hidden - part.scrollLeft > 1);
      const named = { tabindex: '0', role: 'group', 'aria-label': isCode ? strings.code : strings.table };
      for (const [name, value] of Object.entries(named)) {
        if (hidden > 0) part.setAttribute(name, value);
        else part.removeAttribute(name);
      }
    }
  };
  container.addEventListener('scroll', measure, true);
  new ResizeObserver(measure).observe(container);
  root.prepend(container);
  const parse = createParser(strings, site);
  return {
    update: (text: string, done: boolean, cut = false, sources?: readonly Source[]): void => {
      patch(container, parse(text, done, cut, sources));
      measure();
    },
  };
}
