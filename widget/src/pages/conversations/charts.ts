/** Bar charts by day as SVG, each with a title, a description and a table of the same numbers. */
import { element } from './words.ts';

export interface Series {
  name: string;
  /** The CSS class that sets its colour. */
  kind: string;
  values: readonly number[];
}

export interface Chart {
  title: string;
  /** The total beside the title. */
  total: string;
  /** A sentence that describes the bars. */
  description: string;
  days: readonly string[];
  series: readonly Series[];
  format: (value: number) => string;
}

const NS = 'http://www.w3.org/2000/svg';
const HEIGHT = 190;
const TOP = 12;
const BOTTOM = 24;
const LEFT = 44;
const LABEL_WIDTH = 58;
const HALF_LABEL = 24;
const weekday = new Intl.DateTimeFormat('en', { weekday: 'short', timeZone: 'UTC' });
const date = new Intl.DateTimeFormat('en', { day: 'numeric', month: 'short', timeZone: 'UTC' });

function svg(name: string, attributes: Record<string, string | number>, text = ''): SVGElement {
  const created = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, `${value}`);
  if (text) created.textContent = text;
  return created;
}

/** The smallest 1, 2 or 5 times a power of ten of which four steps reach `most`. */
function step(most: number): number {
  const rough = most / 4;
  if (rough <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const found = [1, 2, 5, 10].find((factor) => factor * power >= rough - 1e-9) ?? 10;
  return found * power;
}

/** `whole`: only whole numbers, for counts. */
function ticks(most: number, whole: boolean): number[] {
  const each = Math.max(step(most), whole ? 1 : 0);
  const count = Math.max(1, Math.ceil(most / each - 1e-9));
  return Array.from({ length: count + 1 }, (_, index) => index * each);
}

function dayName(text: string, count: number): string {
  const time = new Date(`${text}T00:00:00Z`);
  return count > 7 ? date.format(time) : `${weekday.format(time)} ${time.getUTCDate()}`;
}

function plot(chart: Chart, width: number, id: string): SVGElement {
  const { days, series, format } = chart;
  const sums = days.map((_, index) => series.reduce((sum, { values }) => sum + (values[index] ?? 0), 0));
  const whole = series.every(({ values }) => values.every(Number.isInteger));
  const lines = ticks(Math.max(...sums, whole ? 1 : 0.01), whole);
  const top = lines.at(-1) as number;
  const y = (value: number) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const room = (width - LEFT) / days.length;
  const bar = Math.max(2, Math.min(44, room * 0.64));
  const every = Math.ceil(days.length / Math.max(1, Math.floor((width - LEFT) / LABEL_WIDTH)));

  const picture = svg('svg', {
    width,
    height: HEIGHT,
    viewBox: `0 0 ${width} ${HEIGHT}`,
    role: 'img',
    'aria-labelledby': `${id}-name ${id}-what`,
  });
  picture.append(svg('title', { id: `${id}-name` }, chart.title), svg('desc', { id: `${id}-what` }, chart.description));
  for (const line of lines) {
    picture.append(
      svg('line', { x1: LEFT, x2: width, y1: y(line), y2: y(line), class: line ? 'grid' : 'axis' }),
      svg('text', { x: LEFT - 8, y: y(line) + 4, 'text-anchor': 'end' }, format(line)),
    );
  }
  days.forEach((text, index) => {
    const middle = LEFT + room * (index + 0.5);
    const group = svg('g', {});
    const values = series
      .filter(({ values }) => values[index])
      .map(({ name, values }) => `${format(values[index] ?? 0)} ${name.toLowerCase()}`);
    group.append(svg('title', {}, `${dayName(text, days.length)}: ${values.join(', ') || 'none'}`));
    // Full height, so that the tooltip shows anywhere above the day.
    group.append(
      svg('rect', { x: middle - room / 2, y: TOP, width: room, height: HEIGHT - TOP - BOTTOM, class: 'day' }),
    );
    let below = 0;
    for (const { kind, values } of series) {
      const value = values[index] ?? 0;
      if (!value) continue;
      const [from, to] = [y(below), y(below + value)];
      below += value;
      const height = Math.max(1.5, from - to - (to > TOP + 1 ? 1 : 0));
      group.append(
        svg('rect', {
          x: middle - bar / 2,
          y: from - height,
          width: bar,
          height,
          rx: Math.min(3, bar / 4),
          class: kind,
        }),
      );
    }
    picture.append(group);
    if ((days.length - 1 - index) % every === 0) {
      const name = dayName(text, days.length);
      const isAtEdge = middle + HALF_LABEL > width;
      const place = isAtEdge ? { x: width, 'text-anchor': 'end' } : { x: middle, 'text-anchor': 'middle' };
      picture.append(svg('text', { ...place, y: HEIGHT - 6 }, name));
    }
  });
  return picture;
}

function table({ title, days, series, format }: Chart): HTMLElement {
  const details = element('details', 'numbers');
  const grid = element('table');
  const caption = element('caption', 'unseen', title);
  const head = element('tr');
  for (const name of ['Day', ...series.map((each) => each.name)]) {
    const cell = element('th', '', name);
    cell.scope = 'col';
    head.append(cell);
  }
  const body = element('tbody');
  days.forEach((text, index) => {
    const row = element('tr');
    const name = element('th', '', dayName(text, 99));
    name.scope = 'row';
    row.append(name, ...series.map(({ values }) => element('td', '', format(values[index] ?? 0))));
    body.append(row);
  });
  const thead = element('thead');
  thead.append(head);
  grid.append(caption, thead, body);
  const scroll = element('div', 'scroll');
  scroll.tabIndex = 0;
  scroll.role = 'region';
  scroll.ariaLabel = `${title} as a table`;
  scroll.append(grid);
  const summary = element('summary', '', 'Show as table');
  details.append(summary, scroll);
  return details;
}

const observers = new WeakMap<HTMLElement, ResizeObserver>();

/** Draws a chart that fills a figure's width, and redraws it when the width changes. */
export function draw(figure: HTMLElement, chart: Chart): void {
  observers.get(figure)?.disconnect();
  const caption = element('figcaption');
  caption.append(element('h3', '', chart.title), element('span', 'total', chart.total));
  const legend = element('ul', 'legend');
  for (const { name, kind } of chart.series.length > 1 ? chart.series : []) {
    const item = element('li', kind, name);
    legend.append(item);
  }
  const place = element('div', 'plot');
  figure.replaceChildren(caption, legend, place, table(chart));
  const observer = new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (width > LEFT) place.replaceChildren(plot(chart, width, figure.id));
  });
  observer.observe(place);
  observers.set(figure, observer);
}
