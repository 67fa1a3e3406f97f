export const DEFAULT_COLOR = '#4f46e5';

/** The colour if the browser knows it as one, otherwise ours. */
export const validColor = (value: string | undefined): string =>
  value && !/^(transparent|currentcolor|var\()/i.test(value) && CSS.supports('color', value) ? value : DEFAULT_COLOR;

/** sRGB channels from 0 to 1 of any colour that a stylesheet may hold: hex, names, hsl(), oklch(), … */
export function channels(color: string, probe: HTMLElement): [number, number, number] {
  probe.style.color = `color-mix(in srgb, ${color}, ${color})`;
  const [r = 0, g = 0, b = 0] = parseChannels(getComputedStyle(probe).color);
  probe.style.color = '';
  return [r, g, b];
}

/** Of `color(srgb 0.2 0.4 1)` and, from older browsers, `rgb(51, 102, 255)`. */
export function parseChannels(computed: string): number[] {
  const scale = computed.startsWith('rgb') ? 255 : 1;
  return (computed.match(/-?[\d.]+(e-?\d+)?/g) ?? []).slice(0, 3).map((value) => Number(value) / scale);
}

/** Black or white, whichever WCAG 2 finds easier to read on the colour. */
export function textOn(rgb: readonly [number, number, number]): '#fff' | '#000' {
  const [r, g, b] = rgb.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)) as [
    number,
    number,
    number,
  ];
  // Where both contrasts are equal: (L + 0.05)² = 1.05 × 0.05.
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.1791 ? '#000' : '#fff';
}
