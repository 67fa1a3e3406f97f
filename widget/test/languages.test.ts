/// <reference types="vite/client" />
import { describe, expect, test } from 'vitest';
import { duration } from '../src/strings/duration.ts';
import english from '../src/strings/en.ts';
import rest from '../src/strings/en-rare.ts';
import { fill } from '../src/strings/fill.ts';
import type { Strings } from '../src/strings/index.ts';
import { bubbleLabels, chooseLocale, direction, LOCALES, type Locale } from '../src/strings/locale.ts';

const en: Strings = { ...english, ...rest };

const KEYS = Object.keys(en) as (keyof Strings)[];
const OTHERS = LOCALES.filter((locale) => locale !== 'en');

/** Words that these languages share with English. */
const AS_IN_ENGLISH: Partial<Record<Locale, string[]>> = {
  de: ['Chat', 'Offline', 'Code'],
  fr: ['Chat', 'Conversation', 'Code', 'Sources'],
  es: ['Chat'],
  'pt-BR': ['Chat'],
  it: ['Chat', 'Offline'],
  nl: ['Chat', 'Offline', 'Code'],
};

/** Texts whose words stay the same after every number. */
const UNVARIED: Partial<Record<Locale, (keyof Strings)[]>> = {
  de: ['charactersLeft', 'charactersOver'],
  tr: ['unread', 'charactersLeft', 'charactersOver'],
  fa: ['unread', 'charactersLeft', 'charactersOver'],
};

const SCRIPTS: Partial<Record<Locale, RegExp>> = {
  ru: /[а-яё]/gi,
  uk: /[а-яєіїґ]/gi,
  ar: /\p{Script=Arabic}/gu,
  he: /\p{Script=Hebrew}/gu,
  fa: /\p{Script=Arabic}/gu,
  hi: /\p{Script=Devanagari}/gu,
  ja: /[\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Han}]/gu,
  ko: /\p{Script=Hangul}/gu,
  'zh-CN': /\p{Script=Han}/gu,
  'zh-TW': /\p{Script=Han}/gu,
};

/** Spellings of related languages that would be wrong in a language. */
const FOREIGN: Partial<Record<Locale, RegExp>> = {
  de: /”|\b(du|dir|dein)/i,
  fr: /(?<!\u00a0)[?!:;»]|«(?!\u00a0)|(?<!\p{L})(tu|toi|ton|tes)(?!\p{L})/iu,
  es: /(?<!¿[^?]*)\?|(?<!¡[^!]*)!|[“”]|\b(usted|vos)\b/i,
  'pt-BR': /\b(tu|teu|tua|ficheiro|ecrã)\b/i,
  it: /[“”]|\b(Lei|Suo|Sua)\b/,
  nl: /[“”]|\b(u|uw)\b/i,
  pl: /“|\b(Pan|Pani|Państwo)\b/,
  tr: /\b(sen|sana)\b/i,
  ru: /[іїєґ“”]/i,
  uk: /[ыэъё“”]/i,
  ar: /[?,;%]|[گچپژی]/,
  he: /[\u0590-\u05cf]/,
  fa: /[?,;]|[كيىة]/,
  hi: /\.$/,
  ja: /[!?,.:;]/,
  ko: /[。、，！？：]/,
  'zh-CN': /[!?,.:;「」]|[開關閉聯絡對話訊]/,
  'zh-TW': /[!?,.:;“”]|[开关闭联络对话讯为]/,
};

const load = async (locale: Locale): Promise<Strings> =>
  locale === 'en' ? en : (await import(`../src/strings/${locale}.ts`)).default;
const formsOf = (text: string): string[] =>
  text.split('|').map((form) => form.replace(/^(zero|one|two|few|many):/, ''));
const places = (text: string): string[] => (text.match(/\{\w+\}/g) ?? []).sort();

test('every file of texts belongs to a language that can be selected', () => {
  const files = Object.keys(import.meta.glob('../src/strings/*.ts')).map((path) => path.replace(/.*\/|\.ts$/g, ''));
  const helpers = ['bubble', 'duration', 'en-rare', 'fill', 'index', 'locale'];
  expect(files.sort()).toEqual([...LOCALES, ...helpers].sort());
});

