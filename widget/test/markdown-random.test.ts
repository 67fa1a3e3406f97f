/**
 * Random Markdown: markers, words and addresses in any order. `MARKDOWN_TEXTS=20000 npm run test -- markdown-random` tries
 * more texts, and `MARKDOWN_SEED=7` different ones.
 */
import { describe, expect, test } from 'vitest';
import { MOST_ELEMENTS } from '../src/window/markdown/bounds.ts';
import { createParser } from '../src/window/markdown/parser.ts';
import { count, plain } from '../src/window/markdown/tree.ts';
import { LABELS } from './markdown-cases.ts';

declare const process: { env: Record<string, string | undefined> };

const TEXTS = Number(process.env.MARKDOWN_TEXTS ?? 200);
const SEED = Number(process.env.MARKDOWN_SEED ?? 1);
const SITE = 'https://shop.example/help/';

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const MARKERS = [
  ...['*', '**', '***', '_', '__', '~', '~~', '`', '``', '```', '\\', '\\(', '\\)', '\\[', '\\]', '$', '$$', '|', '||'],
  ...[
    '[',
    ']',
    '](',
    '[]()',
    '(',
    ')',
    '![',
    '[^1]',
    '[1]',
    '[0]',
    '[d]',
    '][d]',
    '【1†',
    '】',
    '<',
    '>',
    '&',
    '&amp;',
  ],
  ...[
    '\n',
    '\n\n',
    '\n# ',
    '\n## ',
    '\n- ',
    '\n* ',
    '\n1. ',
    '\n2) ',
    '\n  - ',
    '\n> ',
    '\n>> ',
    '\n    ',
    '\n\t',
    '\n---\n',
  ],
  ...[
    '\n===\n',
    '\n```\n',
    '\n```js\n',
    '\n~~~\n',
    '\n| ',
    ' | ',
    '\n|---|---|\n',
    '\n--|--\n',
    '\n- [x] ',
    '\n- [ ] ',
  ],
  ...[
    '<br>',
    '<b>',
    '</b>',
    '<sub>',
    '</sub>',
    '<p>',
    '</p>',
    '<a href="https://u.example">',
    '</a>',
    '<div>',
    '<!--',
    '-->',
  ],
  ...['<details>', '</details>', '<summary>', '</summary>', '\n[d]: https://u.example/d\n', '\n[^1]: ', '\r\n', '\r'],
  ...[
    ' ',
    ' ',
    ' ',
    ' ',
    '.',
    ', ',
    ': ',
    '!',
    '?',
    '。',
    '、',
    '“',
    '”',
    '…',
    '\u2028',
    '\u00a0',
    '\ud83d',
    '\ude00',
    '😀',
    '\0',
  ],
  ...[
    'http://u.example/',
    'https://u.example/a_(b)',
    'www.u.example',
    'u@u.example',
    '<https://u.example>',
    'tel:+15550100',
  ],
  ...[
    '](u "',
    "](u '",
    '](/u "',
    '](<',
    '"',
    "'",
    '\n[d]: /u "',
    '\n[d]: https://u.example (',
    '\n[Note]: v1.2 (',
    '<b ',
    '<br ',
    '<i a=',
  ],
  ...[
    '(https://u.example)',
    '](https://u.example)',
    '](/u)',
    '](u.html "',
    '")',
    '](javascript:u)',
    '&eacute;',
    '&#65;',
  ],
];

/** A text with up to `most` parts, and the words in it that belong to the text: `w1q`, `w2q` and so on. */
function randomText(random: () => number, most: number): string {
  let text = '';
  for (let parts = Math.ceil(random() * most), words = 0; parts; parts--) {
    if (random() < 0.4) text += `w${++words}q`;
    else text += MARKERS[Math.floor(random() * MARKERS.length)];
    if (random() < 0.3) text += ' ';
  }
  return text;
}

/**
 * Parts that may be hidden: addresses with their titles, attributes, comments, link definitions and the details of a citation.
 * Only complete ones: an unfinished one is text.
 */
const HIDDEN = [
  /\0/g,
  /【\d+†[^】\n]{0,80}】/g,
  /<!--[\s\S]*?-->/g,
  /\]\(\s*(?:<[^<>\n]*>|(?:[^\s()]|\([^\s()]*\))*)(?:\s+(?:"[^"\n]*"|'[^'\n]*'))?\s*\)/g,
  /<[a-z]{1,9}\d?(?:\s+[\w:-]+=(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+))+\s*\/?>/gi,
  /\[[^\]]*\]:\s+<?(?:https?:|\/)\S*(?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s*$/gm,
];
/** In a text that was cut off, also an unfinished address or language. */
const HALF = [/\]\(\s*<?(?:https?:|mailto:|tel:|sms:|www\.|[./#])[^\s<>]*$/g, /[`~]{3,}\s*[^\s`]*\s*$/g];

/** Replaces each match of the patterns with a blank, even inside another match. */
function without(patterns: RegExp[], text: string): string {
  const left = [...text.split('')];
  for (const pattern of patterns) {
    pattern.lastIndex = 0;
    for (let match = pattern.exec(text); match; match = pattern.exec(text)) {
      left.fill(' ', match.index, match.index + match[0].length);
      pattern.lastIndex = match.index + 1;
    }
  }
  return left.join('');
}

const wordsOf = (text: string): string[] => text.match(/w\d+q/g) ?? [];

describe(`of ${TEXTS} random texts`, { timeout: 60_000 + TEXTS * 50 }, () => {
  test('each gives the same tree however it is split', () => {
    const random = randomNumbers(SEED);
    for (let number = 0; number < TEXTS; number++) {
      const text = randomText(random, 60);
      const whole = createParser(LABELS, SITE)(text, true);
      const update = createParser(LABELS, SITE);
      for (let length = 0; length < text.length; length += Math.ceil(random() * 12))
        update(text.slice(0, length), false);
      expect(update(text, true), JSON.stringify(text)).toEqual(whole);
    }
  });

  test('a cut-off one looks the same after a reload', () => {
    const random = randomNumbers(SEED + 1);
    for (let number = 0; number < TEXTS; number++) {
      const text = randomText(random, 40);
      const update = createParser(LABELS, SITE);
      for (let length = 0; length < text.length; length += Math.ceil(random() * 12))
        update(text.slice(0, length), false);
      expect(update(text, true, true), JSON.stringify(text)).toEqual(createParser(LABELS, SITE)(text, true, true));
    }
  });

  test.each([
    ['whole', false],
    ['cut off', true],
  ])('none loses a word when it is %s', (_, cut) => {
    const random = randomNumbers(SEED + 2);
    for (let number = 0; number < TEXTS; number++) {
      const text = randomText(random, 60);
      const shown = plain(createParser(LABELS, SITE)(text, true, cut));
      const belonging = without(cut ? [...HIDDEN, ...HALF] : HIDDEN, text);
      const lost = wordsOf(belonging).filter((word) => !shown.includes(word));
      expect(lost, JSON.stringify(text)).toEqual([]);
    }
  });

  test('none exceeds the limit of elements', () => {
    const random = randomNumbers(SEED + 3);
    for (let number = 0; number < TEXTS / 40; number++) {
      const nodes = createParser(LABELS, SITE)(randomText(random, 20_000), true);
      expect(count(nodes)).toBeLessThan(MOST_ELEMENTS * 1.5);
    }
  });
});
