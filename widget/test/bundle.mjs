/** Bundles one source module into a script for a page: `node bundle.mjs ENTRY NAME` prints it. */
import path from 'node:path';
import { build } from 'vite';
import { minifyTemplates } from '../build/minify-templates.mjs';

const [entry, name] = process.argv.slice(2);
const root = path.resolve(import.meta.dirname, '..');
const result = await build({
  root,
  configFile: false,
  logLevel: 'warn',
  publicDir: false,
  plugins: [minifyTemplates()],
  build: {
    write: false,
    target: 'es2022',
    lib: { entry: path.join(root, 'src', entry), formats: ['iife'], name },
    rolldownOptions: { output: { minify: true } },
  },
});
process.stdout.write([result].flat()[0].output[0].code);
