import { html, nothing } from 'lit/html.js';
import { language, type Strings } from '../strings/index.ts';
import type { ChatController, Turn } from './chat-controller.ts';
import { ChatElement, register } from './chat-element.ts';
import type { ChatMemory } from './chat-memory.ts';
import { styles } from './chat-menu.styles.ts';
import { endText } from './end-text.ts';
import * as icons from './icons.ts';
import { shared } from './shared.styles.ts';

/**
 * The entries behind “More”.
 *
 * @fires menu-pick - with the name of one
 */
export class ChatMenu extends ChatElement {
  static override styles = [shared, styles];

  static override properties = ['strings'];

  declare strings: Strings;
  /** Of the window. */
  declare heading: string;
  declare chat: ChatController;
  declare memory: ChatMemory;
  /** The tenant has one; the visitor may mute it. */
  declare hasSound: boolean | undefined;

  override render() {
    const { strings } = this;
    const { turns, remembered } = this.chat;
    const begun = turns.length > 0;
    const item = (name: string, label: string, icon: unknown, pressed?: boolean) =>
      html`<button type="button" aria-pressed=${pressed ?? nothing}
        @click=${() => this.#pick(name)}>
        ${icon}<span>${label}</span>${pressed ? icons.check : nothing}
      </button>`;
    return html`
      ${begun ? item('new', strings.newConversation, icons.compose) : nothing}
      ${item('history', strings.history, icons.clock)}
      ${begun ? item('export', strings.export, icons.save) : nothing}
      ${this.hasSound ? item('sound', strings.sound, icons.speaker, !this.memory.get().muted) : nothing}
      ${remembered ? item('forget', strings.forget, icons.bin) : nothing}
    `;
  }

  #pick(name: string): void {
    if (name === 'export') download(conversationText(this.heading, this.chat.turns, this.strings));
    if (name === 'sound') this.memory.set({ muted: !this.memory.get().muted });
    this.tell('menu-pick', name);
  }
}

register('chat-menu', ChatMenu);

/** A conversation to read elsewhere; the answers keep their Markdown. */
function conversationText(title: string, turns: readonly Turn[], strings: Strings): string {
  const parts = turns.flatMap((turn) => [
    turn.at ? new Date(turn.at).toLocaleString(language()) : '',
    `${strings.you}\n${turn.question}`,
    `${strings.assistant}\n${turn.answer}`,
    endText(turn, strings),
  ]);
  return `${[title, ...parts].filter(Boolean).join('\n\n')}\n`;
}

function download(text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain;charset=utf-8' }));
  link.download = `chat-${new Date().toISOString().slice(0, 10)}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // Safari reads it some time after the click.
}

declare global {
  interface HTMLElementTagNameMap {
    'chat-menu': ChatMenu;
  }
}
