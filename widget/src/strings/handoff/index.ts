import type { Locale } from '../locale.ts';
import en, { type HandoffStrings } from './en.ts';

/** The hash in the names of the languages' chunks; the build puts it here. */
declare const HANDOFF_LANGUAGES: string;

/** As `loadStrings`, for the form. */
export async function loadHandoffStrings(locale: Locale): Promise<HandoffStrings> {
  if (locale === 'en') return en;
  const loaded: Promise<{ default: HandoffStrings }> = import(/* @vite-ignore */ `./${locale}-${HANDOFF_LANGUAGES}.js`);
  return loaded.then(
    (chunk) => chunk.default,
    () => en,
  );
}

export type { HandoffStrings };
