import type { Settings } from '../protocol.ts';

export interface Config {
  apiKey: string;
  widgetId: string;
  /** Where the service is, without a slash at the end. */
  apiUrl: string;
  open: boolean;
  zIndex: number;
  settings: Settings;
}

/** What is read of the script element; a test needs no more. */
export type ScriptTag = Pick<HTMLScriptElement, 'src' | 'dataset'>;

const SETTINGS = [
  'title',
  'greeting',
  'placeholder',
  'color',
  'position',
  'theme',
  'locale',
  'avatar',
  'sound',
  'consent',
  'privacy',
  'privacyUrl',
  'handoff',
];
export const DEFAULT_Z_INDEX = 2147483000;

/**
 * An attribute wins over `window.A4ChatWidgetConfig`, and that over the script's own query (`widget.js?key=…&id=…`).
 * Returns what is missing, as a sentence, when the widget cannot start.
 */
export function readConfig(tag: ScriptTag | null | undefined, fallback: unknown): Config | string {
  const data: Record<string, unknown> = { ...tag?.dataset };
  const given = (typeof fallback === 'object' && fallback) as Record<string, unknown>;
  const source = parseUrl(tag?.src);
  const query = source?.searchParams;
  const get = (name: string, alias = name): string =>
    String(data[name] ?? given[name] ?? query?.get(alias) ?? '').trim();

  const apiKey = get('apiKey', 'key');
  const widgetId = get('widgetId', 'id');
  const service = parseUrl(get('apiUrl')) ?? (source && new URL('.', source));
  const missing = !apiKey
    ? 'data-api-key'
    : !/^[\w-]{1,64}$/.test(widgetId)
      ? 'data-widget-id'
      : !service && 'data-api-url';
  if (missing || !service) return `${missing} is missing or wrong on the script tag`;

  const open = get('open');
  return {
    apiKey,
    widgetId,
    apiUrl: (service.origin + service.pathname).replace(/\/+$/, ''),
    open: 'open' in data ? open !== 'false' : open === 'true',
    zIndex: Number.parseInt(get('zIndex'), 10) || DEFAULT_Z_INDEX,
    // The app checks these: here they are only handed on.
    settings: {
      ...Object.fromEntries(SETTINGS.map((name) => [name, get(name)])),
      suggestions: parseList(data.suggestions ?? given.suggestions),
      followUps: parseList(data.followUps ?? given.followUps),
    } as Settings,
  };
}

function parseUrl(value: string | undefined): URL | undefined {
  try {
    const url = new URL(value ?? '');
    return /^https?:$/.test(url.protocol) ? url : undefined;
  } catch {
    return undefined;
  }
}

function parseList(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}
