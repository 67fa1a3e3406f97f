/** Loaded if the preferred language is not English. */
import type { BubbleLabels } from '../strings/bubble.ts';
import { bubbleLabels, chooseLocale, direction, type Locale } from '../strings/locale.ts';

export interface Language {
  locale: Locale;
  labels: BubbleLabels;
}

/** Sets this page to the first preferred language that is available. */
export function chooseLanguage(wishes: readonly unknown[]): Language {
  const locale = chooseLocale(wishes.map(String));
  Object.assign(document.documentElement, { lang: locale, dir: direction(locale) });
  return { locale, labels: bubbleLabels(locale) };
}
