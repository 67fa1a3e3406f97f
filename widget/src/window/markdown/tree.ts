/** What shall be shown: text, or an element of a page. Names of tags and attributes are ours alone, never a model's. */
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
  table?: string;
}

export const element = (tag: string, nodes: Tree[] = [], attributes: Record<string, string> = {}): TreeElement => ({
  tag,
  nodes,
  attributes,
});

export const plain = (nodes: Tree[]): string =>
  nodes.map((node) => (typeof node === 'string' ? node : plain(node.nodes))).join('');
