import { describe, expect, it } from 'vitest';
import { createParser } from '../src/window/markdown/parser.ts';
import { plain, type Tree, type TreeElement } from '../src/window/markdown/tree.ts';
import { CASES, HALF_WRITTEN, LABELS } from './markdown-cases.ts';

/** Attributes that are the same everywhere and have their own test. */
const COMMON = ['dir', 'target', 'rel', 'data-growing'];

const SITE = 'https://shop.example/help/start';

const parse = (text: string, site = ''): TreeElement[] => createParser(LABELS, site)(text, true);

/** As HTML, without those attributes. A code block is a `pre` with its language. */
const html = (nodes: Tree[]): string =>
  nodes
    .map((node) => {
      if (typeof node === 'string') return node;
      const { tag, attributes } = node;
      if (attributes.class === 'code')
        return `<pre${plain(node.nodes).replace(/^(.*?)Copy/, (_, language) => (language ? ` ${language}>` : '>'))}</pre>`;
      if (attributes.class === 'table') return html(node.nodes);
      const shown = Object.entries(attributes).filter(([name]) => !COMMON.includes(name));
      const open = tag + shown.map(([name, value]) => ` ${name}="${value}"`).join('');
      return node.nodes.length ? `<${open}>${html(node.nodes)}</${tag}>` : `<${open}>`;
    })
    .join('');

/** What is visible after each character of a growing text. */
function shown(text: string): TreeElement[][] {
  const update = createParser(LABELS);
  return Array.from(text, (_, index) => update(text.slice(0, index + 1), false));
}

