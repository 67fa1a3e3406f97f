import { parseInline } from './inline.ts';
import { element, type MarkdownLabels, type TreeElement } from './tree.ts';

/** One block of a level; of a list an item, of a table a row. */
export interface Block {
  node: TreeElement;
  /** Where it begins in the source. */
  at: number;
  /** What items of one list share, or rows of one table: the last character of the marker, or `|`. */
  group: string;
  /** A blank line stands before it. */
  apart: boolean;
  /** Of an item: its number. */
  number: number;
  /** Of a row: the classes of its columns. Of the head of a table there is none. */
  columns: string[] | undefined;
}

/** 1: indent; 2, 3: a heading; 4, 5: a fence and its language; 6: a rule; 7, 8: a list item; 9: a quote; 10: a row. */
const BLOCK =
  /^( {0,3})(?:(#{1,6})(?:\s+(.*))?$|(`{3,}(?!.*`)|~{3,})\s*(\S*)|([-*_])(?:\s*\6){2,}\s*$|([-+*]|\d{1,9}[.)])(\s+|$)|(>) ?|(\|))/;
const NOTE = /^ {0,3}\[\^?([^\]]{1,99})\]:\s+(?=\S)/;
const CODE = /^( {4}|\t)/;
const DELIMITERS = /^\s*\|?(\s*:?-+:?\s*\|)*(\s*:?-+:?\s*)?$/;
const UNDERLINE = /^ {0,3}(=+|-+)\s*$/;
/** So many levels of quotes and lists are told apart. */
const DEEPEST = 12;

const cells = (row: string): string[] =>
  row
    .trim()
    .replace(/\\\|/g, '\0')
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.replace(/\0/g, '|').trim());

const dedent = (line: string, columns: number): string =>
  columns ? line.replace(/^\s+/, (space) => space.replace(/\t/g, '    ').slice(columns)) : line;

/** Lines that no paragraph goes on with. */
function interrupts(line: string): boolean {
  const match = BLOCK.exec(line);
  return !!match && (!match[7] || (/^1?\D$/.test(match[7]) && line > match[0]));
}

/**
 * The blocks of `source` from where `last` begins, or of all of it (CommonMark 0.31, with the tables and task lists of GFM).
 * In a `growing` source, what is half written at its end is taken for what it will be.
 */
