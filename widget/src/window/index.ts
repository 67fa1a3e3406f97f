/** The window with all its parts. */
// The style sheets first: similar text compresses better side by side.
import './markdown/styles.ts';
import './elements/message-list.styles.ts';
import './elements/input-area.styles.ts';
import './elements/chat-window.styles.ts';
import './base/shared.styles.ts';

import type { EventDetail, EventName } from '../protocol.ts';
import { loadStrings } from '../strings/index.ts';
import type { WindowOptions } from './base/options.ts';
import { ChatWindow } from './elements/chat-window.ts';
import './elements/input-area.ts';
import './elements/message-list.ts';

export async function createWindow(
  options: WindowOptions,
  tell: (name: EventName, detail: EventDetail) => void,
): Promise<ChatWindow> {
  return new ChatWindow(options, await loadStrings(options.locale), tell);
}
