import { html, nothing } from 'lit/html.js';

/** A button with an icon and an accessible label. `state`: whether it is pressed or expanded. */
export const iconButton = (
  label: string,
  icon: unknown,
  press: (event: MouseEvent) => void,
  kind = 'icon',
  state: { pressed?: boolean; expanded?: boolean; disabled?: boolean } = {},
) => html`<button class=${kind} type="button" title=${label} aria-label=${label}
  aria-pressed=${state.pressed ?? nothing} aria-expanded=${state.expanded ?? nothing}
  ?disabled=${state.disabled} @click=${press}>${icon}</button>`;
