import { define } from '../../shared/dom.ts';
import { createMarkdown, type Ending, type MarkdownLabels, type Source } from '../markdown/index.ts';

/** Renders an answer's Markdown without redrawing finished parts while the text grows. */
export class AnswerText extends HTMLElement {
  strings!: MarkdownLabels;
  site!: string;
  #markdown: ReturnType<typeof createMarkdown> | undefined;

  /** The text so far, its ending, and its sources. */
  set markdown([text, ending, sources]: [string, Ending, Source[]]) {
    this.#markdown ??= createMarkdown(this, this.strings, this.site);
    this.#markdown.update(text, ending !== 'growing', ending === 'cut', sources);
  }
}

define('answer-text', AnswerText);

declare global {
  interface HTMLElementTagNameMap {
    'answer-text': AnswerText;
  }
}
