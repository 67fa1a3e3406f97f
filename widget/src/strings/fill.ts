import { language } from './index.ts';

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
