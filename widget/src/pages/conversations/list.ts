/** The paginated list of conversations, filtered by the form. */
import { ask } from '../owner-api.ts';
import { at, element, GROUPS, groupOf, plural } from './words.ts';

export interface Overview {
  id: string;
  started: string;
  last: string;
  subject: string | null;
  questions: number;
  outcomes: Record<string, number>;
  ratings: { up?: number; down?: number };
  question: string;
}

interface Page {
  conversations: Overview[];
  next: string | null;
}

const find = <T extends HTMLElement>(selector: string) => document.querySelector(selector) as T;
const rows = find('#rows');
const more = find<HTMLButtonElement>('#more');

let next: string | null = null;
let filters = '';
let shown = 0;
/** Numbers the requests, so that responses to older ones are ignored. */
let latestRequest = 0;

/** The button that opens a conversation. */
export function opener(className: string, id: string, title: string): HTMLButtonElement {
  const button = element('button', className);
  button.type = 'button';
  button.dataset.read = id;
  button.append(element('b', '', title || '(no text)'));
  return button;
}

function row(conversation: Overview): HTMLElement {
  const item = element('li');
  const button = opener('row', conversation.id, conversation.question);
  const facts = element(
    'span',
    'facts',
    [plural(conversation.questions, 'question'), at(conversation.last), conversation.subject]
      .filter(Boolean)
      .join(' · '),
  );
  const tags = element('span', 'tags');
  const groups = new Set(Object.keys(conversation.outcomes).map(groupOf));
  groups.delete('answered');
  for (const group of groups) tags.append(element('span', `tag ${group}`, GROUPS[group]));
  if (conversation.ratings.up) tags.append(element('span', 'tag up', 'Helpful'));
  if (conversation.ratings.down) tags.append(element('span', 'tag down', 'Not helpful'));
  button.append(tags, facts);
  item.append(button);
  return item;
}

/** The form's filters as a query string. */
export function query(form: HTMLFormElement): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (name === 'outcome' && value === 'handed_off') parameters.set('handed_off', 'true');
    else if (`${value}`.trim()) parameters.set(name, `${value}`.trim());
  }
  return parameters.toString();
}

async function load(widgetId: string): Promise<void> {
  const request = ++latestRequest;
  const after = next ? `&after=${encodeURIComponent(next)}` : '';
  const page = await ask<Page>(`tenants/${widgetId}/conversations?${filters}${after}`);
  if (request !== latestRequest) return;
  if (!next) rows.replaceChildren();
  rows.append(...page.conversations.map(row));
  shown += page.conversations.length;
  next = page.next;
  more.hidden = next === null;
  find('#count').textContent = shown
    ? `${plural(shown, 'conversation')}${next ? ' so far' : ''}${filters ? ' found' : ''}`
    : filters
      ? 'Nothing found. Try other words, or fewer filters.'
      : 'No conversations yet. They appear here as soon as a visitor asks something.';
}

/** Lists a tenant's conversations, newest first. */
export async function list(widgetId: string, query: string): Promise<void> {
  [next, filters, shown] = [null, query, 0];
  await load(widgetId);
}

export const listMore = (widgetId: string): Promise<void> => load(widgetId);
