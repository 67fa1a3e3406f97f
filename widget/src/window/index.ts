/** The window with all its parts. */
// The style sheets first: what is alike packs better side by side.
import './markdown/styles.ts';
import './message-list.styles.ts';
import './input-area.styles.ts';
import './chat-window.styles.ts';
import './shared.styles.ts';

import type { Start } from '../app/start.ts';
import type { EventDetail, EventName } from '../protocol.ts';
import { loadStrings } from '../strings/index.ts';
import { ChatWindow } from './chat-window.ts';
import './input-area.ts';
import './message-list.ts';
import './typing-indicator.ts';

export async function createWindow(
  start: Start,
  tell: (name: EventName, detail: EventDetail) => void,
): Promise<ChatWindow> {
  return new ChatWindow(start, await loadStrings(start.locale), tell);
}
