import { Directive, directive, type ElementPart } from 'lit/directive.js';
import { noChange } from 'lit/html.js';
import { createMarkdown, type MarkdownLabels } from './markdown/index.ts';

/** What draws into each element. */
const renderers = new WeakMap<Element, ReturnType<typeof createMarkdown>>();

/** Brings an element up to a text that has grown since `growingMarkdown` drew it. */
export function growMarkdown(element: Element, text: string): void {
  renderers.get(element)?.update(text, false);
}

class GrowingMarkdown extends Directive {
  override update(part: ElementPart, [text, done, labels]: [string, boolean, MarkdownLabels]) {
    const { element } = part;
    let renderer = renderers.get(element);
    if (!renderer) {
      renderer = createMarkdown(element as HTMLElement, labels);
      renderers.set(element, renderer);
    }
    renderer.update(text, done);
    return noChange;
  }

  render(_text: string, _done: boolean, _labels: MarkdownLabels): unknown {
    return noChange;
  }
}

/** `<div ${growingMarkdown(answer, done, labels)}></div>`: finished parts stay untouched while the text grows. */
export const growingMarkdown = directive(GrowingMarkdown);
