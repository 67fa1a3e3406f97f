/**
 * Whether a key was pressed for what it says. An input method uses Enter to accept a word and Escape to drop it, which
 * Safari says only with the old key code, after the composition.
 */
export const isPressed = (event: KeyboardEvent, key: string): boolean =>
  event.key === key && !event.isComposing && event.keyCode !== 229;
