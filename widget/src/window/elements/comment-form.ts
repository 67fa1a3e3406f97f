import { html } from 'lit/html.js';
import type { Strings } from '../../strings/index.ts';
import { iconButton } from '../base/icon-button.ts';
import * as icons from '../base/icons.ts';
import type { ChatController } from '../conversation/chat-controller.ts';
import type { Rating, Turn } from '../conversation/turn.ts';
import { rate as send } from '../conversation/upkeep.ts';

/** The longest comment that the service accepts, in characters. */
const MAX_COMMENT = 1000;

/** The interface of the list of messages. */
interface Rated {
  readonly strings: Strings;
  readonly chat: ChatController;
  commenting: Turn | undefined;
  requestUpdate(): void;
  tell(name: string, detail: string): void;
}

/** The comment form after a negative rating; a comment that failed can be sent again. */
export async function rate(list: Rated, turn: Turn, rating: Rating, comment = ''): Promise<void> {
  const { strings, chat } = list;
  if (!comment) list.commenting = rating === 'down' ? turn : undefined;
  const sending = send(chat, turn, rating, comment);
  list.requestUpdate();
  const isStored = await sending;
  list.requestUpdate();
  if (isStored === !!comment && list.commenting === turn) list.commenting = undefined;
  if (comment || rating === 'up' || !isStored) list.tell('notice', isStored ? strings.thanks : strings.errorGeneric);
}

/** Asks what was wrong with an answer. */
export const renderComment = (list: Rated, turn: Turn) => {
  const { strings } = list;
  const submit = (event: Event) => {
    event.preventDefault();
    const comment = (event.currentTarget as Element).closest('form')?.querySelector('input')?.value.trim();
    if (turn.rating && comment) void rate(list, turn, turn.rating, comment);
    else list.commenting = undefined;
  };
  return html`<form class="comment" @submit=${submit}>
    <input maxlength=${MAX_COMMENT} placeholder=${strings.comment} aria-label=${strings.comment} autocomplete="off">
    ${iconButton(strings.commentSend, icons.arrow, submit)}
  </form>`;
};
