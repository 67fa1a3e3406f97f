import {
  EVENTS,
  INIT,
  type Init,
  MAX_KEPT,
  oneOf,
  POSITIONS,
  type Position,
  record,
  type ToApp,
  type ToLoader,
  text,
} from '../protocol.ts';
import type { Config } from './config.ts';
import { keep, kept } from './keep.ts';

export interface Frame {
  post(message: ToApp): void;
  isOpen(): boolean;
  /** Moves the keyboard into the widget. */
  focus(): void;
}

const MARGIN = 16;
/** An answer of the longest kind, with room to spare. */
const MAX_DETAIL = 1_000_000;
const FULL = '(max-width:480px),(max-height:480px) and (orientation:landscape)';
const DARK = '(prefers-color-scheme:dark)';
const CALM = '(prefers-reduced-motion:reduce)';

/** How both elements begin: nothing of the host page's own applies. */
const BARE = 'all:initial;display:block;color-scheme:light;';

/** The frame in its element on the page, until `signal` takes both away. */
export function createFrame(config: Config, signal: AbortSignal, receive: (message: ToLoader) => void): Frame {
  const host = document.createElement('div');
  host.id = `a4-chat-widget-${config.widgetId}`;
  const frame = document.createElement('iframe');
  frame.title = config.settings.title || 'Chat';
  frame.setAttribute(
    'sandbox',
    'allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox allow-forms allow-downloads',
  );
  frame.allow = 'clipboard-write';
  frame.src = `${config.apiUrl}/widget.html?id=${config.widgetId}`;
  const root = host.attachShadow({ mode: 'open' });
  root.append(frame);
  // In a shadow tree an important rule wins over all of the page's, and no Content-Security-Policy refuses this sheet.
  const sheet = new CSSStyleSheet();
  root.adoptedStyleSheets = [sheet];

  const full = matchMedia(FULL);
  const dark = matchMedia(DARK);
  const page = document.documentElement;
  let port: MessagePort | undefined;
  let ready: (ToLoader & { type: 'ready' }) | undefined;
  let open = false;
  let closing: Animation | undefined;

  const view = () => ({ mode: 'bubble' as const, expanded: false, open, full: full.matches, dark: dark.matches });

  function position(): Position {
    const rtl = getComputedStyle(page).direction === 'rtl';
    return oneOf(config.settings.position, POSITIONS) ?? ready?.position ?? (rtl ? 'bottom-left' : 'bottom-right');
  }

  /** Until the app is ready nothing is painted, takes the pointer or the focus: a blocked frame leaves no trace. */
  function place(): void {
    const side = position() === 'bottom-left' ? 'left' : 'right';
    const fills = open && full.matches;
    const screen = visualViewport;
    let box = `bottom:${MARGIN}px;${side}:${MARGIN}px;width:${ready?.width ?? 0}px;height:${ready?.height ?? 0}px;`;
    if (fills) {
      // The visual viewport is what the on-screen keyboard leaves; pinched, the page's own zoom stays in charge.
      const area =
        screen && screen.scale === 1 ? `top:${screen.offsetTop}px;height:${screen.height}px;` : 'top:0;height:100dvh;';
      box = `${area}left:0;width:100%;`;
    } else if (open) {
      box = `bottom:${MARGIN}px;${side}:${MARGIN}px;width:min(400px,100vw - ${2 * MARGIN}px);height:min(640px,100vh - ${2 * MARGIN}px);`;
    }
    const shown = ready ? 'visibility:visible;' : 'visibility:hidden;pointer-events:none;';
    const shape = fills
      ? ''
      : 'border-radius:18px;box-shadow:0 0 0 1px #0000000f,0 4px 12px #0000001a,0 16px 48px #0000002e;';
    const css =
      `:host{${BARE}position:fixed;z-index:${config.zIndex};${box}${shown}}` +
      `iframe{${BARE}width:100%;height:100%;border:0;${shown}${open ? shape : 'filter:drop-shadow(0 4px 10px #00000040);'}}`;
    sheet.replaceSync(css.replace(/;/g, '!important;'));
  }

  function animate(frames: Keyframe[], duration: number): Animation | undefined {
    if (matchMedia(CALM).matches || !frame.animate) return undefined;
    return frame.animate(frames, { duration, easing: 'cubic-bezier(.2,.8,.2,1)' });
  }

  function layout(to: boolean, focus: boolean): void {
    closing?.cancel();
    const away = { opacity: 0, transform: full.matches ? 'translateY(24px)' : 'translateY(12px) scale(.98)' };
    const here = { opacity: 1, transform: 'none' };
    const settle = () => {
      closing = undefined;
      open = to;
      place();
      port?.postMessage({ type: 'view', focus, ...view() } satisfies ToApp);
    };
    if (open && !to) {
      closing = animate([here, away], 140);
      if (closing) {
        closing.onfinish = settle;
        return;
      }
    }
    const opens = to && !open;
    settle();
    if (opens) animate([away, here], 220);
  }

  function onMessage(event: MessageEvent): void {
    const message = parseToLoader(event.data);
    if (message?.type === 'ready') {
      ready = message;
      frame.title = message.title;
      place();
    } else if (message?.type === 'layout') {
      layout(message.open, message.focus);
    } else if (message?.type === 'keep') {
      keep(host.id, message.value);
    }
    if (message) receive(message);
  }

  function onLoad(): void {
    const channel = new MessageChannel();
    port?.close();
    port = channel.port1;
    port.onmessage = onMessage;
    ready = undefined;
    open = false;
    place();
    const init: Init = {
      type: INIT,
      apiKey: config.apiKey,
      widgetId: config.widgetId,
      settings: config.settings,
      view: view(),
      lang: page.lang,
      kept: kept(host.id),
    };
    frame.contentWindow?.postMessage(init, new URL(config.apiUrl).origin, [channel.port2]);
  }

  function onScreen(): void {
    if (open && full.matches) place();
  }

  function onView(): void {
    place();
    port?.postMessage({ type: 'view', focus: false, ...view() } satisfies ToApp);
  }

  // Beside the body, whose styles, replacements and modal dialogs do not concern it. What clears the page gets it back.
  const observer = new MutationObserver(attach);
  function attach(): void {
    if (!host.isConnected) page.append(host);
  }

  const until = { signal };
  frame.addEventListener('load', onLoad, until);
  full.addEventListener('change', onView, until);
  dark.addEventListener('change', onView, until);
  visualViewport?.addEventListener('resize', onScreen, until);
  visualViewport?.addEventListener('scroll', onScreen, until);
  signal.addEventListener('abort', () => {
    observer.disconnect();
    port?.close();
    host.remove();
  });
  place();
  attach();
  observer.observe(page, { childList: true });

  return {
    post: (message) => port?.postMessage(message),
    isOpen: () => open,
    focus: () => frame.focus(),
  };
}

/** Sizes are bounded: whatever runs in the frame, the closed widget stays a small thing in a corner. */
export function parseToLoader(value: unknown): ToLoader | undefined {
  const from = record(value);
  const size = (side: unknown) => Math.min(Math.max(Number(side) || 0, 0), 480);
  switch (from?.type) {
    case 'ready': {
      const position = oneOf(from.position, POSITIONS);
      return {
        type: 'ready',
        title: text(from.title, 120) ?? 'Chat',
        width: size(from.width),
        height: size(from.height),
        ...(position && { position }),
      };
    }
    case 'layout':
      return { type: 'layout', open: from.open === true, focus: from.focus === true };
    case 'keep':
      return typeof from.value === 'string' && from.value.length <= MAX_KEPT
        ? { type: 'keep', value: from.value }
        : undefined;
    case 'event': {
      const name = oneOf(from.name, EVENTS);
      const detail: Record<string, string> = {};
      for (const key of ['id', 'text', 'status', 'code', 'rating', 'comment']) {
        const value = text(record(from.detail)?.[key], MAX_DETAIL);
        if (value) detail[key] = value;
      }
      return name && { type: 'event', name, detail };
    }
    default:
      return undefined;
  }
}
