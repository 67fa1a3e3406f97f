/**
 * What the loader (on the host page) and the app (in the iframe) say to each other.
 *
 * One `a4:init` goes from the loader to the iframe's window, with exact origins on both sides and a MessagePort in its
 * hands. Everything after it goes over that port. Each side checks what it receives, drops what it does not know, and
 * never throws on it.
 */

export const INIT = 'a4:init';
export const MAX_TEXT = 4000;
export const MAX_KEPT = 32_000;

/** What may be set on the script tag; the tenant's own settings have the same shape. */
export interface Settings {
  title?: string;
  greeting?: string;
  placeholder?: string;
  color?: string;
  position?: Position;
  theme?: Theme;
  suggestions?: string[];
  /** Chips after a complete answer. */
  followUps?: string[];
  locale?: string;
  avatar?: string;
  sound?: boolean;
  /** Ask before the first message. */
  consent?: boolean;
  privacy?: string;
  privacyUrl?: string;
  /** Where to find people: a mail address, a mailto: or https URL. */
  handoff?: string;
}

export type Position = 'bottom-right' | 'bottom-left';
export type Theme = 'auto' | 'light' | 'dark';
/** In a corner, in the flow of the page, or all of the page. */
export type Mode = 'bubble' | 'inline' | 'page';

/** How the loader has placed the iframe, and what only the host page can know. */
export interface View {
  mode: Mode;
  open: boolean;
  /** The visitor made the window as high as the screen. */
  expanded: boolean;
  /** The window fills the screen: a phone. */
  full: boolean;
  dark: boolean;
}

export interface Init {
  type: typeof INIT;
  apiKey: string;
  widgetId: string;
  settings: Settings;
  view: View;
  /** Of the host page. */
  lang: string;
  /** What the loader kept for an app that may not store anything itself. */
  kept: string;
}

export type ToApp =
  | ({ type: 'view'; focus: boolean } & View)
  | { type: 'open'; focus: boolean }
  | { type: 'close' }
  | { type: 'send'; text: string }
  | { type: 'new' };

export type ToLoader =
  | { type: 'ready'; title: string; width: number; height: number; position?: Position }
  | { type: 'layout'; open: boolean; focus: boolean }
  | { type: 'keep'; value: string }
  | { type: 'event'; name: EventName; detail: EventDetail };

export const EVENTS = ['ready', 'open', 'close', 'message', 'answer', 'error', 'feedback', 'limit'] as const;
export type EventName = (typeof EVENTS)[number];

/** `message`: id, text. `answer`: id, text, status. `error`: code. The others carry nothing. */
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

export const POSITIONS: readonly Position[] = ['bottom-right', 'bottom-left'];