describe.each(LOCALES)('%s', async (locale) => {
  const strings = await load(locale);
  const rules = new Intl.PluralRules(locale);
  const texts = [...Object.values(strings), ...Object.values(bubbleLabels(locale))];
  const forms = texts.flatMap(formsOf);

  test('has every English text', () => {
    expect(Object.keys(strings).sort()).toEqual([...KEYS].sort());
  });

  test('is a tag for which the browser has a name', () => {
    expect(Intl.getCanonicalLocales(locale)).toEqual([locale]);
    expect(Intl.PluralRules.supportedLocalesOf(locale)).toEqual([locale]);
  });

  test('has the same placeholders as English', () => {
    const plain = KEYS.filter((key) => !en[key].includes('{count}'));
    expect(plain.filter((key) => `${places(strings[key])}` !== `${places(en[key])}`)).toEqual([]);
    expect(plain.filter((key) => strings[key].includes('|'))).toEqual([]);
  });

  test.each(KEYS.filter((key) => en[key].includes('{count}')))('has a form for every number: %s', (key) => {
    const categories = new Map<string, string>();
    for (const entry of strings[key].split('|')) {
      const [, category = 'other', form = ''] = entry.match(/^(?:(\w+):)?(.+)$/) ?? [];
      expect(categories.has(category)).toBe(false);
      categories.set(category, form);
    }
    const expected = UNVARIED[locale]?.includes(key) ? ['other'] : rules.resolvedOptions().pluralCategories;
    expect([...categories.keys()].sort()).toEqual([...expected].sort());

    const numbers = [...Array.from({ length: 201 }, (_, number) => number), 1_000_000];
    for (const count of numbers) {
      const category = rules.select(count);
      const form = categories.get(category) ?? categories.get('other') ?? '';
      expect(fill(strings[key], { count }, locale)).toBe(form.replace('{count}', count.toLocaleString(locale)));
      // “One message” needs no numeral, unless the form is also used for other numbers.
      const isAlone = numbers.filter((number) => rules.select(number) === category).length === 1;
      if (!isAlone || categories.size === 1) expect(places(form)).toEqual(['{count}']);
    }
  });

  test('has proper typography: no straight quotes, no three dots, no stray spaces', () => {
    for (const text of forms) {
      expect(text).toMatch(/\S/);
      expect(text).toBe(text.trim());
      expect(text).not.toMatch(/["'`]|\.\.|\s\s|^[|:]/);
    }
  });

  test('uses the spelling of its readers', () => {
    const foreign = FOREIGN[locale];
    expect(forms.filter((text) => foreign?.test(text))).toEqual([]);
  });

  test('ends its sentences where English does', () => {
    const isSentence = (text: string) => /[.。।]$/.test(text);
    expect(KEYS.filter((key) => isSentence(strings[key]))).toEqual(KEYS.filter((key) => isSentence(en[key])));
  });

  test('has its own units of time', () => {
    expect(duration(42, locale)).toContain((42).toLocaleString(locale));
    expect(duration(42, locale)).not.toBe(duration(42 * 60, locale));
  });
});

describe.each(OTHERS)('%s', async (locale) => {
  const strings = await load(locale);

  test('is not English', () => {
    const same = KEYS.map((key) => strings[key]).filter((text) => Object.values(en).includes(text));
    expect(same).toEqual(AS_IN_ENGLISH[locale] ?? []);
    const labels = Object.values(bubbleLabels(locale));
    expect(Object.values(bubbleLabels('en')).filter((label) => labels.includes(label))).toEqual([]);
  });

  test('is written in its script', () => {
    const text = [...KEYS.flatMap((key) => formsOf(strings[key])), ...Object.values(bubbleLabels(locale))]
      .join(' ')
      .replace(/\{\w+\}|\bAI\b/g, '');
    const letters = text.match(/\p{L}/gu)?.length ?? 0;
    expect(text.match(SCRIPTS[locale] ?? /\p{Script=Latin}/gu)?.length ?? 0).toBeGreaterThan(letters * 0.99);
  });
});

describe('the language', () => {
  test.each([
    [['de-AT', 'en'], 'de'],
    [[undefined, '', 'DE'], 'de'],
    [['xx', 'fr-CA', 'de'], 'fr'],
    [['pt'], 'pt-BR'],
    [['pt-PT'], 'pt-BR'],
    [['pt_BR'], 'pt-BR'],
    [['zh'], 'zh-CN'],
    [['zh-Hans-HK'], 'zh-CN'],
    [['zh-SG'], 'zh-CN'],
    [['zh-TW'], 'zh-TW'],
    [['ZH-tw'], 'zh-TW'],
    [['zh_TW'], 'zh-TW'],
    [['zh-HK'], 'zh-TW'],
    [['zh-MO'], 'zh-TW'],
    [['zh-Hant'], 'zh-TW'],
    [['zh-Hant-HK'], 'zh-TW'],
    [['iw-IL'], 'he'],
    [['fa-AF'], 'fa'],
    [['fil', 'uk'], 'uk'],
    [['xx'], 'en'],
    [[], 'en'],
    [['constructor', '__proto__', '-', 'e'], 'en'],
  ])('of the first wish that can be met, of %j, is %s', (wishes, expected) => {
    expect(chooseLocale(wishes)).toBe(expected);
  });

  test.each(LOCALES)('of a page can be selected by its tag: %s', (locale) => {
    expect(chooseLocale([locale.toLowerCase()])).toBe(locale);
  });

  test('is right-to-left only for Arabic, Hebrew and Persian', () => {
    expect(LOCALES.filter((locale) => direction(locale) === 'rtl')).toEqual(['ar', 'he', 'fa']);
  });
});

describe('a text', () => {
  test('is filled with values', () => {
    expect(fill('In {time}, {other}', { time: '5 s' }, 'en')).toBe('In 5 s, {other}');
  });

  test.each([
    ['en', 0, '0 words'],
    ['en', 1, '1 word'],
    ['en', 1234, '1,234 words'],
    ['de', 1234, '1.234 words'],
    ['fa', 12, '۱۲ words'],
    ['pl', 3, '3 few'],
  ])('has a form for each number: %s, %d gives %s', (locale, count, expected) => {
    expect(fill('one:{count} word|few:{count} few|{count} words', { count }, locale)).toBe(expected);
  });

  test.each([
    ['en', 5, '0:05'],
    ['en', 90, '1:30'],
    ['en', 3599, '59:59'],
    ['en', 3600, '1 hr'],
    ['en', 86_400, '24 hr'],
    ['ja', 42, '0:42'],
    ['fa', 42, '۰:۴۲'],
  ])('says a wait as its language does: %s, %d seconds is %s', (locale, seconds, expected) => {
    expect(duration(seconds, locale)).toBe(expected);
  });
});
