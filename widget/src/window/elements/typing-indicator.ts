import { define } from '../../shared/dom.ts';

/** Three dots until an answer's first words arrive. Screen readers get an announcement instead. */
export class TypingIndicator extends HTMLElement {
  connectedCallback(): void {
    this.ariaHidden = 'true';
    this.replaceChildren(...[1, 2, 3].map(() => document.createElement('i')));
  }
}

define('typing-indicator', TypingIndicator);

declare global {
  interface HTMLElementTagNameMap {
    'typing-indicator': TypingIndicator;
  }
}
