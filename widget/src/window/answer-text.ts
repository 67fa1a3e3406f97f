import { define } from '../app/dom.ts';
import { createMarkdown, type MarkdownLabels } from './markdown/index.ts';

/** An answer's Markdown, drawn so that finished parts stay untouched while the text grows. */
export class AnswerText extends HTMLElement {
  strings!: MarkdownLabels;
  #markdown: ReturnType<typeof createMarkdown> | undefined;

  /** The text so far, and whether that is all of it. */
  set markdown([text, done]: [string, boolean]) {
    this.#markdown ??= createMarkdown(this, this.strings);
    this.#markdown.update(text, done);
  }
}

define('answer-text', AnswerText);

declare global {
  interface HTMLElementTagNameMap {
    'answer-text': AnswerText;
  }
}
