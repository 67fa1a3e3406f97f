/** What the app reads of what comes from the host page: it keeps what has the right type and a sane size. */
import {
  CALLS,
  MAX_KEPT,
  MAX_TEXT,
  type Mode,
  oneOf,
  type Place,
  record,
  type Settings,
  type Theme,
  type ToApp,
  text,
} from '../protocol.ts';
import type { RawInit } from './handshake.ts';

const MODES: readonly Mode[] = ['bubble', 'inline', 'page'];
const THEMES: readonly Theme[] = ['auto', 'light', 'dark'];

/** The handshake as far as the window needs it. */
export interface Beginning {
  apiKey: string;
  settings: Settings;
  /** The longest question, in characters. */
  limit: number;
  mode: Mode;
  inFlow: boolean;
  view: Required<Place>;
  /** The address of the host page, without its query. */
  site: string;
  userToken: string;
  context: Record<string, string>;
  kept: string;
}

/** `tenant`: the settings of the service, where the host page has none. */
export function parseInit(from: RawInit, tenant: unknown): Beginning {
  const settings = record(from.settings);
  const told = record(from.told);
  return {
    apiKey: text(from.apiKey, 200) ?? '',
    settings: {
      ...parseSettings(tenant),
      ...parseSettings(settings),
      ...(theme(told?.set) && { theme: theme(told?.set) }),
    },
    limit: Number(record(tenant)?.maxMessageChars) || MAX_TEXT,
    mode: oneOf(settings?.mode, MODES) ?? 'bubble',
    inFlow: from.inFlow === true,
    view: parsePlace(record(from.view)),
    site: `${from.origin}${text(from.path, 2000) ?? '/'}`,
    userToken: token(told?.identify ?? settings?.userToken),
    context: facts(told?.setContext),
    kept: text(from.kept, MAX_KEPT) ?? '',
  };
}

/** A message that has a known type; `token`, `facts`, `theme` and `text` read the values of calls. */
export function parseToApp(
  value: unknown,
): Exclude<ToApp, Place> | ({ type: 'view'; focus: boolean } & Required<Place>) | undefined {
  const from = record(value);
  const focus = from?.focus === true;
  if (from?.type === 'view') return { type: 'view', focus, ...parsePlace(from) };
  const type = oneOf(from?.type, CALLS);
  return type && { type, value: from?.value, focus };
}

/** What `set` says of the theme, if it does. */
export const theme = (value: unknown): Theme | undefined => oneOf(record(value)?.theme, THEMES);

/** A JWT, or ''. */
export const token = (value: unknown): string => text(value, 8000) ?? '';

/** At most 20 facts by names of at most 64 characters; numbers and truth values become texts of at most 500. */
export function facts(value: unknown): Record<string, string> {
  const entries = Object.entries(record(value) ?? {}).flatMap(([name, fact]): [string, string][] => {
    const said = /^(string|number|boolean)$/.test(typeof fact) && text(`${fact}`, 500);
    return said && name.length <= 64 ? [[name, said]] : [];
  });
  return Object.fromEntries(entries.slice(0, 20));
}

function parsePlace(from: Record<string, unknown> = {}): Required<Place> {
  return {
    open: from.open === true,
    small: from.small === true,
    dark: from.dark === true,
    rtl: from.rtl === true,
    top: Number(from.top) || 0,
    height: Number(from.height) || 0,
  };
}

/** The longest text of each setting, as the service takes it. */
const TEXTS = { title: 100, greeting: 1000, placeholder: 200, privacy: 500 };

/**
 * Those that the window has a use for; the console names what can't be used. Attributes are texts: a list is JSON, a switch
 * is anything but `false`.
 */
export function parseSettings(value: unknown): Settings {
  const from = record(value) ?? {};
  const settings: Record<string, unknown> = {
    suggestions: list(from.suggestions),
    followUps: list(from.followUps),
    privacyUrl: fitting(from.privacyUrl, /^https:\/\//),
    handoff: fitting(from.handoff, /^(form$|https:\/\/|(mailto:)?[^\s@<>":]+@[^\s<>"]+$)/i),
    sound: flag(from.sound),
    consent: flag(from.consent),
    theme: oneOf(from.theme, THEMES),
  };
  for (const [name, max] of Object.entries(TEXTS)) settings[name] = text(from[name], max);
  for (const name in settings) {
    if (settings[name] !== undefined) continue;
    delete settings[name];
    if (from[name] !== undefined && from[name] !== '') {
      const attribute = name.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`);
      console.warn(`A4ChatWidget: data-${attribute} is too long or wrong, and is left out.`);
    }
  }
  return settings;
}

const fitting = (value: unknown, pattern: RegExp) => (pattern.test(`${value}`) ? text(value, 2000) : undefined);

const flag = (value: unknown) =>
  typeof value === 'boolean' || typeof value === 'string' ? `${value}` !== 'false' : undefined;

function list(value: unknown): string[] | undefined {
  let entries = value;
  if (typeof value === 'string') {
    try {
      entries = JSON.parse(value);
    } catch {
      return undefined; // No list, so no chips.
    }
  }
  return Array.isArray(entries) ? entries.filter((entry) => text(entry, 200)).slice(0, 6) : undefined;
}
