import type { ToLoader } from '../protocol.ts';
import type { ChatBubble } from './chat-bubble.ts';
import type { Page, RawInit } from './handshake.ts';
import type { Language } from './language.ts';

/** The interface of the root element for the parts of the frame that are loaded later. */
export interface Host extends HTMLElement {
  readonly bubble: ChatBubble;
  /** Messages that the loader sent before the window had loaded. */
  readonly early: unknown[];
  init: RawInit;
  /** The data that the service wrote into this page. */
  page: Page;
  /** The host page's. */
  origin: string;
  /** The host page's settings over the tenant's, not validated. */
  settings: Record<string, unknown>;
  language: Language;
  port: MessagePort;
  /** Whether the widget is at the left edge of the host page. */
  readonly isLeft: boolean;
  /** Calls `use` with the owner's image of that name once it has loaded; an image that fails to load changes nothing. */
  image(name: 'icon' | 'avatar', use: (image: HTMLImageElement) => void): void;
  /** Loads the window, and creates it if it has a use. */
  control(use?: (window: { open(focus: boolean): void }) => void): void;
  /** The badge and the card beside the bubble, loaded when they are first shown. */
  card(use: (card: { show(count: number, preview: string, label: string | undefined): void }) => void): void;
  /** Has the loader show the bubble, with room for the card beside it. */
  showBubble(focus?: boolean, width?: string, height?: number): void;
  /** The styles of a box in the corner of the host page. */
  corner(width: string, height: string): string;
  /** Has the loader style its element and the frame. */
  look(host: string, frame: string, open: boolean, focus: boolean): void;
  post(message: ToLoader): void;
}
