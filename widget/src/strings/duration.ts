import { language } from './index.ts';

/** A wait as `0:42`, or from an hour on as `5 hr`, as the language writes it. */
export function duration(seconds: number, locale = language()): string {
  if (seconds >= 3600)
    return Math.ceil(seconds / 3600).toLocaleString(locale, { style: 'unit', unit: 'hour', unitDisplay: 'short' });
  const rest = (seconds % 60).toLocaleString(locale, { minimumIntegerDigits: 2 });
  return `${Math.floor(seconds / 60).toLocaleString(locale)}:${rest}`;
}
