import { Directive, directive, type ElementPart } from 'lit/directive.js';
import { noChange } from 'lit/html.js';

/** Brings an element's one text node up to a text that mostly only grows, by appending what is new. */
export function growText(element: Element, text: string): void {
  const node = element.firstChild instanceof Text ? element.firstChild : element.appendChild(new Text());
  if (text.startsWith(node.data)) node.appendData(text.slice(node.length));
  else node.data = text;
}

class GrowingText extends Directive {
  override update(part: ElementPart, [text]: [string]) {
    growText(part.element, text);
    return noChange;
  }

  render(_text: string): unknown {
    return noChange;
  }
}

/** `<div ${growingText(answer)}></div>`: the text is a text node, whatever is in it. */
export const growingText = directive(GrowingText);
