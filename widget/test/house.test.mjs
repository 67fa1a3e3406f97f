/** The structure: imports only go to lower layers, without cycles, and files have a maximum length. */
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const SRC = path.resolve(import.meta.dirname, '../src');

/** The layers from the top. Modules in the same layer may import each other. */
const FLOORS = [
  'pages',
  'loader',
  'frame',
  'window',
  'window/elements',
  'window/conversation',
  'window/markdown',
  'window/base',
  'strings',
  'shared',
  'protocol.ts',
];
const LONGEST = 450;

const files = readdirSync(SRC, { recursive: true }).filter((name) => /\.(ts|css|html)$/.test(name));
const sources = files.filter((name) => name.endsWith('.ts'));
const read = (name) => readFileSync(path.join(SRC, name), 'utf8');

/** A module's imports of our own modules: static, type-only and dynamic. */
const importsOf = (name) =>
  [...read(name).matchAll(/(?:from|import|import\()\s*'(\.{1,2}\/[^']+\.ts)'/g)].map(([, target = '']) =>
    path.join(path.dirname(name), target),
  );

const floorOf = (name) => FLOORS.findLastIndex((floor) => name === floor || name.startsWith(`${floor}/`));

test('every module has a floor, and imports what is on its own or below', () => {
  const upward = sources.flatMap((name) =>
    importsOf(name)
      .filter((target) => floorOf(target) < floorOf(name))
      .map((target) => `${name} imports ${target}`),
  );
  expect(upward).toEqual([]);
  expect(sources.filter((name) => floorOf(name) < 0)).toEqual([]);
});

test('the loader shares nothing with the frame but their protocol', () => {
  const shared = sources.filter((name) => name.startsWith('loader/')).flatMap(importsOf);
  expect(shared.filter((target) => !/^(loader\/|protocol\.ts$)/.test(target))).toEqual([]);
});

test('no module imports itself by way of others', () => {
  const done = new Set();
  const circles = [];
  const visit = (name, way) => {
    if (way.includes(name)) circles.push([...way.slice(way.indexOf(name)), name].join(' > '));
    if (way.includes(name) || done.has(name)) return;
    for (const target of importsOf(name)) visit(target, [...way, name]);
    done.add(name);
  };
  for (const name of sources) visit(name, []);
  expect(circles).toEqual([]);
});

test(`no module has more than ${LONGEST} lines`, () => {
  expect(sources.filter((name) => read(name).split('\n').length > LONGEST + 1)).toEqual([]);
});
