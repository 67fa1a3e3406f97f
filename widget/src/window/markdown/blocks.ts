/**
 * Splits Markdown into the blocks of one level (CommonMark 0.31, with the tables and task lists of GFM). What is inside a
 * quote or a list item stays source, to be split when it is drawn.
 */
export interface Block {
  /** `p`, `h1` to `h6`, `pre`, `hr`, `blockquote`, `li`, `tr`. */
  tag: string;
  /** li: its marker. pre: the language. tr: `th` or `td`. p: the label, if it is a note or a source. */
  mark: string;
  /** Source of the content, without the markers of the block itself. */
  text: string;
  /** Where the block begins in the source. */
  at: number;
  /** A blank line stands before it. */
  apart: boolean;
  /** More source could still become part of it. */
  open: boolean;
  /** tr: `center`, `right`, `left` or nothing for each column. */
  align: string[];
}

const FENCE = /^( {0,3})(`{3,}(?!.*`)|~{3,})[ \t]*(\S*)/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])([ \t]+|$)/;
const CODE = /^( {4}| {0,3}\t)/;
const NOTE = /^ {0,3}\[\^?([^\]]{1,99})\]:[ \t]+(?=\S)/;
const ROW = /^ {0,3}\|/;
const DELIMITERS = /^[ \t]*\|?([ \t]*:?-+:?[ \t]*\|)*([ \t]*:?-+:?[ \t]*)?$/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
/** Lines that no paragraph goes on with. */
const START = /^ {0,3}(#{1,6}([ \t]|$)|[>|]|`{3,}(?!.*`)|~{3}|([-+*]|1[.)])[ \t]+\S|([-*_])([ \t]*\4){2,}[ \t]*$)/;
/** Nothing but markers, or the begin of a fence: only what follows will say what it is. */
const UNDECIDED = /^[\s>*+_=~`|:#\d.()[\]^xX-]*(`{3}[^`]*|~{3}.*)?$/;
/** So many levels of quotes and lists are told apart. */
const DEEPEST = 12;

/** The part of a growing source that can be drawn without guessing what its last line will be. */
export function decided(source: string): string {
  const line = source.lastIndexOf('\n') + 1;
  return UNDECIDED.test(source.slice(line)) ? source.slice(0, line) : source;
}

export const cells = (row: string): string[] =>
  row
    .trim()
    .replace(/\\\|/g, '\0')
    .replace(/^\||\|$/g, '')
    .split('|')
    .map((cell) => cell.replace(/\0/g, '|').trim());

const dedent = (line: string, columns: number): string =>
  line.replace(/^[ \t]+/, (space) => space.replace(/\t/g, '    ').slice(columns));

/**
 * The blocks of `source` from where `last` begins, or of all of it. In a `growing` source, a row at its end is taken for
 * the head of a table.
 */
export function parseBlocks(source: string, last: Block | undefined, growing: boolean, depth: number): Block[] {
  let at = last?.at ?? 0;
  let align = last?.mark === 'td' ? last.align : undefined;
  const lines = source.slice(at).split('\n');
  const blocks: Block[] = [];
  const line = (index: number) => lines[index] ?? '';
  const blank = (index: number) => !line(index).trim();
  const isHead = (index: number) => {
    const head = line(index);
    const next = line(index + 1);
    if (growing && !next && index > lines.length - 3) return ROW.test(head);
    return /-/.test(next) && /\|/.test(head) && DELIMITERS.test(next) && cells(next).length === cells(head).length;
  };

  for (let first = 0, i = 0; i < lines.length; ) {
    const start = line(i++);
    const content: string[] = [];
    const fenced = FENCE.exec(start);
    const heading = HEADING.exec(start);
    const item = depth < DEEPEST && ITEM.exec(start);
    let tag = 'p';
    let mark = '';
    let text: string | undefined;
    if (blank(first)) {
      tag = '';
      align = undefined;
    } else if (align && (ROW.test(start) || !START.test(start))) {
      tag = 'tr';
      mark = 'td';
    } else if (isHead(first)) {
      tag = 'tr';
      mark = 'th';
      align = cells(line(i++)).map((cell) => (/:$/.test(cell) ? (cell[0] === ':' ? 'center' : 'right') : ''));
    } else {
      align = undefined;
      if (fenced) {
        const [, indent = '', fence = '', language = ''] = fenced;
        tag = 'pre';
        mark = language;
        for (; i < lines.length; i++) {
          const end = line(i)
            .replace(/^ {0,3}/, '')
            .trimEnd();
          if (end.startsWith(fence) && !end.replaceAll(fence.charAt(0), '')) break;
          content.push(indent ? dedent(line(i), indent.length) : line(i));
        }
        text = content.join('\n');
        i++;
      } else if (heading) {
        tag = `h${heading[1]?.length}`;
        text = (heading[2] ?? '').trim().replace(/(^|[ \t])#+$/, '');
      } else if (RULE.test(start)) {
        tag = 'hr';
      } else if (CODE.test(start)) {
        tag = 'pre';
        while (i < lines.length && (blank(i) || CODE.test(line(i)))) i++;
        while (blank(i - 1)) i--;
        text = lines
          .slice(first, i)
          .map((code) => code.replace(CODE, ''))
          .join('\n');
      } else if (depth < DEEPEST && QUOTE.test(start)) {
        tag = 'blockquote';
        while (i < lines.length && (QUOTE.test(line(i)) || (!blank(i) && !START.test(line(i)) && !ITEM.test(line(i)))))
          i++;
        text = lines
          .slice(first, i)
          .map((quoted) => quoted.replace(QUOTE, ''))
          .join('\n');
      } else if (item) {
        const [whole, indent = '', marker = '', space = ''] = item;
        const width =
          space.length < 5
            ? Math.max(whole.length, indent.length + marker.length + 1)
            : whole.length - space.length + 1;
        tag = 'li';
        mark = marker;
        content.push(start.slice(width));
        for (; i < lines.length; i++) {
          const next = line(i);
          // Two columns are enough to belong to an item: models rarely count the width of a number.
          if (blank(i) || dedent(next, 0).search(/\S/) > indent.length + 1) content.push(dedent(next, width));
          else if (blank(i - 1) || START.test(next) || ITEM.test(next)) break;
          else content.push(next);
        }
        while (i > first + 1 && blank(i - 1)) i--;
        text = content.slice(0, i - first).join('\n');
      } else {
        const note = NOTE.exec(start);
        mark = note?.[1] ?? '';
        for (; i < lines.length && !blank(i); i++) {
          if (UNDERLINE.test(line(i)) && !mark) {
            tag = /=/.test(line(i)) ? 'h1' : 'h2';
            break;
          }
          if (START.test(line(i)) || isHead(i) || (mark && NOTE.test(line(i)))) break;
        }
        text = lines.slice(first, i).join('\n').slice(note?.[0].length);
        if (tag !== 'p') i++;
      }
    }
    const block = {
      tag,
      mark,
      text: text ?? start,
      at,
      apart: first > 0 && blank(first - 1),
      open: i > lines.length - 2 && !line(i),
      align: align ?? [],
    };
    if (tag) blocks.push(block);
    while (first < i) at += line(first++).length + 1;
  }
  return blocks;
}
