import { type CallName, type EventDetail, INIT, type Init, type Place, type ToApp } from '../protocol.ts';
import type { Config } from './config.ts';
import type { PageWatch, watchPage } from './page.ts';
import { createPlacement } from './placement.ts';
import { storedByPage } from './storage.ts';

/** The file of `page.ts` among the service's assets; the build inserts its name. */
declare const PAGE: string;

type Call = Extract<ToApp, { value: unknown }>;

/** Only in newer browsers. */
type Root = HTMLElement & { currentCSSZoom: number };

export interface Frame {
  /** Puts the frame on the page unless it is there. With `true`, reports a target that is still missing to the console. */
  attach(late?: unknown): void;
  /** Has the app perform a method of `window.A4ChatWidget`, once it has loaded. */
  call(name: CallName, value: unknown): void;
}

const SMALL = '(max-width:480px),(max-height:480px)';
const VARIABLES = 'primary-color bg-color text-color secondary-bg border-color font radius'.split(' ');

/** How many calls wait for the app; a frame that is blocked never takes them. */
const MAX_WAITING = 100;

/** Until the app is ready: a blocked frame leaves no trace. */
const HIDDEN = ':host{display:none!important}';

/** The frame in its element on the page, until `signal` removes both. */
export function createFrame(
  config: Config,
  tag: Element | undefined,
  signal: AbortSignal,
  emit: (event: string, detail: EventDetail) => boolean,
): Frame {
  const { target, ...facts } = config;
  const { mode } = config.settings;
  /** Whether the frame is part of the page rather than a layer over it. */
  const inFlow = mode === 'inline' || (mode === 'page' && !!target);
  const host = document.createElement('div');
  host.id = `a4-chat-widget-${config.widgetId}`;
  const frame = document.createElement('iframe');
  frame.sandbox =
    'allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox allow-forms allow-downloads';
  frame.allow = 'clipboard-write';
  frame.src = `${config.apiUrl}widget.html?id=${config.widgetId}`;
  const shadow = host.attachShadow({ mode: 'open' });
  shadow.append(frame);
  // In a shadow tree an important rule overrides the page's, and no Content-Security-Policy refuses this sheet.
  const sheet = new CSSStyleSheet();
  shadow.adoptedStyleSheets = [sheet];

  const small = matchMedia(SMALL);
  let page: PageWatch | undefined;
  /** Resolves once the page is being watched, or cannot be. */
  let watching: Promise<void> | undefined;
  let port: MessagePort | undefined;
  /** The frame's window, once its app has sent a message. */
  let app: Window | null | undefined;
  /** Calls for an app that has not sent a message yet. */
  const waiting: Call[] = [];
  /** The app's state to restore when the page has moved the frame, which reloads it. */
  let open = false;
  /** The element that had the focus when the page opened the chat, which gets it back. */
  let opener: HTMLElement | null | false | undefined;
  /** The last value of each call, for an app that loads again. */
  const lastCalls: { [name in CallName]?: unknown } = {};

  const view = (): Place => ({
    open,
    small: small.matches,
    rtl: getComputedStyle(host).direction === 'rtl',
    ...page?.facts(open),
  });

  /** Returns false if there is no app: it has not loaded yet, or the page has moved the frame. */
  const post = (message: ToApp) => app && app === frame.contentWindow && !port?.postMessage(message);

  /** Sends a call, now or once there is an app. */
  function perform(call: Call): void {
    if (post(call)) lastCalls[call.type] = call.value;
    else if (waiting.length < MAX_WAITING) waiting.push(structuredClone(call));
  }

  const show = (focus?: boolean) => post({ type: 'view', focus, ...view() });

  const watch = () =>
    (watching ??= import(/* @vite-ignore */ config.apiUrl + PAGE)
      .then((module: { watchPage: typeof watchPage }) => {
        page = module.watchPage(host, frame, inFlow, small, signal, post, show);
      })
      .catch(console.error));

  function onMessage({ data }: MessageEvent): void {
    const { type, name, value, detail = {} } = data;
    app = frame.contentWindow;
    waiting.splice(0).forEach(perform);
    if (type === 'look') {
      // Undoes the page's own `zoom`. Browsers without `currentCSSZoom` ignore the rule.
      sheet.replaceSync(`${data.css}:host{zoom:${1 / (document.documentElement as Root).currentCSSZoom}!important}`);
      frame.title = data.title;
      let back: typeof opener;
      if (open && !data.open) {
        back = data.focus && opener;
        opener = null;
      }
      if (back) back.focus();
      // The page may have removed or disabled that element.
      const focus = data.focus && document.activeElement !== back;
      // A frame that has the focus keeps it where it is.
      if (focus && !shadow.activeElement) frame.focus();
      open = data.open;
      const tell = () => show(focus);
      if (open) watch().then(tell);
      else tell();
    } else if (type === 'event') {
      if (emit(name, detail)) host.dispatchEvent(new CustomEvent(`a4:${name}`, { detail, bubbles: true }));
    } else if (type === 'keep') {
      storedByPage(data.visit ? 'sessionStorage' : 'localStorage', host.id, value);
    } else watch();
  }

  function onLoad(): void {
    app = undefined;
    port?.close();
    const { port1, port2 } = new MessageChannel();
    port = port1;
    port.onmessage = onMessage;
    sheet.replaceSync(HIDDEN);
    // It is lost if the page has moved the element through another document.
    shadow.adoptedStyleSheets = [sheet];
    const style = getComputedStyle(host);
    const init: Init = {
      type: INIT,
      ...facts,
      told: lastCalls,
      inFlow,
      view: view(),
      lang: document.documentElement.lang,
      path: location.pathname,
      vars: Object.fromEntries(VARIABLES.map((name) => [name, style.getPropertyValue(`--a4w-${name}`)])),
      kept: storedByPage('localStorage', host.id),
      visit: storedByPage('sessionStorage', host.id),
    };
    // The browser uses only the origin of this URL.
    frame.contentWindow?.postMessage(init, config.apiUrl, [port2]);
  }

  /** A layer is placed beside the body, so that the body's styles and replacements do not affect it. */
  function findPlace(): Element | null | undefined {
    if (!inFlow) return document.documentElement;
    // When a site replaces the body, the next page has an equal tag.
    if (!target) return [...document.scripts].find((script) => script.isEqualNode(tag as Node));
    return typeof target === 'string' ? document.querySelector(target) : target;
  }

  /** Returns false while its place does not exist. */
  function insert(): boolean {
    const place = findPlace();
    if (!place?.isConnected) return false;
    // A page rewritten from its own markup contains a copy.
    document.getElementById(host.id)?.remove();
    // `document.open()` removes the listeners of everything on the page, even in shadow trees.
    frame.onload = onLoad;
    if (inFlow && !target) place.after(host);
    else place.append(host);
    return true;
  }

  const place = createPlacement(host, insert, inFlow, signal);
  sheet.replaceSync(HIDDEN);
  signal.addEventListener('abort', () => port?.close());

  return {
    attach(late) {
      place();
      if (late === true && !host.isConnected) console.error('A4ChatWidget: data-target is missing or wrong.');
    },
    call(name, given) {
      // A reactive object or a click event cannot be posted; if it were remembered, the handshake would fail as well.
      const value = /^set/.test(name)
        ? { ...(given as object) }
        : `${(typeof given === 'string' ? given : (given as { draft?: unknown })?.draft) ?? ''}`;
      if (!open) opener = /open|toggle|send/.test(name) && document.querySelector<HTMLElement>(':focus');
      perform({ type: name, value, focus: !!navigator.userActivation.isActive });
    },
  };
}
