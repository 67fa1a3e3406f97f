/** The wording of a question's outcome. */

export type Group = 'answered' | 'stopped' | 'cut' | 'filtered' | 'failed';

export const GROUPS: Readonly<Record<Group, string>> = {
  answered: 'Answered',
  stopped: 'Stopped by the visitor',
  cut: 'Cut short',
  filtered: 'Filtered',
  failed: 'Failed',
};

const OF_OUTCOME: Readonly<Record<string, Group>> = {
  complete: 'answered',
  running: 'answered',
  cancelled: 'stopped',
  length: 'cut',
  interrupted: 'cut',
  upstream_interrupted: 'cut',
  answer_too_long: 'cut',
  filtered: 'filtered',
  question_filtered: 'filtered',
};

/** By turn status or error code. */
export const groupOf = (outcome: string): Group => OF_OUTCOME[outcome] ?? 'failed';

const WORDS: Readonly<Record<string, string>> = {
  complete: 'Answered',
  running: 'In progress',
  cancelled: 'Stopped by the visitor',
  length: 'Reached its length limit',
  interrupted: 'The service stopped unexpectedly',
  upstream_interrupted: 'The provider’s answer broke off',
  upstream_failed: 'The provider failed',
  upstream_timeout: 'The provider took too long',
  answer_too_long: 'Longer than MAX_ANSWER_CHARS',
  empty_answer: 'The provider sent no text',
  invalid_answer: 'The answer couldn’t be read',
  provider_overloaded: 'The provider was overloaded',
  busy: 'Rate-limited by the provider',
  restarting: 'The service restarted',
  filtered: 'Filtered',
  question_filtered: 'The question was filtered',
  question_too_long: 'The question was too long',
};

export const outcomeWords = (outcome: string): string => WORDS[outcome] ?? outcome.replaceAll('_', ' ');

const number = new Intl.NumberFormat('en');
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const money = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const change = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 4 });
const moment = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' });

export const counted = (value: number): string => number.format(value);
export const shortly = (value: number): string => short.format(value);
/** Without a currency symbol: the currency is that of the configured prices. */
export const cost = (value: number): string => (value < 1 ? change : money).format(value);
export const at = (time: string): string => moment.format(new Date(time));
export const plural = (count: number, one: string): string => `${counted(count)} ${one}${count === 1 ? '' : 's'}`;

/** An element with a text node. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  className = '',
  text = '',
): HTMLElementTagNameMap[Name] {
  const created = document.createElement(name);
  if (className) created.className = className;
  if (text) created.textContent = text;
  return created;
}
