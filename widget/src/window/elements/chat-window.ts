import { html, nothing } from 'lit/html.js';
import type { EventDetail, EventName, View } from '../../protocol.ts';
import type { Strings } from '../../strings/index.ts';
import { Announcer } from '../base/announcer.ts';
import { ChatElement, register } from '../base/chat-element.ts';
import { iconButton } from '../base/icon-button.ts';
import * as icons from '../base/icons.ts';
import { isPressed } from '../base/keys.ts';
import type { WindowOptions } from '../base/options.ts';
import { plainText } from '../base/plain-text.ts';
import { shared } from '../base/shared.styles.ts';
import { ChatController } from '../conversation/chat-controller.ts';
import { type Chat, ChatMemory } from '../conversation/chat-memory.ts';
import { ChatService } from '../conversation/chat-service.ts';
import { endText } from '../conversation/end-text.ts';
import { headerState } from '../conversation/header-state.ts';
import { personOf } from '../conversation/identity.ts';
import type { Turn } from '../conversation/turn.ts';
import { styles } from './chat-window.styles.ts';
import type { InputArea } from './input-area.ts';
import type { MessageList } from './message-list.ts';
import { privacyNote } from './privacy-note.ts';
import { loadRare, rare, rarely } from './rare.ts';

const MAX_PREVIEW = 140;

/**
 * The chat window: header, conversation, message field and footer around one controller.
 *
 * @fires window-close - the visitor closes it, with the button or Escape
 * @fires window-expand - the visitor expands or collapses it
 * @fires window-unread - `{count, preview, label}`: answers that arrived while it was closed; none when it is opened
 * @cssprop --a4w-primary-color - the visitor's messages, the buttons; text on it is black or white, by contrast
 * @cssprop --a4w-bg-color - the background
 * @cssprop --a4w-text-color - the text
 * @cssprop --a4w-secondary-bg - code, hovered buttons, the field
 * @cssprop --a4w-border-color - lines and borders
 * @cssprop --a4w-font - the font family
 * @cssprop --a4w-radius - the roundness of the field and of cards
 */
export class ChatWindow extends ChatElement {
  static override styles = [shared, styles];

  static override properties = ['view', 'menu', 'history', 'editing', 'forgetting', 'notice', 'picture'];

  declare view: View;
  declare menu: boolean;
  /** Whether the list of past conversations is shown instead of this one. */
  declare history: boolean;
  declare editing: Turn | undefined;
  /** The conversation to delete after confirmation: this one, or one from the list. */
  declare forgetting: Pick<Chat, 'id' | 'title'> | undefined;
  declare notice: string;
  declare picture: HTMLImageElement | undefined;

  readonly memory: ChatMemory;
  readonly options: WindowOptions;
  readonly strings: Strings;
  readonly service: ChatService;
  readonly chat: ChatController;
  readonly #announcer = new Announcer();
  #announced: Turn | undefined;
  #unread = 0;
  #waiting = '';
  #countdown: ReturnType<typeof setTimeout> | undefined;

  constructor(options: WindowOptions, strings: Strings, tell: (name: EventName, detail: EventDetail) => void) {
    super();
    this.options = options;
    this.strings = strings;
    this.memory = new ChatMemory(options.widgetId, options, personOf(options.userToken));
    this.service = new ChatService(options, options.userToken, options.context);
    this.chat = new ChatController(this.service, this.memory, {
      onChange: () => this.requestUpdate(),
      onText: (turn) => {
        this.#list?.grow(turn);
        this.#announcer.follow(turn.answer, false);
      },
      onEvent: (name, detail) => {
        tell(name, detail);
        if (name === 'answer' || (name === 'error' && detail.id)) this.#arrived(detail.text ?? '');
      },
    });
    options.avatar((image) => {
      this.picture = image;
    });
    this.addEventListener('click', (event) => {
      if (!event.composedPath().includes(this.find('.more') as EventTarget)) this.menu = false;
    });
  }

