/** The second chunk: the window, and its control by the host page. */
import { type EventDetail, type EventName, type Place, text, type Visit } from '../protocol.ts';
import type { WindowOptions } from '../window/base/options.ts';
import type { ChatWindow } from '../window/elements/chat-window.ts';
import { createWindow } from '../window/index.ts';
import type { Size } from './grip.ts';
import type { Host } from './host.ts';
import { type Beginning, facts, parseInit, parseToApp, theme, token } from './parse.ts';

let control: Promise<WindowControl> | undefined;

/** The window of the page's widget, created on first use. */
export function controlOf(widget: Host): Promise<WindowControl> {
  control ??= createControl(widget);
  return control;
}

/** Creates the window, and passes it all earlier messages of the loader. */
async function createControl(widget: Host): Promise<WindowControl> {
  const { page, origin } = widget;
  // The browser may show a page as the visitor left it (back/forward cache). The chat went on elsewhere, so it starts over.
  addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    widget.port.onmessage = null; // as nobody closes the window
    widget.look('display:none;', '', false, false);
    location.reload();
  });
  const init = parseInit({ ...widget.init, origin }, page.settings);
  const options: WindowOptions = {
    ...init,
    widgetId: page.id,
    proof: page.proof,
    pageOrigin: origin,
    locale: widget.language.locale,
    avatar: (use) => widget.image('avatar', use),
    keep: (value) => widget.post({ type: 'keep', value }),
  };
  const tell = (name: EventName, detail: EventDetail = {}) => widget.post({ type: 'event', name, detail });
  return new WindowControl(widget, init, await createWindow(options, tell), tell);
}

/** How close a pointer comes to the window's corner before the grip is loaded, in CSS pixels. */
const NEAR = 64;
/** Of a screen, in CSS pixels. */
const LOW = 420;
const CALM = matchMedia('(prefers-reduced-motion)');
/** In milliseconds. */
const CLOSING = 140;
/** From and into the bubble's corner. */
const AWAY = 'opacity:0;transform:scale(.9)';
const MOTION = `animation:a4 .24s cubic-bezier(.2,.8,.2,1)}@keyframes a4{from{${AWAY}}}@media(prefers-reduced-motion){iframe{animation:none}`;
const SHAPE = 'border-radius:18px;box-shadow:0 0 0 1px #0000000f,0 4px 12px #0000001a,0 16px 48px #0000002e;';

/** Opens, closes and places the window, and performs the calls of the host page. */
export class WindowControl {
  readonly #widget: Host;
  readonly #window: ChatWindow;
  readonly #tell: (name: EventName) => void;
  readonly #init: Beginning;
  #place: Required<Place>;
  /** The last requested state; the loader confirms it later. */
  #opened = false;
  #expanded = false;
  /** The size that the visitor has chosen, in CSS pixels; 0 for the default. */
  #size: Size;
  #closing: ReturnType<typeof setTimeout> | undefined;

