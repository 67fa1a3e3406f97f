import { html, noChange, nothing } from 'lit/html.js';
import { define } from '../../shared/dom.ts';
import type { Strings } from '../../strings/index.ts';
import type { AnswerText } from './answer-text.ts';
import './answer-text.ts';
import { ChatElement, register } from '../base/chat-element.ts';
import { copyText } from '../base/clipboard.ts';
import { dayName, isSameDay, timeOf } from '../base/dates.ts';
import { iconButton } from '../base/icon-button.ts';
import * as icons from '../base/icons.ts';
import { shared } from '../base/shared.styles.ts';
import type { ChatController } from '../conversation/chat-controller.ts';
import { endText } from '../conversation/end-text.ts';
import type { Rating, Turn } from '../conversation/turn.ts';
import { markdownStyles } from '../markdown/index.ts';
import { styles } from './message-list.styles.ts';
import { loadRare, rare, rarely } from './rare.ts';

/** How close to its end the list counts as scrolled to it, in pixels. */
const NEAR = 24;
/** Between a question and the upper edge, in pixels. */
const EDGE = 12;
/** A greeting up to this length is a headline. */
const HEADLINE = 80;
/** Three dots until an answer's first words arrive. Screen readers get an announcement instead. */
const TYPING = html`<typing-indicator aria-hidden="true"><i></i><i></i><i></i></typing-indicator>`;

/**
 * The conversation. It follows its end while the visitor is there, and otherwise never scrolls.
 *
 * @fires message-send - the visitor pressed a suggestion, with its text
 * @fires turn-edit - the visitor edits the last question
 * @fires person - the visitor wants to reach a person with the form
 * @fires notice - a text to show and announce
 */
export class MessageList extends ChatElement {
  static override styles = [shared, markdownStyles, styles];

  // The window sets `chat` with each of its renders, and everything else with it.
  static override properties = ['chat', 'copied', 'commenting', 'more'];

  declare chat: ChatController;
  declare strings: Strings;
  /** The URL of the host page. */
  declare site: string;
  declare greeting: string;
  declare privacy: unknown;
  declare suggestions: string[];
  declare followUps: string[];
  declare avatar: unknown;
  /** The turn whose question is being edited. */
  declare editing: Turn | undefined;
  declare copied: Turn | undefined;
  /** The answer that was just rated and can be commented on. */
  declare commenting: Turn | undefined;
  /** How to reach a person instead: an address, 'form', or nothing. */
  declare person: string | undefined;
  /** There is more below. */
  declare more: boolean;

  /**
   * Where the list goes as it grows: to its `end`, or so far that the last `question` stays in view, for an answer is
   * read from its beginning. `nowhere`: the visitor is somewhere else.
   */
  #goal: 'end' | 'question' | 'nowhere' = 'end';
  #top = 0;
  /** The element that had the focus before a redraw. */
  #focused: Element | null | undefined;
  /** The rendered turns, cached so that a long conversation costs no more than its last turn. */
  #drawn: string[] = [];
  #copiedFor: ReturnType<typeof setTimeout> | undefined;
  readonly #resized = new ResizeObserver(() => this.#keepUp());

