import {
  INIT,
  type Init,
  MAX_KEPT,
  oneOf,
  POSITIONS,
  record,
  type Settings,
  type ToApp,
  text,
  type View,
} from '../protocol.ts';

/** What the service wrote into the page: who may embed it, and the tenant's own settings. */
export interface Page {
  origins: readonly string[];
  settings: Settings;
}

export function parsePage(json: string): Page {
  let page: Record<string, unknown> | undefined;
  try {
    page = record(JSON.parse(json));
  } catch {
    page = undefined; // A page served without its settings: nobody but its own origin may embed it.
  }
  const origins = Array.isArray(page?.origins) ? page.origins : [];
  return {
    origins: origins.filter((entry) => typeof entry === 'string'),
    settings: parseSettings(page?.settings),
  };
}

/**
 * An entry is an exact origin; or one with `:*` for its port, any port of that scheme and host; or one with `*` for its
 * first label, any one name at that level; or `*`, any web page.
 */
export function originAllowed(origin: string, allowed: readonly string[]): boolean {
  const matching = [origin, `${origin.replace(/:\d+$/, '')}:*`, origin.replace(/\/[\w-]+\./, '/*.')];
  if (/^https?:/.test(origin)) matching.push('*');
  return !origin.includes('*') && allowed.some((entry) => matching.includes(entry));
}

/** Keeps of anything what has the right type and a sane length. */
export function parseSettings(value: unknown): Settings {
  const from = record(value) ?? {};
  const list = (value: unknown) =>
    Array.isArray(value) ? value.filter((entry) => text(entry, 200)).slice(0, 6) : undefined;
  return defined({
    title: text(from.title, 80),
    greeting: text(from.greeting, 1000),
    placeholder: text(from.placeholder, 120),
    color: text(from.color, 64),
    position: oneOf(from.position, POSITIONS),
    theme: oneOf(from.theme, ['auto', 'light', 'dark']),
    suggestions: list(from.suggestions),
    followUps: list(from.followUps),
    avatar: text(from.avatar, 2000),
    sound: from.sound === true || from.sound === 'true' || undefined,
    consent: from.consent === true || from.consent === 'true' || undefined,
    privacy: text(from.privacy, 500),
    privacyUrl: text(from.privacyUrl, 2000),
    handoff: text(from.handoff, 2000),
    locale: text(from.locale, 35),
  });
}

export function parseInit(value: unknown): Init | undefined {
  const from = record(value);
  const apiKey = text(from?.apiKey, 200);
  const widgetId = text(from?.widgetId, 64);
  if (from?.type !== INIT || !apiKey || !widgetId) return undefined;
  return {
    type: INIT,
    apiKey,
    widgetId,
    settings: parseSettings(from.settings),
    view: parseView(record(from.view)),
    lang: text(from.lang, 35) ?? '',
    kept: text(from.kept, MAX_KEPT) ?? '',
  };
}

export function parseToApp(value: unknown): ToApp | undefined {
  const from = record(value);
  switch (from?.type) {
    case 'view':
      return { type: 'view', focus: from.focus === true, ...parseView(from) };
    case 'open':
      return { type: 'open', focus: from.focus === true };
    case 'close':
    case 'new':
      return { type: from.type };
    case 'send': {
      const message = text(from.text, 100_000);
      return message ? { type: 'send', text: message } : undefined;
    }
    default:
      return undefined;
  }
}

function parseView(from: Record<string, unknown> | undefined): View {
  return {
    mode: 'bubble',
    expanded: from?.expanded === true,
    open: from?.open === true,
    full: from?.full === true,
    dark: from?.dark === true,
  };
}

function defined<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}

/** Waits for the one `a4:init` of the page that embeds this one; everything else that arrives is ignored. */
export function awaitInit(page: Page, begin: (init: Init, port: MessagePort) => void): void {
  addEventListener('message', function listen(event: MessageEvent) {
    const allowed = event.origin === location.origin || originAllowed(event.origin, page.origins);
    const port = event.ports[0];
    if (event.source !== window.parent || !allowed || !port) return;
    const init = parseInit(event.data);
    if (!init) return;
    removeEventListener('message', listen);
    begin(init, port);
  });
}
