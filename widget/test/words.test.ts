import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import english from '../src/strings/en.ts';
import rest from '../src/strings/en-rare.ts';
import { splitSentences } from '../src/window/base/announcer.ts';
import { dayName } from '../src/window/base/dates.ts';
import { plainText } from '../src/window/base/plain-text.ts';
import { problemText } from '../src/window/conversation/problems.ts';
import { uuid } from '../src/window/conversation/uuid.ts';

const en = { ...english, ...rest };

describe('an error', () => {
  test('with a known code is shown in the visitor’s language', () => {
    expect(problemText({ code: 'upstream_timeout', detail: 'Timeout.' }, en)).toBe(en.errorTimeout);
  });

  test.each([
    ['too_many_answers', en.errorRateLimit],
    ['budget_reserved', en.errorBusy],
  ])('by which a question waits for others, %s, says to wait', (code, text) => {
    expect(problemText({ code, detail: '' }, en)).toBe(text);
  });

  test('with a new code shows the text from the service', () => {
    expect(problemText({ code: 'brand_new', detail: 'Please sing first.' }, en)).toBe('Please sing first.');
  });

  test.each(['brand_new', 'constructor', '500', ''])('with code %j and no text gets the general message', (code) => {
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
    ['यह एक है। वह', ['यह एक है।'], 9],
    ['هل هذا؟ نعم', ['هل هذا؟'], 7],
    ['', [], 0],
  ])('of %j that are complete', (text, sentences, length) => {
    expect(splitSentences(text, false)).toEqual({ sentences, length });
  });

  test('without an end are scanned once', () => {
    expect(splitSentences('word '.repeat(200_000), false)).toEqual({ sentences: [], length: 0 });
  });

  test.each(['!', '…', '?!'])('with a long run of %s are scanned once', (marks) => {
    expect(splitSentences(marks.repeat(200_000), false)).toEqual({ sentences: [], length: 0 });
  });

  test('end after the last of several marks', () => {
    expect(splitSentences('What?! No...\nYes', false).sentences).toEqual(['What?!', 'No...']);
  });

  test('include the last words at the end', () => {
    expect(splitSentences('One. And', true)).toEqual({ sentences: ['One.', 'And'], length: 8 });
  });
});

describe('an id', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test('is a version 4 UUID, even on plain http', () => {
    vi.stubGlobal('crypto', { getRandomValues: (bytes: Uint8Array) => bytes.fill(255) });
    expect(uuid()).toBe('ffffffff-ffff-4fff-bfff-ffffffffffff');
    vi.stubGlobal('crypto', { getRandomValues: (bytes: Uint8Array) => bytes.fill(0) });
    expect(uuid()).toBe('00000000-0000-4000-8000-000000000000');
  });
});

describe('Markdown read out', () => {
  test.each([
    ['# A **bold** `word`', 'A bold word'],
    ['- [x] done', 'done'],
    ['> see [the terms](https://example.com/a_b).', 'see the terms.'],
    ['![A cat](https://example.com/cat.png)', 'A cat'],
    ['my_var_name and _this_', 'my_var_name and this'],
    ['| a | b |\n| - | :-: |', 'a  b'],
    ['2 < 3 and 5 * 4', '2 < 3 and 5  4'],
  ])('%j is %j', (markdown, text) => {
    expect(plainText(markdown)).toBe(text);
  });

  test.each(['[', '![', '-', '| ', ' ', '\n', '_', '*'])('takes no longer than its length for many %j', (sign) => {
    expect(plainText(`${sign.repeat(200_000)}x`)).toContain('x');
    expect(plainText(`x${sign.repeat(200_000)}x`)).toContain('x');
  });
});

describe('days', () => {
  const noon = new Date(2026, 2, 30, 12).getTime();
  beforeEach(() => {
    vi.stubGlobal('document', { documentElement: { lang: 'en' } });
    vi.stubGlobal('navigator', { languages: [] });
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test.each([
    [new Date(2026, 2, 30, 0), 'today'],
    [new Date(2026, 2, 29, 23, 59), 'yesterday'],
    [new Date(2026, 2, 28), 'March 28, 2026'],
  ])('%s is %s', (date, name) => {
    expect(dayName(date.getTime(), noon)).toBe(name);
  });
});
