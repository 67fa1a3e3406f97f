/**
 * Whether a key press is meant for the page. An input method uses Enter to accept a word and Escape to discard it, which
 * Safari reports only with the old key code, after the composition.
 */
export const isPressed = (event: KeyboardEvent, key: string): boolean =>
  event.key === key && !event.isComposing && event.keyCode !== 229;
