import { html } from 'lit/html.js';
import { ChatElement, register } from './chat-element.ts';
import { shared } from './shared.styles.ts';
import { styles } from './typing-indicator.styles.ts';

/** Three dots, until an answer's first words are there. Screen readers are told in words elsewhere. */
export class TypingIndicator extends ChatElement {
  static override styles = [shared, styles];

  override connectedCallback(): void {
    super.connectedCallback();
    this.ariaHidden = 'true';
  }

  override render() {
    return html`<i></i><i></i><i></i>`;
  }
}

register('typing-indicator', TypingIndicator);

declare global {
  interface HTMLElementTagNameMap {
    'typing-indicator': TypingIndicator;
  }
}
