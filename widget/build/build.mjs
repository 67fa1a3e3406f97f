/**
 * Builds ../static/ from scratch. Builds are reproducible: names are content hashes, no file contains a date, and gzip runs
 * in JavaScript because zlib's output differs between processors.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'fflate';
import { minify } from 'terser';
import { build } from 'vite';
import { minifyCss, minifyTemplates } from './minify-templates.mjs';
import { BUDGETS, brotli, sizes } from './sizes.mjs';

const WIDGET = path.resolve(import.meta.dirname, '..');
const STATIC = path.resolve(WIDGET, '../static');
/** Licences that must be distributed with the code. */
const LICENCED = ['lit'];

/** Every output file, by its path. */
const files = new Map();

/**
 * Terser before the bundler's own minifier: together they save 1 % over either alone. Lit's internal names are shortened as
 * Lit's own builds do it, since all of Lit is in one chunk.
 */
function minifyScripts(format) {
  const options = {
    module: format === 'es',
    compress: { passes: 3, unsafe: true, pure_getters: true },
    mangle: { properties: { regex: /^_\$/ } },
  };
  return {
    name: 'minify-scripts',
    renderChunk: async (code) => ({ code: (await minify(code, options)).code, map: null }),
  };
}

/** The chunks of one entry, or of several named ones. */
async function chunks(entry, format, name, define = {}) {
  const result = await build({
    root: WIDGET,
    configFile: false,
    logLevel: 'warn',
    base: './',
    publicDir: false,
    plugins: [minifyTemplates(), minifyScripts(format)],
    define,
    build: {
      write: false,
      target: 'es2022',
      // Library mode: otherwise import() gets a preload wrapper, and these chunks have nothing to preload.
      lib: { entry, formats: [format], name: 'A4' },
      reportCompressedSize: false,
      rolldownOptions: {
        // Code shared with the window stays in the app's chunk, which saves a request before the bubble appears.
        preserveEntrySignatures: 'allow-extension',
        output: {
          minify: true,
          comments: false,
          entryFileNames: name,
          // Only the last word of the module's name: the first load lists the names of all later chunks.
          chunkFileNames: ({ name }) => `assets/${name.split('-').pop()}-[hash:6].js`,
        },
      },
    },
  });
  const { output } = [result].flat()[0];
  for (const { type, fileName } of output) if (type !== 'chunk') throw new Error(`${fileName} is no script.`);
  return output;
}

/** Bundles one entry; returns the path of its first chunk. */
async function bundle(entry, format, name, define) {
  const made = await chunks(path.join(WIDGET, 'src', entry), format, name, define);
  for (const { fileName, code } of made) files.set(fileName, Buffer.from(code));
  return made.find(({ isEntry }) => isEntry).fileName;
}

/** Writes a chunk per language other than English. They share one hash, which it returns, so the window needs no table. */
async function languages(name) {
  const folder = path.join(WIDGET, 'src', name);
  const sources = (await readdir(folder)).filter((name) => /^\w\w(-\w\w)?\.ts$/.test(name) && name !== 'en.ts').sort();
  const entry = Object.fromEntries(sources.map((name) => [path.parse(name).name, path.join(folder, name)]));
  const made = await chunks(entry, 'es', '[name].js');
  const hash = contentHash(
    made
      .map(({ code }) => code)
      .sort()
      .join(''),
  );
  for (const { name, code } of made) files.set(`assets/${name}-${hash}.js`, Buffer.from(code));
  return hash;
}

function contentHash(content) {
  return createHash('sha256').update(content).digest('base64url').replace(/[-_]/g, '').slice(0, 8);
}

/** Puts a file under assets/, named by its content hash. */
function asset(name, content) {
  const { name: stem, ext } = path.parse(name);
  const target = `assets/${stem}-${contentHash(content)}${ext}`;
  files.set(target, Buffer.from(content));
  return target;
}

