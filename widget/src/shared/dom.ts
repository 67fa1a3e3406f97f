/** Elements and styles without strings of markup: the page's Trusted Types policy has nothing to check. */

export const define = (name: string, element: CustomElementConstructor): void => customElements.define(name, element);

export function sheet(css: string): CSSStyleSheet {
  const made = new CSSStyleSheet();
  made.replaceSync(css);
  return made;
}
