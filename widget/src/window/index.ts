/** The second chunk: everything that a visitor needs only after opening the chat. */
import type { Start } from '../app/ai-chat-widget.ts';
import type { EventDetail, EventName } from '../protocol.ts';
import { loadStrings } from '../strings/index.ts';
import { ChatWindow } from './chat-window.ts';
import './chat-history.ts';
import './chat-menu.ts';
import './input-area.ts';
import './message-list.ts';
import './typing-indicator.ts';

export async function createWindow(
  start: Start,
  tell: (name: EventName, detail: EventDetail) => void,
): Promise<ChatWindow> {
  return new ChatWindow(start, await loadStrings(start.locale), tell);
}
