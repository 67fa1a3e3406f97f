/** Dates and times in the visitor's regional format. */
import { language } from '../../strings/index.ts';

const DAY = 86_400_000;
const midnight = (at: number): number => new Date(at).setHours(0, 0, 0, 0);

export const isSameDay = (one: number, other: number): boolean => midnight(one) === midnight(other);

export const timeOf = (at: number): string => new Date(at).toLocaleTimeString(language(), { timeStyle: 'short' });

/** “today”, “yesterday”, or the date. */
export function dayName(at: number, now = Date.now()): string {
  const days = Math.round((midnight(at) - midnight(now)) / DAY);
  return days > -2
    ? new Intl.RelativeTimeFormat(language(), { numeric: 'auto' }).format(days, 'day')
    : new Date(at).toLocaleDateString(language(), { dateStyle: 'long' });
}
