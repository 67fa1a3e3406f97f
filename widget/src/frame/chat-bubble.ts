import { define, sheet } from '../shared/dom.ts';

// The speech bubble is a mask over the text colour, which stays correct in forced colours.
const styles = sheet(`
:host { position: fixed; bottom: 4px; right: 4px }
button {
  display: grid; place-items: center; width: 56px; height: 56px; border: 0; padding: 0; border-radius: 50%;
  background: var(--a4w-primary-color); color: var(--a4w-on-primary); cursor: pointer; outline-offset: 2px
}
button:hover { filter: brightness(1.15) }
button:empty::before {
  content: ''; width: 24px; height: 24px; scale: 1.3; background: currentColor; forced-color-adjust: none;
  clip-path: path(evenodd, 'M4 20l1.4-4a8.4 8.4 0 1 1 3 3zM9 11a1 1 0 1 0 .1 0zm3.4 0a1 1 0 1 0 .1 0zm3.4 0a1 1 0 1 0 .1 0z')
}
[aria-busy=true] { opacity: .5 }
@media (forced-colors: active) { button { border: 2px solid } }
`);

/** The round button in the corner of the page. It uses no library, because it is all that most visitors load. */
export class ChatBubble extends HTMLElement {
  readonly button = document.createElement('button');

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open', delegatesFocus: true });
    root.adoptedStyleSheets = [styles];
    root.append(this.button);
    this.button.ariaHasPopup = 'dialog';
  }

  set label(text: string) {
    this.button.ariaLabel = this.button.title = text;
  }
}

define('chat-bubble', ChatBubble);

declare global {
  interface HTMLElementTagNameMap {
    'chat-bubble': ChatBubble;
  }
}