  override connectedCallback(): void {
    super.connectedCallback();
    // Also if nothing has the focus: after a press on the header, or on something that has disappeared since.
    addEventListener('keydown', (event) => this.#onKey(event));
    for (const event of ['online', 'offline']) addEventListener(event, () => this.requestUpdate());
    addEventListener('offline', () => this.#announcer.say(this.strings.offlineNote));
    void this.chat.restore();
  }

  /**
   * Focuses the field or its replacement. On a low screen, an on-screen keyboard would cover the conversation. The frame's
   * height says nothing about the screen: it may still be the bubble's.
   */
  override focus(): void {
    const byFinger = this.view.low && matchMedia('(pointer:coarse)').matches;
    const places = `chat-history, .consent button, ${byFinger ? '.more' : 'input-area'}`;
    void this.updateComplete.then(() => (this.find('.asking') ?? this.find(places))?.focus());
  }

  place(view: View): void {
    const opens = view.open && !this.view?.open;
    this.view = view;
    this.hidden = !view.open;
    this.toggleAttribute('full', view.full);
    this.setAttribute('mode', view.mode);
    this.setAttribute('theme', view.dark ? 'dark' : 'light');
    if (view.open && this.#unread) void this.#tellUnread(0);
    if (opens) this.#restoreDraft();
  }

  send(text: string): void {
    this.history = false;
    if (this.#needsConsent) {
      this.#waiting = text;
      this.focus();
      return;
    }
    this.notice = '';
    this.#list?.follow();
    this.chat.send(text);
  }

  newConversation(): void {
    this.history = false;
    this.forgetting = undefined;
    this.chat.newConversation();
  }

  #startAnew(): void {
    this.newConversation();
    this.focus();
  }

  identify(token: string): void {
    if (!this.chat.identify(token)) return;
    // The conversation belonged to someone else, and so do its announcements and drafts.
    this.history = this.menu = false;
    this.forgetting = undefined;
    this.notice = this.#waiting = '';
    this.find('dialog')?.remove();
    this.#announcer.stop();
    void this.#tellUnread(0);
    this.#restoreDraft();
  }

  setDraft(draft: string): void {
    this.memory.set({ draft });
    this.history = false;
    this.#endEdit();
  }

  setContext(facts: Record<string, string>): void {
    this.service.context = facts;
  }

  get #list(): MessageList | null {
    return this.find('message-list');
  }

  get #input(): InputArea | null {
    return this.find('input-area');
  }

  get heading(): string {
    return this.options.settings.title ?? this.strings.title;
  }

  /** How to reach a person: an address, 'form', or nothing. The form needs a conversation to send. */
  get person(): string | undefined {
    const { handoff } = this.options.settings;
    return handoff !== 'form' || this.chat.remembered ? handoff : '';
  }

