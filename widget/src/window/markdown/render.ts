import { copyText } from '../clipboard.ts';
import { type Block, cells, decided, parseBlocks } from './blocks.ts';
import { type Inline, parseInline } from './inline.ts';

export interface MarkdownLabels {
  copyCode: string;
  copied: string;
  showImage: string;
  table?: string;
}

/** How long a button says that it has copied, in milliseconds. */
const COPIED = 1500;

function create<K extends keyof HTMLElementTagNameMap>(tag: K, className = '', ...children: Node[]) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** Brings the children of an element up to `nodes`, and touches none that is right already. */
function patch(parent: Element, nodes: Inline[]): void {
  nodes.forEach((node, index) => {
    let child = parent.childNodes[index] as Text | HTMLElement | undefined;
    const put = <T extends Text | HTMLElement>(made: T): T => {
      if (child) child.replaceWith(made);
      else parent.append(made);
      return made;
    };
    if (typeof node === 'string') {
      if (!(child instanceof Text)) put(new Text(node));
      else if (!node.startsWith(child.data)) child.data = node;
      else if (node.length > child.length) child.appendData(node.slice(child.length));
      return;
    }
    const { tag, kind = '', href } = node;
    const same =
      child instanceof HTMLElement &&
      child.localName === tag &&
      child.className === kind &&
      child.getAttribute('href') === (href ?? null);
    if (!same) {
      child = put(create(tag as 'a', kind));
      if (href) Object.assign(child, { href, target: '_blank', rel: 'noopener noreferrer nofollow' });
    }
    patch(child as HTMLElement, node.nodes);
  });
  while (parent.childNodes.length > nodes.length) parent.lastChild?.remove();
}

function createCode(labels: MarkdownLabels): HTMLElement {
  const code = create('code');
  const pre = create('pre', '', code);
  pre.tabIndex = 0;
  const button = create('button');
  button.type = 'button';
  button.textContent = labels.copyCode;
  button.onclick = async () => {
    if (!(await copyText(code.textContent))) return;
    button.textContent = labels.copied;
    setTimeout(() => {
      button.textContent = labels.copyCode;
    }, COPIED);
  };
  return create('div', 'code', create('div', '', create('span'), button), pre);
}

/** One level of blocks that grows: what is finished is never touched again. */
function createLevel(parent: HTMLElement, labels: MarkdownLabels, depth: number) {
  let source = '';
  let last: Block | undefined;
  /** What shows the last block. */
  let element: HTMLElement;
  /** The list or the table that it stands in, if it does; and the child of `parent` that this is. */
  let group: HTMLElement;
  let outermost: HTMLElement | undefined;
  let mark = '';
  let update: (text: string, growing: boolean) => void;

  const draw = (block: Block): void => {
    const { tag } = block;
    const item = tag === 'li';
    if (item || tag === 'tr') {
      const shared = item ? block.mark.slice(-1) : 'td';
      if (outermost !== parent.lastChild || !outermost || mark !== shared || block.mark === 'th') {
        mark = shared;
        outermost = group = create(item ? (/[.)]/.test(mark) ? 'ol' : 'ul') : 'table');
        const number = Number.parseInt(block.mark, 10);
        if (number !== 1 && group instanceof HTMLOListElement) group.start = number;
        if (!item) {
          outermost = create('div', 'table', group);
          outermost.tabIndex = 0;
          if (labels.table) Object.assign(outermost, { role: 'group', ariaLabel: labels.table });
        }
        parent.append(outermost);
      }
      element = create(tag, item && block.apart ? 'apart' : '');
      group.append(element);
    } else {
      outermost = undefined;
      element = tag === 'pre' ? createCode(labels) : create(tag as 'p', block.mark && 'note');
      parent.append(element);
    }
    // Only here: what is inside follows the direction of the whole.
    if (!depth && tag !== 'pre') (outermost ?? element).dir = 'auto';
    if (item || tag === 'blockquote') update = createLevel(element, labels, depth + 1);
  };

  const fill = ({ tag, text, mark, align }: Block, growing: boolean): void => {
    const inline = (content: string) => parseInline(content, growing, labels.showImage);
    if (tag === 'li') {
      const task = /^\[([ xX])\][ \t]+/.exec(text);
      if (task) element.classList.add('task', ...(task[1] === ' ' ? [] : ['done']));
      update(text.slice(task?.[0].length), growing);
    } else if (tag === 'blockquote') update(text, growing);
    else if (tag === 'tr') {
      const row = cells(text);
      const columns = align.length ? align : row;
      patch(
        element,
        columns.map((_, index) => ({ tag: mark, kind: align[index] ?? '', nodes: inline(row[index] ?? '') })),
      );
    } else if (tag === 'pre') {
      patch(element.querySelector('span') as Element, mark ? [mark] : []);
      patch(element.querySelector('code') as Element, text ? [text] : []);
    } else if (tag !== 'hr') {
      patch(element, mark ? [{ tag: 'sup', nodes: [mark] }, ' ', ...inline(text)] : inline(text));
      element.toggleAttribute('data-growing', growing);
    }
  };

  return (text: string, growing: boolean): void => {
    if (!text.startsWith(source)) {
      parent.replaceChildren();
      last = outermost = undefined;
    }
    source = text;
    for (const block of parseBlocks(text, last, growing, depth)) {
      const again = block.at === last?.at;
      if (!again || block.tag !== last?.tag || (block.mark !== last.mark && block.tag !== 'pre')) {
        if (again) {
          element.remove();
          if (outermost && !group.hasChildNodes()) outermost.remove();
        }
        draw(block);
      }
      last = block;
      fill(block, growing && block.open);
    }
  };
}

/**
 * Renders Markdown that grows into `root`. `update` takes the whole text so far; a text that doesn't continue the former one
 * starts over. `done` renders the end as final: nothing half written is completed any more.
 */
export function createMarkdown(root: HTMLElement | ShadowRoot, labels: MarkdownLabels) {
  const container = create('div', 'md');
  root.append(container);
  const update = createLevel(container, labels, 0);
  return {
    update(text: string, done: boolean): void {
      const source = text.replace(/\r\n?/g, '\n').replace(/\0/g, '\ufffd');
      update(done ? source : decided(source), !done);
    },
  };
}
