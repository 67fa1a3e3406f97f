import { citation } from './address.ts';
import { DEEPEST_BLOCK, LONGEST_TEXT, MOST_CELLS, MOST_COLUMNS, MOST_ELEMENTS } from './bounds.ts';
import { type Context, parseInline } from './inline.ts';
import { count, type Ending, element, type MarkdownLabels, type Tree, type TreeElement } from './tree.ts';

/**
 * The block grammar: CommonMark 0.31 plus GFM's tables and task lists, parsed line by line as the spec's appendix describes.
 * Each line continues open containers, starts new ones, and passes its rest to the innermost one.
 */
export interface Answer extends Context {
  /** The open containers, from the answer itself to the innermost. */
  open: Container[];
  /** The last line was blank. */
  blank: boolean;
  elements: number;
}

/** The answer, a quote or a list item. */
interface Container {
  blocks: Block[];
  leaf?: Leaf | undefined;
  item?: Item;
}

interface Item {
  indent: number;
  /** The indent of its content, in columns. */
  width: number;
  /** The last character of its marker. */
  group: string;
  number: number;
  attributes: Record<string, string>;
  /** Whether a task is done; undefined for other items. */
  done: boolean | undefined;
}

/** A finished block. Items and rows are grouped into lists and tables when rendered. */
interface Block {
  node: TreeElement;
  /** A key shared by the items of one list or the rows of one table (`|`; its head has `||`). */
  group: string;
  number: number;
}

/** The block that the next line may continue. */
type Leaf = Paragraph | Code | Table;

interface Paragraph {
  kind: 'paragraph';
  text: string;
  /** The label of a footnote (`[1]: text`). */
  note?: string;
  /** The closing mark of the formula that started in it. */
  formula?: string | undefined;
}

interface Code {
  kind: 'code';
  /** A line break before each line. */
  text: string;
  /** Empty for indented code. */
  fence: string;
  indent: number;
  language: string;
}

interface Table {
  kind: 'table';
  /** The columns' classes. */
  columns: string[];
  cells: number;
}

