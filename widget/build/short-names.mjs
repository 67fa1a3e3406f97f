/** Shortens names that a minifier can't, because it doesn't know that they are private. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { changed, nodesOf } from './syntax.mjs';

const SRC = path.resolve(import.meta.dirname, '../src');
const LETTERS = [...'abcdefghijklmnopqrstuvwxyz'];
const CUSTOM = /--_(\w+)/g;

/** Shortens private CSS custom properties. All style sheets share one scope, so they share one list. */
function customProperties() {
  const sources = readdirSync(SRC, { recursive: true }).filter((name) => name.endsWith('.ts'));
  const found = sources.flatMap((name) => [...readFileSync(path.join(SRC, name), 'utf8').matchAll(CUSTOM)]);
  const names = [...new Set(found.map(([, name]) => name))].sort();
  if (names.length > LETTERS.length) throw new Error('There are more custom properties than letters.');
  return new Map(names.map((name, index) => [name, LETTERS[index]]));
}

/** A class's private members and their number of uses, the most used first. */
function membersOf(body) {
  const count = new Map(
    body.body.filter(({ key }) => key?.type === 'PrivateIdentifier').map(({ key }) => [key.name, 0]),
  );
  for (const { type, name } of nodesOf(body))
    if (type === 'PrivateIdentifier' && count.has(name)) count.set(name, count.get(name) + 1);
  return [...count].sort(([a, one], [b, other]) => other - one || (a < b ? -1 : 1)).map(([name]) => name);
}

/**
 * Turns private members into plain ones with short names, starting at `a` in each class. The type checker has already enforced
 * that they are private, and neither browsers nor Lit use one-letter names on elements. A base class gets capitals, because it
 * shares its objects with its subclasses; at least one subclass must be in the same chunk for a base class to be recognised.
 * Members without a value then need no declaration.
 */
function privateMembers(tree) {
  const bases = new Set([...nodesOf(tree)].flatMap(({ superClass }) => superClass?.name ?? []));
  const edits = [];
  function visit(node, names, called) {
    if (node?.type === 'BinaryExpression' && node.left.type === 'PrivateIdentifier')
      throw new Error('`#name in object` would not be the same with a plain name.');
    if (node?.type === 'PrivateIdentifier') edits.push([node.start, node.end, names.get(node.name)]);
    if (node?.type === 'ClassBody') {
      const members = membersOf(node).map((name, index) => {
        const letter = LETTERS[index % 26] + '$'.repeat(index / 26);
        return [name, bases.has(called) ? letter.toUpperCase() : letter];
      });
      const known = new Map([...names, ...members]);
      for (const member of node.body) {
        const { type, key, value, start, end } = member;
        if (type === 'PropertyDefinition' && key.type === 'PrivateIdentifier' && !value) edits.push([start, end, '']);
        else visit(member, known);
      }
      return;
    }
    if (!node || typeof node !== 'object') return;
    const name = ['VariableDeclarator', 'ClassDeclaration'].includes(node.type) ? node.id?.name : undefined;
    for (const child of Object.values(node)) visit(child, names, name ?? called);
  }
  visit(tree, new Map());
  return edits;
}

/** Replaces `const` with `let`: uniform code compresses better. */
const variables = (tree) =>
  [...nodesOf(tree)]
    .filter(({ type, kind }) => type === 'VariableDeclaration' && kind === 'const')
    .map(({ start }) => [start, start + 'const'.length, 'let']);

export function shortNames() {
  const letters = customProperties();
  return {
    name: 'short-names',
    transform(code, id) {
      if (!id.startsWith(SRC) || !code.includes('--_')) return null;
      return { code: code.replace(CUSTOM, (_, name) => `--${letters.get(name)}`), map: null };
    },
    renderChunk(code) {
      const tree = this.parse(code);
      return { code: changed(code, [...privateMembers(tree), ...variables(tree)]), map: null };
    },
  };
}
