/**
 * The messages between the loader (on the host page) and the app (in the iframe).
 *
 * The loader posts one `a4:init` to the iframe's window, with exact origins on both sides and a MessagePort. All other
 * messages use that port. Each side validates what it receives, ignores unknown messages, and never throws. Names on the
 * wire must stay: the loader and the app may come from different releases.
 */

export const INIT = 'a4:init';
/** The longest question, unless the service sets another limit. */
export const MAX_TEXT = 4000;
export const MAX_KEPT = 32_000;

/** The settings of the script tag; the tenant's settings have the same shape. */
export interface Settings {
  title?: string;
  greeting?: string;
  placeholder?: string;
  color?: string;
  position?: Position;
  theme?: Theme | undefined;
  /** The closed widget shows a bubble, or nothing if the page has its own button. */
  launcher?: Launcher;
  suggestions?: string[];
  /** Chips after a complete answer. */
  followUps?: string[];
  locale?: string;
  /** CSS pixels between the widget and the edges of the page. */
  offsetX?: number;
  offsetY?: number;
  sound?: boolean;
  /** Ask for consent before the first message. */
  consent?: boolean;
  privacy?: string;
  privacyUrl?: string;
  /** How to reach a person: an email address, a mailto: or https: URL. */
  handoff?: string;
  /** A message beside the bubble, once per visit: after seconds, on a path (`*` is a wildcard), on exit intent. */
  proactive?: string;
  proactiveDelay?: number;
  proactivePath?: string;
  proactiveExit?: boolean;
}

export type Position = 'bottom-right' | 'bottom-left';
export type Launcher = 'bubble' | 'none';
export type Theme = 'auto' | 'light' | 'dark';
/** In a corner, in the flow of the page, or filling the page. */
export type Mode = 'bubble' | 'inline' | 'page';

/** The window's place and state. */
export interface View {
  mode: Mode;
  open: boolean;
  /** The visitor made the window as high as the screen. */
  expanded: boolean;
  /** The window fills the screen: a phone. */
  full: boolean;
  /** The screen is so low that a keyboard on it would leave nothing of the conversation. */
  low: boolean;
  dark: boolean;
}

/**
 * The state of a bubble on the previous page: `answering` if it was closed before the answer arrived, `said` if it showed
 * the proactive message and was never opened.
 */
export type Visit = 'open' | 'answering' | 'closed' | 'said';

/** Facts that only the host page knows, and whether the loader shows the window. */
export interface Place {
  open: boolean;
  /** A small screen. */
  small: boolean;
  /** The page reads from right to left. */
  rtl: boolean;
  // The rest is known once the loader watches the page.
  /** The page is dark. */
  dark?: boolean;
  /** The visual viewport, in CSS pixels, which an on-screen keyboard shrinks. 0 if the window should not follow it. */
  top?: number;
  height?: number;
}

export interface Init {
  type: typeof INIT;
  apiKey: string;
  /** For pages of a replica older than the loader; newer ones know their widget from the service. */
  widgetId: string;
  /** As the host page gave them, as texts if they come from attributes; `parseSettings` validates them. */
  settings: Record<string, unknown>;
  /** The frame is part of the page, not a layer over it. */
  inFlow: boolean;
  view: Place;
  /** The host page's. */
  lang: string;
  path: string;
  /** The last values of the page's calls, such as `identify` and `setContext`, for an app that is loaded again. */
  told: { [name in CallName]?: unknown };
  /** The documented CSS variables without `--a4w-`; '' if the host page does not set them. */
  vars: Record<string, string>;
  /** The texts that the loader stores for an app without storage of its own: across visits, and for the current one. */
  kept: string | null;
  visit: string | null;
}

/** The methods of `window.A4ChatWidget` that the app performs; each takes one value or none. */
export const CALLS = ['open', 'close', 'toggle', 'send', 'newConversation', 'identify', 'setContext', 'set'] as const;
export type CallName = (typeof CALLS)[number];

export type ToApp =
  | ({ type: 'view'; focus?: boolean | undefined } & Place)
  /** `focus`: the visitor has just interacted with the page, so the focus may move. */
  | { type: CallName; value: unknown; focus: boolean }
  /** After `watch`: the visitor navigated on the page, or the pointer left it at the top. */
  | { type: 'visit'; path: string; leaving: boolean };

export type ToLoader =
  /** The style of the frame and of its host element. The loader answers with `view`. */
  | { type: 'look'; css: string; title: string; open: boolean; focus: boolean }
  | { type: 'event'; name: EventName; detail?: EventDetail }
  /** Store a text; with `visit`, only for this tab. */
  | { type: 'keep'; value: string; visit?: boolean }
  /** Send `visit` when the visitor navigates on the page, or the pointer leaves it. */
  | { type: 'watch' };

export const EVENTS = ['ready', 'open', 'close', 'message', 'answer', 'error', 'feedback', 'limit'] as const;
export type EventName = (typeof EVENTS)[number];

/** `message`: id, text. `answer`: id, text, status. `error`: id, code. `limit`: code. `feedback`: id, rating, comment. */
export type EventDetail = Record<string, string>;

/** Undefined for what is no JSON. */
export function parseJson(source: string): unknown {
  try {
    return JSON.parse(source);
  } catch {
    return undefined;
  }
}

/** The value as a record, or undefined; never throws. */
export const record = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;

/** A string of 1 to `max` characters, or undefined. */
export const text = (value: unknown, max: number): string | undefined =>
  typeof value === 'string' && value.length > 0 && value.length <= max ? value : undefined;

/** One of a list, or undefined. */
export const oneOf = <T extends string>(value: unknown, list: readonly T[]): T | undefined =>
  list.find((entry) => entry === value);
