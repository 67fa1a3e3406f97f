/**
 * What the loader (on the host page) and the app (in the iframe) say to each other.
 *
 * One `a4:init` goes from the loader to the iframe's window, with exact origins on both sides and a MessagePort in its
 * hands. Everything after it goes over that port. Each side checks what it receives, drops what it does not know, and
 * never throws on it.
 */

export const INIT = 'a4:init';
/** The longest question, unless the service has another bound. */
export const MAX_TEXT = 4000;
export const MAX_KEPT = 32_000;

/** What may be set on the script tag; the tenant's own settings have the same shape. */
export interface Settings {
  title?: string;
  greeting?: string;
  placeholder?: string;
  color?: string;
  position?: Position;
  theme?: Theme | undefined;
  /** The closed widget shows a bubble, or nothing: the page has a button of its own. */
  launcher?: Launcher;
  suggestions?: string[];
  /** Chips after a complete answer. */
  followUps?: string[];
  locale?: string;
  /** CSS pixels between the widget and the edges of the page. */
  offsetX?: number;
  offsetY?: number;
  sound?: boolean;
  /** Ask before the first message. */
  consent?: boolean;
  privacy?: string;
  privacyUrl?: string;
  /** Where to find people: a mail address, a mailto: or https URL. */
  handoff?: string;
  /** What the closed widget says by itself once per visit: after seconds, on a path (`*` is a wildcard), on leaving. */
  proactive?: string;
  proactiveDelay?: number;
  proactivePath?: string;
  proactiveExit?: boolean;
}

export type Position = 'bottom-right' | 'bottom-left';
export type Launcher = 'bubble' | 'none';
export type Theme = 'auto' | 'light' | 'dark';
/** In a corner, in the flow of the page, or all of the page. */
export type Mode = 'bubble' | 'inline' | 'page';

/** What the window is told about where it stands. */
export interface View {
  mode: Mode;
  open: boolean;
  /** The visitor made the window as high as the screen. */
  expanded: boolean;
  /** The window fills the screen: a phone. */
  full: boolean;
  dark: boolean;
}

/** How a bubble was left on the page before: `answering`, closed before the answer was there; `said`, never open yet. */
export type Visit = 'open' | 'answering' | 'closed' | 'said';

/** What only the host page can know, and whether the loader shows the window. */
export interface Place {
  open: boolean;
  /** A small screen. */
  small: boolean;
  /** The page reads from right to left. */
  rtl: boolean;
  // From here on, what the loader knows once it watches the page.
  /** The page is dark. */
  dark?: boolean;
  /** Of the visual viewport, in CSS pixels: what the on-screen keyboard leaves. 0 where that is not to be followed. */
  top?: number;
  height?: number;
}

export interface Init {
  type: typeof INIT;
  apiKey: string;
  /** For the page of a replica that is older than the loader; others know from the service which widget they are. */
  widgetId: string;
  /** As the host page gave them, texts where they came from attributes: `parseSettings` checks them. */
  settings: Record<string, unknown>;
  /** The frame is a part of the page, not a layer over it. */
  inFlow: boolean;
  view: Place;
  /** Of the host page. */
  lang: string;
  path: string;
  /** What the page last said with `identify` and `setContext` to an app that was here before. */
  told: { [name in CallName]?: unknown };
  /** The documented CSS variables without their `--a4w-`, '' where the host page does not set them. */
  vars: Record<string, string>;
  /** What the loader kept for an app that may not store anything itself: over visits, and during this one. */
  kept: string | null;
  visit: string | null;
}

/** The methods of `window.A4ChatWidget` that the app performs; each takes one value or none. */
export const CALLS = ['open', 'close', 'toggle', 'send', 'newConversation', 'identify', 'setContext', 'set'] as const;
export type CallName = (typeof CALLS)[number];

export type ToApp =
  | ({ type: 'view'; focus?: boolean | undefined } & Place)
  /** `focus`: the visitor has just done something on the page, so that the keyboard may follow. */
  | { type: CallName; value: unknown; focus: boolean }
  /** After `watch`: the visitor went somewhere on the page, or the pointer leaves it at its top. */
  | { type: 'visit'; path: string; leaving: boolean };

export type ToLoader =
  /** The style of the frame and of its host element. `view` answers it. */
  | { type: 'look'; css: string; title: string; open: boolean; focus: boolean }
  | { type: 'event'; name: EventName; detail?: EventDetail }
  /** `visit`: only as long as the browser's tab. */
  | { type: 'keep'; value: string; visit?: boolean }
  /** The app wants to know where the visitor goes on the page, and when the pointer leaves it. */
  | { type: 'watch' };

export const EVENTS = ['ready', 'open', 'close', 'message', 'answer', 'error', 'feedback', 'limit'] as const;
export type EventName = (typeof EVENTS)[number];

/** `message`: id, text. `answer`: id, text, status. `error`: id, code. `limit`: code. `feedback`: id, rating, comment. */
export type EventDetail = Record<string, string>;

/** A record to look into, or undefined; never throws. */
export const record = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;

/** A string of 1 to `max` characters, or undefined. */
export const text = (value: unknown, max: number): string | undefined =>
  typeof value === 'string' && value.length > 0 && value.length <= max ? value : undefined;

/** One of a list, or undefined. */
export const oneOf = <T extends string>(value: unknown, list: readonly T[]): T | undefined =>
  list.find((entry) => entry === value);
