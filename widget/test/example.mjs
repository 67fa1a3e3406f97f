/**
 * Type-checks an example from docs/embedding.md and bundles an application around it: `node example.mjs react` or `vue` prints the
 * script. `App.start(config)` returns a function that stops it.
 */
import { execFileSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import vue from '@vitejs/plugin-vue';
import { build } from 'vite';
import { compileScript, parse } from 'vue/compiler-sfc';

const ENTRIES = {
  react: `import { createElement, StrictMode } from 'react';
    import { createRoot } from 'react-dom/client';
    import { ChatWidget } from './example';
    export function start(config: Parameters<typeof ChatWidget>[0]) {
      const root = createRoot(document.body.appendChild(document.createElement('div')));
      root.render(createElement(StrictMode, null, createElement(ChatWidget, config)));
      return () => root.unmount();
    }`,
  vue: `import { createApp } from 'vue';
    import ChatWidget from './example.vue';
    export function start(config: Record<string, unknown>) {
      const app = createApp(ChatWidget, { config });
      app.mount(document.body.appendChild(document.createElement('div')));
      return () => app.unmount();
    }`,
};

const widget = path.resolve(import.meta.dirname, '..');
const framework = process.argv[2];
const ending = framework === 'vue' ? 'vue' : 'tsx';
const page = await readFile(path.join(widget, '../docs/embedding.md'), 'utf8');
const example = new RegExp(`^\`\`\`${ending}\n([^]*?)^\`\`\`$`, 'm').exec(page)?.[1];
if (!example) throw new Error(`docs/embedding.md has no example for ${framework}.`);

await mkdir(path.join(widget, 'node_modules/.cache'), { recursive: true });
const folder = await mkdtemp(path.join(widget, 'node_modules/.cache/example-')); // so that `vue` and `react` resolve
try {
  await cp(path.join(widget, 'types/a4-chat-widget.d.ts'), path.join(folder, 'a4-chat-widget.d.ts'));
  await writeFile(path.join(folder, `example.${ending}`), example);
  await writeFile(path.join(folder, 'entry.ts'), ENTRIES[framework]);
  await checkTypes();
  const result = await build({
    root: folder,
    configFile: false,
    logLevel: 'warn',
    publicDir: false,
    plugins: [vue()],
    define: { 'process.env.NODE_ENV': '"development"' },
    build: { write: false, lib: { entry: path.join(folder, 'entry.ts'), formats: ['iife'], name: 'App' } },
  });
  process.stdout.write([result].flat()[0].output[0].code);
} finally {
  await rm(folder, { recursive: true });
}

async function checkTypes() {
  const checked = framework === 'vue' ? 'checked.ts' : 'example.tsx';
  if (framework === 'vue') {
    const { descriptor } = parse(example, { filename: path.join(folder, 'example.vue') });
    await writeFile(path.join(folder, checked), compileScript(descriptor, { id: 'example' }).content);
  }
  const compiler = path.join(widget, 'node_modules/typescript/bin/tsc');
  const options =
    '--noEmit --strict --skipLibCheck --target es2022 --module esnext --moduleResolution bundler --jsx react-jsx';
  execFileSync('node', [compiler, '--ignoreConfig', ...options.split(' '), path.join(folder, checked)], {
    stdio: ['ignore', 2, 2],
  });
}
