/** Fetched where the first wish is for another language than English. */
import type { BubbleLabels } from '../strings/bubble.ts';
import { bubbleLabels, chooseLocale, direction, type Locale } from '../strings/locale.ts';

export interface Language {
  locale: Locale;
  labels: BubbleLabels;
}

/** The language of the first wish that can be met, which this page then has instead of English. */
export function chooseLanguage(wishes: readonly unknown[]): Language {
  const locale = chooseLocale(wishes.map(String));
  Object.assign(document.documentElement, { lang: locale, dir: direction(locale) });
  return { locale, labels: bubbleLabels(locale) };
}
