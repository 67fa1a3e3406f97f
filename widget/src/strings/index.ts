import en, { type Strings } from './en.ts';
import type { Locale } from './locale.ts';

/** A chunk per language, fetched only where it is spoken. */
const LOAD: Record<Exclude<Locale, 'en'>, () => Promise<{ default: Strings }>> = {
  de: () => import('./de.ts'),
};

/** English is at hand, and stands in when a language cannot be fetched: a chat in English beats none. */
export async function loadStrings(locale: Locale): Promise<Strings> {
  if (locale === 'en') return en;
  const loaded = await LOAD[locale]().catch(() => undefined);
  return loaded?.default ?? en;
}

/** The language that numbers and dates are written in: the page's own, as the app has set it. */
const language = (): string => document.documentElement.lang;

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

/** A wait as `42s` or `5m`, as the language writes it: seconds, then minutes, then hours. */
export function duration(seconds: number, locale = language()): string {
  const [unit, size] = seconds < 100 ? ['second', 1] : seconds < 6000 ? ['minute', 60] : ['hour', 3600];
  return Math.ceil(seconds / Number(size)).toLocaleString(locale, {
    style: 'unit',
    unit: `${unit}`,
    unitDisplay: 'narrow',
  });
}

export type { Strings };
