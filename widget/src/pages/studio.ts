/** The studio: a form that is a look, the preview that shows it, and the texts to take away. */
import { LOCALES } from '../strings/locale.ts';
import { contrast, hex, type Rgb } from './contrast.ts';
import { copy } from './copy.ts';
import type { FromPreview, Shown } from './preview.ts';
import { attributes, configObject, esModule, type Look, scriptTag, settingsFile, type Value } from './snippet.ts';

type Control = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

/** Milliseconds of rest after which the preview follows. */
const REST = 300;
/** Of an image from a file, in pixels: the widget shows none larger than 56, on screens of twice the density. */
const IMAGE = 112;
const VARIABLE = '--';

const find = <T extends Element = HTMLElement>(selector: string) => document.querySelector(selector) as T;
const form = find<HTMLFormElement>('#look');
const view = find<HTMLFormElement>('#view');
const frame = find<HTMLIFrameElement>('#preview');
const output = find('#snippet');
const said = find('#said');
const controls = [...form.elements].filter((element): element is Control => 'name' in element && !!element.name);

// The form is the state.

const isChoice = (control: Control): control is HTMLInputElement =>
  control instanceof HTMLInputElement && /^(radio|checkbox)$/.test(control.type);

function isDefault(control: Control): boolean {
  if (control instanceof HTMLSelectElement) return control.options[control.selectedIndex]?.defaultSelected ?? true;
  return isChoice(control) ? !control.checked || control.defaultChecked : control.value.trim() === control.defaultValue;
}

const lines = (text: string): string[] => text.split('\n').flatMap((line) => line.trim() || []);

/** What is wrong with a control beyond what its attributes say. */
function isWrong({ dataset, value }: Control): boolean {
  if (!value.trim()) return false;
  if (dataset.kind === 'color') return !CSS.supports('color', value);
  if (dataset.kind === 'font') return !CSS.supports('font-family', value);
  return dataset.kind === 'lines' && (lines(value).length > 6 || lines(value).some((line) => line.length > 200));
}

function check(control: Control): void {
  control.setCustomValidity(isWrong(control) ? 'wrong' : '');
  const problem = document.getElementById(`${control.id}-problem`);
  if (!problem) return;
  problem.hidden = control.validity.valid;
  control.setAttribute('aria-invalid', `${!control.validity.valid}`);
}

function settingOf({ dataset, type, value }: Control): Value {
  if (type === 'checkbox') return true;
  if (type === 'number') return Number(value);
  return dataset.kind === 'lines' ? lines(value) : value.trim();
}

/** Controls that differ from how the widget is by itself, and make sense. */
function changed(): Control[] {
  const mode = new FormData(form).get('mode');
  return controls.filter(
    (control) => !isDefault(control) && control.validity.valid && (control.name !== 'target' || mode === 'inline'),
  );
}

function readLook(): Look {
  const settings: Record<string, Value> = {};
  const vars: Record<string, string> = {};
  for (const control of changed()) {
    if (control.name.startsWith(VARIABLE)) {
      vars[control.name] = control.value.trim() + (control.dataset.kind === 'px' ? 'px' : '');
    } else {
      settings[control.name] = settingOf(control);
    }
  }
  return { settings, vars };
}

/** A link holds the form's own texts, so that what was typed comes back as it was. */
const toFragment = () => new URLSearchParams(changed().map(({ name, value }) => [name, value])).toString();

function fromFragment(): void {
  form.reset();
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    for (const control of controls.filter((candidate) => candidate.name === name)) {
      if (isChoice(control)) control.checked = control.type === 'checkbox' || control.value === value;
      else if (control instanceof HTMLSelectElement) {
        if ([...control.options].some((option) => option.value === value)) control.value = value;
      } else control.value = control.maxLength > 0 ? value.slice(0, control.maxLength) : value.slice(0, 2000);
    }
  }
}

// Colours

const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });

/** What a CSS colour is on a screen. */
function toRgb(color: string): Rgb {
  if (!canvas) return [0, 0, 0];
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = '#000';
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)] as unknown as Rgb;
}

const toHex = (color: string) => hex(toRgb(color));
const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];
const DARK: Rgb = [25, 24, 22];

