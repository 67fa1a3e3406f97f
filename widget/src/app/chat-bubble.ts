import { define, icon, sheet } from './dom.ts';

const styles = sheet(`
:host { position: fixed; inset: 0; display: grid; place-items: center }
button {
  all: unset; box-sizing: border-box; display: grid; place-items: center; width: 56px; height: 56px; border-radius: 50%;
  background: var(--a4w-primary-color); color: var(--a4w-on-primary); cursor: pointer;
  transition: transform .18s cubic-bezier(.3, 1.6, .6, 1)
}
button:hover { transform: scale(1.06) }
button:active { transform: scale(.96) }
button:focus-visible { outline: 2px solid var(--a4w-primary-color); outline-offset: 2px }
svg { width: 26px; fill: none; stroke: currentColor; stroke-width: 1.9; stroke-linecap: round; stroke-linejoin: round }
[aria-busy=true] svg { animation: busy 1s infinite alternate }
@keyframes busy { to { opacity: .35 } }
@media (prefers-reduced-motion: reduce) { button { transition: none } }
@media (forced-colors: active) { button { border: 2px solid ButtonText } }
`);

const SPEECH =
  'M20.5 11.6a8.3 8.3 0 0 1-12 7.5L4 20.5l1.4-4.3a8.4 8.4 0 1 1 15.1-4.6ZM8.6 11.8h0M12.2 11.8h0M15.8 11.8h0';

/**
 * The round button in the corner of the page. No library: it is all that most visitors ever load.
 *
 * @fires bubble-want - the pointer or the keyboard is on it: it may be pressed soon
 * @fires bubble-press - it was pressed
 */
export class ChatBubble extends HTMLElement {
  readonly #button = document.createElement('button');

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    root.adoptedStyleSheets = [styles];
    this.#button.type = 'button';
    this.#button.setAttribute('aria-haspopup', 'dialog');
    this.#button.append(icon(SPEECH));
    root.append(this.#button);
    const tell = (name: string) => () => this.dispatchEvent(new Event(name));
    this.#button.addEventListener('pointerenter', tell('bubble-want'));
    this.#button.addEventListener('focus', tell('bubble-want'));
    this.#button.addEventListener('click', tell('bubble-press'));
  }

  set label(text: string) {
    this.#button.setAttribute('aria-label', text);
    this.#button.title = text;
  }

  set busy(busy: boolean) {
    this.#button.setAttribute('aria-busy', String(busy));
  }

  override focus(): void {
    this.#button.focus();
  }
}

define('chat-bubble', ChatBubble);

declare global {
  interface HTMLElementTagNameMap {
    'chat-bubble': ChatBubble;
  }
}
