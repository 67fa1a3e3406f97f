/** Generates the snippets for a look. They only contain settings that were changed. */

export type Value = string | number | boolean | readonly string[];

export interface Look {
  /** Keyed by the names in `ChatWidgetConfig`. */
  settings: Readonly<Record<string, Value>>;
  /** CSS custom properties for the page, by name. */
  vars: Readonly<Record<string, string>>;
}

export interface Service {
  /** Without a trailing slash. */
  url: string;
  apiKey: string;
  widgetId: string;
}

/** Settings that only the page can make; the service has none for them. */
export const OF_THE_PAGE: readonly string[] = ['mode', 'target', 'open'];

const UNTIL_ATTRIBUTE = '\n        ';

/** The settings as `dataset` values: lists as JSON, enabled switches as ''. */
export const attributes = ({ settings }: Look): Record<string, string> =>
  Object.fromEntries(
    Object.entries(settings).map(([name, value]) => {
      if (value === true) return [name, ''];
      return [name, typeof value === 'object' ? JSON.stringify(value) : `${value}`];
    }),
  );

export function scriptTag(look: Look, service: Service): string {
  const dataAttributes = Object.entries(attributes(look)).map(([name, value]) => {
    const attribute = `data-${name.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`)}`;
    return UNTIL_ATTRIBUTE + (value ? `${attribute}=${quoted(value)}` : attribute);
  });
  const keys = `data-api-key=${quoted(service.apiKey)} data-widget-id=${quoted(service.widgetId)}`;
  const src = quoted(`${service.url}/widget.js`);
  return `${style(look)}<script src=${src} async${UNTIL_ATTRIBUTE}${keys}${dataAttributes.join('')}></script>`;
}

export function configObject(look: Look, service: Service): string {
  const { url, ...keys } = service;
  const config = inScript({ ...keys, ...look.settings });
  const src = quoted(`${url}/widget.js`);
  return `${style(look)}<script>\n  window.A4ChatWidgetConfig = ${config.replaceAll('\n', '\n  ')};\n</script>\n<script src=${src} async></script>`;
}

export function esModule(look: Look, service: Service): string {
  const { url, ...keys } = service;
  const chat = `const chat = mount(${inScript({ ...keys, ...look.settings })});`;
  return `import { mount } from ${JSON.stringify(`${url}/widget.mjs`)};\n\n${chat}\n\n// To remove the chat:\n// chat.destroy();`;
}

/** The file for `manage.py tenant set NAME --look FILE`, which only accepts hexadecimal colours. */
export function settingsFile(look: Look, toHex: (color: string) => string): string {
  const inService = Object.entries(look.settings).filter(([name]) => !OF_THE_PAGE.includes(name));
  return json(
    Object.fromEntries(inService.map(([name, value]) => [name, name === 'color' ? toHex(`${value}`) : value])),
  );
}

const json = (value: unknown) => JSON.stringify(value, null, 2);

/** Escapes `</script>` and `<!--`, which would end an inline script or hide the code after it. */
const inScript = (value: unknown) => json(value).replaceAll('<', '\\u003c');

/** An attribute value in whichever quotes need fewer escapes (WHATWG HTML, section 13.1.2.3). */
function quoted(value: string): string {
  const safe = value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/[\n\r\t]/g, (space) => `&#${space.charCodeAt(0)};`);
  return safe.includes('"') ? `'${safe.replaceAll("'", '&#39;')}'` : `"${safe}"`;
}

function style({ vars }: Look): string {
  // `</style>` would end the style sheet even in a CSS string; `\3c ` is `<` (CSS Syntax, section 4.3.7).
  const rules = Object.entries(vars).map(([name, value]) => `    ${name}: ${value.replaceAll('<', '\\3c ')};\n`);
  return rules.length ? `<style>\n  :root {\n${rules.join('')}  }\n</style>\n` : '';
}
