import en, { type Strings } from './en.ts';
import type { Locale } from './locale.ts';

/** The hash in the names of the languages' chunks; the build inserts it. */
declare const LANGUAGES: string;

/**
 * Each language is a chunk that is loaded on demand; English is built in. If a language cannot be loaded, the chat falls
 * back to English, and the page's `lang` says so.
 */
export async function loadStrings(locale: Locale): Promise<Strings> {
  if (locale === 'en') return en;
  const loaded: Promise<{ default: Strings }> = import(/* @vite-ignore */ `./${locale}-${LANGUAGES}.js`);
  return loaded.then(
    (chunk) => chunk.default,
    () => {
      Object.assign(document.documentElement, { lang: 'en', dir: 'ltr' });
      return en;
    },
  );
}

/** The locale for numbers and dates: the app's language, in the visitor's regional variant. */
export function language(): string {
  const { lang } = document.documentElement;
  return navigator.languages.find((tag) => tag.startsWith(lang)) ?? lang;
}

export type { Strings };
