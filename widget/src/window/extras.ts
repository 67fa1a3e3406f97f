/** What few visitors want; it is fetched when they do. */
import { html, nothing } from 'lit/html.js';
import { fill, type Strings } from '../strings/index.ts';
import type { ChatController, Turn } from './chat-controller.ts';
import { ChatElement, css, register } from './chat-element.ts';
import type { Chat, ChatMemory } from './chat-memory.ts';
import { dayName } from './dates.ts';
import { endText } from './end-text.ts';
import { iconButton } from './icon-button.ts';
import * as icons from './icons.ts';
import { shared } from './shared.styles.ts';

const compose = icons.icon('M12 5v14M5 12h14');
const clock = icons.icon('M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z');
const save = icons.icon('M12 4v11M7 10.5l5 5 5-5M5 20h14');
const speaker = icons.icon('M4 9.5v5h3.5L12 18V6L7.5 9.5zM16 9a4.5 4.5 0 0 1 0 6M18.5 6.5a8 8 0 0 1 0 11');
const bin = icons.icon('M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13');
const back = icons.icon('M19 12H5M11 5.5L4.5 12l6.5 6.5');

/**
 * The entries behind “More”.
 *
 * @fires menu-pick - with the name of one
 */
export class ChatMenu extends ChatElement {
  static override styles = [
    shared,
    css`
      :host {
        position: absolute; z-index: 1; top: calc(100% + 6px); inset-inline-end: 0; width: max-content; max-width: calc(100vw - 24px);
        padding: 6px; border: 1px solid var(--_border); border-radius: 14px; background: var(--_bg); box-shadow: 0 12px 32px #0000002e;
        font-size: 14px; animation: rise .15s;
      }
      button { display: flex; justify-content: flex-start; gap: 12px; width: 100%; min-height: max(40px, var(--_hit)); padding: 4px 12px; border-radius: 9px; }
      button:is(:hover, :focus-visible) { background: var(--_secondary); outline-offset: -2px; }
      svg { width: 18px; height: 18px; color: var(--_muted); }
      span { flex: 1; }
    `,
  ];

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
      ${begun ? item('new', strings.newConversation, compose) : nothing}
      ${item('history', strings.history, clock)}
      ${begun ? item('export', strings.export, save) : nothing}
      ${this.hasSound ? item('sound', strings.sound, speaker, !this.memory.get().muted) : nothing}
      ${remembered ? item('forget', strings.forget, bin) : nothing}
    `;
  }

  #pick(name: string): void {
    if (name === 'export') download(conversationText(this.heading, this.chat.turns, this.strings));
    if (name === 'sound') this.memory.set({ muted: !this.memory.get().muted });
    this.tell('menu-pick', name);
  }
}

register('chat-menu', ChatMenu);

/**
 * The list of earlier conversations.
 *
 * @fires history-close - one was opened, or the visitor goes back
 */
export class ChatHistory extends ChatElement {
  static override styles = [
    shared,
    css`
      :host { flex: 1; min-height: 0; padding: 8px; overflow-y: auto; scrollbar-width: thin; animation: rise .2s; }
      .bar, li { display: flex; align-items: center; gap: 4px; }
      h2 { margin: 0; font-size: 15px; font-weight: 600; }
      ul { margin: 8px 0 0; padding: 0; list-style: none; }
      .chat { flex: 1; flex-direction: column; align-items: flex-start; gap: 0; min-width: 0; min-height: 56px; padding: 8px 12px; border-radius: 12px; }
      .chat:hover, [aria-current] { background: var(--_secondary); }
      .title { max-width: 100%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
      time, p { color: var(--_muted); font-size: 13px; }
      time { display: block; }
      time::first-letter { text-transform: uppercase; }
      p { padding: 0 12px; }
      .danger { flex: none; color: var(--_danger); }
    `,
  ];

  static override properties = ['strings', 'chats', 'asked', 'problem'];

  declare chat: ChatController;
  declare strings: Strings;
  declare current: string | null;
  declare chats: Chat[] | undefined;
  /** The one that shall be deleted, if the visitor is sure. */
  declare asked: Chat | undefined;
  declare problem: string;

  override connectedCallback(): void {
    super.connectedCallback();
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
        ${iconButton(strings.back, back, this.#close, 'icon back')}
        <h2>${strings.history}</h2>
      </div>
      <p role="status">${problem || (chats ? (chats.length ? nothing : strings.historyEmpty) : strings.restoring)}</p>
      <ul>${chats?.map(this.#renderChat)}</ul>
    `;
  }

  readonly #renderChat = (chat: Chat) => {
    const { strings } = this;
    const asked = chat === this.asked;
    const label = asked ? strings.forgetYes : fill(strings.historyDelete, { title: chat.title });
    return html`<li>
      <button class="chat" type="button" aria-current=${chat.id === this.current || nothing} @click=${() => this.#open(chat)}>
        <span class="title" dir="auto">${chat.title}</span><time>${dayName(chat.at)}</time>
      </button>
      ${iconButton(label, asked ? label : bin, () => this.#delete(chat), asked ? 'pill danger' : 'icon')}
    </li>`;
  };

  #open(chat: Chat): void {
    if (chat.id !== this.current) this.chat.open(chat.id);
    this.#close();
  }

  async #delete(chat: Chat): Promise<void> {
    if (chat !== this.asked) {
      this.asked = chat;
      return;
    }
    const gone = await this.chat.forget(chat.id);
    this.problem = gone ? '' : this.strings.forgetFailed;
    if (gone) this.chats = this.chats?.filter((other) => other !== chat);
    this.focus();
  }

  readonly #close = (): void => {
    this.tell('history-close');
  };
}

register('chat-history', ChatHistory);

/** A conversation to read elsewhere; the answers keep their Markdown. */
export function conversationText(title: string, turns: readonly Turn[], strings: Strings): string {
  const parts = turns.flatMap((turn) => [
    turn.at ? new Date(turn.at).toLocaleString(document.documentElement.lang) : '',
    `${strings.you}\n${turn.question}`,
    `${strings.assistant}\n${turn.answer}`,
    endText(turn, strings),
  ]);
  return `${[title, ...parts].filter(Boolean).join('\n\n')}\n`;
}

export function download(text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain;charset=utf-8' }));
  link.download = `chat-${new Date().toISOString().slice(0, 10)}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // Safari reads it some time after the click.
}

/** Two soft notes. Browsers let a page sound only after the visitor has touched it. */
export function chime(): void {
  const audio = new AudioContext();
  const volume = audio.createGain();
  const tone = audio.createOscillator();
  const now = audio.currentTime;
  volume.gain.setValueAtTime(0.06, now);
  volume.gain.exponentialRampToValueAtTime(0.0001, now + 0.5);
  tone.frequency.setValueAtTime(659, now);
  tone.frequency.setValueAtTime(880, now + 0.12);
  tone.connect(volume).connect(audio.destination);
  tone.onended = () => void audio.close();
  tone.start();
  tone.stop(now + 0.5);
}

declare global {
  interface HTMLElementTagNameMap {
    'chat-menu': ChatMenu;
    'chat-history': ChatHistory;
  }
}
