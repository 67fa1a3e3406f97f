/** Checks colour contrast and suggests fixes (WCAG 2.2, 1.4.3 and 1.4.11). */
import { contrast, hex, type Rgb } from '../contrast.ts';
import { find, form, validValue } from './form.ts';

const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];
/** The background of the preview's dark website. */
const DARK_PAGE: Rgb = [25, 24, 22];
const OF_TEXT = 4.5;
const OF_SHAPES = 3;
/** The share of the text colour in the window's focus ring. */
const IN_RING = 0.3;
/** The window's default colours by theme. */
const THEMES = {
  light: { bg: '#fff', text: '#14161a' },
  dark: { bg: '#15171b', text: '#eceef1' },
} as const;

/** Resolves a CSS colour to RGB. */
function toRgb(color: string): Rgb {
  if (!canvas) return BLACK;
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = '#000';
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)] as unknown as Rgb;
}

export const toHex = (color: string) => hex(toRgb(color));

const mix = (one: Rgb, other: Rgb, share: number): Rgb =>
  one.map((channel, index) => Math.round(channel * (1 - share) + (other[index] ?? 0) * share)) as unknown as Rgb;

/** The nearest darker or lighter colour with a sufficient `ratio`. */
function remedy(color: Rgb, ratio: (color: Rgb) => number, wanted: number): Rgb | undefined {
  for (let share = 0.02; share <= 1; share += 0.02) {
    const found = [BLACK, WHITE].map((end) => mix(color, end, share)).find((next) => ratio(next) >= wanted + 0.05);
    if (found) return found;
  }
  return undefined;
}

interface Row {
  label: string;
  wanted: number;
  /** The field that the suggested colour is for. */
  field: string;
  color: Rgb;
  ratio: (color: Rgb) => number;
}

function show({ label, wanted, field, color, ratio }: Row): HTMLElement {
  const item = document.createElement('li');
  const value = document.createElement('b');
  const reached = ratio(color);
  const isGood = reached >= wanted;
  value.textContent = `${reached.toFixed(1)} : 1`;
  item.append(label, value, isGood ? 'Good' : `Too low: aim for ${wanted}`);
  item.classList.toggle('bad', !isGood);
  const better = isGood ? undefined : remedy(color, ratio, wanted);
  if (better) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'remedy';
    button.textContent = `Use ${hex(better)}`;
    button.setAttribute('aria-label', `${label}: use ${hex(better)} instead`);
    Object.assign(button.dataset, { use: hex(better), field });
    button.style.setProperty('--swatch', hex(better));
    item.append(button);
  }
  return item;
}

const colorOf = (id: string, otherwise: string): Rgb => toRgb(validValue(id) || otherwise);

/** The missing colour of a background and text pair, derived as the window does it. */
function besides(other: string, otherwise: string): string {
  if (!validValue(other)) return otherwise;
  return contrast(toRgb(validValue(other)), WHITE) >= contrast(toRgb(validValue(other)), BLACK) ? '#fff' : '#000';
}

const surface = (theme: keyof typeof THEMES) => ({
  bg: colorOf('#bg', besides('#text', THEMES[theme].bg)),
  text: colorOf('#text', besides('#bg', THEMES[theme].text)),
});

/** The themes that visitors may see. */
function themes(): (keyof typeof THEMES)[] {
  const theme = new FormData(form).get('theme');
  return theme === 'light' || theme === 'dark' ? [theme] : ['light', 'dark'];
}

export function showContrast(): void {
  const color = colorOf('#color', '#4f46e5');
  const [white, black] = [contrast(color, WHITE), contrast(color, BLACK)];
  const onColor = white >= black ? WHITE : BLACK;
  const ring = (next: Rgb) =>
    Math.min(
      ...themes()
        .map(surface)
        .map(({ bg, text }) => contrast(mix(next, text, IN_RING), bg)),
    );
  const ofColor = { field: 'color', color };
  const rows: Row[] = [
    {
      ...ofColor,
      label: white >= black ? 'White text' : 'Black text',
      wanted: OF_TEXT,
      ratio: (next) => contrast(next, onColor),
    },
    { ...ofColor, label: 'Focus ring', wanted: OF_SHAPES, ratio: ring },
    { ...ofColor, label: 'On a light page', wanted: OF_SHAPES, ratio: (next) => contrast(next, WHITE) },
    { ...ofColor, label: 'On a dark page', wanted: OF_SHAPES, ratio: (next) => contrast(next, DARK_PAGE) },
  ];
  find('#contrast').replaceChildren(...rows.map(show));
  const { bg, text } = surface(themes()[0] ?? 'light');
  const touched = validValue('#bg') || validValue('#text');
  const onBackground: Row = {
    label: 'Text on the background',
    wanted: OF_TEXT,
    field: 'text',
    color: text,
    ratio: (next) => contrast(next, bg),
  };
  find('#surface').replaceChildren(...(touched ? [show(onBackground)] : []));
  for (const picker of form.querySelectorAll<HTMLInputElement>('[type=color]')) {
    picker.value = hex(colorOf(`#${picker.dataset.for}`, picker.defaultValue));
  }
  for (const swatch of form.querySelectorAll<HTMLElement>('[data-color]')) {
    swatch.style.setProperty('--swatch', swatch.dataset.color ?? '');
    swatch.setAttribute('aria-pressed', `${swatch.dataset.color === hex(color)}`);
  }
}