describe('Markdown', () => {
  for (const [name, cases] of Object.entries(CASES)) {
    it.each(cases)(`${name}: %j`, (markdown, expected) => {
      expect(html(parse(markdown))).toBe(expected);
    });
  }

  it.each(Object.values(CASES).flat())('is the same when it comes character by character: %j', (markdown) => {
    const update = createParser(LABELS);
    for (let length = 1; length < markdown.length; length++) update(markdown.slice(0, length), false);
    expect(html(update(markdown, true))).toBe(html(parse(markdown)));
  });

  it.each(HALF_WRITTEN)('never shows a marker of what is half written: %j', (markdown) => {
    const whole = letters(parse(markdown));
    for (const nodes of shown(markdown)) {
      const text = letters(nodes);
      expect(whole.startsWith(text) ? text : `${text} of ${whole}`).toBe(text);
      expect(plain(nodes)).not.toMatch(/[*_`~|#>[\]()\\!<【†=&-]{2}|^[*_`~|#>[\]()-]/);
    }
  });

  it.each(['![a map](https://x.test/m.png)', '[docs](https://x.test/a)'])(
    'keeps a link while its address is written: %j',
    (markdown) => {
      const begun = shown(markdown).slice(markdown.indexOf('('));
      for (const [paragraph] of begun) expect(paragraph?.nodes).toMatchObject([{ tag: 'a' }]);
      for (const [paragraph] of begun.slice(0, -1)) expect(html(paragraph?.nodes ?? [])).not.toContain('href');
    },
  );

  it.each([
    ['[a](/b)', 'https://shop.example/b'],
    ['[a](b.html#c)', 'https://shop.example/help/b.html#c'],
    ['[a](../b?c)', 'https://shop.example/b?c'],
    ['[a](#b)', 'https://shop.example/help/start#b'],
    ['[a](&#47;b)', 'https://shop.example/b'],
    ['[a][b]\n\n[b]: /b', 'https://shop.example/b'],
  ])('leads a relative link to the site of the page: %j', (markdown, href) => {
    expect(parse(markdown, SITE)[0]?.nodes).toMatchObject([{ tag: 'a', nodes: ['a'], attributes: { href } }]);
  });

  it.each(['//evil.test/a', '\\\\\\\\evil.test', 'https://shop.example.evil.test'])(
    'names the host of a link that leaves the site: %j',
    (address) => {
      expect(html(parse(`[a](${address})`, SITE))).toContain('evil.test</small>');
    },
  );

  it.each([
    'javascript:alert(1)',
    'java&#115;cript:alert(1)',
    'data:text/html,x',
    'vbscript:x',
    'capacitor:x',
    '&#9;javascript:x',
  ])('has no other scheme than those of the web, mail and telephone: %j', (address) => {
    for (const markdown of [`[a](${address})`, `[a](<${address}>)`])
      expect(html(parse(markdown, SITE))).toBe('<p>a</p>');
  });

  it('links the numbers of its sources, and lists them with their hosts once the answer has ended', () => {
    const sources = [
      { title: 'Returns', url: 'https://shop.example/returns' },
      { title: 'help.example: safe', url: 'https://evil.example/x' },
      { title: '', url: 'javascript:alert(1)' },
    ];
    const update = createParser(LABELS, SITE);
    const text = 'Free [1] and 【2†x】, not [3] or [4].';
    expect(html(update(text, false))).not.toContain('href');
    expect(html(update(text, false, false, sources))).toBe(
      '<p>Free <sup class="cite"><a href="https://shop.example/returns" title="Returns (shop.example)">1</a></sup> and <sup class="cite"><a href="https://evil.example/x" title="help.example: safe (evil.example)">2</a></sup>, not <sup class="cite">3</sup> or <sup class="cite">4</sup>.</p>',
    );
    const list = html(update(text, true, false, sources).slice(1));
    expect(list).toBe(
      '<div class="sources" role="group" aria-label="Sources">Sources<ol><li><a href="https://shop.example/returns">Returns <small>shop.example</small></a></li><li><a href="https://evil.example/x">help.example: safe <small>evil.example</small></a></li><li>javascript:alert(1)</li></ol></div>',
    );
    expect(html(update(text, true, true, sources).slice(1))).toBe(list);
    expect(update(text, true, false, [])).toHaveLength(1);
  });

  it('omits relative links if the page has no web address', () => {
    expect(html(parse('[a](/b)', 'capacitor://localhost/'))).toBe('<p>a</p>');
  });

  it('links a label whose address is defined later', () => {
    const update = createParser(LABELS);
    const text = 'See [docs][d].\n\nMore.\n\n[d]: https://x.test/d';
    expect(html(update(text.slice(0, 24), false))).toBe('<p>See [docs][d].</p><p>More.</p>');
    expect(html(update(`${text}\n\n`, false))).toContain('<a href="https://x.test/d">docs');
    expect(html(parse('See [docs][d].'))).toBe('<p>See [docs][d].</p>');
  });

  it('shows a row without a leading pipe as a table head at once', () => {
    const seen = shown('Our plans:\n\nPlan | Price\n--- | ---\nBasic | 5').slice('Our plans:\n\nPlan |'.length - 1);
    for (const nodes of seen) expect(nodes.map(({ tag }) => tag)).toEqual(['p', 'div']);
  });

  it.each([
    ['Some **bold wor', '<p>Some <strong>bold wor</strong></p>'],
    ['Some `cod', '<p>Some <code>cod</code></p>'],
    ['See [the docs](https://x.te', '<p>See the docs</p>'],
    ['See [the do', '<p>See the do</p>'],
    ['See [the docs](ht', '<p>See the docs</p>'],
    ['See [the docs](<https://x.test', '<p>See the docs</p>'],
    ['See https://x.test/a', '<p>See https://x.test/a</p>'],
    ['![a map](https://x', '<p>Show image: a map</p>'],
    ['x<sup>2', '<p>x<sup>2</sup></p>'],
    ['| a | b |\n|--', '<table><tr><th>a</th><th>b</th></tr></table>'],
    ['| a | b', '<table><tr><th>a</th><th>b</th></tr></table>'],
    ['a | b', '<p>a | b</p>'],
    ['a\n\n```js', '<p>a</p>'],
    ['a\n\n- ', '<p>a</p>'],
    ['a\n\n**', '<p>a</p>'],
    ['a\n42', '<p>a<br>42</p>'],
    ['Tom & Je', '<p>Tom & Je</p>'],
    ['AT&T', '<p>AT&T</p>'],
    ['a <b', '<p>a <b</p>'],
    ['\\(a_1 \\,', '<p>\\(a_1 \\,</p>'],
  ])('shows no marker of what was half written when it was cut off: %j', (markdown, expected) => {
    expect(html(createParser(LABELS)(markdown, true, true))).toBe(expected);
  });

  it.each([
    ['[a](b "some words', '<p>[a](b "some words</p>'],
    ["[a](/b 'some words", "<p>[a](/b 'some words</p>"],
    ['[a](<b some words', '<p>[a](<b some words</p>'],
    ['[a](<b some words) more)', '<p>[a](<b some words) more)</p>'],
    ['[a](word', '<p>[a](word</p>'],
    ['| [a](b "some words | c |', '<table><tr><th>[a](b "some words</th><th>c</th></tr></table>'],
    ['[d]: https://x.test "some words', '<p class="note"><sup class="cite">d</sup> https://x.test "some words</p>'],
    ['if a <b and c> d then', '<p>if a <b and c> d then</p>'],
    ['Begin it with <!-- and some words', '<p>Begin it with <!-- and some words</p>'],
    ['~~~ some words', '<pre some words></pre>'],
  ])('loses no word of what was half written when it was cut off: %j', (markdown, expected) => {
    expect(html(createParser(LABELS, SITE)(markdown, true, true)).replaceAll(/<a [^>]*>|<\/a>/g, '')).toBe(expected);
  });

  it('only treats unambiguous text as a definition', () => {
    const text =
      '[Note]: v1.2 (released today) fixes it\n\n[d]: https://x.test "Title" and more\n\n[e]: https://x.test (Title)';
    expect(plain(parse(text))).toBe('Note v1.2 (released today) fixes itd https://x.test "Title" and more');
  });

  it('keeps finished blocks, items and rows unchanged', () => {
    const update = createParser(LABELS);
    const before = update('# a\n\nb\n\n- c\n- d\n', false);
    const after = update('# a\n\nb\n\n- c\n- d\n- e', false);
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBe(before[1]);
    expect(after[2]?.nodes[0]).toBe(before[2]?.nodes[0]);
  });

  it('starts over when a text does not continue the previous one', () => {
    const update = createParser(LABELS);
    update('# one', false);
    expect(html(update('two', true))).toBe('<p>two</p>');
  });

  it('shows hidden text at the end', () => {
    const update = createParser(LABELS);
    expect(html(update('a\n\n**', false))).toBe('<p>a</p>');
    expect(html(update('a\n\n**', true))).toBe('<p>a</p><p>**</p>');
  });

  it.each([
    '[',
    '![',
    '> ',
    '>',
    '*',
    '**',
    '*a ',
    '**a _b ',
    '`',
    '- ',
    '1. ',
    '(',
    '](',
    '[a](',
    '![a](',
    '<',
    '&',
    '\\',
    '|',
    '~~',
    '#',
    '【',
    '[`a` ',
    '*`a` ',
    'a\n\n',
    '- a\n',
    '|a|\n',
  ])('neither loses nor piles up 20,000 times %j', (piece) => {
    const nodes = parse(piece.repeat(20_000));
    expect(depth(nodes)).toBeLessThan(120);
  });

  it('limits the depth of nesting', () => {
    expect(depth(parse(`${'> '.repeat(500)}a`))).toBeLessThan(30);
    expect(depth(parse(`${'*a **b '.repeat(500)}${'c** d* '.repeat(500)}`))).toBeLessThan(60);
  });
});

/** The visible text, without what a link adds to it. */
const letters = (nodes: Tree[]): string => plain(nodes.map(withoutHosts)).replace(/\s+/g, '');

const withoutHosts = (node: Tree): Tree =>
  typeof node === 'string' ? node : { ...node, nodes: node.tag === 'small' ? [] : node.nodes.map(withoutHosts) };

const depth = (nodes: Tree[]): number =>
  Math.max(0, ...nodes.map((node) => (typeof node === 'string' ? 0 : 1 + depth(node.nodes))));
