import { html, LitElement, nothing, type PropertyValues } from 'lit';
import { define } from '../app/dom.ts';
import { duration, fill, type Strings } from '../strings/index.ts';
import type { ChatStatus, Turn } from './chat-controller.ts';
import { copyText } from './clipboard.ts';
import { endText } from './end-text.ts';
import { growingText, growText } from './growing-text.ts';
import * as icons from './icons.ts';
import { styles } from './message-list.styles.ts';
import { shared } from './shared.styles.ts';

/** How near its end the list counts as being there, in pixels. */
const NEAR = 24;
/** A greeting up to this length is a headline. */
const HEADLINE = 80;

/**
 * The conversation. It stays at its end while the visitor is there, and never pulls them away from anywhere else.
 *
 * @fires suggestion-pick - with its text
 * @fires turn-retry - the last answer shall be tried again
 * @fires turn-continue - the answer was cut off, and shall go on
 * @fires turn-copied - an answer is in the clipboard
 * @fires restore-retry - the earlier messages shall be loaded again
 */
export class MessageList extends LitElement {
  static override styles = [shared, styles];

  static override properties = {
    strings: { attribute: false },
    greeting: { attribute: false },
    suggestions: { attribute: false },
    // The controller changes turns in place: every render of the window is one of the list.
    turns: { attribute: false, hasChanged: () => true },
    status: { attribute: false },
    restoreFailed: { attribute: false },
    copied: { state: true },
    following: { state: true },
  };

  declare strings: Strings;
  declare greeting: string;
  declare suggestions: string[];
  declare turns: Turn[];
  declare status: ChatStatus;
  declare restoreFailed: boolean;
  declare copied: Turn | undefined;
  /** The visitor is at the end, and stays there as it grows. */
  declare following: boolean;

  #top = 0;
  #countdown: ReturnType<typeof setInterval> | undefined;
  #copiedFor: ReturnType<typeof setTimeout> | undefined;
  readonly #resized = new ResizeObserver(() => this.#keepUp());

  constructor() {
    super();
    this.following = true;
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearInterval(this.#countdown);
    clearTimeout(this.#copiedFor);
    this.#resized.disconnect();
  }

  get #scroller(): HTMLElement | null {
    return this.renderRoot.querySelector('.scroll');
  }

  /** The text of the answer being written has grown: nothing but its text node is touched. */
  grow(turn: Turn): void {
    const live = turn === this.turns.at(-1) && this.renderRoot.querySelector('.live .text');
    if (!live) return;
    growText(live, turn.answer);
    this.#keepUp();
  }

  /** Goes to the end, and stays there. */
  follow(): void {
    this.following = true;
    this.#keepUp();
  }

  override render() {
    const { strings, turns, following } = this;
    return html`
      <div class="scroll" role="log" aria-live="off" tabindex="0" aria-label=${strings.conversation}
        @scroll=${this.#onScroll}>
        ${this.restoreFailed ? this.#renderRestoreFailed() : nothing}
        ${turns.length ? turns.map(this.#renderTurn) : this.#renderEmpty()}
      </div>
      ${
        following
          ? nothing
          : html`<button class="latest" type="button" title=${strings.latest} aria-label=${strings.latest}
              @click=${this.follow}>${icons.down}</button>`
      }
    `;
  }

  #renderEmpty() {
    if (this.status === 'restoring') {
      return html`<div class="skeleton"></div><div class="skeleton"></div><div class="skeleton"></div>`;
    }
    return html`
      <div class="welcome">
        <div class="hello">
          <div class="mark">${icons.spark}</div>
          <p class="greeting ${this.greeting.length > HEADLINE ? 'long' : ''}" dir="auto">${this.greeting}</p>
        </div>
        <div class="suggestions">
          ${this.suggestions.map(
            (text) =>
              html`<button class="pill" type="button" dir="auto" @click=${() => this.#tell('suggestion-pick', text)}>${text}</button>`,
          )}
        </div>
      </div>
    `;
  }

  #renderRestoreFailed() {
    const { strings } = this;
    return html`<div class="notice problem">${icons.alert}<span>${strings.restoreFailed}</span>
      <button class="pill" type="button" @click=${() => this.#tell('restore-retry')}>${icons.retry}${strings.retry}</button></div>`;
  }

