import { describe, expect, it } from 'vitest';
import { createParser } from '../src/window/markdown/parser.ts';
import { plain, type Tree, type TreeElement } from '../src/window/markdown/tree.ts';

const LABELS = { copyCode: 'Copy', copied: 'Copied', showImage: 'Show image' };
/** What is the same everywhere, and checked for itself. */
const COMMON = ['dir', 'tabindex', 'target', 'rel', 'data-growing'];

const parse = (text: string): TreeElement[] => createParser(LABELS)(text, true);

/** As HTML, without what is the same everywhere. A code block is a `pre` with its language. */
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

/** What is shown at each character of a text that grows. */
function shown(text: string): TreeElement[][] {
  const update = createParser(LABELS);
  return Array.from(text, (_, index) => update(text.slice(0, index + 1), false));
}

const CASES: Record<string, [markdown: string, html: string][]> = {
  headings: [
    ['# One\n## Two ##\n###### Six', '<h1>One</h1><h2>Two</h2><h6>Six</h6>'],
    ['#hashtag and ####### seven', '<p>#hashtag and ####### seven</p>'],
    ['Title\n===\nSubtitle\n---\ntext', '<h1>Title</h1><h2>Subtitle</h2><p>text</p>'],
    ['### C#', '<h3>C#</h3>'],
  ],
  emphasis: [
    [
      '*a* _b_ **c** __d__ ***e*** ~~f~~',
      '<p><em>a</em> <em>b</em> <strong>c</strong> <strong>d</strong> <em><strong>e</strong></em> <del>f</del></p>',
    ],
    ['my_var_name, __init__.py and 2 * 3 * 4', '<p>my_var_name, <strong>init</strong>.py and 2 * 3 * 4</p>'],
    ['*foo**bar**baz* and **a*b*c**', '<p><em>foo<strong>bar</strong>baz</em> and <strong>a<em>b</em>c</strong></p>'],
    ['**Note:**text and **「強調」**です', '<p><strong>Note:</strong>text and <strong>「強調」</strong>です</p>'],
    ['**range [0, 1) is** half', '<p><strong>range [0, 1) is</strong> half</p>'],
    ['*open and **more', '<p>*open and **more</p>'],
    ['~5 minutes ~ 10', '<p>~5 minutes ~ 10</p>'],
    ['**a *b** c*', '<p><em><em>a <em>b</em></em> c</em></p>'],
    ['f(*a) and g(*b), {**c} and [**d]', '<p>f(*a) and g(*b), {**c} and [**d]</p>'],
    [
      '**重要：**次 と（**注**）、**「引用」**も',
      '<p><strong>重要：</strong>次 と（<strong>注</strong>）、<strong>「引用」</strong>も</p>',
    ],
  ],
  code: [
    ['`a < b` and ``c ` d`` and `` ` ``', '<p><code>a < b</code> and <code>c ` d</code> and <code>`</code></p>'],
    ['`**not bold** [x](y)` a ` b', '<p><code>**not bold** [x](y)</code> a ` b</p>'],
    ['```python title="x"\nif a:\n\n\tb()\n```\nafter', '<pre python>if a:\n\n\tb()</pre><p>after</p>'],
    ['~~~\n```\n~~~', '<pre>```</pre>'],
    ['````md\n```js\nx\n```\n````', '<pre md>```js\nx\n```</pre>'],
    ['```\nnever closed\n', '<pre>never closed\n</pre>'],
    ['```one line```', '<p><code>one line</code></p>'],
    ['    indented\n\n      more\n\ntext', '<pre>indented\n\n  more</pre><p>text</p>'],
  ],
  lists: [
    [
      '- a\n- b\n  - c\n    - d\n- e',
      '<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p><ul><li><p>d</p></li></ul></li></ul></li><li><p>e</p></li></ul>',
    ],
    ['3. a\n4. b', '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'],
    ['1. a\n  - b\n2. c', '<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>'],
    ['1. a\n\n   more\n\n2. b', '<ol><li><p>a</p><p>more</p></li><li class="apart"><p>b</p></li></ol>'],
    ['- [x] done\n- [ ] open', '<ul><li class="task done"><p>done</p></li><li class="task"><p>open</p></li></ul>'],
    [
      '1. Run:\n   ```sh\n   ls\n\n     -l\n   ```\n2. b',
      '<ol><li><p>Run:</p><pre sh>ls\n\n  -l</pre></li><li><p>b</p></li></ol>',
    ],
    ['- a\n+ b\n1) c', '<ul><li><p>a</p></li></ul><ul><li><p>b</p></li></ul><ol><li><p>c</p></li></ol>'],
    ['Text\n- a\nlazy\n\nafter', '<p>Text</p><ul><li><p>a<br>lazy</p></li></ul><p>after</p>'],
    ['In the year\n1986. What a year', '<p>In the year<br>1986. What a year</p>'],
    ['-\ta\n\t- b', '<ul><li><p>a</p><ul><li><p>b</p></li></ul></li></ul>'],
    ['- a\n\n\n- b\n\ntext', '<ul><li><p>a</p></li><li class="apart"><p>b</p></li></ul><p>text</p>'],
    ['-one and 1.5', '<p>-one and 1.5</p>'],
  ],
  tables: [
    [
      '| a | b | c |\n|:--|:-:|--:|\n| 1 | **2** | `x\\|y` |\n| 3 |\nfour\n\nafter',
      '<table><tr><th>a</th><th class="center">b</th><th class="right">c</th></tr><tr><td>1</td><td class="center"><strong>2</strong></td><td class="right"><code>x|y</code></td></tr><tr><td>3</td><td class="center"><td class="right"></tr><tr><td>four</td><td class="center"><td class="right"></tr></table><p>after</p>',
    ],
    ['Prices:\n| a |\n|---|\n| 1<br>2 |', '<p>Prices:</p><table><tr><th>a</th></tr><tr><td>1<br>2</td></tr></table>'],
    ['a | b\n--|--\n1 | 2', '<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>'],
    ['| no | table |\ntext', '<p>| no | table |<br>text</p>'],
    ['a | b', '<p>a | b</p>'],
    [
      '|a|\n|-|\n|1|\n\n|b|\n|-|\n|2|\n# c',
      '<table><tr><th>a</th></tr><tr><td>1</td></tr></table><table><tr><th>b</th></tr><tr><td>2</td></tr></table><h1>c</h1>',
    ],
  ],
  quotes: [
    ['> a\nlazy\n> b\n\nafter', '<blockquote><p>a<br>lazy<br>b</p></blockquote><p>after</p>'],
    [
      '> a\n>> b\n\n> - c',
      '<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><blockquote><ul><li><p>c</p></li></ul></blockquote>',
    ],
  ],
  links: [
    [
      '[docs](https://example.com/a?b=1&c=2#d)',
      '<p><a href="https://example.com/a?b=1&c=2#d">docs <small>example.com</small></a></p>',
    ],
    [
      '[A](https://en.wikipedia.org/wiki/A_(b)) [b](<https://x.test/a b> "title")',
      '<p><a href="https://en.wikipedia.org/wiki/A_(b)">A <small>en.wikipedia.org</small></a> <a href="https://x.test/a%20b">b <small>x.test</small></a></p>',
    ],
    [
      'See https://example.com/a. (https://example.com/b_(c))',
      '<p>See <a href="https://example.com/a">https://example.com/a</a>. (<a href="https://example.com/b_(c)">https://example.com/b_(c)</a>)</p>',
    ],
    [
      '<https://example.com/> www.example.com, me@example.com',
      '<p><a href="https://example.com/">https://example.com/</a> <a href="https://www.example.com/">www.example.com</a>, <a href="mailto:me@example.com">me@example.com</a></p>',
    ],
    [
      '**[a *b*](https://x.test)** [**c**](mailto:d@x.test)',
      '<p><strong><a href="https://x.test/">a <em>b</em> <small>x.test</small></a></strong> <a href="mailto:d@x.test"><strong>c</strong> <small>d@x.test</small></a></p>',
    ],
    [
      '[x.test/a](https://x.test/b) [x.test](https://evil.test) [x.test.evil](https://x.test)',
      '<p><a href="https://x.test/b">x.test/a</a> <a href="https://evil.test/">x.test <small>evil.test</small></a> <a href="https://x.test/">x.test.evil <small>x.test</small></a></p>',
    ],
    ['[x](javascript:alert(1)) [y](/path) [z](https://a@b.test) [w](data:text/html,x)', '<p>x y z w</p>'],
    [
      '[apple](https://аpple.com)',
      '<p><a href="https://xn--pple-43d.com/">apple <small>xn--pple-43d.com</small></a></p>',
    ],
    [
      '![map](https://x.test/m.png) ![](data:image/png,x)',
      '<p><a class="image" href="https://x.test/m.png">Show image: map <small>x.test</small></a> Show image</p>',
    ],
    [
      '[![badge](https://a.test/b)](https://c.test)',
      '<p><a href="https://c.test/">Show image: badge <small>a.test</small> <small>c.test</small></a></p>',
    ],
    ['[note] and a[b', '<p>[note] and a[b</p>'],
  ],
  citations: [
    [
      'Yes[1], so[^2] it is 【3†source】 or 【4:0†file.pdf】 but 【注】',
      '<p>Yes<sup>1</sup>, so<sup>2</sup> it is <sup>3</sup> or <sup>4</sup> but 【注】</p>',
    ],
    [
      '[1]: https://x.test/a "Title"\n[^note]: Some *words*',
      '<p class="note"><sup>1</sup> <a href="https://x.test/a">https://x.test/a</a> "Title"</p><p class="note"><sup>note</sup> Some <em>words</em></p>',
    ],
  ],
  text: [
    ['one\ntwo  \nthree\\\nfour', '<p>one<br>two  <br>three<br>four</p>'],
    ['a\n\n---\n\nb\n\n* * *', '<p>a</p><hr><p>b</p><hr>'],
    ['\\*a\\* C:\\\\x \\q', '<p>*a* C:\\x \\q</p>'],
    ['&lt;b&gt; &amp; &#65;&#x42; &nope; AT&T', '<p><b> & AB &nope; AT&T</p>'],
    ['<div onclick="x">hi</div>', '<p><div onclick="x">hi</div></p>'],
    ['a\r\nb\rc\0', '<p>a<br>b<br>c\ufffd</p>'],
    ['\ud800 and \u202e', '<p>\ud800 and \u202e</p>'],
    ['$5 and $10', '<p>$5 and $10</p>'],
  ],
};

