/** The owner's overview: daily figures, conversations worth a look, and the list of all of them. */
import { type Chart, draw } from './conversations/charts.ts';
import { list, listMore, opener, query } from './conversations/list.ts';
import { listen, read } from './conversations/reader.ts';
import {
  at,
  cost,
  counted,
  element,
  GROUPS,
  type Group,
  groupOf,
  outcomeWords,
  shortly,
} from './conversations/words.ts';
import { say } from './notice.ts';
import { ask, listTenants, Refused } from './owner-api.ts';

interface Figures {
  questions: number;
  refused: number;
  outcomes: Record<string, number>;
  up: number;
  down: number;
  handed_off: number;
  prompt_tokens: number;
  completion_tokens: number;
  cost: number | null;
}

interface Trouble {
  conversation_id: string;
  at: string;
  question: string;
  answer: string;
  outcome: string;
  rating: 'up' | 'down' | null;
  comment: string | null;
}

interface Report {
  days: (Figures & { date: string })[];
  total: Figures;
  before: Figures;
  troubles: Trouble[];
}

const find = <T extends HTMLElement>(selector: string) => document.querySelector(selector) as T;
const scope = find<HTMLFormElement>('#scope');
const filter = find<HTMLFormElement>('#filter');
const site = find<HTMLSelectElement>('#site');

const failed = (error: unknown) => say(error instanceof Refused ? error.message : `${error}`);

const days = () => Number(new FormData(scope).get('days'));

// Figures

const part = (some: number, all: number) => (all ? `${Math.round((some / all) * 100)}%` : '–');
const count = ({ outcomes }: Figures, group: Group) =>
  Object.entries(outcomes).reduce((sum, [outcome, times]) => sum + (groupOf(outcome) === group ? times : 0), 0);
const tokens = (figures: Figures) => figures.prompt_tokens + figures.completion_tokens;

const earlier = (value: string) => `${value} in the previous ${days()} days`;

function showFigures({ total, before }: Report): void {
  const answered = count(total, 'answered') + count(total, 'cut');
  const tiles = [
    ['Questions', counted(total.questions), earlier(counted(before.questions))],
    [
      'Answered',
      part(answered, total.questions),
      `${counted(count(total, 'failed'))} failed, ${counted(count(total, 'filtered'))} filtered`,
    ],
    ['Helpful', part(total.up, total.up + total.down), `${counted(total.up)} up, ${counted(total.down)} down`],
    ['Handed off to a person', counted(total.handed_off), `${counted(total.refused)} requests refused by limits`],
    ['Tokens', shortly(tokens(total)), earlier(shortly(tokens(before)))],
    ...(total.cost === null ? [] : [['Cost', cost(total.cost), earlier(cost(before.cost ?? 0))]]),
  ];
  find('#figures').replaceChildren(
    ...tiles.map(([name = '', value = '', more = '']) => {
      const tile = element('div');
      tile.append(element('dt', '', name), element('dd', 'value', value), element('dd', 'beside', more));
      return tile;
    }),
  );
}

function charts({ days: each, total }: Report): [string, Chart][] {
  const dates = each.map(({ date }) => date);
  const series = (name: string, kind: string, value: (day: Figures) => number) => ({
    name,
    kind,
    values: each.map(value),
  });
  const common = { days: dates, format: shortly };
  const outcomes = (Object.keys(GROUPS) as Group[]).map((group) =>
    series(GROUPS[group], group, (day) => count(day, group)),
  );
  const drawings: [string, Chart][] = [
    [
      'outcomes',
      {
        ...common,
        title: 'Questions',
        total: counted(total.questions),
        description: `Questions per day by outcome: ${counted(count(total, 'answered'))} answered, ${counted(count(total, 'failed'))} failed.`,
        series: outcomes.filter(({ kind, values }) => kind === 'answered' || values.some(Boolean)),
      },
    ],
    [
      'ratings',
      {
        ...common,
        title: 'Ratings',
        total: counted(total.up + total.down),
        description: `Ratings per day: ${counted(total.up)} helpful, ${counted(total.down)} not helpful.`,
        series: [series('Helpful', 'up', ({ up }) => up), series('Not helpful', 'down', ({ down }) => down)],
      },
    ],
    [
      'tokens',
      {
        ...common,
        title: 'Tokens',
        total: shortly(tokens(total)),
        description: `Tokens per day: ${counted(total.prompt_tokens)} in prompts, ${counted(total.completion_tokens)} in answers.`,
        series: [
          series('Prompts', 'prompts', (day) => day.prompt_tokens),
          series('Answers', 'answers', (day) => day.completion_tokens),
        ],
      },
    ],
  ];
  if (total.cost !== null) {
    drawings.push([
      'cost',
      {
        days: dates,
        format: cost,
        title: 'Cost',
        total: cost(total.cost),
        description: `Cost per day, ${cost(total.cost)} in total.`,
        series: [series('Cost', 'cost', (day) => day.cost ?? 0)],
      },
    ]);
  }
  return drawings;
}

