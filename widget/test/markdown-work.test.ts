import { describe, expect, test } from 'vitest';
import {
  DEEPEST_BLOCK,
  DEEPEST_INLINE,
  LONGEST_TEXT,
  MOST_CELLS,
  MOST_COLUMNS,
  MOST_ELEMENTS,
} from '../src/window/markdown/bounds.ts';
import { createParser } from '../src/window/markdown/parser.ts';
import { count, plain, type Tree } from '../src/window/markdown/tree.ts';
import { LABELS } from './markdown-cases.ts';
import { countSteps } from './steps.ts';

const SITE = 'https://shop.example/';

const parse = (text: string, done = true) => createParser(LABELS, SITE)(text, done);

/** Inputs on which Markdown parsers have been slow: a beginning, a repeated part and an end. */
const SHAPES: [begin: string, repeated: string, end: string][] = [
  // Reported against this parser.
  ['', '~', '\u2028'],
  ['a | b\n', ' ', 'x-'],
  ['a\n', ' ', 'x-'],
  ['# ', ' ', '\u2028'],
  ['# ', ' ', 'x\u2028'],
  ['`', '``', 'letters'],
  ['', '`', ' letters'],
  // Blocks.
  ['', '> ', 'a'],
  ['', '>', 'a'],
  ['', '- ', 'a'],
  ['', '1. ', 'a'],
  ['', '* + ', 'a'],
  ['', '- a\n', ''],
  ['', '- a\n\n', ''],
  ['', '1) a\n', ''],
  ['', '-\n', ''],
  ['', '> a\n', ''],
  ['', '> a\n\n', ''],
  ['', '# a\n', ''],
  ['# ', '# ', 'a'],
  ['# a ', '#', 'b'],
  ['# a ', ' #', ' b'],
  ['', '---\n', ''],
  ['', '- - ', 'a'],
  ['', '* ', 'a'],
  ['', '_', 'a'],
  ['---', ' -', 'a'],
  ['a\n', '=', 'x'],
  ['a\n', '-', 'x'],
  ['', 'a\n===\n', ''],
  ['```', '`', 'a`'],
  ['```\n', '`', '\na'],
  ['```\n', '``\n', ''],
  ['```\n', 'a\n', ''],
  ['', '```\n', ''],
  ['', '```\na\n```\n', ''],
  ['', '~~~ a\n', ''],
  ['', '    a\n', ''],
  ['    a', '\n', 'b'],
  ['', '\t', 'a'],
  ['- a\n', '\n', 'b'],
  ['- a\n', '  \n', '  b'],
  ['- a\n', '  b\n', ''],
  ['- ```\n', '  a\n', ''],
  ['', '\n', ''],
  ['', ' \n', ''],
  ['', 'a\n', ''],
  ['', 'a\n\n', ''],
  ['', 'a\\\n', ''],
  ['', '[a]: b\n', ''],
  ['', '[a]: https://x.test\n', ''],
  ['[', 'a', ']: b'],
  ['[a]: ', '.', ' b'],
  ['[a]: b ', '"', ''],
  ['[a]: /b ', '"', ''],
  ['[a]: /b', ' ', '"'],
  ['', '[a](b "', ''],
  ['[a](b ', '\'"', ''],
  ['', '[a](<b ', ''],
  ['<b', ' a=b', ''],
  ['<b', ' ', 'a'],
  ['', '<b a="', ''],
  ['', '<b a=', ''],
  ['``` ', 'a ', ''],
  ['``` ', '= ', ''],
  ['<a:', 'b', ''],
  ['', '<a:b', ''],
  ['[a](tel:', '%20', ')'],
  ['[a](tel:', '1', '*)'],
  ['', '[a][b] ', '\n\n[b]: /c'],
  ['', '[^', 'a'],
  ['', '<details>', ''],
  ['', '<details>\n', ''],
  ['<details', ' ', 'a'],
  ['$$\n', '- a\n', ''],
  ['', '\\[\n', ''],
  // Tables.
  ['|', 'a|', '\n|-|\n'],
  ['|a|\n|', ' ', '-'],
  ['|a|\n', '|-', '|x'],
  ['|a|\n', '-|', '\n'],
  ['|a|\n|-|\n', '|b|\n', ''],
  ['|a|\n|-|\n', '|', '\n'],
  ['|a|\n|-|\n|', '\\|', '|'],
  ['a|b\n', ':-', ''],
  ['a|b\n', '-|-\n', ''],
  ['', 'a|b\n-|-\n', ''],
  ['', '|a\n', ''],
  ['', '|\n', ''],
  ['|a|b|\n|-|-|\n', 'a\n', ''],
  // Emphasis.
  ['', '*', 'a'],
  ['', '*a ', ''],
  ['', '**a ', ''],
  ['', '*a', ''],
  ['', 'a*', ''],
  ['', '_a ', ''],
  ['', '__a_ ', ''],
  ['', '**a *b ', ''],
  ['', '*a**', ''],
  ['', '*a* ', ''],
  ['', '***a*b ', ''],
  ['', '~~a ', ''],
  ['', '~~a~ ', ''],
  ['*', ' a', '*'],
  // Code and formulas.
  ['', '`a ', ''],
  ['', '`a``b ', ''],
  ['', '`` ` ', ''],
  ['`', ' ', 'a'],
  ['`', ' ', '`'],
  ['', '\\`', ''],
  ['', '$a ', ''],
  ['', '$a_b', ' $'],
  ['', '$$a ', '$'],
  ['', '\\(a ', ''],
  ['', '\\[a ', ''],
  ['', '\\(\\[', ''],
  ['', '\\begin{a}', ''],
  ['', '\\', ''],
  // Links.
  ['', '[', ''],
  ['', ']', ''],
  ['', '![', ''],
  ['', '[a', ''],
  ['', '[]', ''],
  ['', '[]()', ''],
  ['', '](', ''],
  ['', '[a](', ''],
  ['', '[a](b', ''],
  ['', '[a](b ', ''],
  ['', '[a](<b', ''],
  ['', '[a](b "', ''],
  ['', "[a](b '", ''],
  ['[a](b "', 'c', ''],
  ['[a](', ' ', 'b'],
  ['[a](b', ' ', 'c'],
  ['[a](b', '(', ')'],
  ['[a](b', '()', ''],
  ['[a](b', '\\', ')'],
  ['', '[a](b)', ''],
  ['', '[a](https://x.test) ', ''],
  ['[', '[a](b)', '](c)'],
  ['[', '![a](b)', ''],
  ['', '[a]', '[b]'],
  ['', '[1]', ''],
  ['', 'a[0]', ''],
  ['a', '[0]', ''],
  ['a', '_', '[0]'],
  // Addresses.
  ['', 'https://', ''],
  ['', 'https://x.test/', ''],
  ['https://x.test/', '.', 'a'],
  ['https://x.test/', '.', ''],
  ['https://x.test/', ')', ''],
  ['https://x.test/', '(', ''],
  ['https://x.test/', '[', ''],
  ['https://x.test/', '[]', '('],
  ['', 'https://x.test[', ''],
  ['', 'https://x.test/[a', ''],
  ['https://x.test/', '&amp;', ''],
  ['', 'www.', ''],
  ['', 'www.a', ''],
  ['', 'a@', ''],
  ['', 'a.', '@b'],
  ['', 'a-', ''],
  ['a@', 'b', ''],
  ['a@', 'b.', ''],
  ['', 'a@b.c ', ''],
  ['', '<https://x', ''],
  ['', '<a@b.c', ''],
  // Tags, references and citations.
  ['', '<', ''],
  ['', '<a', ''],
  ['', '<b>', ''],
  ['', '<b>a</i>', ''],
  ['', '</b>', ''],
  ['<b', ' ', ''],
  ['<a ', 'href="', '>'],
  ['<a ', ' href=', '>a</a>'],
  ['<a', ' ', 'href=b>c</a>'],
  ['', '<a href="https://x.test">', ''],
  ['', '<img src=a>', ''],
  ['', '<!--', ''],
  ['', '<!-- -', ''],
  ['', '<br>', ''],
  ['', '&', ''],
  ['', '&a', ''],
  ['', '&amp;', ''],
  ['', '&#1', ''],
  ['', '【1', ''],
  ['', '【1†', ''],
  ['', '!', ''],
  ['', 'a', ''],
  ['', 'a ', ''],
  ['', '漢', ''],
  ['', '\ud83d', ''],
];