/** Half of each is enough to know what it will be: what shows is the begin of what will show. */
const HALF_WRITTEN = [
  'Some **bold words** here',
  'Some *words* and _others_ here',
  '***both*** and ~~gone~~ here',
  '**bold *and em* in it** here',
  '`code` and ``more ` code`` here',
  'See [the docs](https://x.test/a_(b) "title") here',
  'See ![a map](https://x.test/m.png) here',
  'See <https://x.test/> here',
  '# Heading',
  '### Heading with **bold**',
  '- one\n- two\n  - **three**\n- [x] four',
  '1. one\n2. two\n10. three',
  '> quoted *words*\n> > more',
  'a\n\n---\n\nb',
  'a\n\n***\n\n**b**',
  '```js\nconst a = 1;\n```\n\nb',
  '~~~\ncode\n~~~\nb',
  '- a\n  ```js\n  code\n  ```\n- b',
  '| a | b |\n|---|--:|\n| c | **d** |\n| e | f |\n\ng',
  'Table:\n| a | b |\n| - | - |\n| 1 | 2 |',
  'Title\n=====\n\nb',
  'so it is【3†source】 here',
  'a &amp; b',
];

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

  it('keeps finished blocks, items and rows as they are', () => {
    const update = createParser(LABELS);
    const before = update('# a\n\nb\n\n- c\n- d\n', false);
    const after = update('# a\n\nb\n\n- c\n- d\n- e', false);
    expect(after[0]).toBe(before[0]);
    expect(after[1]).toBe(before[1]);
    expect(after[2]?.nodes[0]).toBe(before[2]?.nodes[0]);
  });

  it('starts over when a text does not continue the former one', () => {
    const update = createParser(LABELS);
    update('# one', false);
    expect(html(update('two', true))).toBe('<p>two</p>');
  });

  it('shows at the end what it has held back', () => {
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

  it('nests no deeper than a page can bear', () => {
    expect(depth(parse(`${'> '.repeat(500)}a`))).toBeLessThan(30);
    expect(depth(parse(`${'*a **b '.repeat(500)}${'c** d* '.repeat(500)}`))).toBeLessThan(60);
  });
});

/** What is shown, without what a link adds to its text. */
const letters = (nodes: Tree[]): string => plain(nodes.map(withoutHosts)).replace(/\s+/g, '');

const withoutHosts = (node: Tree): Tree =>
  typeof node === 'string' ? node : { ...node, nodes: node.tag === 'small' ? [] : node.nodes.map(withoutHosts) };

const depth = (nodes: Tree[]): number =>
  Math.max(0, ...nodes.map((node) => (typeof node === 'string' ? 0 : 1 + depth(node.nodes))));
