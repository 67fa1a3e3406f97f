import type { Place } from '../protocol.ts';
import { sheet } from '../shared/dom.ts';
import type { Host } from './host.ts';

const styles = sheet(`
:host([left]) { right: auto; left: 4px }
.badge {
  position: absolute; top: -3px; right: -3px; min-width: 20px; border-radius: 10px; background: #d92d20; color: #fff;
  font: 700 12px/20px system-ui, sans-serif; text-align: center; pointer-events: none
}
.card {
  --_onbg: color(from var(--a4w-bg-color) xyz-d65 var(--_best) var(--_best) var(--_best));
  --_ontext: color(from var(--a4w-text-color) xyz-d65 var(--_best) var(--_best) var(--_best));
  --_bg: var(--a4w-bg-color, var(--_ontext, #fff)); --_text: var(--a4w-text-color, var(--_onbg, #14161a));
  position: fixed; bottom: 4px; left: 4px; right: 70px; display: flex; align-items: start; min-height: 56px;
  border-radius: var(--a4w-radius, 16px); background: var(--_bg); color: var(--_text);
  font: .875rem/1.45 var(--a4w-font, system-ui, sans-serif)
}
:host([left]) .card { left: 70px; right: 4px }
:host([dark]) .card { --_bg: var(--a4w-bg-color, var(--_ontext, #22252b)); --_text: var(--a4w-text-color, var(--_onbg, #eceef1)) }
.card button { all: unset; cursor: pointer; border-radius: inherit }
.card button:focus-visible { outline: 2px solid; outline-offset: -4px }
.card .say { flex: 1; align-self: center; padding: 12px 0; padding-inline-start: 16px }
.say span { display: -webkit-box; overflow: hidden; -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow-wrap: anywhere }
.card .dismiss { display: grid; place-items: center; width: 36px; height: 36px; margin: 4px }
.card .dismiss::before {
  content: ''; width: 16px; height: 16px; background: currentColor; opacity: .7; forced-color-adjust: none;
  clip-path: path('M3 1.6 8 6.6l5-5L14.4 3l-5 5 5 5-1.4 1.4-5-5-5 5L1.6 13l5-5-5-5Z')
}
@media (forced-colors: active) { .card, .badge { border: 1px solid } }
`);

/** The size of the closed frame with only the bubble, in CSS pixels. */
const BUBBLE = 64;

/** `*` matches anything, including slashes. */
const pathPattern = (pattern: string) =>
  new RegExp(`^${pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`);

let card: PreviewCard | undefined;

/** The card of the page's widget. */
export function previewCardOf(widget: Host): PreviewCard {
  card ??= new PreviewCard(widget);
  return card;
}

