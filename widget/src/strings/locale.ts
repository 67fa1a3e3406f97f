import { type BubbleLabels, ENGLISH } from './bubble.ts';

/** What the closed widget says, in a chunk that is fetched where the first wish is not English. */
const BUBBLE = {
  en: ENGLISH,
  de: { open: 'Chat öffnen', dismiss: 'Ausblenden' },
} satisfies Record<string, BubbleLabels>;

export type Locale = keyof typeof BUBBLE;

export const LOCALES = Object.keys(BUBBLE) as Locale[];

/** The first wish that there are strings for, by its language; English when there is none. */
export function chooseLocale(wishes: readonly (string | undefined)[]): Locale {
  for (const wish of wishes) {
    const language = wish?.toLowerCase().split('-')[0];
    const found = LOCALES.find((locale) => locale === language);
    if (found) return found;
  }
  return 'en';
}

export const bubbleLabels = (locale: Locale): BubbleLabels => BUBBLE[locale];

export const direction = (locale: string): 'ltr' | 'rtl' => (/^(ar|fa|he)/.test(locale) ? 'rtl' : 'ltr');
