/** The studio: a form for the look, its live preview, the snippets to copy, and the tenants to save it for. */
import { LOCALES } from '../strings/locale.ts';
import { copy } from './copy.ts';
import { say } from './notice.ts';
import type { FromPreview, Shown, State } from './preview.ts';
import { attributes, type Look } from './snippet.ts';
import { listenToTabs, output, showCode } from './studio/code.ts';
import { showContrast } from './studio/colours.ts';
import { checkAll, find, form, fromText, readLook, toText } from './studio/form.ts';
import { isLive, liveKeys, showUnsaved, startLive } from './studio/live.ts';
import { offerPresets } from './studio/presets.ts';

/** Debounce delay in milliseconds, after which the preview updates and the changes count as one undo step. */
const PAUSE = 300;
/** The size of an uploaded image, in pixels: the widget shows at most 56, doubled for high-density screens. */
const IMAGE = 112;
const MOST_STEPS = 50;

const view = find<HTMLFormElement>('#view');
const frame = find<HTMLIFrameElement>('#preview');
const undo = find<HTMLButtonElement>('#undo');

const textOf = (id: string) => {
  const { value, placeholder } = find<HTMLInputElement>(id);
  return value.trim() || placeholder;
};

const showSnippet = (look: Look) =>
  showCode(look, liveKeys() ?? { apiKey: textOf('#api-key'), widgetId: textOf('#widget-id') }, isLive());

// The preview

let timer: ReturnType<typeof setTimeout> | undefined;
let beginning = '';
let turn = 0;

const stateOf = () => new FormData(view).get('window') as State;

function showPreview(look: Look): void {
  const { greeting = '', suggestions = [] } = look.settings;
  const before = beginning;
  beginning = JSON.stringify([greeting, suggestions]);
  const preview: Shown = {
    attributes: attributes(look),
    vars: look.vars,
    scheme: new FormData(view).get('scheme') === 'dark' ? 'dark' : 'light',
    state: stateOf(),
    startsOver: before !== '' && before !== beginning,
    turn,
  };
  frame.contentWindow?.postMessage(preview, location.origin);
}

/** The size of the frame's page in CSS pixels. It is scaled down if there is less room. */
const WIDTHS = { desktop: 780, phone: 390 };

function fitScreen(): void {
  const { clientWidth: width, clientHeight: height } = find('.screen');
  const device = new FormData(view).get('device') === 'phone' ? 'phone' : 'desktop';
  find('.device').dataset.device = device;
  const scale = Math.min(1, width / WIDTHS[device]);
  if (!scale) return;
  frame.style.width = `${width / scale}px`;
  frame.style.height = `${height / scale}px`;
  frame.style.scale = `${scale}`;
}

const setWindow = (state: State) => {
  (view.elements.namedItem('window') as RadioNodeList).value = state;
};

// Undo

const steps: string[] = [];

/** Records the form's state for Undo. */
function note(): void {
  const text = toText();
  if (text !== steps.at(-1)) steps.push(text);
  if (steps.length > MOST_STEPS) steps.shift();
  undo.disabled = steps.length < 2;
}

undo.addEventListener('click', () => {
  note(); // includes pending input
  steps.pop();
  fromText(steps.at(-1) ?? '');
  update(0);
  say('Undone.');
});

// Wiring

function update(pause = PAUSE): void {
  turn++;
  checkAll();
  const look = readLook();
  showContrast();
  find('#radius-value').textContent = `${find<HTMLInputElement>('#radius').value} px`;
  showSnippet(look);
  showUnsaved(look);
  const fragment = isLive() ? '' : toText();
  if (fragment !== location.hash.slice(1)) {
    history.replaceState(null, '', fragment ? `#${fragment}` : location.pathname + location.search);
  }
  clearTimeout(timer);
  timer = setTimeout(() => {
    note();
    showPreview(readLook());
  }, pause);
}

/** Loads another look, which clears the undo history. */
function begin(): void {
  steps.length = 0;
  note();
  update(0);
}

/** Crops an image to a centred square, small enough to embed in the snippet. */
async function toDataUrl(file: File): Promise<string> {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height);
  const square = document.createElement('canvas');
  square.width = square.height = IMAGE;
  const [x, y] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  square.getContext('2d')?.drawImage(bitmap, x, y, side, side, 0, 0, IMAGE, IMAGE);
  bitmap.close();
  return square.toDataURL('image/webp', 0.85);
}

async function takeFile(input: HTMLInputElement): Promise<void> {
  const [file] = input.files ?? [];
  if (!file) return;
  const field = find<HTMLInputElement>(`#${input.dataset.for}`);
  try {
    field.value = await toDataUrl(file);
    say('');
  } catch {
    say(`This browser can’t read ${file.name} as an image.`);
  }
  input.value = '';
  update();
}

const names = (locale: string) => new Intl.DisplayNames([locale], { type: 'language' }).of(locale) ?? locale;
for (const locale of LOCALES) find<HTMLSelectElement>('#locale').add(new Option(names(locale), locale));

form.addEventListener('input', ({ target }) => {
  const control = target as HTMLInputElement;
  if (control.type === 'color') find<HTMLInputElement>(`#${control.dataset.for}`).value = control.value;
  if (control.type === 'file') return;
  if (control.closest('#proactive-group')) setWindow('closed');
  update();
});
form.addEventListener('change', ({ target }) => {
  if ((target as HTMLInputElement).type === 'file') void takeFile(target as HTMLInputElement);
});
form.addEventListener('click', ({ target }) => {
  const { color, use, field = 'color' } = (target as HTMLElement).dataset;
  if (!color && !use) return;
  find<HTMLInputElement>(`#${field}`).value = color ?? use ?? '';
  if (use) find<HTMLInputElement>(`#${field}`).focus(); // the button disappears with the problem
  update(0);
});
view.addEventListener('input', () => {
  fitScreen();
  update(0);
});
for (const element of [form, view, find('#keys')])
  element.addEventListener('submit', (event) => event.preventDefault());
find('#keys').addEventListener('input', () => update());
listenToTabs(showSnippet);
offerPresets(find('#presets'), (name) => {
  update(0);
  say(`${name} applied.`);
});

for (const button of [find('#copy'), find('#take')]) {
  button.addEventListener('click', () => void take(button, output.textContent ?? '', output));
}
find('#share').addEventListener('click', () => void take(find('#share'), location.href));
async function take(button: HTMLElement, text: string, source?: Element): Promise<void> {
  await copy(button, text, source);
  say(button.textContent === 'Copied' ? 'Copied.' : '');
}

find('#reset').addEventListener('click', () => {
  form.reset();
  update(0);
  say('All settings reset.');
});

addEventListener('message', ({ data, origin, source }: MessageEvent<FromPreview>) => {
  if (origin !== location.origin || source !== frame.contentWindow) return;
  if (data.type === 'loaded') showPreview(readLook());
  else if (data.turn !== turn) return;
  else if (data.type === 'close') setWindow('closed');
  else if (stateOf() === 'closed') setWindow('welcome');
});
addEventListener('hashchange', () => {
  fromText(location.hash.slice(1));
  update(0);
});
new ResizeObserver(fitScreen).observe(find('.screen'));

const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
(view.elements.namedItem('scheme') as RadioNodeList).value = isDark ? 'dark' : 'light';
if (innerWidth < 700) (view.elements.namedItem('device') as RadioNodeList).value = 'phone';
fitScreen();
fromText(location.hash.slice(1));
begin();
if (document.body.dataset.owner === 'yes') void startLive(begin, () => update(0), say);
