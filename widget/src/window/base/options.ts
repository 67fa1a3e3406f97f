import type { Settings } from '../../protocol.ts';
import type { Locale } from '../../strings/locale.ts';

/** What the window is told when it is made. */
export interface WindowOptions {
  apiKey: string;
  /** Of the one widget that this page is, as the service wrote it into the page. */
  widgetId: string;
  /** Says to the service that its own page calls; renewed with its responses. */
  proof: string;
  /** Of the host page. */
  pageOrigin: string;
  settings: Settings;
  /** The longest question, in characters. */
  limit: number;
  locale: Locale;
  /** The address of the host page, which relative links in answers lead to. */
  site: string;
  /** A JWT that says who the visitor is, or ''. */
  userToken: string;
  /** Facts about the page, sent with each question. */
  context: Record<string, string>;
  /** Calls `use` with the tenant's image for the header and the welcome, if there is one and once it is there. */
  avatar(use: (image: HTMLImageElement) => void): void;
  kept: string;
  /** Has the loader keep a text, for browsers that let this page store nothing. */
  keep(value: string): void;
}
