/** Types of the chat widget: `window.A4ChatWidget`, `window.A4ChatWidgetConfig`, its events, and `mount` of `widget.mjs`. */

/** What the script tag (in kebab case, as `data-*`), `window.A4ChatWidgetConfig` and `mount()` take. */
export interface ChatWidgetConfig {
  /** The public key, `a4_pub_…`. */
  apiKey: string;
  widgetId: string;
  /** Where the service is; without it, where the script comes from. */
  apiUrl?: string;
  title?: string;
  greeting?: string;
  placeholder?: string;
  /** At most 6, of at most 200 characters: questions to begin with, and to go on with after an answer. */
  suggestions?: readonly string[];
  followUps?: readonly string[];
  /** Any CSS colour. */
  color?: string;
  /** `auto` follows the page: dark where its `color-scheme` or its background is. */
  theme?: 'auto' | 'light' | 'dark';
  /** The closed widget shows its bubble, or nothing: the page opens it by a button of its own. */
  launcher?: 'bubble' | 'none';
  /** Such as `de` or `pt-BR`; otherwise the page's, then the browser's. */
  locale?: string;
  /** In the bubble; in the header and the welcome. data:image/…, or an https address that the tenant's look names too. */
  icon?: string;
  avatar?: string;
  position?: 'bottom-right' | 'bottom-left';
  /** CSS pixels to the edges of the page, 0 to 400; 16 without. */
  offsetX?: number;
  offsetY?: number;
  zIndex?: number;
  /** In a corner of the page, in its flow, or all of it. */
  mode?: 'bubble' | 'inline' | 'page';
  /** Where an inline or page chat goes: an element, or a CSS selector. */
  target?: string | Element;
  /** The window is open at the start, until the visitor closes it in this visit. */
  open?: boolean;
  sound?: boolean;
  /** Ask for consent before the first message. */
  consent?: boolean;
  privacy?: string;
  privacyUrl?: string;
  /** A mail address, a mailto: or an https URL. */
  handoff?: string;
  /** A message beside the closed bubble, once per visit. */
  proactive?: string;
  /** In seconds, 0 to 3600; 5 if it is not set. */
  proactiveDelay?: number;
  /** Of the page, with `*` as a wildcard, such as `/shop/*`. */
  proactivePath?: string;
  /** When the pointer leaves the page at its top; then `proactiveDelay` counts only if it is set. */
  proactiveExit?: boolean;
  /** A JWT that says who the visitor is. */
  userToken?: string;
}

/** What each event carries. The host element fires the same as DOM events, `a4:` before the name, in `detail`. */
export interface ChatWidgetEvents {
  /** Calls are performed at once from now on. */
  ready: Record<string, never>;
  open: Record<string, never>;
  close: Record<string, never>;
  /** The visitor sent a question. */
  message: { id: string; text: string };
  /** An answer ended; `empty`: without a word. */
  answer: { id: string; text: string; status: 'complete' | 'length' | 'filtered' | 'cancelled' | 'empty' };
  /** `id`: of the question, where it is about one. */
  error: { id?: string; code: string };
  /** The visitor rated an answer; a comment on it comes in an event of its own, with the rating. */
  feedback: { id: string; rating: 'up' | 'down'; comment?: string };
  /** A rate limit or a budget refused a question. */
  limit: { code: string };
}

export type ChatWidgetEventName = keyof ChatWidgetEvents;
export type ChatWidgetListener<Name extends ChatWidgetEventName> = (detail: ChatWidgetEvents[Name]) => void;

/** `window.A4ChatWidget`, and what `mount()` returns. Calls wait until the widget is ready. */
export interface ChatWidgetApi {
  /** With a draft in the field, which the visitor may change and send. */
  open(options?: { draft?: string }): void;
  close(): void;
  toggle(): void;
  /** Opens the window and sends a question. */
  send(text: string): void;
  newConversation(): void;
  /** Says to the service who the visitor is, by a JWT of your server; an empty one signs out and leaves their conversation. */
  identify(token: string): void;
  /** Facts about the page for the model, instead of the former ones: at most 20, of at most 500 characters. */
  setContext(facts: Record<string, string | number | boolean>): void;
  /** Changes the theme, until the next page. */
  set(change: { theme: 'auto' | 'light' | 'dark' }): void;
  on<Name extends ChatWidgetEventName>(event: Name, listener: ChatWidgetListener<Name>): void;
  off<Name extends ChatWidgetEventName>(event: Name, listener: ChatWidgetListener<Name>): void;
  /** Takes the widget and all that it holds off the page. */
  destroy(): void;
  /** Performs calls in the form of the queue. */
  push(...calls: ChatWidgetCall[]): void;
  /** Every widget of the page by its id; the global is the first one. */
  readonly widgets: ReadonlyMap<string, ChatWidgetApi>;
}

type Callable = Omit<ChatWidgetApi, 'push' | 'widgets' | 'on' | 'off'>;
type Listening<Method> = {
  [Name in ChatWidgetEventName]: [method: Method, event: Name, listener: ChatWidgetListener<Name>];
}[ChatWidgetEventName];

/** A call as `(window.A4ChatWidget ||= []).push(['send', 'Hello'])` keeps it before the script is there. */
export type ChatWidgetCall =
  | Listening<'on'>
  | Listening<'off'>
  | { [Method in keyof Callable]: [method: Method, ...args: Parameters<Callable[Method]>] }[keyof Callable];

/** Of `widget.mjs`: puts the widget on the page, or returns the one that is there. Throws a TypeError for a wrong config. */
export function mount(config: ChatWidgetConfig): ChatWidgetApi;

declare global {
  interface Window {
    /** An array keeps calls until the script is there. */
    A4ChatWidget?: ChatWidgetApi | ChatWidgetCall[];
    A4ChatWidgetConfig?: Partial<ChatWidgetConfig>;
  }
  interface GlobalEventHandlersEventMap {
    'a4:ready': CustomEvent<ChatWidgetEvents['ready']>;
    'a4:open': CustomEvent<ChatWidgetEvents['open']>;
    'a4:close': CustomEvent<ChatWidgetEvents['close']>;
    'a4:message': CustomEvent<ChatWidgetEvents['message']>;
    'a4:answer': CustomEvent<ChatWidgetEvents['answer']>;
    'a4:error': CustomEvent<ChatWidgetEvents['error']>;
    'a4:feedback': CustomEvent<ChatWidgetEvents['feedback']>;
    'a4:limit': CustomEvent<ChatWidgetEvents['limit']>;
  }
}
