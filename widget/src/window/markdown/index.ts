export { createMarkdown } from './render.ts';
export { styles as markdownStyles } from './styles.ts';
export type { MarkdownLabels } from './tree.ts';
