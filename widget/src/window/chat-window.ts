import { html, LitElement, nothing, type PropertyValues } from 'lit';
import type { Start } from '../app/ai-chat-widget.ts';
import { define } from '../app/dom.ts';
import type { EventDetail, EventName, View } from '../protocol.ts';
import type { Strings } from '../strings/index.ts';
import { Announcer } from './announcer.ts';
import { ChatController, type Turn } from './chat-controller.ts';
import { ChatMemory } from './chat-memory.ts';
import { ChatService } from './chat-service.ts';
import { styles } from './chat-window.styles.ts';
import { endText } from './end-text.ts';
import * as icons from './icons.ts';
import type { InputArea } from './input-area.ts';
import type { MessageList } from './message-list.ts';
import { shared } from './shared.styles.ts';

type Forgetting = 'no' | 'asked' | 'failed';

/**
 * The chat itself: header, conversation, field and footer around one controller.
 *
 * @fires window-close - the visitor closes it, with the button or Escape
 * @cssprop --a4w-primary-color - the visitor's messages, the buttons; text on it is black or white, by contrast
 * @cssprop --a4w-bg-color - the background
 * @cssprop --a4w-text-color - the text
 * @cssprop --a4w-secondary-bg - code, hovered buttons, the field
 * @cssprop --a4w-border-color - lines and borders
 * @cssprop --a4w-font - the font family
 * @cssprop --a4w-radius - the roundness of the field and of cards
 */
export class ChatWindow extends LitElement {
  static override styles = [shared, styles];

  static override properties = {
    view: { attribute: false },
    forgetting: { state: true },
  };

  declare view: View;
  declare forgetting: Forgetting;

  readonly #start: Start;
  readonly #strings: Strings;
  readonly #chat: ChatController;
  readonly #announcer = new Announcer();
  #announced: Turn | undefined;

  constructor(start: Start, strings: Strings, tell: (name: EventName, detail: EventDetail) => void) {
    super();
    this.view = { mode: 'bubble', open: false, expanded: false, full: false, dark: false };
    this.forgetting = 'no';
    this.#start = start;
    this.#strings = strings;
    this.#chat = new ChatController(this, new ChatService(start.apiKey), new ChatMemory(start.widgetId, start), {
      onText: (turn) => {
        this.#list?.grow(turn);
        this.#announcer.follow(turn.answer, false);
      },
      onEvent: tell,
    });
    this.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !event.isComposing) this.#close();
    });
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.#chat.restore();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#announcer.stop();
  }

  override focus(): void {
    void this.updateComplete.then(() => this.#input?.focus());
  }

  place(view: View): void {
    this.view = view;
    this.hidden = !view.open;
    this.toggleAttribute('full', view.full);
    this.setAttribute('theme', view.dark ? 'dark' : 'light');
  }

  send(text: string): void {
    this.#list?.follow();
    this.#chat.send(text);
  }

  identify(token: string): void {
    this.#start.userToken = token;
  }

  setContext(facts: Record<string, string>): void {
    this.#start.context = facts;
  }

  newConversation(): void {
    this.forgetting = 'no';
    this.#chat.newConversation();
  }

  get #list(): MessageList | null {
    return this.renderRoot.querySelector('message-list');
  }

  get #input(): InputArea | null {
    return this.renderRoot.querySelector('input-area');
  }

  override render() {
    const { settings } = this.#start;
    const { status, turns } = this.#chat;
    const strings = this.#strings;
    const title = settings.title ?? strings.title;
    return html`
      <header>
        <div class="avatar">${icons.spark}</div>
        <div class="who">
          <h1 id="title">${title}</h1>
          <div class="status" data-status=${status}>${this.#statusText()}</div>
        </div>
        <nav>
          ${
            turns.length
              ? html`<button class="icon" type="button" title=${strings.newConversation}
                  aria-label=${strings.newConversation} @click=${this.#startAnew}>${icons.compose}</button>`
              : nothing
          }
          <button class="icon" type="button" title=${strings.close} aria-label=${strings.close}
            @click=${this.#close}>${icons.close}</button>
        </nav>
      </header>
      <message-list
        .strings=${strings}
        .greeting=${settings.greeting ?? strings.greeting}
        .suggestions=${settings.suggestions ?? []}
        .turns=${turns}
        .status=${status}
        .restoreFailed=${this.#chat.restoreFailed}
        @suggestion-pick=${(event: CustomEvent<string>) => this.send(event.detail)}
        @turn-retry=${() => this.#chat.retry()}
        @turn-continue=${() => this.send(strings.continueMessage)}
        @turn-copied=${() => this.#announcer.say(strings.copied)}
        @restore-retry=${() => this.#chat.restore()}
      ></message-list>
      <input-area
        .strings=${strings}
        .placeholder=${settings.placeholder ?? strings.placeholder}
        .busy=${status !== 'idle' && status !== 'restoring'}
        @message-send=${(event: CustomEvent<string>) => this.send(event.detail)}
        @message-stop=${() => this.#chat.stop()}
      ></input-area>
      <footer>${this.#renderFooter()}</footer>
      <div class="hidden">${this.#announcer.element}</div>
    `;
  }

  #renderFooter() {
    const strings = this.#strings;
    if (this.forgetting === 'asked') {
      return html`${strings.forgetConfirm}
        <button class="danger" type="button" @click=${this.#forget}>${strings.forgetYes}</button>
        <button type="button" @click=${() => this.#ask('no')}>${strings.forgetNo}</button>`;
    }
    const text = this.forgetting === 'failed' ? strings.forgetFailed : strings.note;
    if (!this.#chat.remembered) return text;
    return html`${text} <button type="button" @click=${() => this.#ask('asked')}>${strings.forget}</button>`;
  }

  protected override firstUpdated(): void {
    this.setAttribute('role', 'dialog');
    this.setAttribute('aria-label', this.#start.settings.title ?? this.#strings.title);
  }

  protected override updated(_changed: PropertyValues): void {
    this.setAttribute('aria-modal', String(this.view.full));
    this.#announce();
  }

  /** Says when an answer begins and how it ended; its sentences in between follow the text. */
  #announce(): void {
    const strings = this.#strings;
    const turn = this.#chat.last;
    if (turn?.status === 'running') {
      if (this.#announced === turn) return;
      this.#announced = turn;
      this.#announcer.begin(strings.answering);
    } else if (turn && this.#announced === turn) {
      this.#announced = undefined;
      this.#announcer.follow(turn.answer, true);
      this.#announcer.say(endText(turn, strings) || strings.answered);
    }
  }

  #statusText(): string {
    const { status } = this.#chat;
    const strings = this.#strings;
    if (status === 'reconnecting') return strings.reconnecting;
    if (status === 'restoring') return strings.restoring;
    return status === 'idle' ? strings.online : strings.answering;
  }

  readonly #close = (): void => {
    this.dispatchEvent(new Event('window-close'));
  };

  readonly #startAnew = (): void => {
    this.newConversation();
    this.focus();
  };

  #ask(forgetting: Forgetting): void {
    this.forgetting = forgetting;
    this.focus();
  }

  readonly #forget = async (): Promise<void> => {
    this.#ask('no');
    if (!(await this.#chat.forget())) this.forgetting = 'failed';
  };
}

define('chat-window', ChatWindow);

declare global {
  interface HTMLElementTagNameMap {
    'chat-window': ChatWindow;
  }
}
