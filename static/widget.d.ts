/** Types of the chat widget: `window.A4ChatWidget`, `window.A4ChatWidgetConfig`, its events, and `mount` of `widget.mjs`. */

/** The settings of the script tag (in kebab case, as `data-*`), `window.A4ChatWidgetConfig` and `mount()`. */
export interface ChatWidgetConfig {
  /** The public key, `a4_pub_…`. */
  apiKey: string;
  widgetId: string;
  /** The service's address, if it is not where the script comes from. */
  apiUrl?: string;
  title?: string;
  greeting?: string;
  placeholder?: string;
  /** Questions to start with and to continue with: at most 6 each, of at most 200 characters. */
  suggestions?: readonly string[];
  followUps?: readonly string[];
  /** Any CSS colour. */
  color?: string;
  /** `auto` follows the page: dark if its `color-scheme` or its background is. */
  theme?: 'auto' | 'light' | 'dark';
  /** `none`: no bubble, no badge and no proactive message; the page's own button opens the window. */
  launcher?: 'bubble' | 'none';
  /** The language, such as `de` or `pt-BR`; by default the page's, then the browser's. */
  locale?: string;
  /** The bubble icon; the avatar in the header and the welcome. data:image/…, or an https URL of the tenant's settings. */
  icon?: string;
  avatar?: string;
  position?: 'bottom-right' | 'bottom-left';
  /** CSS pixels to the edges of the page, 0 to 400; default 16. */
  offsetX?: number;
  offsetY?: number;
  zIndex?: number;
  /** A bubble, a part of the page, or the whole page. */
  mode?: 'bubble' | 'inline' | 'page';
  /** The empty element that an inline or page chat fills, or its CSS selector. */
  target?: string | Element;
  /** Open the window on page load; once the visitor closes it, it stays closed for this visit. */
  open?: boolean;
  sound?: boolean;
  /** Ask for consent before the first message. */
  consent?: boolean;
  privacy?: string;
  privacyUrl?: string;
  /** How to reach a person: an email address, a mailto: or an https: URL. */
  handoff?: string;
  /** A message beside the closed bubble, once per visit. */
  proactive?: string;
  /** Seconds until then, 0 to 3600; default 5. */
  proactiveDelay?: number;
  /** The paths on which it appears, without the query, such as `/shop/*`. */
  proactivePath?: string;
  /** Show it on exit intent; it then also appears after `proactiveDelay` only if that is set. */
  proactiveExit?: boolean;
  /** A JWT that identifies the visitor. */
  userToken?: string;
}

/** The detail of each event. The host element fires the same events as DOM events, with `a4:` before the name. */
export interface ChatWidgetEvents {
  /** The widget has loaded: calls now take effect immediately. */
  ready: Record<string, never>;
  open: Record<string, never>;
  close: Record<string, never>;
  /** The visitor sent a question. */
  message: { id: string; text: string };
  /** An answer ended; `empty`: it has no text. */
  answer: { id: string; text: string; status: 'complete' | 'length' | 'filtered' | 'cancelled' | 'empty' };
  /** Something failed; with `id` if it concerns a question. */
  error: { id?: string; code: string };
  /** The visitor rated an answer; a comment follows in a second event. */
  feedback: { id: string; rating: 'up' | 'down'; comment?: string };
  /** A rate limit or a budget refused a question. */
  limit: { code: string };
}

export type ChatWidgetEventName = keyof ChatWidgetEvents;
export type ChatWidgetListener<Name extends ChatWidgetEventName> = (detail: ChatWidgetEvents[Name]) => void;

/** `window.A4ChatWidget`, and what `mount()` returns. Calls wait until the widget is ready. */
export interface ChatWidgetApi {
  /** `draft` replaces the text in the message field and is not sent. */
  open(options?: { draft?: string }): void;
  close(): void;
  toggle(): void;
  /** Opens the window and sends a question. */
  send(text: string): void;
  newConversation(): void;
  /** A JWT from your server identifies the visitor; "" signs the visitor out and closes the conversation. */
  identify(token: string): void;
  /** Facts for the model, sent with each question: at most 20, of at most 500 characters. Replaces the previous ones. */
  setContext(facts: Record<string, string | number | boolean>): void;
  /** Sets the theme for the current page. */
  set(change: { theme: 'auto' | 'light' | 'dark' }): void;
  on<Name extends ChatWidgetEventName>(event: Name, listener: ChatWidgetListener<Name>): void;
  off<Name extends ChatWidgetEventName>(event: Name, listener: ChatWidgetListener<Name>): void;
  /** Removes the widget from the page. */
  destroy(): void;
  /** Performs queued calls: `push(['open'])`. */
  push(...calls: ChatWidgetCall[]): void;
  /** All widgets on the page, by their ids; the global is the first. */
  readonly widgets: ReadonlyMap<string, ChatWidgetApi>;
}

type Callable = Omit<ChatWidgetApi, 'push' | 'widgets' | 'on' | 'off'>;
type Listening<Method> = {
  [Name in ChatWidgetEventName]: [method: Method, event: Name, listener: ChatWidgetListener<Name>];
}[ChatWidgetEventName];

/** A queued call, as in `(window.A4ChatWidget ||= []).push(['send', 'Hello'])` before the script has loaded. */
export type ChatWidgetCall =
  | Listening<'on'>
  | Listening<'off'>
  | { [Method in keyof Callable]: [method: Method, ...args: Parameters<Callable[Method]>] }[keyof Callable];

/** Puts the widget on the page, or returns the one with the same id. Throws a TypeError for an invalid config. */
export function mount(config: ChatWidgetConfig): ChatWidgetApi;

declare global {
  interface Window {
    /** Before the script has loaded, an array of queued calls. */
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