  get #scroller(): HTMLElement | null {
    return this.find('.scroll');
  }

  /** Updates the growing text of the current answer, touching only its last part. */
  grow(turn: Turn): void {
    const live = turn === this.chat.last && this.find<AnswerText>('.live .text');
    if (!live) return;
    live.markdown = [turn.answer, 'growing', turn.sources];
    this.#keepUp();
  }

  /** Scrolls to the question that was just asked, with as much of its answer as fits. */
  follow(): void {
    this.#goal = 'question';
    this.#keepUp();
  }

  #toEnd(): void {
    this.#goal = 'end';
    this.#keepUp();
  }

  override render() {
    const { strings } = this;
    this.#focused = this.root.activeElement;
    const { turns, waiting, restoreFailed } = this.chat;
    // A conversation opens at its end, wherever the visitor was in the previous one.
    if (!turns.length && !waiting.length) this.#goal = 'end';
    this.#drawn.length = turns.length;
    return html`
      <div class="scroll" role="log" aria-live="off" tabindex="0" aria-label=${strings.conversation}
        @scroll=${this.#onScroll}>
        ${restoreFailed ? rarely(this)?.renderNotRestored(strings, () => this.chat.restore()) : nothing}
        ${turns.length ? turns.map(this.#renderTurn) : this.#renderEmpty()}
        ${waiting.map((question) => this.#renderQuestion(question))}
      </div>
      ${this.more ? iconButton(strings.latest, icons.arrow, this.#toEnd, 'latest over') : nothing}
    `;
  }

  #renderEmpty() {
    if (this.chat.status === 'restoring') {
      return html`<div class="skeleton"></div><div class="skeleton"></div><div class="skeleton"></div>`;
    }
    return html`
      <div class="welcome">
        <div class="hello">
          <div class="mark">${this.avatar}</div>
          <p class="greeting ${this.greeting.length > HEADLINE ? 'long' : ''}" dir="auto">${this.greeting}</p>
        </div>
        ${this.#renderChips(this.suggestions)}
        ${this.privacy}
      </div>
    `;
  }

  #renderChips(texts: string[]) {
    return texts.length
      ? html`<div class="chips" role="group" aria-label=${this.strings.suggestions}>${texts.map(
          (text) =>
            html`<button class="pill" dir="auto" @click=${() => this.tell('message-send', text)}>${text}</button>`,
        )}</div>`
      : nothing;
  }

  readonly #renderTurn = (turn: Turn, index: number, turns: Turn[]) => {
    const { strings } = this;
    const { status } = this.chat;
    const last = turn === turns.at(-1);
    const drawn = [
      turn.id,
      turn.status,
      turn.rating,
      last,
      turn === this.copied,
      turn === this.commenting,
      turn.status === 'complete' || !!rare,
    ].join();
    if (!last && drawn === this.#drawn[index]) return noChange;
    this.#drawn[index] = drawn;
    const before = turns[index - 1];
    const live = turn.status === 'running';
    return html`
      ${turn.at && !(before && isSameDay(before.at, turn.at)) ? html`<div class="day">${dayName(turn.at)}</div>` : nothing}
      <div class="turn ${last ? 'last' : ''}">
        ${this.#renderQuestion(
          turn.question,
          turn === this.editing ? 'editing' : '',
          last && !live ? iconButton(strings.edit, icons.pen, () => this.tell('turn-edit')) : nothing,
        )}
        <div class="answer ${live ? 'live' : ''}">
          <h2 class="hidden">${strings.assistant}</h2>
          <answer-text class="text" ?hidden=${!live && !turn.answer} .strings=${strings} .site=${this.site} .markdown=${[turn.answer, live ? 'growing' : turn.status === 'complete' ? 'whole' : 'cut', turn.sources]}>${
            live
              ? turn.position || navigator.onLine
                ? TYPING
                : html`<div class="notice">${strings.offlineWait}</div>`
              : nothing
          }</answer-text>
          ${live && turn.answer && status === 'reconnecting' ? html`<div class="notice">${strings.reconnecting}</div>` : nothing}
          ${live ? nothing : [this.#renderEnd(turn, last), this.#renderActions(turn, last)]}
        </div>
      </div>
      ${last && turn.status === 'complete' ? this.#renderChips(this.followUps) : nothing}
    `;
  };

  #renderQuestion(text: string, kind?: string, edit?: unknown) {
    return html`<div class="asked"><div class="question ${kind}">
        <h2 class="hidden">${this.strings.you}</h2><div class="text" dir="auto">${text}</div>
      </div>${edit}</div>`;
  }

  #renderEnd(turn: Turn, last: boolean) {
    const text = endText(turn, this.strings, turn.status === 'complete' ? undefined : rarely(this)?.problemText);
    if (!text) return nothing;
    const problem = /error|lost|empty/.test(turn.status);
    return html`<div class="notice ${problem ? 'problem' : ''}">${problem ? rarely(this)?.alert : nothing}
      <span>${text}</span>${last ? this.#renderWayOut(turn) : nothing}
      ${last && problem ? rarely(this)?.renderHelp(this, turn) : nothing}</div>`;
  }

  /** Only the last answer can be retried or continued. */
  #renderWayOut(turn: Turn) {
    const { strings } = this;
    const busy = this.chat.status !== 'idle';
    if (turn.status === 'length') return rare?.renderContinue(this, busy);
    if (turn.retryAt > Date.now()) return rare?.renderWait(strings, turn);
    return html`<button class="pill" ?disabled=${busy} @click=${this.#retry}>${icons.retry}${strings.retry}</button>`;
  }

  #renderActions(turn: Turn, last: boolean) {
    if (!turn.answer) return nothing;
    const { strings } = this;
    const copied = this.copied === turn;
    const rate = (rating: Rating, label: string, kind: string) =>
      iconButton(label, icons.thumb, () => this.#rate(turn, rating), kind, { pressed: turn.rating === rating });
    return html`<div class="actions" role="group" aria-label=${strings.actions}>
        ${iconButton(copied ? strings.copied : strings.copy, copied ? icons.check : icons.copy, () => this.#copy(turn))}
        ${last && turn.status === 'complete' ? iconButton(strings.regenerate, icons.retry, this.#retry) : nothing}
        ${rate('up', strings.good, 'icon')}${rate('down', strings.bad, 'icon over')}
        ${turn.at ? html`<time>${timeOf(turn.at)}</time>` : nothing}
      </div>
      ${this.commenting === turn ? rarely(this)?.renderComment(this, turn) : nothing}`;
  }

  override updated(): void {
    // The pressed control may have disappeared. Focusing the field instead would open a phone's keyboard.
    if (this.#focused && !this.root.activeElement) this.#scroller?.focus({ preventScroll: true });
    if (this.#scroller) this.#resized.observe(this.#scroller);
    this.#keepUp();
  }

  #keepUp(): void {
    const scroller = this.#scroller;
    if (!scroller) return;
    const turn = this.find('.last');
    if (turn && this.#goal !== 'nowhere') {
      const { scrollHeight, clientHeight } = scroller;
      const answer = turn.querySelector<HTMLElement>('.answer')?.offsetTop ?? 0;
      // Show the end of a long question.
      const question = Math.max(turn.offsetTop - EDGE, answer - clientHeight / 2);
      scroller.scrollTop = this.#goal === 'end' ? scrollHeight : Math.min(scrollHeight, question);
      this.#top = scroller.scrollTop;
    }
    this.#seeMore(scroller);
  }

  #onScroll(): void {
    const scroller = this.#scroller;
    if (!scroller?.clientHeight) return;
    const moved = scroller.scrollTop - this.#top;
    this.#top = scroller.scrollTop;
    const left = this.#seeMore(scroller);
    // The list itself goes to its end or stays: up is the visitor, however little, and so is down from a question.
    if (left <= NEAR && (moved > 0 || (left <= 1 && this.#goal === 'nowhere'))) this.#goal = 'end';
    else if (moved && left > 1 && (moved < 0 || this.#goal === 'question')) this.#goal = 'nowhere';
  }

  #seeMore({ scrollHeight, scrollTop, clientHeight }: HTMLElement): number {
    const left = scrollHeight - scrollTop - clientHeight;
    const more = left > NEAR && !!this.chat.last;
    if (more !== !!this.more) this.more = more;
    return left;
  }

  #retry(): void {
    this.follow();
    this.chat.retry();
  }

  async #copy(turn: Turn): Promise<void> {
    if (!(await copyText(turn.answer, this, this.strings))) return;
    this.copied = turn;
    clearTimeout(this.#copiedFor);
    this.#copiedFor = setTimeout(() => {
      this.copied = undefined;
    }, 1500);
  }

  async #rate(turn: Turn, rating: Rating): Promise<void> {
    const parts = await loadRare();
    if (parts) void parts.rate(this, turn, rating);
    else this.tell('notice', this.strings.errorGeneric);
  }
}

register('message-list', MessageList);
define('typing-indicator', class extends HTMLElement {});

declare global {
  interface HTMLElementTagNameMap {
    'message-list': MessageList;
  }
}
