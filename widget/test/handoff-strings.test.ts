/// <reference types="vite/client" />
import { describe, expect, test } from 'vitest';
import en, { type HandoffStrings } from '../src/strings/handoff/en.ts';
import { LOCALES } from '../src/strings/locale.ts';

const KEYS = Object.keys(en) as (keyof HandoffStrings)[];

test('every language has the texts of the contact form, and no other file does', () => {
  const files = Object.keys(import.meta.glob('../src/strings/handoff/*.ts')).map((path) =>
    path.replace(/.*\/|\.ts$/g, ''),
  );
  expect(files.sort()).toEqual([...LOCALES, 'index'].sort());
});

describe.each(LOCALES)('%s', async (locale) => {
  const strings: HandoffStrings = (await import(`../src/strings/handoff/${locale}.ts`)).default;

  test('has every text of the English form, translated and with proper typography', () => {
    expect(Object.keys(strings)).toEqual(KEYS);
    for (const key of KEYS) {
      const text = strings[key];
      expect(text).toBe(text.trim());
      expect(text).not.toMatch(/["'`]|\.\.|\s\s/);
      expect(text.match(/\{\w+\}/g)).toEqual(en[key].match(/\{\w+\}/g));
      expect(/[.。।]$/.test(text)).toBe(en[key].endsWith('.'));
      if (locale !== 'en') expect(text).not.toBe(en[key]);
    }
  });
});
