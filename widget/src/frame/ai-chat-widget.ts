import type { Place, ToLoader } from '../protocol.ts';
import { define, sheet } from '../shared/dom.ts';
import { ENGLISH } from '../strings/bubble.ts';
import { ChatBubble } from './chat-bubble.ts';
import type { Page, RawInit } from './handshake.ts';
import type { Host } from './host.ts';
import type { Language } from './language.ts';
import type { PreviewCard } from './preview-card.ts';
import type { WindowControl } from './window-control.ts';

// An invalid main colour becomes the default. The text on it is black or white, whichever has the higher WCAG 2 contrast: y
// is the relative luminance, at 0.1791 both contrasts are equal, and 1.1 is beyond white in every channel. Browsers without
// relative colours (until mid-2024) show white.
document.adoptedStyleSheets = [
  sheet(`
@property --a4w-primary-color { syntax: '<color>'; inherits: true; initial-value: #4f46e5 }
@property --a4w-on-primary { syntax: '<color>'; inherits: true; initial-value: #fff }
ai-chat-widget {
  --_best: clamp(0, (.1791 - y) * 1e6, 1.1);
  --a4w-on-primary: color(from var(--a4w-primary-color) xyz-d65 var(--_best) var(--_best) var(--_best))
}
`),
];

/**
 * The root element: shows the bubble, and loads everything else on demand. Most visitors load only this file, the bubble
 * and the handshake.
 */
export class AiChatWidget extends HTMLElement implements Host {
  readonly bubble = new ChatBubble();
  readonly early: unknown[] = [];
  declare init: RawInit;
  /** The data that the service wrote into this page. */
  declare page: Page;
  /** The host page's. */
  declare origin: string;
  /** The host page's settings over the tenant's, not validated. */
  declare settings: Record<string, unknown>;
  declare language: Language;
  declare port: MessagePort;

  async begin(init: RawInit, port: MessagePort, page: Page, origin: string): Promise<void> {
    const hostSettings = init.settings as Record<string, unknown>;
    const { settings: tenant } = page;
    const settings = { ...tenant, ...hostSettings };
    Object.assign(this, { init, port, page, origin, settings });
    this.attachShadow({ mode: 'open' }).append(this.bubble);
    const vars = init.vars as Record<string, unknown>;
    vars['primary-color'] = hostSettings.color || vars['primary-color'] || tenant.color;
    for (const name in vars) this.style.setProperty(`--a4w-${name}`, vars[name] as string);

    const wishes = [settings.locale, init.lang, ...navigator.languages].filter(Boolean);
    this.language = { locale: 'en', labels: ENGLISH };
    if (!/^en\b/i.test(wishes[0] as string)) {
      // A chat in English is better than none.
      await import('./language.ts').then(
        ({ chooseLanguage }) => {
          this.language = chooseLanguage(wishes);
        },
        () => {},
      );
    }
    this.bubble.label = this.language.labels.open;
    const { button } = this.bubble;
    this.image('icon', (image) => button.append(image));
    button.onpointerenter = button.onfocus = () => this.control();
    button.onclick = () => this.control((control) => control.open(true));
    port.onmessage = ({ data }) => {
      this.early.push(data);
      if (/open|toggle|send/.test(data.type)) this.control(() => {});
    };
    const { mode, open = false, proactive } = settings;
    const isBubble = mode !== 'page' && !init.inFlow;
    if (isBubble) this.showBubble();
    this.post({ type: 'event', name: 'ready' });
    // As on the previous page of the visit; `WindowControl` decides what to show at once.
    const { visit } = init;
    const goesOn = /open|answering/.test(visit as string) || (visit !== 'closed' && `${open}` !== 'false');
    if (!isBubble || (init.view as Place).open || goesOn) this.control((control) => control.begin());
    else if (proactive) this.card((card) => card.propose());
  }

  /**
   * Loads the window and, if it has a use, creates it. If a deployment has removed its file since, this page is reloaded,
   * once, and opens the new one. Otherwise the next press tries again.
   */
  async control(use?: (control: WindowControl) => void): Promise<void> {
    const { button } = this.bubble;
    button.ariaBusy = `${!!use}`;
    this.post({ type: 'watch' });
    try {
      const { controlOf } = await import('./window-control.ts');
      if (use) use(await controlOf(this));
    } catch (error) {
      if (!use) return;
      if (!(this.init.view as Place).open && (await fetch('').catch(() => undefined))?.ok) {
        this.look('display:none;', '', true, false);
        location.reload();
        return;
      }
      this.post({ type: 'event', name: 'error', detail: { code: 'unavailable' } });
      console.error('A4ChatWidget:', error);
    }
    button.ariaBusy = 'false';
  }

  /** Calls `use` with the owner's image of that name once it has loaded; an image that fails to load changes nothing. */
  async image(name: 'icon' | 'avatar', use: (image: HTMLImageElement) => void): Promise<void> {
    if (!this.settings[name]) return;
    const { loadImage } = await import('./image.ts');
    loadImage(this, name, use);
  }

  /** The badge and the card beside the bubble, loaded when they are first shown. */
  async card(use: (card: PreviewCard) => void): Promise<void> {
    const { previewCardOf } = await import('./preview-card.ts');
    use(previewCardOf(this));
  }

  showBubble(focus = false, width = '64px', height = 64): void {
    const box = this.settings.launcher === 'none' ? 'display:none;' : this.corner(width, `${height}px`);
    this.look(box, 'filter:drop-shadow(0 4px 10px #0004)', false, focus);
  }

  /** Whether the widget is at the left edge of the host page. */
  get isLeft(): boolean {
    const { position } = this.settings;
    return position ? position === 'bottom-left' : (this.init.view as Place).rtl;
  }

  /** A box in the corner of the host page. An offset shrinks where the box would leave the screen. */
  corner(width: string, height: string): string {
    const { offsetX = 16, offsetY = 16, zIndex } = this.settings;
    const edge = (side: string, offset: unknown, all: string, size: string) =>
      `${side}:clamp(0px,${Number(offset) || 0}px,min(400px,${all} - 16px - ${size}));`;
    return (
      `position:fixed;z-index:${Number(zIndex) || 2147483000};width:${width};max-width:100vw;height:${height};@media print{display:none;}` +
      edge(this.isLeft ? 'left' : 'right', offsetX, '100vw', width) +
      edge('bottom', offsetY, '100vh', height)
    );
  }

  /**
   * Has the loader style its element and the frame, which the page's own styles do not affect. `open` is restored if the
   * frame reloads.
   */
  look(host: string, frame: string, open: boolean, focus: boolean): void {
    const bare = 'all:initial;display:block;';
    const css =
      `:host{${(bare + host).replace(/;/g, '!important;')}}` +
      `iframe{${bare}color-scheme:light;width:100%;height:100%;${frame}}`;
    this.post({ type: 'look', css, title: (this.settings.title || 'Chat') as string, open, focus });
  }

  post(message: ToLoader): void {
    this.port.postMessage(message);
  }
}

define('ai-chat-widget', AiChatWidget);

declare global {
  interface HTMLElementTagNameMap {
    'ai-chat-widget': AiChatWidget;
  }
}
