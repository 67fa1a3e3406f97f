export { createMarkdown } from './render.ts';
export { styles as markdownStyles } from './styles.ts';
export type { Ending, MarkdownLabels, Source } from './tree.ts';
