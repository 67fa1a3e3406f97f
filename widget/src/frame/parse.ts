/** Validates everything from the host page: values with the wrong type or size are dropped. */
import {
  CALLS,
  MAX_KEPT,
  MAX_TEXT,
  type Mode,
  oneOf,
  type Place,
  parseJson,
  record,
  type Settings,
  type Theme,
  type ToApp,
  text,
} from '../protocol.ts';
import type { RawInit } from './handshake.ts';

const MODES: readonly Mode[] = ['bubble', 'inline', 'page'];
const THEMES: readonly Theme[] = ['auto', 'light', 'dark'];

/** The handshake's values for the window. */
export interface Beginning {
  apiKey: string;
  settings: Settings;
  /** The longest question, in characters. */
  limit: number;
  mode: Mode;
  inFlow: boolean;
  view: Required<Place>;
  /** The URL of the host page, without its query. */
  site: string;
  userToken: string;
  context: Record<string, string>;
  kept: string;
}

/** `tenant`: the settings from the service, which apply where the host page has none. */
export function parseInit(from: RawInit, tenant: unknown): Beginning {
  const settings = record(from.settings);
  const lastCalls = record(from.told);
  return {
    apiKey: text(from.apiKey, 200) ?? '',
    settings: {
      ...parseSettings(tenant),
      ...parseSettings(settings),
      ...(theme(lastCalls?.set) && { theme: theme(lastCalls?.set) }),
    },
    limit: Number(record(tenant)?.maxMessageChars) || MAX_TEXT,
    mode: oneOf(settings?.mode, MODES) ?? 'bubble',
    inFlow: from.inFlow === true,
    view: parsePlace(record(from.view)),
    site: `${from.origin}${text(from.path, 2000) ?? '/'}`,
    userToken: token(lastCalls?.identify ?? settings?.userToken),
    context: facts(lastCalls?.setContext),
    kept: text(from.kept, MAX_KEPT) ?? '',
  };
}

/** A message of a known type; `token`, `facts`, `theme` and `text` parse the values of calls. */
export function parseToApp(
  value: unknown,
): Exclude<ToApp, Place> | ({ type: 'view'; focus: boolean } & Required<Place>) | undefined {
  const from = record(value);
  const focus = from?.focus === true;
  if (from?.type === 'view') return { type: 'view', focus, ...parsePlace(from) };
  const type = oneOf(from?.type, CALLS);
  return type && { type, value: from?.value, focus };
}

/** The theme in the value of `set`, if any. */
export const theme = (value: unknown): Theme | undefined => oneOf(record(value)?.theme, THEMES);

/** A JWT, or ''. */
export const token = (value: unknown): string => text(value, 8000) ?? '';

/** At most 20 facts with names of at most 64 characters; numbers and booleans become texts of at most 500. */
export function facts(value: unknown): Record<string, string> {
  const entries = Object.entries(record(value) ?? {}).flatMap(([name, fact]): [string, string][] => {
    const asText = /^(string|number|boolean)$/.test(typeof fact) && text(`${fact}`, 500);
    return asText && name.length <= 64 ? [[name, asText]] : [];
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

/** The longest text of each setting, as in the service. */
const TEXTS = { title: 100, greeting: 1000, placeholder: 200, privacy: 500 };

/**
 * The settings that the window uses; the console names invalid ones. Attributes are texts: a list is JSON, and a switch is
 * on unless it is `false`.
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
    if ((from[name] ?? '') !== '') console.warn(`A4ChatWidget: ${name} is too long or wrong.`);
  }
  return settings;
}

const fitting = (value: unknown, pattern: RegExp) => (pattern.test(`${value}`) ? text(value, 2000) : undefined);

const flag = (value: unknown) =>
  typeof value === 'boolean' || typeof value === 'string' ? `${value}` !== 'false' : undefined;

function list(value: unknown): string[] | undefined {
  const entries = typeof value === 'string' ? parseJson(value) : value;
  return Array.isArray(entries) ? entries.filter((entry) => text(entry, 200)).slice(0, 6) : undefined;
}
