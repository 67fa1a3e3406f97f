import { html, LitElement, nothing } from 'lit';
import { define } from '../app/dom.ts';
import { MAX_TEXT } from '../protocol.ts';
import { fill, type Strings } from '../strings/index.ts';
import * as icons from './icons.ts';
import { styles } from './input-area.styles.ts';
import { shared } from './shared.styles.ts';

/** From how many characters before the limit they are counted down. */
const NEAR = 200;

/**
 * The field: it grows with its text, Enter sends, Shift+Enter breaks the line.
 *
 * @fires message-send - with the text
 * @fires message-stop - the answer being written shall stop
 */
export class InputArea extends LitElement {
  static override styles = [shared, styles];

  static override properties = {
    strings: { attribute: false },
    placeholder: { attribute: false },
    busy: { type: Boolean },
    length: { state: true },
  };

  declare strings: Strings;
  declare placeholder: string;
  /** An answer is being written: the visitor may go on typing, but sends when it has ended. */
  declare busy: boolean;
  /** Of the text as it would be sent, in characters as the service counts them. */
  declare length: number;

  constructor() {
    super();
    this.busy = false;
    this.length = 0;
  }

  get #field(): HTMLTextAreaElement | null {
    return this.renderRoot.querySelector('textarea');
  }

  override focus(): void {
    void this.updateComplete.then(() => this.#field?.focus({ preventScroll: true }));
  }

  override render() {
    const { strings, placeholder, length } = this;
    const left = MAX_TEXT - length;
    return html`
      <form @submit=${this.#onSubmit}>
        <textarea rows="1" dir="auto" enterkeyhint="send" autocomplete="off" placeholder=${placeholder}
          aria-label=${placeholder} aria-describedby="count" @input=${this.#onInput} @keydown=${this.#onKey}></textarea>
        ${
          this.busy
            ? html`<button class="send stop" type="button" title=${strings.stop} aria-label=${strings.stop}
                @click=${this.#onStop}>${icons.stop}</button>`
            : html`<button class="send" type="submit" title=${strings.send} aria-label=${strings.send}
                ?disabled=${length === 0 || left < 0}>${icons.send}</button>`
        }
      </form>
      <div id="count" class="count ${left < 0 ? 'over' : ''}" ?hidden=${left > NEAR}>
        ${left > NEAR ? nothing : fill(left < 0 ? strings.charactersOver : strings.charactersLeft, { count: Math.abs(left) })}
      </div>
    `;
  }

  #onInput(): void {
    const field = this.#field;
    if (!field) return;
    this.length = [...field.value.trim()].length;
    this.#fit(field);
  }

  #fit(field: HTMLTextAreaElement): void {
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight}px`;
  }

  /** An input method uses Enter to accept a word. Safari says so only with the old key code, after the composition. */
  #onKey(event: KeyboardEvent): void {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#send();
  }

  #onSubmit(event: Event): void {
    event.preventDefault();
    this.#send();
  }

  #send(): void {
    const field = this.#field;
    const message = field?.value.trim();
    if (!field || !message || this.busy || this.length > MAX_TEXT) return;
    field.value = '';
    this.#onInput();
    field.focus({ preventScroll: true });
    this.dispatchEvent(new CustomEvent('message-send', { detail: message }));
  }

  #onStop(): void {
    this.dispatchEvent(new Event('message-stop'));
    this.#field?.focus({ preventScroll: true });
  }
}

define('input-area', InputArea);

declare global {
  interface HTMLElementTagNameMap {
    'input-area': InputArea;
  }
}
