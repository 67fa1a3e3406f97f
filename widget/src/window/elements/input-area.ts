import { html, nothing } from 'lit/html.js';
import type { Strings } from '../../strings/index.ts';
import { ChatElement, register } from '../base/chat-element.ts';
import { iconButton } from '../base/icon-button.ts';
import * as icons from '../base/icons.ts';
import { isPressed } from '../base/keys.ts';
import { shared } from '../base/shared.styles.ts';
import { styles } from './input-area.styles.ts';
import { rarely } from './rare.ts';

/** The countdown starts this many characters before the limit. */
const NEAR = 200;

/**
 * The message field: it grows with its text, Enter sends, Shift+Enter inserts a line break.
 *
 * @fires message-send - with the text
 * @fires message-draft - with the text so far
 * @fires message-stop - the visitor stops the current answer
 * @fires edit-cancel - the visitor cancels editing the last question
 */
export class InputArea extends ChatElement {
  static override styles = [shared, styles];

  // The window sets `strings` with each of its renders, and everything else with it.
  static override properties = ['strings', 'length'];

  declare strings: Strings;
  declare placeholder: string;
  /** The longest text, in characters. */
  declare limit: number;
  /** Whether an answer is in progress: the visitor may type, but not send until it has ended. */
  declare busy: boolean;
  /** Whether the text replaces the last question. */
  declare editing: boolean;
  /** The length of the text to send, in characters as the service counts them. */
  declare length: number;

  readonly #resized = new ResizeObserver(() => this.#field && this.#measure(this.#field));

  constructor() {
    super();
    this.length = 0;
    this.#resized.observe(this);
  }

  get #field(): HTMLTextAreaElement | null {
    return this.find('textarea');
  }

  override focus(): void {
    void this.updateComplete.then(() => this.#field?.focus({ preventScroll: true }));
  }

  /** Puts a text into the field. */
  fill(text: string): void {
    void this.updateComplete.then(() => {
      const field = this.#field;
      if (!field) return;
      field.value = text;
      this.#measure(field);
    });
  }

  override render() {
    const { strings, placeholder, length, busy } = this;
    const left = this.limit - length;
    return html`
      ${this.editing ? rarely(this)?.renderEditing(strings, () => this.tell('edit-cancel')) : nothing}
      <form>
        <textarea rows="1" dir=${length ? 'auto' : nothing} enterkeyhint="send" autocomplete="off" placeholder=${placeholder}
          aria-label=${placeholder} aria-describedby="count" @input=${this.#onInput} @keydown=${this.#onKey}></textarea>
        ${iconButton(
          busy ? strings.stop : strings.send,
          busy ? icons.stop : icons.arrow,
          this.#onPress,
          busy ? 'send stop' : 'send',
          { disabled: !busy && (!length || left < 0) },
        )}
      </form>
      ${left > NEAR ? nothing : rarely(this)?.renderCount(strings, left)}
    `;
  }

  #onInput(event: Event): void {
    const field = event.target as HTMLTextAreaElement;
    this.#measure(field);
    this.tell('message-draft', field.value);
  }

  #measure(field: HTMLTextAreaElement): void {
    this.length = [...field.value.trim()].length;
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight}px`;
  }

  #onKey(event: KeyboardEvent): void {
    if (isPressed(event, 'Enter') && !event.shiftKey) this.#send(event);
  }

  #send(event: Event): void {
    event.preventDefault();
    const field = this.#field;
    const message = field?.value.trim();
    if (!field || !message || this.busy || this.length > this.limit) return;
    field.value = '';
    this.#measure(field);
    field.focus({ preventScroll: true });
    this.tell('message-send', message);
  }

  /** Ignores the second click of a double click, which is not meant for the button that has appeared. */
  #onPress(event: MouseEvent): void {
    if (event.detail > 1) return;
    if (this.busy) this.tell('message-stop');
    else this.#send(event);
    this.focus();
  }
}

register('input-area', InputArea);

declare global {
  interface HTMLElementTagNameMap {
    'input-area': InputArea;
  }
}
