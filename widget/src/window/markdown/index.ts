export { createMarkdown } from './render.ts';
export { styles as markdownStyles } from './styles.ts';
export type { Ending, MarkdownLabels } from './tree.ts';
