import { type Block, grouped, parseBlocks } from './blocks.ts';
import type { MarkdownLabels, TreeElement } from './tree.ts';

/** A line of nothing but markers, or one that begins a fence: only what follows will say what it is. */
const UNDECIDED = /^[\s>*+_=~`|:#\d.()[\]^xX-]*(`{3}[^`]*|~{3}.*)?$/;

/**
 * Parses a text that grows: the whole text so far in, what it shows out. Finished blocks stay the very same objects, and only
 * the last one is parsed again; a text that doesn't continue the former one starts over. With `done` the end is final.
 */
export function createParser(strings: MarkdownLabels) {
  let source = '';
  let blocks: Block[] = [];
  return (text: string, done: boolean): TreeElement[] => {
    let next = text.replace(/\r\n?/g, '\n').replace(/\0/g, '\ufffd');
    const line = next.lastIndexOf('\n') + 1;
    if (!done && UNDECIDED.test(next.slice(line))) next = next.slice(0, line);
    if (!next.startsWith(source)) blocks = [];
    source = next;
    const last = blocks.pop();
    blocks = blocks.concat(parseBlocks(source, !done, strings, last));
    const nodes = grouped(blocks, strings);
    for (const { attributes } of nodes) attributes.dir = 'auto';
    return nodes;
  };
}
