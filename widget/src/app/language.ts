/** Fetched where the first wish is for another language than English. */
import type { BubbleLabels } from '../strings/bubble.ts';
import { bubbleLabels, chooseLocale, direction, type Locale } from '../strings/locale.ts';

export interface Language {
  locale: Locale;
  dir: 'ltr' | 'rtl';
  labels: BubbleLabels;
}

/** The language of the first wish that can be met. */
export function chooseLanguage(wishes: readonly unknown[]): Language {
  const locale = chooseLocale(wishes.map(String));
  return { locale, dir: direction(locale), labels: bubbleLabels(locale) };
}
