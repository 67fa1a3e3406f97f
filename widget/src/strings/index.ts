import en, { type Strings } from './en.ts';
import type { Locale } from './locale.ts';

/** The hash in the names of the languages' chunks; the build puts it here. */
declare const LANGUAGES: string;

/**
 * A chunk per language is fetched only where it is spoken; English is at hand. It also stands in, and the page says so,
 * when a language cannot be fetched: a chat in English beats none.
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

/** What numbers and dates are written in: the page's language, as the app has set it, in the visitor's own kind of it. */
export function language(): string {
  const { lang } = document.documentElement;
  return navigator.languages.find((tag) => tag.startsWith(lang)) ?? lang;
}

/** Puts `{name}` values into a text; a `count` also chooses the text's form (see en.ts). */
export function fill(text: string, values: Record<string, string | number>, locale = language()): string {
  const forms = text.split('|');
  const { count } = values;
  const prefix = typeof count === 'number' ? `${new Intl.PluralRules(locale).select(count)}:` : '';
  const form = prefix && forms.find((entry) => entry.startsWith(prefix));
  return (form ? form.slice(prefix.length) : (forms.at(-1) ?? '')).replace(
    /\{(\w+)\}/g,
    (placeholder, name: string) => {
      const value = values[name] ?? placeholder;
      return typeof value === 'number' ? value.toLocaleString(locale) : value;
    },
  );
}

export type { Strings };
