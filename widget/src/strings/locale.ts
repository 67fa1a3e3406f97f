import { type BubbleLabels, ENGLISH } from './bubble.ts';

/** The labels of the closed widget, to open it and to dismiss its preview; the window's texts come with the window. */
const BUBBLE = {
  en: [ENGLISH.open, 'Dismiss'],
  de: ['Chat öffnen', 'Ausblenden'],
  fr: ['Ouvrir le chat', 'Masquer'],
  es: ['Abrir el chat', 'Ocultar'],
  'pt-BR': ['Abrir o chat', 'Ocultar'],
  it: ['Apri la chat', 'Nascondi'],
  nl: ['Chat openen', 'Verbergen'],
  pl: ['Otwórz czat', 'Ukryj'],
  tr: ['Sohbeti aç', 'Gizle'],
  ru: ['Открыть чат', 'Скрыть'],
  uk: ['Відкрити чат', 'Приховати'],
  ar: ['فتح الدردشة', 'إخفاء'],
  he: ['פתיחת הצ׳אט', 'הסתרה'],
  fa: ['باز کردن گفتگو', 'پنهان کردن'],
  hi: ['चैट खोलें', 'छिपाएँ'],
  ja: ['チャットを開く', '非表示にする'],
  ko: ['채팅 열기', '숨기기'],
  'zh-CN': ['打开聊天', '隐藏'],
  'zh-TW': ['開啟聊天', '隱藏'],
} as const;

/** A BCP 47 tag: the name of the strings' file, and the page's `lang`. */
export type Locale = keyof typeof BUBBLE;

export const LOCALES = Object.keys(BUBBLE) as Locale[];

/** Chinese in its traditional script, which these regions imply. */
const TRADITIONAL = /^zh[-_](hant|tw|hk|mo)\b/i;

/** The first preferred language that has strings, by language, or by script if there are two; otherwise English. */
export function chooseLocale(wishes: readonly (string | undefined)[]): Locale {
  for (const wish of wishes) {
    // `iw` is an old code for Hebrew.
    const language = TRADITIONAL.test(`${wish}`) ? 'zh-TW' : wish?.toLowerCase().split(/[-_]/)[0]?.replace('iw', 'he');
    const found = LOCALES.find((locale) => locale === language || locale.split('-')[0] === language);
    if (found) return found;
  }
  return 'en';
}

export function bubbleLabels(locale: Locale): BubbleLabels {
  const [open, dismiss] = BUBBLE[locale];
  return { open, dismiss };
}

export const direction = (locale: Locale): 'ltr' | 'rtl' => (/^(ar|fa|he)/.test(locale) ? 'rtl' : 'ltr');