const text = ([begin, repeated, end]: (typeof SHAPES)[number], length: number): string =>
  begin + repeated.repeat(Math.ceil(length / repeated.length)) + end;

describe('the work for an answer', { timeout: 60_000 }, () => {
  test('grows linearly with its length', () => {
    const steep = SHAPES.flatMap((shape) =>
      [true, false].flatMap((done) => {
        const [once, twice] = [500, 1000].map((length) => countSteps(() => parse(text(shape, length), done)));
        return (twice as number) < 2.4 * (once as number) ? [] : [`${JSON.stringify(shape)}: ${once}, then ${twice}`];
      }),
    );
    expect(steep).toEqual([]);
  });

  test('is bounded per character of a long one', () => {
    const costly = SHAPES.flatMap((shape) => {
      const source = text(shape, 5000);
      const each = countSteps(() => parse(source)) / source.length;
      return each < 250 ? [] : [`${JSON.stringify(shape)}: ${each} for each character`];
    });
    expect(costly).toEqual([]);
  });

  test.each([
    ['paragraph', 'word '],
    ['paragraph of lines', 'word word\n'],
    ['block of code', '```\ncode code\n', 'code code\n'],
    ['table', '| a | b |\n|---|---|\n', '| c | d |\n'],
    ['list', '- word\n'],
    ['item', '- word\n', '  word\n'],
    ['quote', '> word\n'],
    ['text of emphasis', '*a '],
  ])('is bounded for each update while a %s grows, however long it is', (_, begin, repeated = begin) => {
    const source = begin + repeated.repeat(20_000 / repeated.length);
    const update = createParser(LABELS, SITE);
    update(source.slice(0, 19_000), false);
    const work = countSteps(() => {
      for (let length = 19_000; length < 19_040; length += 4) update(source.slice(0, length), false);
    });
    expect(work / 10).toBeLessThan(LONGEST_TEXT * 100);
  });

  test('is not repeated when the same answer is rendered again', () => {
    const update = createParser(LABELS, SITE);
    const nodes = update('a **b**', true);
    expect(countSteps(() => expect(update('a **b**', true)).toBe(nodes))).toBeLessThan(50);
  });
});

