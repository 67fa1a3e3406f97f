import { type CallName, type EventDetail, INIT, type Init, type Place, type ToApp } from '../protocol.ts';
import type { Config } from './config.ts';
import type { PageWatch, watchPage } from './page.ts';
import { createPlacement } from './placement.ts';
import { storedByPage } from './storage.ts';

/** The file of `page.ts`, below the service's assets; the build puts its name here. */
declare const PAGE: string;

type Call = Extract<ToApp, { value: unknown }>;

/** Of newer browsers. */
type Root = HTMLElement & { currentCSSZoom: number };

export interface Frame {
  /** Puts the frame on the page unless it is there. With `true`, the console reports a target that is still missing. */
  attach(late?: unknown): void;
  /** Has the app perform a method of `window.A4ChatWidget`, as soon as it is there. */
  call(name: CallName, value: unknown): void;
}

const SMALL = '(max-width:480px),(max-height:480px)';
const VARIABLES = 'primary-color bg-color text-color secondary-bg border-color font radius'.split(' ');

/** Until the app is ready: a blocked frame leaves no trace. */
const HIDDEN = ':host{display:none!important}';

/** The frame in its element on the page, until `signal` takes both away. */
export function createFrame(
  config: Config,
  tag: Element | undefined,
  signal: AbortSignal,
  emit: (event: string, detail: EventDetail) => boolean,
): Frame {
  const { target, ...facts } = config;
  const { mode } = config.settings;
  /** Part of the page, not a layer over it. */
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
  // In a shadow tree an important rule wins over all of the page's, and no Content-Security-Policy refuses this sheet.
  const sheet = new CSSStyleSheet();
  shadow.adoptedStyleSheets = [sheet];

  const small = matchMedia(SMALL);
  let page: PageWatch | undefined;
  /** Comes once the page is watched, or cannot be. */
  let watching: Promise<void> | undefined;
  let port: MessagePort | undefined;
  /** The frame's window, once its app has spoken. */
  let app: Window | null | undefined;
  /** Calls for an app that has not spoken yet. */
  const waiting: Call[] = [];
  /** The app begins like this again when a page moved the frame. */
  let open = false;
  /** What had the focus when the page called for the chat: it gets it back. */
  let opener: HTMLElement | null | false;
  const told: { [name in CallName]?: unknown } = {};

  const view = (): Place => ({
    open,
    small: small.matches,
    rtl: getComputedStyle(host).direction === 'rtl',
    ...page?.facts(open),
  });

  /** Not where there is no app yet, or none any more because the page has moved the frame. */
  const post = (message: ToApp) => app && app === frame.contentWindow && !port?.postMessage(message);

  /** Waits for an app. The next one begins with what has reached this one. */
  function perform(call: Call): void {
    if (post(call)) told[call.type] = call.value;
    else waiting.push(structuredClone(call));
  }

  const show = (focus?: boolean) => post({ type: 'view', focus, ...view() });

  const watch = () =>
    (watching ??= import(/* @vite-ignore */ config.apiUrl + PAGE).then((module: { watchPage: typeof watchPage }) => {
      page = module.watchPage(host, frame, inFlow, signal, post, show);
    }, console.error));

  function onMessage({ data }: MessageEvent): void {
    const { type, name, value, detail = {} } = data;
    app = frame.contentWindow;
    waiting.splice(0).forEach(perform);
    if (type === 'look') {
      // What the page's own `zoom` enlarges, the frame need not. Browsers that don't tell drop the rule.
      sheet.replaceSync(`${data.css}:host{zoom:${1 / (document.documentElement as Root).currentCSSZoom}!important}`);
      frame.title = data.title;
      const back = open && !data.open && data.focus && opener;
      if (back) back.focus();
      // A frame that has the keyboard keeps it where it is.
      else if (data.focus && !shadow.activeElement) frame.focus();
      open = data.open;
      const tell = () => show(data.focus && !back);
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
    // Lost where a page has moved the element through another document.
    shadow.adoptedStyleSheets = [sheet];
    const style = getComputedStyle(host);
    const init: Init = {
      type: INIT,
      ...facts,
      told,
      inFlow,
      view: view(),
      lang: document.documentElement.lang,
      path: location.pathname,
      vars: Object.fromEntries(VARIABLES.map((name) => [name, style.getPropertyValue(`--a4w-${name}`)])),
      kept: storedByPage('localStorage', host.id),
      visit: storedByPage('sessionStorage', host.id),
    };
    // Of the address, the browser takes the origin.
    frame.contentWindow?.postMessage(init, config.apiUrl, [port2]);
  }

  /** The body's styles and replacements do not concern a layer that is placed beside it. */
  function findPlace(): Element | null | undefined {
    if (!inFlow) return document.documentElement;
    // The next page of a site that replaces the body has a tag like it.
    if (!target) return [...document.scripts].find((script) => script.isEqualNode(tag as Node));
    return typeof target === 'string' ? document.querySelector(target) : target;
  }

  /** Returns false while the page has no place. */
  function insert(): boolean {
    const place = findPlace();
    if (!place?.isConnected) return false;
    // A page that was written from its own markup has a copy.
    document.getElementById(host.id)?.remove();
    // `document.open()` removes the listeners of all that is on the page, in shadow trees too.
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
      // A reactive object or the event of a click cannot be posted. What cannot must not be told, either, or no app begins.
      const value = /^set/.test(name)
        ? { ...(given as object) }
        : `${(given as { draft?: unknown })?.draft ?? given ?? ''}`;
      if (!open) opener = /open|toggle|send/.test(name) && document.querySelector<HTMLElement>(':focus');
      perform({ type: name, value, focus: !!navigator.userActivation?.isActive });
    },
  };
}
