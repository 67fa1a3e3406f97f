/** A form that sends a request to this service and shows the response as it streams in. */
import { example, type Operation, type Parameter, pretty, resolve } from './document.ts';
import { element } from './view.ts';

const LONGEST_OUTPUT = 200_000;

const access = (id: string) => (document.getElementById(id) as HTMLInputElement).value.trim();

/** The authentication headers that are filled in. */
function credentials({ security = [] }: Operation): Record<string, string> {
  const ways = new Set(security.flatMap((way) => Object.keys(way)));
  const headers: Record<string, string> = {};
  if (ways.has('ApiKey') && access('ApiKey')) headers['X-API-Key'] = access('ApiKey');
  if (ways.has('UserToken') && access('UserToken')) headers['X-User-Token'] = access('UserToken');
  if (ways.has('MetricsToken') && access('MetricsToken')) headers.Authorization = `Bearer ${access('MetricsToken')}`;
  return headers;
}

function field(id: string, name: string, control: HTMLInputElement | HTMLTextAreaElement): HTMLElement {
  control.id = id;
  control.spellcheck = false;
  const label = element('label', '', name);
  label.htmlFor = id;
  return element('div', 'field', label, control);
}

export function form(method: string, path: string, operation: Operation): HTMLElement {
  const id = operation.operationId;
  const parameters = (operation.parameters ?? []).map((each) => resolve<Parameter>(each));
  const inputs = new Map(parameters.map((each) => [each, document.createElement('input')] as const));
  const trying = element('form', 'trying');
  for (const [{ name, required }, input] of inputs) {
    input.required = !!required;
    trying.append(field(`${id}-${name}`, `${name}${required ? '' : ' (optional)'}`, input));
  }
  let body: HTMLTextAreaElement | undefined;
  for (const [media, content] of Object.entries(operation.requestBody?.content ?? {})) {
    body = document.createElement('textarea');
    body.rows = 6;
    body.className = 'source';
    body.value = sample(example(content));
    trying.append(field(`${id}-body`, `Body (${media})`, body));
  }
  const send = element('button', 'primary', 'Send');
  send.type = 'submit';
  const stop = element('button', 'plain', 'Stop');
  stop.type = 'button';
  stop.hidden = true;
  const status = element('p', 'facts');
  status.role = 'status';
  const output = element('pre', 'block');
  output.tabIndex = 0;
  output.role = 'region';
  output.ariaLabel = 'Response';
  output.hidden = true;
  trying.append(element('div', 'buttons', send, stop), status, output);

  let aborting: AbortController | undefined;
  stop.addEventListener('click', () => aborting?.abort());
  trying.addEventListener('submit', async (event) => {
    event.preventDefault();
    aborting?.abort();
    const controller = new AbortController();
    aborting = controller;
    let target = path;
    const headers = credentials(operation);
    for (const [{ name, in: place }, { value }] of inputs) {
      if (place === 'path') target = target.replace(`{${name}}`, encodeURIComponent(value.trim()));
      else if (value.trim()) headers[name] = value.trim();
    }
    const request: RequestInit = {
      method: method.toUpperCase(),
      headers,
      signal: controller.signal,
      cache: 'no-store',
    };
    if (body) {
      headers['Content-Type'] = 'application/json';
      request.body = body.value;
    }
    stop.hidden = false;
    output.hidden = true;
    status.textContent = 'Sending…';
    try {
      const response = await fetch(target.slice(1), request);
      status.textContent = `${response.status} ${response.statusText} · ${response.headers.get('content-type') ?? 'no body'}`;
      await show(response, output);
    } catch (error) {
      if (!controller.signal.aborted) status.textContent = `The request failed: ${(error as Error).message}`;
      else if (controller === aborting) status.textContent += ' · stopped';
    } finally {
      if (controller === aborting) stop.hidden = true;
    }
  });
  return trying;
}

/** The example without ids of a conversation that doesn't exist, which would make a first try fail. */
function sample(value: unknown): string {
  if (typeof value !== 'object' || value === null) return pretty(value ?? {});
  const fields = Object.entries(value).filter(([name]) => !/_id$|^replaces$|^regenerate$/.test(name));
  return pretty(Object.fromEntries(fields));
}

async function show(response: Response, output: HTMLElement): Promise<void> {
  let text = '';
  output.textContent = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true });
    if (text.length > LONGEST_OUTPUT) text = text.slice(-LONGEST_OUTPUT);
    output.hidden = false;
    output.textContent = text;
    output.scrollTop = output.scrollHeight;
  }
  if (/json/.test(response.headers.get('content-type') ?? '')) output.textContent = pretty(JSON.parse(text));
}
