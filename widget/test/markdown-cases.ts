export const LABELS = {
  copyCode: 'Copy',
  copied: 'Copied',
  copyFailed: 'Not copied',
  showImage: 'Show image',
  code: 'Code',
  table: 'Table',
  task: 'Task',
  sources: 'Sources',
};

/** What each text renders as, grouped by feature. */
export const CASES: Record<string, [markdown: string, html: string][]> = {
  headings: [
    ['# One\n## Two ##\n###### Six', '<h3>One</h3><h4>Two</h4><h6>Six</h6>'],
    ['#hashtag and ####### seven', '<p>#hashtag and ####### seven</p>'],
    ['Title\n===\nSubtitle\n---\ntext', '<h3>Title</h3><h4>Subtitle</h4><p>text</p>'],
    ['### C#', '<h5>C#</h5>'],
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
    ['```python title="x"\nif a:\n\n\tb()\n```\nafter', '<pre python title="x">if a:\n\n\tb()</pre><p>after</p>'],
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
    [
      '- [x] done\n- [ ] open',
      '<ul><li class="task"><span role="checkbox" aria-label="Task" aria-checked="true" aria-disabled="true"><p>done</p></li><li class="task"><span role="checkbox" aria-label="Task" aria-checked="false" aria-disabled="true"><p>open</p></li></ul>',
    ],
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
      '<table><tr><th>a</th><th class="center">b</th><th class="right">c</th></tr><tr><td>1</td><td class="center"><strong>2</strong></td><td class="right"><code>x|y</code></td></tr><tr><td>3</td></tr><tr><td>four</td></tr></table><p>after</p>',
    ],
    ['Prices:\n| a |\n|---|\n| 1<br>2 |', '<p>Prices:</p><table><tr><th>a</th></tr><tr><td>1<br>2</td></tr></table>'],
    ['a | b\n--|--\n1 | 2', '<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>'],
    ['| no | table |\ntext', '<p>| no | table |<br>text</p>'],
    ['a | b', '<p>a | b</p>'],
    [
      '| a | b |\n|---|---|\n| 1 | 2 | 3 |',
      '<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2 | 3</td></tr></table>',
    ],
    [
      '|a|\n|-|\n|1|\n\n|b|\n|-|\n|2|\n# c',
      '<table><tr><th>a</th></tr><tr><td>1</td></tr></table><table><tr><th>b</th></tr><tr><td>2</td></tr></table><h3>c</h3>',
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
  addresses: [
    [
      '请访问 https://x.test/docs。更多（https://x.test/a）“https://x.test/q”、https://x.test/e…',
      '<p>请访问 <a href="https://x.test/docs">https://x.test/docs</a>。更多（<a href="https://x.test/a">https://x.test/a</a>）“<a href="https://x.test/q">https://x.test/q</a>”、<a href="https://x.test/e">https://x.test/e</a>…</p>',
    ],
    [
      'اقرأ https://x.test/ar، ثم www.x.test؟ 「https://x.test」 «https://x.test/f» https://x.test—so',
      '<p>اقرأ <a href="https://x.test/ar">https://x.test/ar</a>، ثم <a href="https://www.x.test/">www.x.test</a>؟ 「<a href="https://x.test/">https://x.test</a>」 «<a href="https://x.test/f">https://x.test/f</a>» <a href="https://x.test/">https://x.test</a>—so</p>',
    ],
    ['https://x.test/文档/é', '<p><a href="https://x.test/%E6%96%87%E6%A1%A3/%C3%A9">https://x.test/文档/é</a></p>'],
    [
      'see http://w1q.com[]() now and http://w2q.com[x]',
      '<p>see <a href="http://w1q.com/">http://w1q.com</a>[]() now and <a href="http://w2q.com/">http://w2q.com</a>[x]</p>',
    ],
    [
      'https://x.test/a[1]?b[]=2 [https://x.test/c] http://[::1]/d',
      '<p><a href="https://x.test/a[1]?b[]=2">https://x.test/a[1]?b[]=2</a> [<a href="https://x.test/c">https://x.test/c</a>] <a href="http://[::1]/d">http://[::1]/d</a></p>',
    ],
    [
      'https://x.test/a[b](https://y.test)',
      '<p><a href="https://x.test/a">https://x.test/a</a><a href="https://y.test/">b <small>y.test</small></a></p>',
    ],
    [
      '{"a":"https://x.test/a","b":1} https://x.test/?a=1&amp;b=2 &lt;https://x.test/c&gt;',
      '<p>{"a":"<a href="https://x.test/a">https://x.test/a</a>","b":1} <a href="https://x.test/?a=1&b=2">https://x.test/?a=1&b=2</a> <<a href="https://x.test/c">https://x.test/c</a>></p>',
    ],
    [
      '[call](tel:+1-555-0100) [text](sms:+15550101?body=Hi) tel:+15550100 [no](tel:*%2306%23) hotel:',
      '<p><a href="tel:+1-555-0100">call <small>+1-555-0100</small></a> <a href="sms:+15550101?body=Hi">text <small>+15550101</small></a> <a href="tel:+15550100">tel:+15550100</a> no hotel:</p>',
    ],
    [
      '[shop](www.x.test/shop) [](https://x.test) []() [a]()',
      '<p><a href="https://www.x.test/shop">shop <small>www.x.test</small></a> <a href="https://x.test/"> <small>x.test</small></a> []() a</p>',
    ],
    [
      '[docs][d] [d] [Docs][] and [other] [a][none]\n\n[d]: https://x.test/d "Title"\n[docs]: <https://x.test/e>\n[d]: https://y.test',
      '<p><a href="https://x.test/d">docs <small>x.test</small></a> <a href="https://x.test/d">d <small>x.test</small></a> <a href="https://x.test/e">Docs <small>x.test</small></a> and [other] [a][none]</p>',
    ],
    [
      '[Text][1] and [1]\n\n[1]: https://x.test',
      '<p><a href="https://x.test/">Text <small>x.test</small></a> and <sup class="cite">1</sup></p><p class="note"><sup class="cite">1</sup> <a href="https://x.test/">https://x.test</a></p>',
    ],
  ],
  formulas: [
    [
      'Inline \\(E = mc^2\\) and $$\\int_0^1 f(x) \\, dx$$ and $a_1 \\, *b*$ cost $5 or $10_a_',
      '<p>Inline \\(E = mc^2\\) and $$\\int_0^1 f(x) \\, dx$$ and $a_1 \\, *b*$ cost $5 or $10_a_</p>',
    ],
    [
      '\\[\n\\begin{aligned} a &= \\{x\\} \\\\ b &= y \\, z \\end{aligned}\n- c\n= d\n\\]\n- e',
      '<p>\\[<br>\\begin{aligned} a &= \\{x\\} \\\\ b &= y \\, z \\end{aligned}<br>- c<br>= d<br>\\]</p><ul><li><p>e</p></li></ul>',
    ],
    ['\\[note\\] \\(never closed and $$ **b**', '<p>[note] (never closed and $$ <strong>b</strong></p>'],
    ['$$\na\n\n- b', '<p>$$<br>a</p><ul><li class="apart"><p>b</p></li></ul>'],
  ],
  tags: [
    [
      'H<sub>2</sub>O, x<sup>2</sup>, <b>b</b> <i>i</i> <U>u</U> <s>s</s> <kbd>Ctrl</kbd> <code>c</code><!-- note -->',
      '<p>H<sub>2</sub>O, x<sup>2</sup>, <strong>b</strong> <em>i</em> <u>u</u> <del>s</del> <kbd>Ctrl</kbd> <code>c</code></p>',
    ],
    ['a<br>b<BR/>c<br />d', '<p>a<br>b<br>c<br>d</p>'],
    [
      '<details open><summary>More</summary>\n\nHidden.\n\n</details>\nafter',
      '<p><strong>More</strong></p><p>Hidden.</p><p>after</p>',
    ],
    ['Use the <b> tag, the <div> tag and List<String>', '<p>Use the <b> tag, the <div> tag and List<String></p>'],
    ['<b>a <i>b</b> c</i> <!-- never closed', '<p><strong>a <i>b</strong> c</i> <!-- never closed</p>'],
    ['a\n<hr>\nb', '<p>a</p><hr><p>b</p>'],
    ['&copy;&mdash;&nbsp;&rarr;&#233;&#x1F600;&#0;&#55296; &nope;', '<p>©—\xa0→é😀\ufffd\ufffd &nope;</p>'],
  ],
  citations: [
    [
      'Yes[1], so[^2] it is 【3†source】 or 【4:0†file.pdf】 but 【注】',
      '<p>Yes<sup class="cite">1</sup>, so<sup class="cite">2</sup> it is <sup class="cite">3</sup> or <sup class="cite">4</sup> but 【注】</p>',
    ],
    [
      'items[0], rows[i][j] but Facts[1][2]',
      '<p>items[0], rows[i][j] but Facts<sup class="cite">1</sup><sup class="cite">2</sup></p>',
    ],
    ['【1†never closed', '<p>【1†never closed</p>'],
    [
      '[1]: https://x.test/a "Title"\n[^note]: Some *words*',
      '<p class="note"><sup class="cite">1</sup> <a href="https://x.test/a">https://x.test/a</a> "Title"</p><p class="note"><sup class="cite">note</sup> Some <em>words</em></p>',
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

/** Half of each is enough to recognize it, so the half already renders as the beginning of the whole. */
export const HALF_WRITTEN = [
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
  'x<sup>2</sup> and <b>bold</b> here',
  'a <!-- note --> b',
  'Our plans:\n\nPlan | Price\n--- | ---\nBasic | **5**\n',
  'a &amp; b',
];