const HEADING = /^ {0,3}(#{1,6})(?=\s|$)/;
const FENCE = /^( {0,3})(`{3,}(?=[^`]*$)|~{3,})([\s\S]*)/;
const RULE = /^ {0,3}(?:([-*_])(?:\s*\1){2,}|<hr ?\/?>)\s*$/i;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])(\s+|$)/;
const TASK = /^\[([ xX])\](?:\s+|$)/;
const INDENTED = /^(?: {4}|\t)/;
const ROW = /^ {0,3}\|/;
/** A line that is treated as a table head until the next line decides. */
const HALF_ROW = /^(?: {0,3}\||[^`|]{1,60} \|(?: [^`]{0,200})?$)/;
const UNDERLINE = /^ {0,3}(=+|-+)\s*$/;
const NOTE = /^ {0,3}\[(\^?)([^\]]{1,99})\]:\s+(?=\S)/;
/** A link reference definition: a label, its address and optionally a title. */
export const DEFINITION =
  /^ {0,3}\[([^\]]{1,99})\]:\s+<?((?:https?:|mailto:|tel:|sms:|www\.|\.{0,2}\/)[^\s<>]*)>?(?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s*$/i;
/** An HTML tag around blocks: the tag is dropped, the blocks are shown. */
const DETAILS = /^ {0,3}<\/?details(?:\s[^<>]*)?>\s*/i;

export const createAnswer = (context: Context): Answer => ({
  ...context,
  open: [{ blocks: [] }],
  blank: false,
  elements: 0,
});

/** A copy that can be closed without affecting the original. Finished blocks are shared. */
export const copyAnswer = (answer: Answer): Answer => ({
  ...answer,
  open: answer.open.map((container) => ({
    ...container,
    blocks: [...container.blocks],
    leaf: container.leaf && { ...container.leaf },
  })),
});

const innermost = (answer: Answer): Container => answer.open.at(-1) as Container;

/** Adds a line. `ending` decides how incomplete markup at its end is read. */
export function addLine(answer: Answer, line: string, ending: Ending = 'whole'): void {
  if (answer.elements > MOST_ELEMENTS) {
    addText(answer, line);
    return;
  }
  let rest = line;
  let depth = 1;
  for (; depth < answer.open.length; depth++) {
    const content = contentOf(answer.open[depth] as Container, rest);
    if (content === undefined) break;
    rest = content;
  }
  // A lazy continuation: a paragraph continues without its containers' markers.
  const lazy = depth < answer.open.length && !answer.blank && !!rest.trim() && !begins(rest);
  if (!lazy) while (answer.open.length > depth) closeContainer(answer);
  const { leaf } = innermost(answer);
  if (leaf?.kind !== 'code') rest = rest.replace(DETAILS, '');
  if (!leaf || !goesOn(answer, leaf, rest, lazy, ending)) beginBlocks(answer, rest, ending);
  answer.blank = !rest.trim();
}

/** Once a bound is reached, the rest is one paragraph. */
function addText(answer: Answer, line: string): void {
  while (answer.open.length > 1) closeContainer(answer);
  const { leaf } = innermost(answer);
  if (leaf?.kind === 'paragraph') leaf.text += `\n${line}`;
  else beginParagraph(answer, line);
}

/** Everything to show if the answer ended here. */
export function endAnswer(answer: Answer, ending: Ending): TreeElement[] {
  while (answer.open.length > 1) closeContainer(answer, ending);
  closeLeaf(answer, ending);
  return grouped(innermost(answer).blocks);
}

// Containers

/** The part of a line that belongs to an open container, or undefined if the line is outside it. */
function contentOf({ item }: Container, line: string): string | undefined {
  if (!item) return unquoted(line);
  if (!line.trim()) return '';
  // Two columns of indent are enough for an item's content: models rarely count the width of a number.
  return /^\s/.test(dedent(` ${line}`, item.indent + 2)) ? dedent(line, item.width) : undefined;
}

const unquoted = (line: string): string | undefined => (QUOTE.test(line) ? line.replace(QUOTE, '') : undefined);

const dedent = (line: string, columns: number): string =>
  columns ? line.replace(/^\s+/, (space) => space.replace(/\t/g, '    ').slice(columns)) : line;

/** Whether a line starts a block, in a container or not. */
const begins = (line: string): boolean => ROW.test(line) || ITEM.test(line) || interrupts(line);

/** Whether a paragraph or a table ends before this line: a list interrupts it only with a first item that has text. */
function interrupts(line: string): boolean {
  const [item, , marker = ''] = ITEM.exec(line) ?? [];
  if (item) return RULE.test(line) || (/^1?\D$/.test(marker) && line > item);
  return [HEADING, FENCE, RULE, QUOTE].some((pattern) => pattern.test(line));
}

function beginBlocks(answer: Answer, line: string, ending: Ending): void {
  closeLeaf(answer);
  let rest = line;
  let apart = answer.blank;
  while (answer.open.length <= DEEPEST_BLOCK && !RULE.test(rest)) {
    const content = beginQuote(answer, rest) ?? beginItem(answer, rest, apart);
    if (content === undefined) break;
    rest = content;
    apart = false;
  }
  // A named definition is only for links; a numbered one is a source.
  if (!rest.trim() || /^[^\d^]/.test(DEFINITION.exec(rest)?.[1] ?? '')) return;
  if (RULE.test(rest)) add(answer, element('hr'));
  else if (!addHeading(answer, rest, ending) && !beginCode(answer, rest)) beginParagraph(answer, rest);
}

function beginQuote(answer: Answer, line: string): string | undefined {
  const content = unquoted(line);
  if (content !== undefined) answer.open.push({ blocks: [] });
  return content;
}

function beginItem(answer: Answer, line: string, apart: boolean): string | undefined {
  const [item, { length: indent } = '', marker = '', { length: space } = ''] = ITEM.exec(line) ?? [];
  if (item === undefined) return undefined;
  const width = indent + marker.length + (space < 5 ? space || 1 : 1);
  const content = line.slice(width);
  const [task = '', mark] = TASK.exec(content) ?? [];
  const kind = [apart && 'apart', task && 'task'].filter(Boolean).join(' ');
  const number = Number.parseInt(marker, 10);
  answer.open.push({
    blocks: [],
    item: {
      indent,
      width,
      group: marker.slice(-1),
      number,
      attributes: kind ? { class: kind } : {},
      done: mark ? mark !== ' ' : undefined,
    },
  });
  return content.slice(task.length);
}

function closeContainer(answer: Answer, ending: Ending = 'whole'): void {
  closeLeaf(answer, ending);
  const { blocks, item } = answer.open.pop() as Container;
  const nodes: Tree[] = grouped(blocks);
  if (item?.done !== undefined) {
    nodes.unshift(taskBox(item.done, answer.strings));
    answer.elements++;
  }
  if (item) add(answer, element('li', nodes, item.attributes), item);
  else add(answer, element('blockquote', nodes));
}

/** A checkbox, so that screen readers announce its state in their own words. */
const taskBox = (done: boolean, strings: MarkdownLabels): TreeElement =>
  element('span', [], {
    role: 'checkbox',
    'aria-label': strings.task,
    'aria-checked': `${done}`,
    'aria-disabled': 'true',
  });

function add(answer: Answer, node: TreeElement, { group = '', number = 1 } = {}): void {
  innermost(answer).blocks.push({ node, group, number });
  answer.elements++;
}

// Leaf blocks

/** Whether the open leaf accepts the line. */
function goesOn(answer: Answer, leaf: Leaf, line: string, lazy: boolean, ending: Ending): boolean {
  if (leaf.kind === 'paragraph') return goesOnWithParagraph(answer, leaf, line, lazy);
  if (leaf.kind === 'code') return goesOnWithCode(answer, leaf, line);
  return leaf.kind === 'table' && goesOnWithTable(answer, leaf, line, ending);
}

function closeLeaf(answer: Answer, ending: Ending = 'whole'): void {
  const { leaf } = innermost(answer);
  if (leaf?.kind === 'paragraph') closeParagraph(answer, leaf, ending);
  else if (leaf?.kind === 'code') closeCode(answer, leaf, ending);
  innermost(answer).leaf = undefined;
}

/** A block's inline content within the bounds; the rest is plain text. Its elements count towards the answer's limit. */
function inline(answer: Answer, text: string, ending: Ending): Tree[] {
  const most = answer.elements > MOST_ELEMENTS ? 0 : LONGEST_TEXT;
  const length = text.length > most ? text.lastIndexOf(' ', most) + 1 : text.length;
  const rest = text.slice(length);
  const nodes = parseInline(text.slice(0, length), rest ? 'whole' : ending, answer);
  answer.elements += count(nodes);
  return rest ? [...nodes, element('span', [rest], { class: 'plain' })] : nodes;
}

/** The caret at the end of a growing answer. */
const mark = (ending: Ending): Record<string, string> => (ending === 'growing' ? { 'data-growing': '' } : {});

/** The window and each answer have a heading, so the model's headings start below those. */
const heading = (level: number): string => `h${Math.min(level + 2, 6)}`;

function addHeading(answer: Answer, line: string, ending: Ending): boolean {
  const [start = '', hashes] = HEADING.exec(line) ?? [];
  if (!hashes) return false;
  const title = line
    .slice(start.length)
    .trim()
    .replace(/(^|\s)#+$/, '');
  add(answer, element(heading(hashes.length), inline(answer, title, ending), mark(ending)));
  return true;
}

function beginParagraph(answer: Answer, line: string): void {
  const [start = '', caret = '', label] = NOTE.exec(line) ?? [];
  const leaf: Paragraph = { kind: 'paragraph', text: line.slice(start.length) };
  if (label) leaf.note = caret + label;
  innermost(answer).leaf = leaf;
  followFormula(leaf, line.trim());
}

function goesOnWithParagraph(answer: Answer, leaf: Paragraph, line: string, lazy: boolean): boolean {
  const [, underline] = (!lazy && !leaf.formula && !leaf.note && UNDERLINE.exec(line)) || [];
  if (!line.trim()) closeLeaf(answer);
  else if (!leaf.formula && !lazy && beginTable(answer, leaf, 'whole', line)) return true;
  else if (underline) {
    innermost(answer).leaf = undefined;
    closeParagraph(answer, leaf, 'whole', heading(underline.startsWith('=') ? 1 : 2));
  } else if (!leaf.formula && (interrupts(line) || (leaf.note && NOTE.test(line)))) return false;
  else {
    leaf.text += `\n${line}`;
    followFormula(leaf, line.trim());
  }
  return true;
}

/** A formula that starts a line may contain lines that look like lists or headings. */
function followFormula(leaf: Paragraph, line: string): void {
  const [, brackets, dollars] = /^(\\\[)|^(\$\$)/.exec(line) ?? [];
  const end = leaf.formula ?? (brackets ? '\\]' : dollars);
  if (end) leaf.formula = line.includes(end, leaf.formula ? 0 : 2) ? undefined : end;
}

function closeParagraph(answer: Answer, leaf: Paragraph, ending: Ending, tag = 'p'): void {
  const { note = '', text } = leaf;
  if (ending !== 'whole' && beginTable(answer, leaf, ending)) return;
  const nodes = inline(answer, text, ending);
  const attributes = mark(ending);
  if (note) {
    nodes.unshift(citation(note, answer.sources), ' ');
    attributes.class = 'note';
  }
  add(answer, element(tag, nodes, attributes));
}

function beginCode(answer: Answer, line: string): boolean {
  const [start, { length: indent } = '', fence = '', info = ''] = FENCE.exec(line) ?? [];
  if (!start && !INDENTED.test(line)) return false;
  const language = info.trim();
  const text = start ? '' : `\n${line.replace(INDENTED, '')}`;
  innermost(answer).leaf = { kind: 'code', text, fence, indent, language };
  return true;
}

function goesOnWithCode(answer: Answer, leaf: Code, line: string): boolean {
  const { fence, indent } = leaf;
  const end = line.trim();
  if (!fence && end && !INDENTED.test(line)) return false;
  if (fence && end.startsWith(fence) && !end.replaceAll(fence.charAt(0), '') && !INDENTED.test(line)) closeLeaf(answer);
  else leaf.text += `\n${fence ? dedent(line, indent) : line.replace(INDENTED, '')}`;
  return true;
}

function closeCode(answer: Answer, { text, fence, language }: Code, ending: Ending): void {
  const { strings } = answer;
  const lines = fence ? text : text.trimEnd();
  add(
    answer,
    element(
      'div',
      [
        element('div', [element('span', [language]), element('button', [strings.copyCode], { type: 'button' })]),
        element('pre', [element('code', [lines.replace(/^\n/, '')], mark(ending))]),
      ],
      { class: 'code' },
    ),
  );
  answer.elements += 5;
}

// Tables

const cellsOf = (row: string): string[] =>
  row
    .trim()
    .replace(/\\\|/g, '\0')
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.replace(/\0/g, '|').trim());

const alignment = (cell: string): string => (cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'right') : '');

/** Whether a paragraph's last line is a table head: `delimiters` follow it or, at the end of the text, it looks like one. */
function beginTable(answer: Answer, leaf: Paragraph, ending: Ending, delimiters?: string): boolean {
  if (answer.elements > MOST_ELEMENTS) return false;
  const at = leaf.text.lastIndexOf('\n') + 1;
  const head = leaf.text.slice(at);
  const pattern = ending === 'growing' ? HALF_ROW : ROW;
  if (!(delimiters ? head.includes('|') : pattern.test(head))) return false;
  const texts = cellsOf(head);
  const columns = delimiters ? cellsOf(delimiters) : texts.map(() => '');
  const fits = columns.length === texts.length && columns.length <= MOST_COLUMNS;
  if (!fits || (delimiters && !columns.every((cell) => /^:?-+:?$/.test(cell)))) return false;
  leaf.text = leaf.text.slice(0, Math.max(at - 1, 0));
  if (leaf.text) closeLeaf(answer);
  const table: Table = { kind: 'table', columns: columns.map(alignment), cells: 0 };
  innermost(answer).leaf = table;
  addRow(answer, table, texts, ending, 'th');
  return true;
}

function goesOnWithTable(answer: Answer, leaf: Table, line: string, ending: Ending): boolean {
  if (!line.trim()) closeLeaf(answer);
  else if (interrupts(line) || leaf.cells > MOST_CELLS) return false;
  else addRow(answer, leaf, cellsOf(line), ending, 'td');
  return true;
}

/** A row has no more cells than its text. Surplus text goes into the last column. */
function addRow(answer: Answer, leaf: Table, texts: string[], ending: Ending, tag: string): void {
  const last = leaf.columns.length - 1;
  const cells = [...texts.slice(0, last), texts.slice(last).filter(Boolean).join(' | ')].slice(0, texts.length);
  const nodes = cells.map((text, index) => {
    const kind = leaf.columns[index];
    return element(tag, inline(answer, text, ending), kind ? { class: kind } : {});
  });
  add(answer, element('tr', nodes), { group: tag === 'th' ? '||' : '|' });
  leaf.cells += cells.length;
  answer.elements += cells.length;
}

/** Groups items and rows into lists and tables. */
function grouped(blocks: Block[]): TreeElement[] {
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
      nodes.push(table ? element('div', [list], { class: 'table' }) : list);
    } else nodes.push(node);
    key = group.slice(-1);
  }
  return nodes;
}
