import { type CallName, type EventDetail, INIT, type Init, type Place, type ToApp } from '../protocol.ts';
import type { Config } from './config.ts';
import { keep } from './keep.ts';

export interface Frame {
  /** Puts the frame on the page, wherever it should be and is not. With `true`, says so if it still has no place. */
  attach(late?: unknown): void;
  /** Has the app perform a method of `window.A4ChatWidget`, as soon as it is there. */
  call(name: CallName, value: unknown): void;
}

const SMALL = '(max-width:480px),(max-height:480px) and (orientation:landscape)';
const DARK = '(prefers-color-scheme:dark)';
const VARIABLES = 'primary-color bg-color text-color secondary-bg border-color font radius'.split(' ');

/** Until the app is ready: a blocked frame leaves no trace. */
const HIDDEN = ':host{display:none!important}';

/** The frame in its element on the page, until `signal` takes both away. */
export function createFrame(
  config: Config,
  tag: Element | undefined,
  signal: AbortSignal,
  emit: (event: string, detail: EventDetail) => void,
): Frame {
  const { target, ...facts } = config;
  const { mode } = config.settings;
  /** Part of the page, not a layer over it. */
  const inFlow = mode === 'inline' || (mode === 'page' && !!target);
  const page = document.documentElement;
  const host = document.createElement('div');
  host.id = `a4-chat-widget-${config.widgetId}`;
  const frame = document.createElement('iframe');
  frame.sandbox =
    'allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox allow-forms allow-downloads';
  frame.allow = 'clipboard-write';
  frame.src = `${config.apiUrl}widget.html?id=${config.widgetId}`;
  const root = host.attachShadow({ mode: 'open' });
  root.append(frame);
  // In a shadow tree an important rule wins over all of the page's, and no Content-Security-Policy refuses this sheet.
  const sheet = new CSSStyleSheet();
  root.adoptedStyleSheets = [sheet];

  const medias = [matchMedia(SMALL), matchMedia(DARK)] as const;
  const screen = visualViewport as VisualViewport;
  const until = { signal };
  /** Calls wait in it for the app. */
  let channel = new MessageChannel();
  let started = false;
  /** The app begins like this again when a page moved the frame. */
  let open = false;
  const told: { [name in CallName]?: unknown } = {};

  const post = (message: ToApp) => channel.port1.postMessage(message);

  function view(): Place {
    const [small, dark] = medias;
    // Pinched, the page's own zoom stays in charge.
    const { scale, offsetTop: top, height } = screen;
    return {
      open,
      small: small.matches,
      dark: dark.matches,
      rtl: getComputedStyle(page).direction === 'rtl',
      top,
      height: scale === 1 ? height : 0,
    };
  }

  const show = (focus: boolean) => post({ type: 'view', focus, ...view() });
  const onView = () => show(false);
  /** The visitor has gone to another place in the page, or the pointer leaves it at its top. */
  const onVisit = (event: Event) =>
    post({ type: 'visit', path: location.pathname, leaving: (event as MouseEvent).clientY <= 0 });

  function onMessage({ data }: MessageEvent): void {
    const { type, name, value, detail = {} } = data;
    if (type === 'look') {
      sheet.replaceSync(data.css);
      frame.title = data.title;
      open = data.open;
      // A frame that has the keyboard keeps it where it is.
      if (data.focus && !root.activeElement) frame.focus();
      show(data.focus);
    } else if (type === 'event') {
      emit(name, detail);
      host.dispatchEvent(new CustomEvent(`a4:${name}`, { detail, bubbles: true }));
    } else if (type === 'keep') {
      keep(data.visit ? 'sessionStorage' : 'localStorage', host.id, value);
    } else if (type === 'watch') {
      page.addEventListener('mouseleave', onVisit, until);
      (window as { navigation?: EventTarget }).navigation?.addEventListener('navigatesuccess', onVisit, until);
    }
  }

  function onLoad(): void {
    if (started) channel = new MessageChannel();
    started = true;
    sheet.replaceSync(HIDDEN);
    const style = getComputedStyle(host);
    const init: Init = {
      type: INIT,
      ...facts,
      told,
      inFlow,
      view: view(),
      lang: page.lang,
      path: location.pathname,
      vars: Object.fromEntries(VARIABLES.map((name) => [name, style.getPropertyValue(`--a4w-${name}`)])),
      kept: keep('localStorage', host.id),
      visit: keep('sessionStorage', host.id),
    };
    channel.port1.onmessage = onMessage;
    // Of the address, the browser takes the origin.
    (frame.contentWindow as Window).postMessage(init, config.apiUrl, [channel.port2]);
  }

  /** A layer stands beside the body, whose styles and replacements do not concern it. What clears the page gets it back. */
  function attach(late?: unknown): void {
    if (host.isConnected) return;
    if (!inFlow) page.append(host);
    // The next page of a site that replaces the body has a tag like it.
    else if (!target) [...document.scripts].find((script) => script.isEqualNode(tag as Node))?.after(host);
    else (typeof target === 'string' ? document.querySelector(target) : target)?.append(host);
    observer.observe(page, { childList: true, subtree: inFlow });
    if (late === true && !host.isConnected) console.error('A4ChatWidget: data-target is missing or wrong.');
  }

  const observer = new MutationObserver(attach);
  sheet.replaceSync(HIDDEN);
  frame.addEventListener('load', onLoad, until);
  for (const media of medias) media.addEventListener('change', onView, until);
  for (const event of ['resize', 'scroll']) screen.addEventListener(event, onView, until);
  signal.addEventListener('abort', () => {
    observer.disconnect();
    channel.port1.close();
    host.remove();
  });

  return {
    attach,
    call(name, given) {
      // A reactive object or the event of a click cannot be posted. What cannot must not be told, either, or no app begins.
      const value = name === 'setContext' ? { ...(given as object) } : `${given ?? ''}`;
      post({ type: name, value, focus: !!navigator.userActivation?.isActive });
      told[name] = value;
    },
  };
}