function showTroubles(troubles: readonly Trouble[]): void {
  const items = troubles.map((trouble) => {
    const item = element('li');
    const button = opener('trouble', trouble.conversation_id, trouble.question);
    const tags = element('span', 'tags');
    if (groupOf(trouble.outcome) !== 'answered')
      tags.append(element('span', `tag ${groupOf(trouble.outcome)}`, outcomeWords(trouble.outcome)));
    if (trouble.rating === 'down') tags.append(element('span', 'tag down', 'Not helpful'));
    button.append(tags);
    if (trouble.comment) button.append(element('q', 'comment', trouble.comment));
    if (trouble.answer) button.append(element('span', 'excerpt', trouble.answer));
    button.append(element('span', 'facts', at(trouble.at)));
    item.append(button);
    return item;
  });
  if (!items.length) items.push(element('li', 'nothing', 'Nothing to review.'));
  find('#troubles').replaceChildren(...items);
}

// Wiring

let latestRequest = 0;

async function showReport(): Promise<void> {
  const request = ++latestRequest;
  try {
    const report = await ask<Report>(`tenants/${site.value}/report?days=${days()}`);
    if (request !== latestRequest) return;
    find('#report').hidden = false;
    showFigures(report);
    const drawn = charts(report);
    find('#chart-cost').hidden = drawn.length < 4;
    for (const [name, chart] of drawn) draw(find(`#chart-${name}`), chart);
    showTroubles(report.troubles);
  } catch (error) {
    failed(error);
  }
}

const showList = () => list(site.value, query(filter)).catch(failed);

async function showAll(): Promise<void> {
  history.replaceState(null, '', `?site=${site.value}&days=${days()}`);
  find<HTMLAnchorElement>('#to-studio').href = `../studio?site=${site.value}`;
  await Promise.all([showReport(), showList()]);
}

site.addEventListener('change', () => void showAll());
scope.addEventListener('change', ({ target }) => {
  if (target !== site) void showReport();
});
filter.addEventListener('submit', (event) => {
  event.preventDefault();
  void showList();
});
filter.addEventListener('change', ({ target }) => {
  if ((target as HTMLElement).id !== 'words') void showList();
});
find('#more').addEventListener('click', () => void listMore(site.value).catch(failed));
document.addEventListener('click', ({ target }) => {
  const button = (target as Element).closest<HTMLElement>('[data-read]');
  if (button) void read(site.value, button.dataset.read ?? '').catch(failed);
});
listen(() => {
  say('Conversation deleted.');
  void showAll();
}, failed);

async function begin(): Promise<void> {
  const tenants = await listTenants();
  for (const { name, widget_id } of tenants) site.add(new Option(name, widget_id));
  const parameters = new URLSearchParams(location.search);
  const selected = tenants.find(({ widget_id }) => widget_id === parameters.get('site'));
  if (selected) site.value = selected.widget_id;
  const period = parameters.get('days');
  if (period === '30' || period === '90') (scope.elements.namedItem('days') as RadioNodeList).value = period;
  if (tenants.length) return showAll();
  const note = find('#note');
  note.hidden = false;
  note.textContent = 'No sites yet. Add one: python manage.py tenant add "My site" --origin https://www.example.com';
}

void begin().catch(failed);
