export interface Config {
  apiKey: string;
  widgetId: string;
  /** The service's URL, with a trailing slash. */
  apiUrl: string;
  /** An element or a selector; without one, an inline chat appears at its script. */
  target: Element | string | undefined;
  /** All settings as given: only passed on, because the app validates them. */
  settings: Record<string, unknown>;
}

/** The parts of a script element that are read. */
export type ScriptTag = Pick<HTMLScriptElement, 'src' | 'dataset'>;

/**
 * An attribute overrides `window.A4ChatWidgetConfig`, which overrides the script's query (`widget.js?key=…&id=…`).
 * Returns the name of a missing setting if the widget cannot start.
 */
export function readConfig(tag: ScriptTag | undefined, given: unknown): Config | string {
  const { target, ...settings }: Record<string, unknown> = {
    ...Object.fromEntries(parseUrl(tag?.src)?.searchParams ?? []),
    ...(given as object),
    ...tag?.dataset,
  };
  const get = (name: string, alias: string) => `${settings[name] || settings[alias] || ''}`.trim();
  const apiKey = get('apiKey', 'key');
  const widgetId = get('widgetId', 'id');
  const service = parseUrl(settings.apiUrl) ?? parseUrl('.', tag?.src);
  if (!apiKey) return 'data-api-key';
  if (!/^[\w-]{1,64}$/.test(widgetId)) return 'data-widget-id';
  if (!service?.host) return 'data-api-url';
  return {
    apiKey,
    widgetId,
    apiUrl: (service.origin + service.pathname).replace(/\/*$/, '/'),
    target: target as Config['target'],
    settings,
  };
}

function parseUrl(value: unknown, base?: string): URL | undefined {
  try {
    return new URL(`${value}`, base);
  } catch {
    return undefined;
  }
}