async function page(name, references) {
  const source = await readFile(path.join(WIDGET, 'src/pages', name), 'utf8');
  const html = source.replace(/\{\{(.+?)\}\}/g, (_, reference) => {
    if (!references[reference]) throw new Error(`${name} refers to ${reference}, which is not built.`);
    return references[reference];
  });
  // The frame's page is part of every first load, so everything optional is removed.
  files.set(name, Buffer.from(name === 'widget.html' ? html.replace(/\n|<\/html>|"(?=[^<]*>)/g, '') : html));
}

async function licences() {
  const texts = LICENCED.map(async (name) => {
    const folder = path.join(WIDGET, 'node_modules', name);
    const { version } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8'));
    return `${name} ${version}\n\n${await readFile(path.join(folder, 'LICENSE'), 'utf8')}`;
  });
  return `${(await Promise.all(texts)).join(`\n\n${'-'.repeat(80)}\n\n`)}\n`;
}

async function write() {
  await rm(STATIC, { recursive: true, force: true });
  await mkdir(path.join(STATIC, 'assets'), { recursive: true });
  for (const [name, content] of files) {
    const target = path.join(STATIC, name);
    await writeFile(target, content);
    // The service fills in the pages, so they can't be compressed here.
    if (name.endsWith('.html')) continue;
    await writeFile(`${target}.br`, brotli(content));
    await writeFile(`${target}.gz`, gzipSync(content, { level: 9, mtime: 0 }));
  }
}

const part = { PAGE: JSON.stringify(await bundle('loader/page.ts', 'es', 'assets/page-[hash:6].js')) };
await bundle('loader/main.ts', 'iife', 'widget.js', part);
await bundle('loader/module.ts', 'es', 'widget.mjs', part);
files.set('widget.d.ts', await readFile(path.join(WIDGET, 'types/a4-chat-widget.d.ts')));
const app = await bundle('frame/main.ts', 'es', 'assets/app-[hash:6].js', {
  LANGUAGES: JSON.stringify(await languages('strings')),
  HANDOFF_LANGUAGES: JSON.stringify(await languages('strings/handoff')),
});
const source = (name) => readFile(path.join(WIDGET, 'src/pages', name), 'utf8');

await page('widget.html', { 'app.js': app });
const icon = asset('icon.svg', await source('icon.svg'));
const style = async (name) => asset(name, minifyCss(await source(name)));
const base = await style('base.css');
const controls = await style('controls.css');
await page('studio.html', {
  'icon.svg': icon,
  'base.css': base,
  'controls.css': controls,
  'studio.css': await style('studio.css'),
  'studio.js': await bundle('pages/studio.ts', 'iife', 'assets/studio-[hash:6].js'),
});
await page('conversations.html', {
  'icon.svg': icon,
  'base.css': base,
  'controls.css': controls,
  'conversations.css': asset(
    'conversations.css',
    minifyCss((await source('conversations.css')) + (await source('reader.css'))),
  ),
  'conversations.js': await bundle('pages/conversations.ts', 'iife', 'assets/conversations-[hash:6].js'),
});
await page('sign-in.html', {
  'icon.svg': icon,
  'base.css': base,
  'sign-in.css': await style('sign-in.css'),
});
await page('preview.html', {
  'preview.css': await style('preview.css'),
  'preview.js': await bundle('pages/preview.ts', 'iife', 'assets/studio-preview-[hash:6].js'),
});
await page('demo.html', {
  'icon.svg': icon,
  'base.css': base,
  'demo.css': await style('demo.css'),
  'demo.js': await bundle('pages/demo.ts', 'iife', 'assets/demo-[hash:6].js'),
  'first-load': (BUDGETS.first / 1000).toFixed(1),
  languages: `${(await readdir(path.join(WIDGET, 'src/strings'))).filter((name) => /^\w\w(-\w\w)?\.ts$/.test(name)).length}`,
});
await page('docs.html', {
  'icon.svg': icon,
  'base.css': base,
  'controls.css': controls,
  'docs.css': await style('docs.css'),
  'docs.js': await bundle('pages/docs.ts', 'iife', 'assets/docs-[hash:6].js'),
});
asset('licences.txt', await licences());
await write();
await sizes();
