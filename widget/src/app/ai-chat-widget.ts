import type { EventDetail, EventName, Init, Settings, ToApp, ToLoader, View } from '../protocol.ts';
import { bubbleLabel, chooseLocale, direction, type Locale } from '../strings/locale.ts';
import type { ChatWindow } from '../window/chat-window.ts';
import { ChatBubble } from './chat-bubble.ts';
import { channels, textOn, validColor } from './color.ts';
import { define, sheet } from './dom.ts';
import { parseToApp } from './handshake.ts';

const styles = sheet(':host { position: fixed; inset: 0 } [hidden] { display: none }');

/** What the window is told when it is made. */
export interface Start {
  apiKey: string;
  widgetId: string;
  settings: Settings;
  locale: Locale;
  kept: string;
  userToken: string;
  /** Facts about the page for the model. */
  context: Record<string, string>;
  /** Has the loader keep a text, for browsers that let this page store nothing. */
  keep(value: string): void;
}

/** The root: holds the bubble, fetches the window when it is first wanted, and talks with the loader. */
export class AiChatWidget extends HTMLElement {
  readonly #bubble = new ChatBubble();
  #port: MessagePort | undefined;
  #start: Start | undefined;
  #view: View = { mode: 'bubble', expanded: false, open: false, full: false, dark: false };
  #window: ChatWindow | undefined;
  #loading: Promise<ChatWindow> | undefined;
  /** What was asked for last: a window that arrives late may not be wanted any more. */
  #wanted = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: 'open' });
    root.adoptedStyleSheets = [styles];
    root.append(this.#bubble);
    this.#bubble.addEventListener('bubble-want', () => void this.#fetch().catch(this.#forget));
    this.#bubble.addEventListener('bubble-press', () => void this.open(true));
  }

  begin(init: Init, port: MessagePort, tenant: Settings): void {
    const settings = { ...tenant, ...init.settings };
    const locale = chooseLocale([settings.locale, init.lang, ...navigator.languages]);
    this.#port = port;
    this.#start = {
      apiKey: init.apiKey,
      widgetId: init.widgetId,
      settings,
      locale,
      kept: init.kept,
      userToken: '',
      context: {},
      keep: (value) => this.#post({ type: 'keep', value }),
    };
    const color = validColor(settings.color);
    this.style.setProperty('--a4w-primary-color', color);
    this.style.setProperty('--a4w-on-primary', textOn(channels(color, this)));
    document.documentElement.lang = locale;
    document.documentElement.dir = direction(locale);
    this.#bubble.label = bubbleLabel(locale);
    this.#show(init.view);
    port.onmessage = (event) => this.#receive(parseToApp(event.data));
    const title = settings.title ?? 'Chat';
    const { position } = settings;
    this.#post({ type: 'ready', title, width: 64, height: 64, ...(position && { position }) });
  }

  async open(focus: boolean): Promise<void> {
    this.#wanted = true;
    this.#bubble.busy = true;
    try {
      await this.#fetch();
      if (this.#wanted) this.#post({ type: 'layout', open: true, focus });
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#bubble.busy = false;
    }
  }

  close(focus: boolean): void {
    this.#wanted = false;
    this.#post({ type: 'layout', open: false, focus });
  }

  #receive(message: ToApp | undefined): void {
    switch (message?.type) {
      case 'view':
        this.#show(message, message.focus);
        break;
      case 'open':
        void this.open(message.focus);
        break;
      case 'close':
        this.close(false);
        break;
      case 'send':
        void this.#send(message.text);
        break;
      case 'new':
        this.#window?.newConversation();
        break;
    }
  }

  async #send(text: string): Promise<void> {
    await this.open(false);
    this.#window?.send(text);
  }

  #show(view: View, focus = false): void {
    const was = this.#view.open;
    this.#view = view;
    this.#bubble.hidden = view.open;
    const theme = this.#start?.settings.theme ?? 'auto';
    const dark = theme === 'dark' || (theme === 'auto' && view.dark);
    this.#window?.place({ ...view, dark });
    if (view.open && focus) this.#window?.focus();
    if (!view.open && focus) this.#bubble.focus();
    if (was !== view.open) this.#tell(view.open ? 'open' : 'close');
  }

  #fetch(): Promise<ChatWindow> {
    this.#loading ??= this.#load();
    return this.#loading;
  }

  async #load(): Promise<ChatWindow> {
    const { createWindow } = await import('../window/index.ts');
    const start = this.#start;
    if (!start) throw new Error('The window was asked for before the handshake.');
    const made = await createWindow(start, (name, detail) => this.#tell(name, detail));
    made.addEventListener('window-close', () => this.close(true));
    this.shadowRoot?.append(made);
    this.#window = made;
    this.#show(this.#view);
    return made;
  }

  /** The second chunk did not come, as after a lost connection: the next press tries again. */
  readonly #forget = (): void => {
    this.#loading = undefined;
  };

  readonly #failed = (error: unknown): void => {
    this.#forget();
    this.#tell('error', { code: 'unavailable' });
    console.error('A4ChatWidget: the chat window could not be loaded.', error);
  };

  #tell(name: EventName, detail: EventDetail = {}): void {
    this.#post({ type: 'event', name, detail });
  }

  #post(message: ToLoader): void {
    this.#port?.postMessage(message);
  }
}

define('ai-chat-widget', AiChatWidget);

declare global {
  interface HTMLElementTagNameMap {
    'ai-chat-widget': AiChatWidget;
  }
}
