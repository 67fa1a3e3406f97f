import { render } from 'lit/html.js';
import { define, sheet } from '../../shared/dom.ts';

/** A style sheet shared by elements. */
export const css = (text: TemplateStringsArray): CSSStyleSheet => sheet(text.join(''));

/**
 * The base of the window's elements: a shadow root with shared style sheets, properties that request an update when they
 * are set, and one render of a Lit template per batch of changes.
 */
export abstract class ChatElement extends HTMLElement {
  static styles: CSSStyleSheet[] = [];
  /** Names of properties whose changes trigger a render. */
  static properties: string[] = [];

  readonly root: ShadowRoot;
  #update: Promise<void> | undefined;

  constructor() {
    super();
    const { styles } = new.target;
    this.root = this.attachShadow({ mode: 'open' });
    this.root.adoptedStyleSheets = styles;
  }

  connectedCallback(): void {
    this.requestUpdate();
  }

  /** Resolves when all changes so far have been rendered. */
  get updateComplete(): Promise<void> {
    return Promise.resolve(this.#update);
  }

  requestUpdate(): void {
    this.#update ??= Promise.resolve().then(() => {
      this.#update = undefined;
      if (!this.isConnected) return;
      render(this.render(), this.root, { host: this });
      this.updated();
    });
  }

  find<T extends HTMLElement = HTMLElement>(selector: string): T | null {
    return this.root.querySelector<T>(selector);
  }

  /** Fires an event. */
  tell(name: string, detail?: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  abstract render(): unknown;

  /** After each render. */
  updated(): void {}
}

/** Defines a custom element whose properties request updates. */
export function register(name: string, element: CustomElementConstructor & { properties: string[] }): void {
  for (const property of element.properties) {
    const field = `_${property}`;
    Object.defineProperty(element.prototype, property, {
      get(): unknown {
        return this[field];
      },
      set(value: unknown) {
        this[field] = value;
        this.requestUpdate();
      },
    });
  }
  define(name, element);
}
