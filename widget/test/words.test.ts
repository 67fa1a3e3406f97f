import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import en from '../src/strings/en.ts';
import { fill } from '../src/strings/index.ts';
import { bubbleLabels, chooseLocale, LOCALES } from '../src/strings/locale.ts';
import { splitSentences } from '../src/window/announcer.ts';
import { problemText } from '../src/window/problems.ts';
import { uuid } from '../src/window/uuid.ts';

describe('each language', () => {
  test.each(LOCALES)('%s says everything, with the same places to fill', async (locale) => {
    const { default: strings } = (await import(`../src/strings/${locale}.ts`)) as { default: typeof en };
    expect(Object.keys(strings)).toEqual(Object.keys(en));
    const places = (text: string) => text.match(/\{\w+\}/g) ?? [];
    for (const key of Object.keys(en) as (keyof typeof en)[]) {
      expect(strings[key].trim()).not.toBe('');
      expect(places(strings[key])).toEqual(places(en[key]));
    }
    expect(Object.values(bubbleLabels(locale)).filter(Boolean)).toHaveLength(2);
  });

  test.each([
    [['de-AT', 'en'], 'de'],
    [[undefined, '', 'DE'], 'de'],
    [['xx', 'fr-CA', 'de'], 'de'],
    [['xx'], 'en'],
    [[], 'en'],
    [['constructor', '__proto__'], 'en'],
  ])('is chosen by the first wish there are words for: %j gives %s', (wishes, expected) => {
    expect(chooseLocale(wishes)).toBe(expected);
  });

  test('is filled with values', () => {
    expect(fill('In {seconds} s, {other}', { seconds: 5 })).toBe('In 5 s, {other}');
  });
});

describe('an error', () => {
  test('that is known is told in the language of the visitor', () => {
    expect(problemText({ code: 'upstream_timeout', detail: 'Timeout.' }, en)).toBe(en.errorTimeout);
  });

  test('that is new is told as the service tells visitors', () => {
    expect(problemText({ code: 'brand_new', detail: 'Please sing first.' }, en)).toBe('Please sing first.');
  });

  test.each(['brand_new', 'constructor', '500', ''])('of code %j without a text is told in general', (code) => {
    expect(problemText({ code, detail: '' }, en)).toBe(en.errorGeneric);
  });
});

describe('sentences', () => {
  test.each([
    ['One. Two', ['One.'], 4],
    ['One. Two!\nThree', ['One.', 'Two!'], 10],
    ['Version 3.3.3 is out. Get', ['Version 3.3.3 is out.'], 21],
    ['Not yet', [], 0],
    ['はい。そう', ['はい。'], 3],
    ['', [], 0],
  ])('of %j that are complete', (text, sentences, length) => {
    expect(splitSentences(text, false)).toEqual({ sentences, length });
  });

  test('at the end include the last words', () => {
    expect(splitSentences('One. And', true)).toEqual({ sentences: ['One.', 'And'], length: 8 });
  });
});

describe('an id', () => {
  const insecure = { getRandomValues: (bytes: Uint8Array) => bytes.fill(255) };

  beforeEach(() => {
    vi.stubGlobal('crypto', insecure);
  });

  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test('is a UUID of version 4 on plain http, too', () => {
    expect(uuid()).toBe('ffffffff-ffff-4fff-bfff-ffffffffffff');
  });
});
