export { createMarkdown, type MarkdownLabels } from './render.ts';
export { styles as markdownStyles } from './styles.ts';