/** Shows the number of unread answers and a card with a text beside the bubble of the closed widget. */
export class PreviewCard {
  readonly #widget: Host;
  readonly #badge = document.createElement('span');
  readonly #card = document.createElement('div');
  readonly #text = document.createElement('span');
  /** A frame larger than the card belongs to the window, which is opening. */
  readonly #sizes = new ResizeObserver(() => innerHeight <= this.#height && this.#fit());
  /** The requested size of the frame with the card. */
  #height = BUBBLE;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(widget: Host) {
    this.#widget = widget;
    const { bubble, language, port, init, settings } = widget;
    bubble.shadowRoot?.adoptedStyleSheets.push(styles);
    this.#badge.className = 'badge';
    this.#card.className = 'card';
    this.#card.role = 'status';
    const say = document.createElement('button');
    say.className = 'say';
    this.#text.dir = 'auto';
    say.append(this.#text);
    say.addEventListener('click', () => widget.control((window) => window.open(true)));
    const dismiss = document.createElement('button');
    dismiss.className = 'dismiss';
    dismiss.ariaLabel = dismiss.title = language.labels.dismiss ?? 'Dismiss';

    dismiss.addEventListener('click', () => {
      this.#hideCard();
      widget.showBubble();
      bubble.focus();
    });
    this.#card.append(say, dismiss);
    this.#card.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') dismiss.click();
    });
    this.#place(init.view as Place);
    const receive = (data: { type: string; value: { theme: unknown } } & Place) => {
      if (data.type === 'set') settings.theme = data.value.theme ?? settings.theme;
      if (data.type === 'view') this.#place(data);
    };
    (widget.early as Parameters<typeof receive>[0][]).forEach(receive);
    port.addEventListener('message', ({ data }) => receive(data));
    widget.post({ type: 'watch' });
  }

  /** Shows `count` unread answers, with `label` in words, and the beginning `text` of the last; 0 clears all. */
  show(count: number, text: string, label = `${count}`): void {
    if (!count) {
      this.clear();
      return;
    }
    this.#badge.textContent = count > 9 ? '9+' : `${count}`;
    this.#widget.bubble.shadowRoot?.append(this.#badge);
    this.#widget.bubble.label = `${this.#widget.language.labels.open} (${label})`;
    if (text) this.#showCard(text);
  }

  clear(): void {
    this.#badge.remove();
    this.#widget.bubble.label = this.#widget.language.labels.open;
    this.#hideCard();
  }

  /**
   * Shows the tenant's proactive message, once per visit and only if the window was not open before, beside a bubble: after
   * `proactiveDelay` seconds (5, unless it waits for exit intent), on pages with a matching path, and with `proactiveExit` when the pointer
   * leaves the page at the top.
   */
  propose(): void {
    const { port, init, settings } = this.#widget;
    if (init.visit || settings.launcher === 'none') return;
    const text = `${settings.proactive}`.slice(0, 300);
    const onExit = `${settings.proactiveExit ?? false}` !== 'false';
    const given = Number.parseFloat(`${settings.proactiveDelay}`);
    const seconds = Math.min(given >= 0 || onExit ? given : 5, 3600);
    const fits = pathPattern(`${settings.proactivePath || '*'}`);
    let path = `${init.path}`;
    const stop = new AbortController();
    const say = () => {
      stop.abort();
      this.#widget.post({ type: 'keep', value: 'said', visit: true });
      (init.settings as Record<string, unknown>).greeting = text;
      this.show(1, text);
    };
    const wait = () => {
      clearTimeout(this.#timer);
      if (fits.test(path) && seconds >= 0) this.#timer = setTimeout(say, seconds * 1000);
    };
    port.addEventListener(
      'message',
      ({ data }) => {
        if (data.open) stop.abort();
        if (data.type !== 'visit') return;
        const was = path;
        path = `${data.path}`;
        if (data.leaving && onExit && fits.test(path)) say();
        else if (path !== was) wait();
      },
      { signal: stop.signal },
    );
    stop.signal.addEventListener('abort', () => clearTimeout(this.#timer));
    wait();
  }

  #showCard(text: string): void {
    this.#fit();
    this.#widget.bubble.shadowRoot?.prepend(this.#card);
    this.#text.textContent = text;
    this.#sizes.observe(this.#card);
  }

  #hideCard(): void {
    this.#sizes.disconnect();
    this.#card.remove();
  }

  #fit(): void {
    this.#height = Math.max(this.#card.offsetHeight + 8, BUBBLE);
    const { offsetX = 16 } = this.#widget.settings;
    // A narrow screen makes the card narrower; it never moves the bubble.
    const room = `100vw - 16px - ${Number(offsetX) || 0}px`;
    this.#widget.showBubble(false, `max(${BUBBLE}px,min(350px,${room}))`, this.#height);
  }

  /** Draws beside the bubble in the window's colours; an open window hides everything. */
  #place(view: Partial<Place>): void {
    const { bubble, settings, isLeft } = this.#widget;
    bubble.toggleAttribute('left', isLeft);
    bubble.toggleAttribute('dark', settings.theme === 'dark' || (settings.theme !== 'light' && !!view.dark));
    if (view.open) this.clear();
  }
}
