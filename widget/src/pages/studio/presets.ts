/** Preset looks: colour, theme, font, corners and backgrounds. Texts and images aren't changed. */
import { fromPreset } from './form.ts';

interface Preset {
  name: string;
  values: Readonly<Record<string, string>>;
}

const NAMES = [
  'color',
  'theme',
  '--a4w-font',
  '--a4w-radius',
  '--a4w-bg-color',
  '--a4w-text-color',
  '--a4w-secondary-bg',
  '--a4w-border-color',
] as const;

const look = (
  name: string,
  color: string,
  theme: string,
  font: string,
  radius: string,
  [bg, text, secondary, border]: string[] = [],
): Preset => {
  const values = [color, theme, font, radius, bg, text, secondary, border];
  return {
    name,
    values: Object.fromEntries(NAMES.flatMap((key, index) => (values[index] ? [[key, values[index]]] : []))),
  };
};

const ROUND = "ui-rounded, 'SF Pro Rounded', Quicksand, sans-serif";
const SERIF = 'Charter, Cambria, Georgia, serif';
const MONO = 'ui-monospace, Menlo, Consolas, monospace';

export const PRESETS: readonly Preset[] = [
  look('Classic', '', '', '', ''),
  look('Ink', '#1f2328', 'light', '', '6', ['#ffffff', '#1f2328', '#f4f4f2', '#dcdcd8']),
  look('Paper', '#8a4b2a', 'light', SERIF, '10', ['#fbf7f0', '#2b2620', '#f1e9dc', '#ddcfba']),
  look('Meadow', '#2f6b3a', 'light', ROUND, '22', ['#f8fbf6', '#1c2a1f', '#e9f2e6', '#cfe0ca']),
  look('Harbour', '#0b5fb8', 'light', '', '14', ['#f7fafd', '#12263a', '#e6eff8', '#c9dbeb']),
  look('Blossom', '#b8175a', 'light', ROUND, '28', ['#fff8fb', '#33121f', '#fdeaf2', '#f3cddd']),
  look('Midnight', '#8b9dff', 'dark', '', '18', ['#0e1220', '#e8ebf7', '#1a2033', '#2c3450']),
  look('Terminal', '#3ddc84', 'dark', MONO, '0', ['#0b0f0c', '#d7e5da', '#141b16', '#2a3a2f']),
];

/** Adds a button per preset to `list`. `chosen` is called after one has changed the form. */
export function offerPresets(list: Element, chosen: (name: string) => void): void {
  for (const { name, values } of PRESETS) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'preset';
    const card = document.createElement('span');
    card.className = 'sample';
    card.setAttribute('aria-hidden', 'true');
    card.append(document.createElement('i'), document.createElement('i'), document.createElement('i'));
    const { style } = card;
    style.setProperty('--color', values.color ?? '#4f46e5');
    style.setProperty('--paper', values['--a4w-bg-color'] ?? '#fff');
    style.setProperty('--soft', values['--a4w-secondary-bg'] ?? '#eef0f3');
    style.setProperty('--edge-of', values['--a4w-border-color'] ?? '#e2e4e9');
    style.setProperty('--corner', `${Number(values['--a4w-radius'] ?? 16) / 2}px`);
    button.append(card, name);
    button.addEventListener('click', () => {
      fromPreset(NAMES, values);
      chosen(name);
    });
    list.append(button);
  }
}