export function parseBlocks(
  source: string,
  growing: boolean,
  strings: MarkdownLabels,
  last?: Block,
  depth = 0,
): Block[] {
  let at = last?.at ?? 0;
  let columns = last?.columns;
  const lines = source.slice(at).split('\n');
  const blocks: Block[] = [];
  let first = 0;
  /** The first line that isn't part of the block. */
  let i = 0;

  const line = (index: number) => lines[index] ?? '';
  const blank = (index: number) => !line(index).trim();
  const isHead = (index: number) => {
    const head = line(index);
    const next = line(index + 1);
    return growing && !next && index > lines.length - 3
      ? /^ {0,3}\|/.test(head)
      : /-/.test(next) && /\|/.test(head) && DELIMITERS.test(next) && cells(next).length === cells(head).length;
  };
  const goOn = (belongs: () => boolean | undefined) => {
    while (i < lines.length && belongs()) i++;
  };
  const content = (change: (text: string, index: number) => string, from = first) =>
    lines.slice(from, i).map(change).join('\n');
  const open = () => growing && i > lines.length - 2 && !line(i);
  const mark = (): Record<string, string> => (open() ? { 'data-growing': '' } : {});
  const inline = (text: string) => parseInline(text, open(), strings.showImage);
  const inner = (text: string) => grouped(parseBlocks(text, open(), strings, undefined, depth + 1), strings);
  const code = (text: string, language = '') =>
    element(
      'div',
      [
        element('div', [element('span', [language]), element('button', [strings.copyCode], { type: 'button' })]),
        element('pre', [element('code', [text], mark())], { tabindex: '0' }),
      ],
      { class: 'code' },
    );

  while (i < lines.length) {
    const start = line(i++);
    const apart = first ? blank(first - 1) : !!last?.apart;
    let group = '';
    let node: TreeElement | undefined;
    const [, indent = '', hashes, title = '', fence, language, rule, marker, space = '', quote, row] =
      BLOCK.exec(start) ?? [];

    if (blank(first)) columns = undefined;
    else if ((columns && (row || !interrupts(start))) || isHead(first)) {
      const tag = columns ? 'td' : 'th';
      const texts = cells(start);
      group = columns ? '|' : '||';
      columns ??= cells(line(i++)).map((cell) => (/:$/.test(cell) ? (cell[0] === ':' ? 'center' : 'right') : ''));
      const classes = columns;
      node = element(
        'tr',
        (classes.length > 1 || !open() ? classes : texts).map((_, index) =>
          element(tag, inline(texts[index] ?? ''), classes[index] ? { class: classes[index] } : {}),
        ),
      );
    } else {
      columns = undefined;
      if (hashes) node = element(`h${hashes.length}`, inline(title.trim().replace(/(^|\s)#+$/, '')), mark());
      else if (fence) {
        goOn(() => {
          const end = line(i).trim();
          return !end.startsWith(fence) || !!end.replaceAll(fence.charAt(0), '') || CODE.test(line(i));
        });
        const text = content((text) => dedent(text, indent.length), first + 1);
        node = code(text, language);
        i++;
      } else if (rule) node = element('hr');
      else if (quote && depth < DEEPEST) {
        goOn(() => /^ {0,3}>/.test(line(i)) || !(blank(i) || BLOCK.test(line(i))));
        node = element('blockquote', inner(content((text) => text.replace(/^ {0,3}> ?/, ''))));
      } else if (marker && depth < DEEPEST) {
        const width = indent.length + marker.length + ((space.length < 5 && space.length) || 1);
        // Two columns are enough to belong to an item: models rarely count the width of a number.
        const belongs = (text: string) => /^\s/.test(dedent(` ${text}`, indent.length + 2));
        goOn(() => blank(i) || belongs(line(i)) || !(blank(i - 1) || BLOCK.test(line(i))));
        while (blank(i - 1)) i--;
        const text = content((text, index) => (index ? dedent(text, width) : text.slice(width)));
        const task = /^\[([ xX])\]\s+/.exec(text);
        const kind = `${apart ? 'apart ' : ''}${task ? `task ${task[1]?.trim() && 'done'}` : ''}`.trim();
        group = marker.slice(-1);
        node = element('li', inner(text.slice(task?.[0].length)), kind ? { class: kind } : {});
      } else if (CODE.test(start)) {
        goOn(() => blank(i) || CODE.test(line(i)));
        while (blank(i - 1)) i--;
        node = code(content((text) => text.replace(CODE, '')));
      } else {
        const note = NOTE.exec(start);
        goOn(
          () =>
            !(blank(i) || UNDERLINE.test(line(i)) || interrupts(line(i)) || isHead(i) || (note && NOTE.test(line(i)))),
        );
        const text = content(String);
        const underline = UNDERLINE.exec(line(i))?.[1];
        if (note) {
          const label = element('sup', note.slice(1));
          node = element('p', [label, ' ', ...inline(text.slice(note[0].length))], { ...mark(), class: 'note' });
        } else {
          if (underline) i++;
          node = element(underline ? (underline[0] === '=' ? 'h1' : 'h2') : 'p', inline(text), mark());
        }
      }
    }
    if (node) {
      const number = Number.parseInt(marker ?? '1', 10);
      blocks.push({ node, at, group, apart, number, columns: group === '|' ? columns : undefined });
    }
    while (first < i) at += line(first++).length + 1;
  }
  return blocks;
}

/** Items and rows in their lists and tables. */
export function grouped(blocks: Block[], strings: MarkdownLabels): TreeElement[] {
  const nodes: TreeElement[] = [];
  let list: TreeElement | undefined;
  let key = '';
  for (const { node, group, number } of blocks) {
    if (list && group && group === key) list.nodes.push(node);
    else if (group) {
      const table = group === '||';
      const ordered = /[.)]/.test(group);
      list = element(
        table ? 'table' : ordered ? 'ol' : 'ul',
        [node],
        ordered && number !== 1 ? { start: `${number}` } : {},
      );
      const name: Record<string, string> = strings.table ? { role: 'group', 'aria-label': strings.table } : {};
      nodes.push(table ? element('div', [list], { class: 'table', tabindex: '0', ...name }) : list);
    } else nodes.push(node);
    key = group.slice(-1);
  }
  return nodes;
}