describe('an answer beyond the bounds', { timeout: 60_000 }, () => {
  const row = (cells: number) => `|${'x|'.repeat(cells)}\n`;
  const table = (columns: number, rows: number) => `${row(columns)}|${'-|'.repeat(columns)}\n${row(1).repeat(rows)}`;

  test('has a table with no more cells than were written', () => {
    const nodes = parse('| a | b | c |\n|---|---|---|\n| 1 |\n| 2 | 3 |\n');
    expect(count(nodes)).toBe(2 + 3 + 3 + 3);
    expect(plain(nodes)).toBe('abc123');
  });

  test('shows the cells beyond the columns in the last one', () => {
    const [, last] = parse('| a | b |\n|---|---|\n| 1 | 2 | 3 | | 4 |\n')[0]?.nodes.flatMap(cells) ?? [];
    expect(last).toEqual(['1', '2 | 3 | 4']);
  });

  test.each([
    ['a table with more columns than any screen has', table(700, 700)],
    ['a table with more columns and rows', table(1500, 2000)],
    ['a table with more rows than anyone reads', table(MOST_COLUMNS, MOST_CELLS * 2)],
    ['tables without end', `${table(2, 2)}\n`.repeat(5000)],
    ['quotes in quotes', '> '.repeat(10_000)],
    ['quotes in quotes, line by line', Array.from({ length: 300 }, (_, depth) => '> '.repeat(depth)).join('a\n')],
    ['lists in lists', '- '.repeat(10_000)],
    ['lists in lists, line by line', Array.from({ length: 300 }, (_, depth) => `${'  '.repeat(depth)}- a`).join('\n')],
    ['links', '[a](https://x.test) '.repeat(50_000)],
    ['addresses', 'https://x.test '.repeat(50_000)],
    ['emphasis', '*a* '.repeat(50_000)],
    ['emphasis in emphasis', `${'*a **b '.repeat(10_000)}${'c** d* '.repeat(10_000)}`],
    ['headings', '# a\n'.repeat(50_000)],
    ['rules', '---\n'.repeat(50_000)],
    ['fences', '```\na\n```\n'.repeat(50_000)],
    ['items', '- a\n'.repeat(50_000)],
    ['items of many lists', '- a\n+ b\n'.repeat(50_000)],
    ['paragraphs', 'a\n\n'.repeat(50_000)],
    ['lines', 'a\n'.repeat(50_000)],
    ['tags', '<b>a</b>'.repeat(50_000)],
    ['tags in tags', '<b>'.repeat(50_000)],
    ['breaks', '<br>'.repeat(50_000)],
    ['citations', '[1]'.repeat(50_000)],
    ['definitions', '[1]: https://x.test\n\n'.repeat(10_000)],
  ])('is text: %s', (_, source) => {
    const nodes = parse(source);
    expect(count(nodes)).toBeLessThan(MOST_ELEMENTS * 1.7);
    expect(depth(nodes)).toBeLessThan(DEEPEST_BLOCK * 2 + DEEPEST_INLINE + 5);
    expect(letters(nodes)).toBe(letters([source]));
  });
});

const cells = (node: Tree): string[][] =>
  typeof node === 'string'
    ? []
    : node.tag === 'tr'
      ? [node.nodes.map((cell) => plain([cell]))]
      : node.nodes.flatMap(cells);

const depth = (nodes: Tree[]): number =>
  Math.max(0, ...nodes.map((node) => (typeof node === 'string' ? 0 : 1 + depth(node.nodes))));

/** The number of visible letters that stand for words, hosts and addresses. */
const letters = (nodes: Tree[]): number =>
  plain(nodes).replace(/https:\/\/x\.test|x\.test|Copy|<\/?b>|<br>|[^abcdx]/g, '').length;
