/** Fetched when the visitor opens the menu, from which alone the list of past conversations is reached. */
export { ChatHistory } from './chat-history.ts';
export { menuStyles } from './chat-menu.styles.ts';
export { chatMenu } from './chat-menu.ts';
