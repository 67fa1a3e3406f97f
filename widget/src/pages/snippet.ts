/** A look as the texts that an owner takes away. Each holds only what was set. */

export type Value = string | number | boolean | readonly string[];

export interface Look {
  /** By the names of `ChatWidgetConfig`. */
  settings: Readonly<Record<string, Value>>;
  /** CSS variables of the page, by their names. */
  vars: Readonly<Record<string, string>>;
}

export interface Service {
  /** Without a slash at the end. */
  url: string;
  apiKey: string;
  widgetId: string;
}

/** Only a page can say these; the service has no setting for them. */
export const OF_THE_PAGE: readonly string[] = ['mode', 'target', 'open'];

const UNTIL_ATTRIBUTE = '\n        ';

/** The settings as `dataset` has them: a list is JSON, a switch that is on is ''. */
export const attributes = ({ settings }: Look): Record<string, string> =>
  Object.fromEntries(
    Object.entries(settings).map(([name, value]) => {
      if (value === true) return [name, ''];
      return [name, typeof value === 'object' ? JSON.stringify(value) : `${value}`];
    }),
  );

export function scriptTag(look: Look, service: Service): string {
  const given = Object.entries(attributes(look)).map(([name, value]) => {
    const attribute = `data-${name.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`)}`;
    return UNTIL_ATTRIBUTE + (value ? `${attribute}=${quoted(value)}` : attribute);
  });
  const keys = `data-api-key=${quoted(service.apiKey)} data-widget-id=${quoted(service.widgetId)}`;
  const src = quoted(`${service.url}/widget.js`);
  return `${style(look)}<script src=${src} async${UNTIL_ATTRIBUTE}${keys}${given.join('')}></script>`;
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

/** The file for `manage.py tenant set NAME --look FILE`, which takes hexadecimal colours only. */
export function settingsFile(look: Look, toHex: (color: string) => string): string {
  const kept = Object.entries(look.settings).filter(([name]) => !OF_THE_PAGE.includes(name));
  return json(Object.fromEntries(kept.map(([name, value]) => [name, name === 'color' ? toHex(`${value}`) : value])));
}

const json = (value: unknown) => JSON.stringify(value, null, 2);

/** In a page's script, `</script>` and `<!--` would end or hide what follows. */
const inScript = (value: unknown) => json(value).replaceAll('<', '\\u003c');

/** An attribute's value in the quotes that need fewer escapes (WHATWG HTML, section 13.1.2.3). */
function quoted(value: string): string {
  const safe = value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/[\n\r\t]/g, (space) => `&#${space.charCodeAt(0)};`);
  return safe.includes('"') ? `'${safe.replaceAll("'", '&#39;')}'` : `"${safe}"`;
}

function style({ vars }: Look): string {
  // In CSS, too, `</style>` would end it; `\3c ` is `<` (CSS Syntax, section 4.3.7).
  const rules = Object.entries(vars).map(([name, value]) => `    ${name}: ${value.replaceAll('<', '\\3c ')};\n`);
  return rules.length ? `<style>\n  :root {\n${rules.join('')}  }\n</style>\n` : '';
}
