/**
 * Turns the window's texts from objects into arrays: `strings.send` becomes `strings[52]`, so the names aren't shipped. The
 * order is that of en.ts, then en-rare.ts, in every language.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { changed, nodesOf } from './syntax.mjs';

const SRC = path.resolve(import.meta.dirname, '../src');
const LANGUAGE = /[\\/]src[\\/]strings[\\/]\w\w(-\w\w)?\.ts$/;
const USER = /[\\/]src[\\/](frame|window)[\\/].*\.ts$/;

const REST = /[\\/]src[\\/]strings[\\/]en-rare\.ts$/;

const keysOf = (name) =>
  [...readFileSync(path.join(SRC, 'strings', name), 'utf8').matchAll(/^ {2}(\w+): /gm)].map(([, key]) => key);
const ENGLISH = keysOf('en.ts');
const KEYS = [...ENGLISH, ...keysOf('en-rare.ts')];

/** The replacements in a language's source. */
function listOf(tree, id) {
  const object = [...nodesOf(tree)].find(({ type }) => type === 'ObjectExpression');
  const keys = object.properties.map(({ key }) => key.name);
  const expected = /[\\/]en\.ts$/.test(id) ? ENGLISH : KEYS;
  if (keys.join() !== expected.join()) throw new Error(`${id} has other keys than en.ts, or another order.`);
  return [
    [object.start, object.start + 1, '['],
    ...object.properties.map(({ start, value }) => [start, value.start, '']),
    [object.end - 1, object.end, ']'],
  ];
}

/** The English texts that load later, by index. */
function numbered(tree) {
  const object = [...nodesOf(tree)].find(({ type }) => type === 'ObjectExpression');
  return object.properties.map(({ key }) => [key.start, key.end, `${KEYS.indexOf(key.name)}`]);
}

/** The replacements in a source that reads texts, which are always accessed by name on `strings`. */
function numbersOf(tree, id) {
  return [...nodesOf(tree)]
    .filter(({ type, object }) => type === 'MemberExpression' && (object.property ?? object).name === 'strings')
    .map(({ computed, object, property, end }) => {
      const number = KEYS.indexOf(property.name);
      if (computed || number < 0) throw new Error(`${id} reads a text that en.ts doesn't have: ${property.name}`);
      return [object.end, end, `[${number}]`];
    });
}

export function stringsAsLists() {
  return {
    name: 'strings-as-lists',
    transform(code, id) {
      const edits = LANGUAGE.test(id) ? listOf : REST.test(id) ? numbered : USER.test(id) ? numbersOf : undefined;
      if (!edits) return null;
      return { code: changed(code, edits(this.parse(code), id)), map: null };
    },
  };
}
