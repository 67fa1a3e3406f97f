import { define } from '../../shared/dom.ts';

/** Three dots, until an answer's first words are there. Screen readers are told in words elsewhere. */
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
