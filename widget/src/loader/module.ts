/** The loader as an ES module, for applications that mount and unmount the widget themselves. */
import type { ChatWidgetApi, ChatWidgetConfig } from '../../types/a4-chat-widget';
import { type Config, readConfig } from './config.ts';
import { start } from './start.ts';

export function mount(config: ChatWidgetConfig): ChatWidgetApi {
  const { target, ...given } = config;
  // Reactive objects cannot be posted to a frame; their JSON can.
  const plain = { ...JSON.parse(JSON.stringify(given)), target };
  const read = readConfig({ src: import.meta.url, dataset: {} }, plain);
  // Without a script tag, an inline chat needs a target.
  const missing = typeof read === 'string' ? read : given.mode === 'inline' && !target && 'data-target';
  if (missing) throw new TypeError(`mount(): ${missing} is missing or wrong.`);
  return start(read as Config);
}
