/** A node to show: text or an element. Tag and attribute names are always ours, never the model's. */
export type Tree = string | TreeElement;

export interface TreeElement {
  tag: string;
  nodes: Tree[];
  attributes: Record<string, string>;
}

export interface MarkdownLabels {
  copyCode: string;
  copied: string;
  showImage: string;
  copyFailed: string;
  code: string;
  table: string;
  task: string;
  sources: string;
}

/** An answer's sources: `[1]` is the first. */
export interface Source {
  title: string;
  url: string;
}

/**
 * How a text ends. Incomplete markup at the end of a `growing` text is shown as if it were complete, and also in a text that was
 * `cut` off.
 */
export type Ending = 'whole' | 'cut' | 'growing';

export const element = (tag: string, nodes: Tree[] = [], attributes: Record<string, string> = {}): TreeElement => ({
  tag,
  nodes,
  attributes,
});

export const plain = (nodes: Tree[]): string =>
  nodes.map((node) => (typeof node === 'string' ? node : plain(node.nodes))).join('');

/** Counts the elements. */
export const count = (nodes: Tree[]): number =>
  nodes.reduce((sum, node) => (typeof node === 'string' ? sum : sum + 1 + count(node.nodes)), 0);