  constructor(widget: Host, init: Beginning, chatWindow: ChatWindow, tell: (name: EventName) => void) {
    this.#widget = widget;
    this.#window = chatWindow;
    this.#tell = tell;
    this.#init = init;
    this.#place = { ...init.view, open: false };
    const { width, height } = chatWindow.memory.get();
    this.#size = { width, height };
    chatWindow.addEventListener('window-close', () => this.close(true));
    chatWindow.addEventListener('window-expand', () => {
      this.#expanded = !this.#expanded;
      this.open(true);
    });
    chatWindow.addEventListener('window-unread', (event) => {
      const { count, preview, label } = (
        event as CustomEvent<{ count: number; preview: string; label: string | undefined }>
      ).detail;
      widget.card((card) => card.show(this.#opened ? 0 : count, preview, label));
      if (count) this.#keepVisit();
    });
    this.#show(this.#place);
    widget.shadowRoot?.append(chatWindow);
    if (init.mode === 'bubble') window.onpointermove = this.#onPointer;
    const receive = (data: unknown) => this.#receive(data);
    widget.port.onmessage = ({ data }) => receive(data);
    widget.early.splice(0).forEach(receive);
  }

  /**
   * Restores the initial state. On a phone, the window does not cover the next page. A window that was closed on the
   * previous page stays closed while its answer continues.
   */
  begin(): void {
    const { mode, view } = this.#init;
    const { visit } = this.#widget.init;
    const isUnseen = visit === 'answering' || (visit === 'open' && view.small);
    // The visitor may have pressed the bubble before this page was reloaded.
    if (mode !== 'bubble' || view.open || !isUnseen) this.open(document.hasFocus());
  }

  open(focus: boolean): void {
    this.#opened = true;
    clearTimeout(this.#closing);
    const { box, shape } = this.#box();
    // Also while it is open: an animation that is there already goes on, and one that is not there any more ends.
    this.#widget.look(box, shape + (this.#init.mode === 'bubble' ? MOTION : ''), true, focus);
  }

  /** Only a bubble's window can close: in other modes the chat is part of the page. */
  close(focus: boolean): void {
    if (this.#init.mode !== 'bubble' || !this.#opened) return;
    this.#opened = false;
    clearTimeout(this.#closing);
    const { box, shape } = this.#box();
    if (!CALM.matches) {
      this.#widget.look(box, `${shape + AWAY};transition:opacity .14s,transform .14s;`, true, false);
    }
    this.#closing = setTimeout(() => this.#widget.showBubble(focus), CALM.matches ? 0 : CLOSING);
  }

  #box(): { box: string; shape: string } {
    const { small, top, height } = this.#place;
    const origin = `transform-origin:${this.#widget.isLeft ? 0 : 100}% 100%;`;
    if (this.#init.inFlow) {
      const shape = `position:absolute;${this.#init.mode === 'inline' ? 'border-radius:18px;' : ''}`;
      return { box: 'position:relative;width:100%;height:100%;min-height:520px;', shape };
    }
    if (this.#init.mode === 'page' || small) {
      const area = height && small ? `top:${top}px;height:${height}px;` : 'top:0;height:100dvh;';
      return { box: `${this.#widget.corner('100%', '100%')}inset:auto;left:0;${area}`, shape: origin };
    }
    const { width: drawn, height: raised } = this.#size;
    const [width, tall] = this.#expanded
      ? [Math.max(drawn, 640), 9999]
      : [Math.max(drawn || 400, 320), Math.max(raised || 640, 400)];
    const box = this.#widget.corner(`min(${width}px,100vw - 32px)`, `min(${tall}px,100vh - 32px)`);
    return { box, shape: SHAPE + origin };
  }

  /** Loads the grip when a pointer comes near the window's free corner. */
  readonly #onPointer = async ({ clientY }: PointerEvent): Promise<void> => {
    if (clientY > NEAR) return;
    window.onpointermove = null;
    const { addGrip } = await import('./grip.ts');
    addGrip(this.#window, this.#widget.isLeft, (size) => {
      this.#size = size;
      this.#expanded = false;
      this.open(false);
    });
  };

  #receive(data: unknown): void {
    const message = parseToApp(data);
    switch (message?.type) {
      case 'view':
        this.#show(message, message.focus);
        break;
      case 'open': {
        const draft = text(message.value, 100_000);
        if (draft) this.#window.setDraft(draft.slice(0, this.#init.limit));
        this.open(message.focus);
        break;
      }
      case 'close':
        this.close(false);
        break;
      case 'toggle':
        if (this.#opened) this.close(message.focus);
        else this.open(message.focus);
        break;
      case 'send': {
        const question = text(message.value, 100_000)?.trim().slice(0, this.#init.limit);
        this.open(false);
        if (question) this.#window.send(question);
        break;
      }
      case 'newConversation':
        this.#window.newConversation();
        break;
      case 'identify':
        this.#window.identify(token(message.value));
        break;
      case 'set':
        this.#init.settings.theme = theme(message.value) ?? this.#init.settings.theme;
        this.#show(this.#place);
        break;
      case 'setContext':
        this.#window.setContext(facts(message.value));
    }
  }

  /** Handles the loader's message that it has placed the frame, or that the page has changed. */
  #show(place: Required<Place>, focus = false): void {
    const was = this.#place;
    this.#place = place;
    const { open, small, top, height } = place;
    const { bubble } = this.#widget;
    bubble.style.display = open ? 'none' : '';
    const { theme } = this.#init.settings;
    const dark = theme === 'dark' || (theme !== 'light' && place.dark);
    const full = small && !this.#init.inFlow;
    const low = height > 0 && height <= LOW;
    this.#window.place({ mode: this.#init.mode, open, expanded: this.#expanded, full, low, dark });
    if (focus) (open ? this.#window : bubble).focus();
    if (was.open !== open) {
      this.#tell(open ? 'open' : 'close');
      this.#keepVisit();
    }
    if (this.#opened && (was.small !== small || was.top !== top || was.height !== height)) this.open(false);
  }

  /** Stores the state for the next page of the visit. */
  #keepVisit(): void {
    if (this.#init.mode !== 'bubble') return;
    const { pending } = this.#window.memory.get();
    const value: Visit = this.#place.open ? 'open' : pending ? 'answering' : 'closed';
    this.#widget.post({ type: 'keep', value, visit: true });
  }
}
