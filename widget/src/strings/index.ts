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

/** Puts `{name}` values into a text. */
export const fill = (text: string, values: Record<string, string | number>): string =>
  text.replace(/\{(\w+)\}/g, (placeholder, name: string) => String(values[name] ?? placeholder));

export type { Strings };
