/**
 * The one script of a host page. It leaves behind one global and one element, and touches nothing else of the page.
 *
 * With several widgets on a page, each has its own element and `window.A4ChatWidget` drives the first.
 */
import { MAX_TEXT } from '../protocol.ts';
import { type Call, type ChatWidgetApi, createApi, createEvents } from './api.ts';
import { type Config, readConfig } from './config.ts';
import { createFrame, type Frame } from './frame.ts';

declare global {
  interface Window {
    A4ChatWidget?: ChatWidgetApi | unknown[] | undefined;
    A4ChatWidgetConfig?: unknown;
  }
}

/** How long a page may keep loading before the widget stops waiting for it. */
const PATIENCE = 3000;

function start(config: Config): void {
  const events = createEvents();
  const waiting: Call[] = [];
  const abort = new AbortController();
  let frame: Frame | undefined;
  let isReady = false;
  let { open } = config;

  function perform(call: Call): void {
    if (!frame || !isReady) {
      waiting.push(call);
      return;
    }
    const [name, argument] = call;
    if (name === 'send') {
      const text = argument.trim().slice(0, MAX_TEXT);
      if (text) frame.post({ type: 'send', text });
    } else if (name === 'newConversation') {
      frame.post({ type: 'new' });
    } else if (name === 'close' || (name === 'toggle' && frame.isOpen())) {
      frame.post({ type: 'close' });
    } else {
      // Only for what the visitor has just done: a window that opens by itself must not take the keyboard.
      const focus = document.hasFocus() && navigator.userActivation?.isActive !== false;
      if (focus) frame.focus();
      frame.post({ type: 'open', focus });
    }
  }

  function mount(): void {
    if (frame || abort.signal.aborted || document.getElementById(`a4-chat-widget-${config.widgetId}`)) return;
    frame = createFrame(config, abort.signal, (message) => {
      if (message.type === 'ready') {
        isReady = true;
        // Without the focus, which the visitor has elsewhere. A frame that a page moved starts anew, and comes back as it was.
        if (open) frame?.post({ type: 'open', focus: false });
        for (const call of waiting.splice(0)) perform(call);
        events.emit('ready', {});
      } else if (message.type === 'layout') {
        open = message.open;
      } else if (message.type === 'event') {
        events.emit(message.name, message.detail);
      }
    });
  }

  const api = createApi(events, perform, () => {
    abort.abort();
    if (window.A4ChatWidget === api) delete window.A4ChatWidget;
  });

  const current = window.A4ChatWidget;
  if (!current || Array.isArray(current)) {
    window.A4ChatWidget = api;
    if (current) api.push(...current);
  }

  // The page comes first: the frame waits for its `load`, which a frame in the body would hold up.
  if (document.readyState === 'complete') {
    mount();
  } else {
    const once = { once: true, signal: abort.signal };
    addEventListener('load', mount, once);
    const patience = () => setTimeout(mount, PATIENCE);
    if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', patience, once);
    else patience();
  }
}

const tag = document.currentScript ?? [...document.scripts].find((script) => /\/widget\.js(\?|$)/.test(script.src));
const config = readConfig(tag as HTMLScriptElement | undefined, window.A4ChatWidgetConfig);
if (typeof config === 'string') console.error(`A4ChatWidget: ${config}.`);
else start(config);
