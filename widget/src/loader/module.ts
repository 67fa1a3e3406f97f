/** The same as an ES module, for applications that put the widget on a page and take it away themselves. */
import type { ChatWidgetApi, ChatWidgetConfig } from '../../types/a4-chat-widget';
import { readConfig } from './config.ts';
import { start } from './start.ts';

export function mount(config: ChatWidgetConfig): ChatWidgetApi {
  const { target, ...given } = config;
  // Reactive objects cannot be posted to a frame; their JSON can.
  const plain = { ...JSON.parse(JSON.stringify(given)), target };
  const read = readConfig({ src: import.meta.url, dataset: {} }, plain);
  if (typeof read === 'string') throw new TypeError(`mount(): ${read} is missing or wrong.`);
  return start(read);
}
