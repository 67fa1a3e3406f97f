/**
 * Prints the built widget's transfer sizes (brotli 11; gzip for its page) as a table. `--check` fails if a size exceeds its budget
 * or the table in docs/embedding.md is out of date; `--write` updates that table.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

/**
 * Budgets in bytes. `open` is everything that a chat in English loads; `whole` adds the parts that load on demand: previews
 * beside the bubble, the menu, past conversations, questions, errors and words for unread answers. The rarely used contact
 * form and the other languages are separate chunks.
 */
export const BUDGETS = { first: 4400, open: 29_500, whole: 37_100, form: 1800 };

const ROOT = path.resolve(import.meta.dirname, '../..');
const STATIC = path.join(ROOT, 'static');
const PAGE = path.join(ROOT, 'docs/embedding.md');
const TABLE = /(?<=<!-- sizes -->\n)[\s\S]*?(?=<!-- \/sizes -->)/;

/** Distance parameters for the encoder; the best differs by file. Files that no chat loads only try one. */
const DISTANCES = [0, 1, 2, 3].flatMap((postfix) => [
  [postfix, 0],
  [postfix, 8 << postfix],
]);
const LARGE = 200_000;

export const brotli = (content) =>
  DISTANCES.slice(0, content.length > LARGE ? 1 : undefined)
    .map(([postfix, direct]) =>
      brotliCompressSync(content, {
        params: {
          [constants.BROTLI_PARAM_QUALITY]: 11,
          [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
          [constants.BROTLI_PARAM_NPOSTFIX]: postfix,
          [constants.BROTLI_PARAM_NDIRECT]: direct,
        },
      }),
    )
    .reduce((best, next) => (next.length < best.length ? next : best));

async function weigh() {
  const names = [
    'widget.js',
    'widget.html',
    ...(await readdir(path.join(STATIC, 'assets'))).map((name) => `assets/${name}`),
  ];
  const sum = { first: 0, window: 0, wanted: 0, form: 0, languages: 0 };
  for (const name of names) {
    const part = partOf(name);
    if (!part) continue;
    const content = await readFile(path.join(STATIC, name));
    sum[part] += (name.endsWith('.html') ? gzipSync(filledIn(content)) : brotli(content)).length;
  }
  const open = sum.first + sum.window;
  return { first: sum.first, open, whole: open + sum.wanted, form: sum.form, languages: sum.languages };
}

/** The gzip size of a page as the service sends it, for a tenant with one origin and no look of its own. */
const filledIn = (content) =>
  `${content}`.replace('__A4_WIDGET__', '{"origins":["https://www.example.com"],"settings":{}}');

/** Scripts of other pages and files that aren't scripts belong to no part. */
function partOf(name) {
  if (/^widget\.|^assets\/app-.*\.js$/.test(name)) return 'first';
  if (/^assets\/(demo|docs|studio|conversations)/.test(name) || !name.endsWith('.js')) return undefined;
  if (/^assets\/(language|\w\w(-\w+)?)-[\w-]+\.js$/.test(name)) return 'languages';
  if (/^assets\/form-/.test(name)) return 'form';
  return /^assets\/(control|page)-/.test(name) ? 'window' : 'wanted';
}

const format = (bytes) => bytes.toLocaleString('en');

function tableOf({ first, open, whole, form, languages }) {
  const rows = [
    ['what', 'bytes, brotli', 'budget'],
    ['---', '---:', '---:'],
    ['until the visitor opens the chat: loader, frame, bubble', format(first), format(BUDGETS.first)],
    ['the chat open and answering, in English', format(open), format(BUDGETS.open)],
    ['everything, with what is fetched only when wanted', format(whole), format(BUDGETS.whole)],
    ['the form for a person, once a visitor opens it', format(form), format(BUDGETS.form)],
    ['all further languages together; a visitor loads at most one', format(languages), ''],
  ];
  return `${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}\n`;
}

export async function sizes(mode) {
  const weights = await weigh();
  const table = tableOf(weights);
  console.log(table);
  const page = await readFile(PAGE, 'utf8');
  if (mode === '--write')
    await writeFile(
      PAGE,
      page.replace(TABLE, () => table),
    );
  if (mode !== '--check') return;
  const faults = Object.entries(BUDGETS)
    .filter(([part, budget]) => weights[part] > budget)
    .map(([part, budget]) => `${part}: ${weights[part] - budget} bytes over the budget.`);
  if (page.match(TABLE)?.[0] !== table)
    faults.push('The table in docs/embedding.md is out of date: npm run sizes -- --write');
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await sizes(process.argv[2]);