/** `isText`: WCAG 2.2 asks for it. Beside a page, the bubble's own symbol is what has to be clear. */
function row(label: string, ratio: number, isText = false): HTMLElement {
  const item = document.createElement('li');
  const value = document.createElement('b');
  value.textContent = `${ratio.toFixed(1)} : 1`;
  item.append(label, value, ratio >= (isText ? 4.5 : 3) ? 'Good' : isText ? 'Too low: aim for 4.5' : 'Low');
  item.classList.toggle('bad', isText && ratio < 4.5);
  return item;
}

/** A valid value of a field, or ''. */
function given(id: string): string {
  const field = find<HTMLInputElement>(id);
  return field.validity.valid ? field.value.trim() : '';
}

/** A valid value of a field, or its placeholder's. */
const colorOf = (id: string, otherwise: string): Rgb => toRgb(given(id) || otherwise);

/** Of a surface of which only the other colour is set, as the window makes it; with neither, the light theme's. */
function besides(other: string, otherwise: string): string {
  if (!given(other)) return otherwise;
  return contrast(toRgb(given(other)), WHITE) >= contrast(toRgb(given(other)), BLACK) ? '#fff' : '#000';
}

function showContrast(): void {
  const color = colorOf('#color', '#4f46e5');
  const [white, black] = [contrast(color, WHITE), contrast(color, BLACK)];
  find('#contrast').replaceChildren(
    row(white >= black ? 'White text' : 'Black text', Math.max(white, black), true),
    row('On a light page', white),
    row('On a dark page', contrast(color, DARK)),
  );
  const [bg, text] = [colorOf('#bg', besides('#text', '#fff')), colorOf('#text', besides('#bg', '#14161a'))];
  const touched = given('#bg') || given('#text');
  find('#surface').replaceChildren(...(touched ? [row('Text on the background', contrast(bg, text), true)] : []));
  for (const picker of form.querySelectorAll<HTMLInputElement>('[type=color]')) {
    picker.value = hex(colorOf(`#${picker.dataset.for}`, picker.defaultValue));
  }
  for (const swatch of form.querySelectorAll<HTMLElement>('[data-color]')) {
    swatch.style.setProperty('--swatch', swatch.dataset.color ?? '');
    swatch.setAttribute('aria-pressed', `${swatch.dataset.color === hex(color)}`);
  }
}

// What to take away

const FORMS = {
  'tab-tag': {
    make: scriptTag,
    how: 'Paste it anywhere in the HTML of your pages. An inline chat without a target appears where you paste it.',
  },
  'tab-object': {
    make: configObject,
    how: 'For tag managers that strip attributes: the same settings as an object, before the script.',
  },
  'tab-module': {
    make: esModule,
    how: 'For applications that add and remove the chat themselves.',
  },
  'tab-file': {
    make: (look: Look) => settingsFile(look, toHex),
    how: 'The same settings stored in the service, which keeps the tag short: python manage.py tenant set "My site" --look look.json',
  },
} as const;

const tabs = [...document.querySelectorAll<HTMLElement>('[role=tab]')];
let tab: keyof typeof FORMS = 'tab-tag';

const textOf = (id: string) => {
  const { value, placeholder } = find<HTMLInputElement>(id);
  return value.trim() || placeholder;
};

