/** The API reference, rendered from the OpenAPI document, with forms that send requests to this service. */
import { load, type Operation, type Schema } from './docs/document.ts';
import { form } from './docs/trying.ts';
import { element, fields, inline, paragraphs, reply } from './docs/view.ts';

const find = (selector: string) => document.querySelector(selector) as HTMLElement;

function link(id: string, ...content: (Node | string)[]): HTMLElement {
  const anchor = element('a', '', ...content);
  anchor.href = `#${id}`;
  return element('li', '', anchor);
}

const method = (name: string) => element('b', `method ${name}`, name.toUpperCase());

function section(name: string, path: string, operation: Operation): HTMLElement {
  const part = element('section', 'operation');
  part.id = operation.operationId;
  const title = element('h3', '', operation.summary);
  title.id = `${operation.operationId}-title`;
  part.setAttribute('aria-labelledby', title.id);
  const [success] = Object.entries(operation.responses).filter(([status]) => status.startsWith('2'));
  part.append(title, element('p', 'route', method(name), element('code', '', path)));
  if (success) part.append(element('p', 'about', ...inline(success[1].description)));
  const [body] = Object.values(operation.requestBody?.content ?? {});
  if (body) part.append(element('h4', '', 'Body'), fields(body.schema));
  const ways = (operation.security ?? []).map((way) => Object.keys(way).join(' and '));
  if (ways.length) part.append(element('p', 'facts', `Requires ${ways.join(', or ')}.`));
  part.append(
    element('details', 'try', element('summary', '', 'Try it'), form(name, path, operation)),
    element('h4', '', 'Responses'),
    element('div', 'responses', ...Object.entries(operation.responses).map(([status, found]) => reply(status, found))),
  );
  return part;
}

function model(name: string, schema: Schema): HTMLElement {
  const details = element('details', 'response', element('summary', '', element('code', '', name)));
  details.id = `model-${name}`;
  const body = element('div', 'reply');
  if (schema.description) body.append(...paragraphs(schema.description));
  body.append(fields(schema));
  details.append(body);
  return details;
}

async function show(): Promise<void> {
  const api = await load();
  find('#about').append(...paragraphs(api.info.description));
  const contents = find('#contents');
  const operations = find('#operations');
  const all = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([name, operation]) => ({ name, path, operation })),
  );
  for (const tag of new Set(all.flatMap(({ operation }) => operation.tags))) {
    const list = element('ul');
    operations.append(element('h2', '', tag));
    for (const { name, path, operation } of all.filter((each) => each.operation.tags.includes(tag))) {
      operations.append(section(name, path, operation));
      list.append(link(operation.operationId, method(name), operation.summary));
    }
    contents.append(element('p', 'name', tag), list);
  }
  const models = element('h2', '', 'Models');
  models.id = 'models';
  operations.append(models, ...Object.entries(api.components.schemas).map(([name, schema]) => model(name, schema)));
  contents.append(element('ul', '', link('models', 'Models')));
  openTarget();
}

/** Opens the model that a link points to. */
function openTarget(): void {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  if (target instanceof HTMLDetailsElement) target.open = true;
  target.scrollIntoView();
}

addEventListener('hashchange', openTarget);
show().catch((error: unknown) => {
  find('#problem').textContent =
    `Couldn’t load the documentation: ${(error as Error).message}. Reload the page to try again.`;
});
