/** Markdown as one would read it out: without its signs, links and images by their words. */
export const plainText = (markdown: string): string =>
  markdown
    .replace(/^\s*(#{1,6} |>+ ?|[-*+] (\[[ x]\] )?|```.*|\|?[-:| ]+\|[-:| ]*$)/gm, '')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*~`|]+|\b_+|_+\b/g, '')
    .trim();