  get #needsConsent(): boolean {
    return !!this.options.settings.consent && !this.memory.get().agreed;
  }

  override render() {
    const { settings, limit } = this.options;
    const { status } = this.chat;
    const { view, strings } = this;
    const [state, text] = headerState(this.chat, this.#wait, strings, rare?.pausedText);
    const bubble = view.mode === 'bubble';
    // The focus must not leave a dialog that covers the page.
    const edge = (turn: () => void) => (bubble && view.full ? html`<div tabindex="0" @focus=${turn}></div>` : nothing);
    const avatar = this.picture
      ? html`<img .crossOrigin=${this.picture.crossOrigin} src=${this.picture.src} alt="">`
      : icons.spark;
    return html`
      ${edge(() => this.focus())}
      <header @wheel=${this.#onWheel}>
        <div class="avatar">${avatar}</div>
        <div class="who">
          <h1 dir="auto">${this.heading}</h1>
          <div class="status" data-status=${state}>${text}</div>
        </div>
        <div class="controls" role="group" aria-label=${strings.controls} @focusout=${this.#onLeave}>
          ${this.chat.last ? iconButton(strings.newConversation, icons.compose, this.#startAnew) : nothing}
          ${iconButton(strings.more, icons.more, this.#toggleMenu, 'icon more', { expanded: !!this.menu })}
          ${this.menu ? rarely(this)?.renderMenu(this) : nothing}
          ${
            bubble && !view.full
              ? iconButton(
                  view.expanded ? strings.shrink : strings.expand,
                  view.expanded ? icons.shrink : icons.expand,
                  () => this.tell('window-expand'),
                )
              : nothing
          }
          ${bubble ? iconButton(strings.close, icons.close, this.#close) : nothing}
        </div>
      </header>
      ${this.history ? rarely(this)?.renderHistory(this) : nothing}
      <message-list
        ?hidden=${this.history}
        .chat=${this.chat}
        .strings=${strings}
        .site=${this.options.site}
        .greeting=${settings.greeting ?? strings.greeting}
        .privacy=${settings.consent ? nothing : privacyNote(settings.privacy, settings.privacyUrl, strings)}
        .suggestions=${settings.suggestions ?? []}
        .followUps=${settings.followUps ?? []}
        .avatar=${avatar}
        .editing=${this.editing}
        .person=${this.person}
        @message-send=${(event: CustomEvent<string>) => this.send(event.detail)}
        @turn-edit=${this.#edit}
        @person=${() => rare?.talkToPerson(this)}
        @notice=${(event: CustomEvent<string>) => this.note(event.detail)}
      ></message-list>
      ${this.forgetting ? rarely(this)?.renderForget(this) : nothing}
      ${!navigator.onLine ? html`<div class="offline">${strings.offlineNote}</div>` : nothing}
      ${
        this.#needsConsent
          ? html`<div class="consent">${privacyNote(settings.privacy ?? strings.consentText, settings.privacyUrl, strings)}
              <button class="pill primary" @click=${this.#agree}>${strings.consent}</button></div>`
          : html`<input-area
              ?hidden=${this.history}
              .strings=${strings}
              .placeholder=${settings.placeholder ?? strings.placeholder}
              .limit=${limit}
              .busy=${status !== 'idle' && status !== 'restoring'}
              .editing=${!!this.editing}
              @message-send=${this.#onSend}
              @message-draft=${this.#onDraft}
              @message-stop=${() => this.chat.stop()}
              @edit-cancel=${this.#leaveEdit}
            ></input-area>`
      }
      <footer class=${this.notice ? 'notice' : ''} @wheel=${this.#onWheel}>${this.notice || strings.note}</footer>
      <div class="hidden">${this.#announcer.element}</div>
      ${edge(() => this.find('.controls button')?.focus())}
    `;
  }

  override updated(): void {
    const { mode, full } = this.view;
    this.setAttribute('aria-label', this.heading);
    this.setAttribute('role', mode === 'bubble' ? 'dialog' : 'region');
    if (mode === 'bubble') this.setAttribute('aria-modal', `${full}`);
    // Another question is the last one now, or none.
    if (this.editing && this.editing !== this.chat.last) this.#endEdit();
    this.#announce();
    clearTimeout(this.#countdown);
    if (this.#wait > 0) this.#countdown = setTimeout(() => this.requestUpdate(), 1000);
  }

  /** Seconds until the last question can be retried. */
  get #wait(): number {
    return Math.ceil(((this.chat.last?.retryAt ?? 0) - Date.now()) / 1000);
  }

  /** Announces the beginning and the ending of an answer; its sentences are announced with the text. */
  #announce(): void {
    const strings = this.strings;
    const turn = this.chat.last;
    if (turn?.status === 'running') {
      if (this.#announced === turn) return;
      this.#announced = turn;
      this.#announcer.begin(strings.answering);
    } else if (turn && this.#announced === turn) {
      this.#announced = undefined;
      this.#announcer.follow(turn.answer, true);
      const end = () => this.#announcer.say(endText(turn, strings, rare?.problemText) || strings.answered);
      if (turn.status === 'complete') end();
      else void loadRare().then(end);
    }
  }

  /** Handles the end of an answer, successful or not. */
  #arrived(answer: string): void {
    if (!this.view.open) void this.#tellUnread(this.#unread + 1, plainText(answer).slice(0, MAX_PREVIEW));
    if (this.options.settings.sound && !this.memory.get().muted) void loadRare().then(() => rare?.chime());
  }

  async #tellUnread(count: number, preview = ''): Promise<void> {
    this.#unread = count;
    if (count) await loadRare();
    const label = rare?.unreadText(count, this.strings);
    if (count === this.#unread) this.tell('window-unread', { count, preview, label });
  }

  /** Shows and announces a notice. */
  note(text: string): void {
    if (text !== this.strings.copied) this.notice = text;
    this.#announcer.say(text);
  }

  #onKey(event: KeyboardEvent): void {
    if (!isPressed(event, 'Escape') || !this.view.open) return;
    if (this.menu) {
      this.menu = false;
      this.find('.more')?.focus();
    } else if (this.forgetting || this.history) this.back();
    else if (this.#list?.commenting) {
      this.#list.commenting = undefined;
      this.focus();
    } else if (this.editing) this.#leaveEdit();
    else if (this.view.mode === 'bubble') this.#close();
  }

  /** Keeps wheel and touch events from scrolling the page behind the window. */
  #onWheel(event: WheelEvent): void {
    if (this.view.mode === 'bubble' && !event.ctrlKey) event.preventDefault();
  }

  #close(): void {
    this.tell('window-close');
  }

  async #toggleMenu(): Promise<void> {
    this.notice = '';
    await loadRare();
    this.menu = !this.menu && !!rare;
    if (!rare) this.note(this.strings.errorGeneric);
  }

  /** The keyboard leaves the menu. Safari gives no focus to what is pressed, and so says nothing of where it goes. */
  #onLeave(event: FocusEvent): void {
    const to = event.relatedTarget as Element | null;
    if (to && !to.closest('.menu, .more')) this.menu = false;
  }

  /** Returns from the delete confirmation to the list, or to the conversation. */
  back(): void {
    if (this.forgetting) this.forgetting = undefined;
    else this.history = false;
    this.focus();
  }

  #agree(): void {
    this.memory.set({ agreed: true });
    this.requestUpdate();
    this.#restoreDraft();
    this.focus();
    if (this.#waiting) this.send(this.#waiting);
  }

  #edit(): void {
    this.editing = this.chat.last;
    this.#input?.fill(this.chat.last?.question ?? '');
    this.focus();
  }

  #leaveEdit(): void {
    this.#endEdit();
    this.focus();
  }

  /** Restores the previous draft in the field. */
  #endEdit(): void {
    this.editing = undefined;
    this.#restoreDraft();
  }

  /** Also called when the window is shown: only then can the field be measured. */
  #restoreDraft(): void {
    void this.updateComplete.then(() => !this.editing && this.#input?.fill(this.memory.get().draft));
  }

  #onDraft({ detail: draft }: CustomEvent<string>): void {
    if (!this.editing) this.memory.set({ draft });
  }

  #onSend({ detail: text }: CustomEvent<string>): void {
    if (this.editing) {
      this.#leaveEdit();
      this.#list?.follow();
      this.chat.resend(text);
    } else {
      this.memory.set({ draft: '' });
      this.send(text);
    }
  }
}

register('chat-window', ChatWindow);

declare global {
  interface HTMLElementTagNameMap {
    'chat-window': ChatWindow;
  }
}
