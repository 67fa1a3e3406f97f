import { html, nothing } from 'lit/html.js';
import { fill } from '../../strings/fill.ts';
import type { Strings } from '../../strings/index.ts';
import { ChatElement, register } from '../base/chat-element.ts';
import { dayName, isSameDay, timeOf } from '../base/dates.ts';
import { iconButton } from '../base/icon-button.ts';
import * as icons from '../base/rare-icons.ts';
import { shared } from '../base/shared.styles.ts';
import type { ChatController } from '../conversation/chat-controller.ts';
import type { Chat } from '../conversation/chat-memory.ts';
import { chats } from '../conversation/upkeep.ts';
import { styles } from './chat-history.styles.ts';

/**
 * The list of past conversations.
 *
 * @fires history-delete - the visitor wants to delete one, with the conversation
 * @fires history-close - one was opened, or the visitor goes back
 */
export class ChatHistory extends ChatElement {
  static override styles = [shared, styles];

  static override properties = ['chats', 'problem'];

  declare chat: ChatController;
  declare strings: Strings;
  declare current: string | null;
  declare chats: Chat[] | undefined;
  declare problem: string;

  override connectedCallback(): void {
    super.connectedCallback();
    this.load();
  }

  load(): void {
    chats(this.chat).then(
      (chats) => {
        this.chats = chats;
        this.problem = '';
      },
      () => {
        this.problem = this.strings.restoreFailed;
      },
    );
  }

  override focus(): void {
    void this.updateComplete.then(() => this.find('button')?.focus());
  }

  override render() {
    const { strings, chats, problem } = this;
    return html`
      <div class="bar">
        ${iconButton(strings.back, icons.back, this.#close, 'icon back')}
        <h2>${strings.history}</h2>
      </div>
      <p role="status">${problem || (chats ? (chats.length ? nothing : strings.historyEmpty) : strings.restoring)}</p>
      ${byDay(chats ?? []).map(
        (day) => html`<section>
          <h3>${dayName(day[0].at)}</h3>
          <ul>${day.map(this.#renderChat)}</ul>
        </section>`,
      )}
    `;
  }

  readonly #renderChat = (chat: Chat) => {
    const { strings } = this;
    const label = fill(strings.historyDelete, { title: chat.title });
    return html`<li>
      <button class="chat" aria-current=${chat.id === this.current || nothing} @click=${() => this.#open(chat)}>
        <span class="title" dir="auto">${chat.title}</span><time><span class="hidden">${dayName(chat.at)} </span>${timeOf(chat.at)}</time>
      </button>
      ${iconButton(label, icons.bin, () => this.tell('history-delete', chat))}
    </li>`;
  };

  #open(chat: Chat): void {
    if (chat.id !== this.current) this.chat.open(chat.id);
    this.#close();
  }

  #close(): void {
    this.tell('history-close');
  }
}

/** Conversations in order, grouped by day. */
function byDay(chats: readonly Chat[]): [Chat, ...Chat[]][] {
  const days: [Chat, ...Chat[]][] = [];
  for (const chat of chats) {
    const day = days.at(-1);
    if (day && isSameDay(day[0].at, chat.at)) day.push(chat);
    else days.push([chat]);
  }
  return days;
}

register('chat-history', ChatHistory);

declare global {
  interface HTMLElementTagNameMap {
    'chat-history': ChatHistory;
  }
}
