/** A side panel to read, export or delete a conversation. Visitors' messages are only inserted as text nodes. */
import { address, ask } from '../owner-api.ts';
import type { Overview } from './list.ts';
import { at, counted, element, groupOf, outcomeWords, plural } from './words.ts';

interface Turn {
  id: string;
  question: string;
  answer: string;
  status: string;
  code: string | null;
  hidden: boolean;
  rating: 'up' | 'down' | null;
  comment: string | null;
  model: string | null;
  sources: { title: string; url: string }[] | null;
  prompt_tokens: number | null;
  completion_tokens: number | null;
  created_at: string;
}

interface Transcript {
  overview: Overview;
  handoffs: { at: string; state: string; email: string | null; note: string | null }[];
  turns: Turn[];
  next: number | null;
}

const find = <T extends HTMLElement>(selector: string) => document.querySelector(selector) as T;
const dialog = find<HTMLDialogElement>('#reader');
const turns = find('#turns');
turns.tabIndex = 0; // so that the keyboard can scroll it
turns.role = 'region';
turns.ariaLabel = 'Transcript';

let path = '';

const RATED = { up: 'Rated helpful', down: 'Rated not helpful' } as const;

function turnOf(turn: Turn): HTMLElement {
  const article = element('article', turn.hidden ? 'turn replaced' : 'turn');
  const question = element('div', 'question');
  question.append(element('span', 'unseen', 'Visitor: '), document.createTextNode(turn.question));
  article.append(question);
  if (turn.answer) {
    const answer = element('div', 'answer');
    answer.append(element('span', 'unseen', 'Answer: '), document.createTextNode(turn.answer));
    article.append(answer);
  }
  if (turn.sources?.length) {
    const sources = element('ul', 'sources');
    for (const { title, url } of turn.sources) sources.append(element('li', '', title ? `${title} (${url})` : url));
    article.append(sources);
  }
  const facts = element('p', 'facts');
  const outcome = turn.code ?? turn.status;
  facts.append(element('span', `tag ${groupOf(outcome)}`, outcomeWords(outcome)));
  if (turn.hidden) facts.append(element('span', 'tag', 'Replaced by a newer answer'));
  if (turn.rating) facts.append(element('span', `tag ${turn.rating}`, RATED[turn.rating]));
  const tokens = (turn.prompt_tokens ?? 0) + (turn.completion_tokens ?? 0);
  facts.append(
    [at(turn.created_at), turn.model, tokens ? `${counted(tokens)} tokens` : ''].filter(Boolean).join(' · '),
  );
  article.append(facts);
  if (turn.comment) {
    const comment = element('blockquote', 'comment', turn.comment);
    article.append(comment);
  }
  return article;
}

function handoffOf({ at: time, state, email, note }: Transcript['handoffs'][number]): HTMLElement {
  const box = element('p', 'handed');
  const who = email ? ` for ${email}` : '';
  box.textContent = `Handed off to a person on ${at(time)}${who} (${state}).${note ? ` “${note}”` : ''}`;
  return box;
}

async function load(after: number): Promise<void> {
  const found = await ask<Transcript>(`${path}?after=${after}`);
  if (!after) {
    find('#reader-title').textContent = found.overview.question || 'Conversation';
    const who = found.overview.subject ? ` · ${found.overview.subject}` : '';
    find('#reader-facts').textContent =
      `${plural(found.overview.questions, 'question')} · ${at(found.overview.started)} to ${at(found.overview.last)}${who}`;
    turns.replaceChildren(...found.handoffs.map(handoffOf));
  }
  turns.append(...found.turns.map(turnOf));
  if (found.next === null) return;
  const more = element('button', 'plain more', 'Show more');
  more.type = 'button';
  const next = found.next;
  more.addEventListener('click', () => {
    more.remove();
    void load(next).catch(() => turns.append(more));
  });
  turns.append(more);
}

const sure = (isAsked: boolean) => {
  find('#reader-sure').hidden = !isAsked;
  find('#reader-actions').hidden = isAsked;
};

/** Opens a tenant's conversation. Throws Refused, for example if it has been deleted. */
export async function read(widgetId: string, id: string): Promise<void> {
  path = `tenants/${widgetId}/conversations/${id}`;
  sure(false);
  await load(0);
  find<HTMLAnchorElement>('#export').href = address(`${path}/export`);
  dialog.showModal();
  turns.scrollTop = 0;
}

/** `deleted` is called after a conversation was deleted, `failed` with an error message. */
export function listen(deleted: () => void, failed: (error: unknown) => void): void {
  find('#reader-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', ({ target }) => {
    if (target === dialog) dialog.close(); // the backdrop
  });
  find('#delete').addEventListener('click', () => {
    sure(true);
    find('#keep').focus();
  });
  find('#keep').addEventListener('click', () => {
    sure(false);
    find('#delete').focus();
  });
  find('#sure').addEventListener('click', async () => {
    try {
      await ask(path, 'DELETE');
    } catch (error) {
      return failed(error);
    } finally {
      dialog.close();
    }
    deleted();
  });
}
