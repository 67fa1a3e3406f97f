export interface Config {
  apiKey: string;
  widgetId: string;
  /** Where the service is, with a slash at the end. */
  apiUrl: string;
  /** An element or a selector; without one, an inline chat stands where its script does. */
  target: Element | string | undefined;
  /** All that was given: only handed on, because the app knows what it needs and checks it. */
  settings: Record<string, unknown>;
}

/** What is read of the script element; a test needs no more. */
export type ScriptTag = Pick<HTMLScriptElement, 'src' | 'dataset'>;

/**
 * An attribute wins over `window.A4ChatWidgetConfig`, and that over the script's own query (`widget.js?key=…&id=…`).
 * Returns the name of what is missing when the widget cannot start.
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
