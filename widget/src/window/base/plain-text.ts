/** Markdown as it would be read aloud: without markup, and with the text of links and images. */
export const plainText = (markdown: string): string =>
  markdown
    .replace(/^[ \t]*(#{1,6} |>|[-*+] (\[[ x]\] )?|```.*)|^[ \t|:-]+$/gm, '')
    .replace(/!?\[([^[\]]{0,300})\]\([^()]{0,2000}\)/g, '$1')
    .replace(/[*~`|]+|\b_+|(?<!_)_+\b/g, '')
    .trim();