/** Names and texts in colours of their own. It only cuts the text: all pieces together are what was given. */
function paint(code: string): Node[] {
  return code.split(/(data-[\w-]+(?=[\s=>])|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|--a4w-[\w-]+)/).map((piece, index) => {
    if (index % 2 === 0) return document.createTextNode(piece);
    const mark = document.createElement(/^["']/.test(piece) ? 'b' : 'i');
    mark.textContent = piece;
    return mark;
  });
}

function showCode(look: Look): void {
  const url = new URL('.', location.href).href.replace(/\/$/, '');
  const { make, how } = FORMS[tab];
  const code = make(look, { url, apiKey: textOf('#api-key'), widgetId: textOf('#widget-id') });
  output.querySelector('code')?.replaceChildren(...paint(code));
  output.setAttribute('aria-labelledby', tab);
  find('#how').textContent = how;
  find('#apart').hidden = !/module|file/.test(tab) || !Object.keys(look.vars).length;
}

// The preview

let timer: ReturnType<typeof setTimeout> | undefined;
let beginning = '';
let turn = 0;

function showPreview(look: Look): void {
  const wishes = new FormData(view);
  const { greeting = '', suggestions = [] } = look.settings;
  const before = beginning;
  beginning = JSON.stringify([greeting, suggestions]);
  const shown: Shown = {
    attributes: attributes(look),
    vars: look.vars,
    scheme: wishes.get('scheme') === 'dark' ? 'dark' : 'light',
    open: wishes.get('window') === 'open',
    anew: before !== '' && before !== beginning,
    turn,
  };
  frame.contentWindow?.postMessage(shown, location.origin);
}

/** Of the frame's page, in CSS pixels: the screen shows it smaller where it has less room. */
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

const setWindow = (state: 'open' | 'closed') => {
  (view.elements.namedItem('window') as RadioNodeList).value = state;
};

// Everything together

function update(rest = REST): void {
  turn++;
  controls.forEach(check);
  const look = readLook();
  showContrast();
  find('#radius-value').textContent = `${find<HTMLInputElement>('#radius').value} px`;
  showCode(look);
  const fragment = toFragment();
  if (fragment !== location.hash.slice(1)) {
    history.replaceState(null, '', fragment ? `#${fragment}` : location.pathname + location.search);
  }
  clearTimeout(timer);
  timer = setTimeout(() => showPreview(readLook()), rest);
}

/** A square from the middle of an image, small enough to travel in the snippet. */
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
    said.textContent = '';
  } catch {
    said.textContent = `This browser can’t read ${file.name} as an image.`;
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
  const { color } = (target as HTMLElement).dataset;
  if (!color) return;
  find<HTMLInputElement>('#color').value = color;
  update(0);
});
view.addEventListener('input', () => {
  fitScreen();
  update(0);
});
for (const element of [form, view, find('#keys')])
  element.addEventListener('submit', (event) => event.preventDefault());
find('#keys').addEventListener('input', () => update());

function choose(chosen: HTMLElement): void {
  for (const other of tabs) {
    other.ariaSelected = `${other === chosen}`;
    other.tabIndex = other === chosen ? 0 : -1;
  }
  tab = chosen.id as typeof tab;
  showCode(readLook());
}

find('[role=tablist]').addEventListener('click', ({ target }) => {
  const chosen = (target as Element).closest<HTMLElement>('[role=tab]');
  if (chosen) choose(chosen);
});
find('[role=tablist]').addEventListener('keydown', (event) => {
  const { key } = event as KeyboardEvent;
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[key];
  if (!step) return;
  event.preventDefault();
  const index = tabs.findIndex(({ id }) => id === tab) + step;
  const chosen = Number.isFinite(step) ? tabs.at(index % tabs.length) : tabs.at(step < 0 ? 0 : -1);
  if (!chosen) return;
  choose(chosen);
  chosen.focus();
});

for (const button of [find('#copy'), find('#take')]) {
  button.addEventListener('click', () => void take(button, output.textContent ?? '', output));
}
find('#share').addEventListener('click', () => void take(find('#share'), location.href));
async function take(button: HTMLElement, text: string, source?: Element): Promise<void> {
  said.textContent = '';
  await copy(button, text, source);
  said.textContent = button.textContent === 'Copied' ? 'Copied.' : '';
}

find('#reset').addEventListener('click', () => {
  form.reset();
  update(0);
  said.textContent = 'All settings reset.';
});

addEventListener('message', ({ data, origin, source }: MessageEvent<FromPreview>) => {
  if (origin !== location.origin || source !== frame.contentWindow) return;
  if (data.type === 'loaded') showPreview(readLook());
  else if (data.turn === turn) setWindow(data.type === 'open' ? 'open' : 'closed');
});
addEventListener('hashchange', () => {
  fromFragment();
  update(0);
});
output.tabIndex = 0; // It scrolls.
new ResizeObserver(fitScreen).observe(find('.screen'));

const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
(view.elements.namedItem('scheme') as RadioNodeList).value = isDark ? 'dark' : 'light';
if (innerWidth < 700) (view.elements.namedItem('device') as RadioNodeList).value = 'phone';
fitScreen();
fromFragment();
update(0);
