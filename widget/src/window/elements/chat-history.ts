import { html, nothing } from 'lit/html.js';
import { fill, type Strings } from '../../strings/index.ts';
import { ChatElement, register } from '../base/chat-element.ts';
import { dayName } from '../base/dates.ts';
import { iconButton } from '../base/icon-button.ts';
import * as icons from '../base/rare-icons.ts';
import { shared } from '../base/shared.styles.ts';
import type { ChatController } from '../conversation/chat-controller.ts';
import type { Chat } from '../conversation/chat-memory.ts';
import { styles } from './chat-history.styles.ts';

/**
 * The list of earlier conversations.
 *
 * @fires history-delete - one shall be deleted, with the conversation
 * @fires history-close - one was opened, or the visitor goes back
 */
export class ChatHistory extends ChatElement {
  static override styles = [shared, styles];

  static override properties = ['strings', 'chats', 'problem'];

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
    this.chat.chats().then(
      (chats) => {
        this.chats = chats;
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
      <ul>${chats?.map(this.#renderChat)}</ul>
    `;
  }

  readonly #renderChat = (chat: Chat) => {
    const { strings } = this;
    const label = fill(strings.historyDelete, { title: chat.title });
    return html`<li>
      <button class="chat" aria-current=${chat.id === this.current || nothing} @click=${() => this.#open(chat)}>
        <span class="title" dir="auto">${chat.title}</span><time>${dayName(chat.at)}</time>
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

register('chat-history', ChatHistory);

declare global {
  interface HTMLElementTagNameMap {
    'chat-history': ChatHistory;
  }
}
