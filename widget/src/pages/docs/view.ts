/** Builds the reference's elements. Texts are only ever inserted as text nodes. */
import { nameOf, pretty, type Reply, resolve, type Schema } from './document.ts';

export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  className = '',
  ...content: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const created = document.createElement(name);
  if (className) created.className = className;
  created.append(...content);
  return created;
}

/** Text with `code` and **strong** markup. */
export function inline(text: string): Node[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((piece) => {
    if (piece.startsWith('`')) return element('code', '', piece.slice(1, -1));
    if (piece.startsWith('**')) return element('strong', '', piece.slice(2, -2));
    return document.createTextNode(piece);
  });
}

export const paragraphs = (text: string): HTMLElement[] =>
  text
    .trim()
    .split(/\n{2,}/)
    .map((paragraph) => element('p', '', ...inline(paragraph.replaceAll('\n', ' '))));

/** A scrollable block that also works with the keyboard. */
export function code(text: string, label: string): HTMLElement {
  const block = element('pre', 'block', text);
  block.tabIndex = 0;
  block.role = 'group';
  block.ariaLabel = label;
  return block;
}

/** Longer patterns aren't shown, as they don't help readers. */
const LONGEST_PATTERN = 40;

function bounds(schema: Schema): string {
  const { minimum, maximum, minLength, maxLength, maxItems, pattern } = schema;
  const rules = [
    minimum === undefined ? '' : `at least ${minimum}`,
    maximum === undefined ? '' : `at most ${maximum}`,
    minLength && minLength > 1 ? `at least ${minLength} characters` : '',
    maxLength === undefined ? '' : `at most ${maxLength} characters`,
    maxItems === undefined ? '' : `at most ${maxItems} items`,
    pattern && pattern.length <= LONGEST_PATTERN ? `matches ${pattern}` : '',
  ];
  return rules.filter(Boolean).join(', ');
}

/** A value's type, with links to the models it refers to. */
function type(schema: Schema): (Node | string)[] {
  if (schema.$ref) {
    const link = element('a', '', nameOf(schema));
    link.href = `#model-${nameOf(schema)}`;
    return [link];
  }
  if (schema.anyOf) return schema.anyOf.flatMap((each, index) => (index ? [' or ', ...type(each)] : type(each)));
  if (schema.enum) return [schema.enum.map((each) => JSON.stringify(each)).join(' or ')];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.type === 'array' && schema.items) return ['list of ', ...type(schema.items)];
  return [schema.format ?? schema.type ?? 'any'];
}

/** A model's fields. */
export function fields(schema: Schema): HTMLElement {
  const { properties = {}, required = [], anyOf } = resolve(schema);
  if (anyOf) return element('p', '', 'One of ', ...type({ anyOf }), '.');
  const list = element('dl', 'properties');
  for (const [name, property] of Object.entries(properties)) {
    const term = element('dt', '', element('code', '', name), element('span', 'type', ...type(property)));
    if (required.includes(name)) term.append(element('span', 'needed', 'required'));
    const more = [property.description ?? '', bounds(property)].filter(Boolean);
    const about = element('dd', '', ...inline(more.join(' · ')));
    if (property.default !== undefined && property.default !== null)
      about.append(` · default ${JSON.stringify(property.default)}`);
    list.append(element('div', '', term, about));
  }
  return list;
}

/** One response of an operation: description, headers and examples. */
export function reply(status: string, response: Reply): HTMLElement {
  const resolved = resolve(response);
  const body = element('div', 'reply');
  const headers = Object.keys(resolved.headers ?? {});
  for (const [media, content] of Object.entries(resolved.content ?? {})) {
    const line = element('p', 'facts', element('code', '', media), ' ');
    const model = content.schema.$ref ? type(content.schema) : [];
    body.append(element('div', '', line));
    line.append(...model);
    for (const [name, { value }] of Object.entries(content.examples ?? {})) {
      body.append(element('p', 'name', name), code(pretty(value), `Example ${name} of ${status}`));
    }
    const [only] = content.examples ? [] : (resolve(content.schema).examples ?? []);
    if (only !== undefined) body.append(code(pretty(only), `Example of ${status}`));
  }
  if (headers.length) body.append(element('p', 'facts', `Headers: ${headers.join(', ')}`));
  const codes = Object.keys(Object.values(resolved.content ?? {})[0]?.examples ?? {});
  const short = status.startsWith('2') ? resolved.description : codes.join(', ') || resolved.description;
  const summary = element(
    'summary',
    '',
    element('b', `status of-${status[0]}`, status),
    element('span', '', ...inline(short)),
  );
  return element('details', 'response', summary, body);
}
