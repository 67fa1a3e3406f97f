import type { ToLoader } from '../protocol.ts';
import type { ChatBubble } from './chat-bubble.ts';
import type { Page, RawInit } from './handshake.ts';
import type { Language } from './language.ts';

/** What the parts of the frame that are fetched later use of the element that holds them. */
export interface Host extends HTMLElement {
  readonly bubble: ChatBubble;
  /** What the loader sent before the window was there to take it. */
  readonly early: unknown[];
  init: RawInit;
  /** What the service wrote into this page. */
  page: Page;
  /** Of the host page. */
  origin: string;
  /** Both settings, those of the host page over the tenant's; none of them is checked. */
  settings: Record<string, unknown>;
  language: Language;
  port: MessagePort;
  /** Whether the widget stands at the left edge of the host page. */
  readonly isLeft: boolean;
  /** Calls `use` with the owner's image of that name, once it is there: what can't be loaded changes nothing. */
  image(name: 'icon' | 'avatar', use: (image: HTMLImageElement) => void): void;
  /** Fetches the window, and makes it for a use. */
  control(use?: (window: { open(focus: boolean): void }) => void): void;
  /** Badge and card beside the bubble, for those who get to see them. */
  card(use: (card: { show(count: number, preview: string, label: string): void }) => void): void;
  /** Has the loader show the bubble, with room for what is beside it. */
  showBubble(focus?: boolean, width?: string, height?: number): void;
  /** The styles of a box in the corner of the host page. */
  corner(width: string, height: string): string;
  /** Has the loader style its element and the frame. */
  look(host: string, frame: string, open: boolean, focus: boolean): void;
  post(message: ToLoader): void;
}