  readonly #renderTurn = (turn: Turn) => {
    const { strings } = this;
    const live = turn.status === 'running';
    return html`
      <div class="turn">
        <div class="question" dir="auto"><span class="hidden">${strings.you} </span><span class="text">${turn.question}</span></div>
        <div class="answer ${live ? 'live' : ''}">
          <span class="hidden">${strings.assistant} </span>
          <div class="text" dir="auto" ?hidden=${!turn.answer} ${growingText(turn.answer)}></div>
          ${live && !turn.answer ? html`<typing-indicator></typing-indicator>` : nothing}
          ${live && turn.answer && this.status === 'reconnecting' ? html`<div class="notice">${strings.reconnecting}</div>` : nothing}
          ${!live && turn.answer ? this.#renderActions(turn) : nothing}
          ${live ? nothing : this.#renderEnd(turn)}
        </div>
      </div>
    `;
  };

  #renderEnd(turn: Turn) {
    const text = endText(turn, this.strings);
    if (!text) return nothing;
    const problem = turn.status === 'error' || turn.status === 'lost' || turn.status === 'empty';
    return html`<div class="notice ${problem ? 'problem' : ''}">${problem ? icons.alert : nothing}
      <span>${text}</span>${turn === this.turns.at(-1) ? this.#renderWayOut(turn) : nothing}</div>`;
  }

  /** Only the last answer can be tried again or go on. */
  #renderWayOut(turn: Turn) {
    const { strings } = this;
    if (turn.status === 'length') {
      return html`<button class="pill" type="button" ?disabled=${this.status !== 'idle'}
        @click=${() => this.#tell('turn-continue')}>${strings.continue}</button>`;
    }
    const seconds = Math.max(Math.ceil((turn.retryAt - Date.now()) / 1000), 0);
    return html`<button class="pill" type="button" ?disabled=${seconds > 0 || this.status !== 'idle'}
      @click=${() => this.#tell('turn-retry')}>${icons.retry}${seconds ? fill(strings.retryIn, { time: duration(seconds) }) : strings.retry}</button>`;
  }

  #renderActions(turn: Turn) {
    const { strings } = this;
    const label = this.copied === turn ? strings.copied : strings.copy;
    return html`<div class="actions"><button class="icon" type="button" title=${label} aria-label=${label}
      @click=${() => this.#copy(turn)}>${this.copied === turn ? icons.check : icons.copy}</button></div>`;
  }

  protected override firstUpdated(): void {
    if (this.#scroller) this.#resized.observe(this.#scroller);
  }

  protected override updated(_changed: PropertyValues): void {
    const waits = (this.turns.at(-1)?.retryAt ?? 0) > Date.now();
    if (waits) this.#countdown ??= setInterval(() => this.requestUpdate(), 1000);
    else {
      clearInterval(this.#countdown);
      this.#countdown = undefined;
    }
    this.#keepUp();
  }

  #keepUp(): void {
    const scroller = this.#scroller;
    if (this.following && scroller) scroller.scrollTop = scroller.scrollHeight;
  }

  #onScroll(): void {
    const scroller = this.#scroller;
    if (!scroller?.clientHeight) return;
    const left = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    // The list itself only ever scrolls down: up is the visitor, however little.
    if (scroller.scrollTop < this.#top && left > 1) this.following = false;
    else if (left <= NEAR) this.following = true;
    this.#top = scroller.scrollTop;
  }

  async #copy(turn: Turn): Promise<void> {
    if (!(await copyText(turn.answer))) return;
    this.copied = turn;
    this.#tell('turn-copied');
    clearTimeout(this.#copiedFor);
    this.#copiedFor = setTimeout(() => {
      this.copied = undefined;
    }, 1500);
  }

  #tell(name: string, detail?: string): void {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

define('message-list', MessageList);

declare global {
  interface HTMLElementTagNameMap {
    'message-list': MessageList;
  }
}
