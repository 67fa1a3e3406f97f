/** The published types, as a host page uses them: checked by `tsc`, never run. */

import type { EventName, Settings } from '../src/protocol.ts';
import type { ChatWidgetApi, ChatWidgetCall, ChatWidgetConfig, ChatWidgetEvents } from '../types/a4-chat-widget';

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
const same = <A, B>(_equal: Same<A, B>): void => {};

// The widget has everything that the types declare.
same<keyof ChatWidgetEvents, EventName>(true);
same<Exclude<keyof Settings, keyof ChatWidgetConfig>, never>(true);

window.A4ChatWidgetConfig = { apiKey: 'a4_pub_x', widgetId: 'wgt_1', mode: 'inline', target: '#chat', sound: true };
// @ts-expect-error there is no such mode
window.A4ChatWidgetConfig = { mode: 'popup' };

const queue: ChatWidgetCall[] = [];
queue.push(
  ['open'],
  ['send', 'Hello'],
  ['setContext', { items: 3 }],
  ['on', 'answer', (detail: ChatWidgetEvents['answer']) => detail.status === 'empty'],
);
// @ts-expect-error a question is a text
queue.push(['send', 5]);
// @ts-expect-error there is no such event
queue.push(['on', 'opened', () => {}]);

export function useApi(chat: ChatWidgetApi): void {
  chat.on('feedback', ({ id, rating, comment }) => rating === 'up' && id.trim() + comment?.trim());
  // @ts-expect-error this event carries no text
  chat.on('feedback', ({ text }) => text);
  chat.identify('eyJ…');
  chat.widgets.get('wgt_2')?.destroy();
  document.addEventListener('a4:answer', ({ detail }) => detail.text.trim());
}
