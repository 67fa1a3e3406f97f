import type { Settings } from '../../protocol.ts';
import type { Locale } from '../../strings/locale.ts';

/** The options for creating the window. */
export interface WindowOptions {
  apiKey: string;
  /** The id of this page's widget, which the service wrote into the page. */
  widgetId: string;
  /** Proves to the service that calls come from its own page; renewed with its responses. */
  proof: string;
  /** The host page's. */
  pageOrigin: string;
  settings: Settings;
  /** The longest question, in characters. */
  limit: number;
  locale: Locale;
  /** The URL of the host page, for relative links in answers. */
  site: string;
  /** A JWT that identifies the visitor, or ''. */
  userToken: string;
  /** Facts about the page, sent with each question. */
  context: Record<string, string>;
  /** Calls `use` with the tenant's image for the header and the welcome, if there is one, once it has loaded. */
  avatar(use: (image: HTMLImageElement) => void): void;
  kept: string;
  /** Has the loader store a text, for browsers that deny this page storage. */
  keep(value: string): void;
}
