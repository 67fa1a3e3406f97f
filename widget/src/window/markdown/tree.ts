/** What to show: text, or an element of a page. Names of tags and attributes are ours alone, never a model's. */
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

/** What an answer cites: `[1]` is the first. */
export interface Source {
  title: string;
  url: string;
}

/**
 * How a text ends. What is half written at the end of a `growing` text is taken for what it will become; so it is in a text
 * that was `cut` off, which gets no more.
 */
export type Ending = 'whole' | 'cut' | 'growing';

export const element = (tag: string, nodes: Tree[] = [], attributes: Record<string, string> = {}): TreeElement => ({
  tag,
  nodes,
  attributes,
});

export const plain = (nodes: Tree[]): string =>
  nodes.map((node) => (typeof node === 'string' ? node : plain(node.nodes))).join('');

/** How many elements there are. */
export const count = (nodes: Tree[]): number =>
  nodes.reduce((sum, node) => (typeof node === 'string' ? sum : sum + 1 + count(node.nodes)), 0);
