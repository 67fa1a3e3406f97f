/** What the bubble needs before anything is opened; the window's own strings come with it, one chunk per language. */
const BUBBLE = {
  en: 'Open chat',
  de: 'Chat öffnen',
} as const;

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

export const bubbleLabel = (locale: Locale): string => BUBBLE[locale];

export const direction = (locale: string): 'ltr' | 'rtl' => (/^(ar|fa|he)/.test(locale) ? 'rtl' : 'ltr');
