/** The website in the studio's frame. It does what a pasted snippet does, again whenever the studio says so. */
import type {} from '../../types/a4-chat-widget';

/** What of the chat is looked at: closed, or its window with nothing asked, with an answer, with one that failed. */
export type State = 'closed' | 'welcome' | 'conversation' | 'error';

/** What the studio wants to see. */
export interface Shown {
  attributes: Record<string, string>;
  vars: Record<string, string>;
  scheme: 'light' | 'dark';
  state: State;
  /** Greeting and suggestions stand in a conversation that has not begun. */
  anew: boolean;
  /** Numbers what the studio says: an answer to an older word is out of date. */
  turn: number;
}

export type FromPreview = { type: 'loaded' | 'open' | 'close'; turn: number };

const root = document.documentElement;
const place = document.querySelector('#chat') as HTMLElement;
const { apiKey, widgetId } = place.dataset as { apiKey: string; widgetId: string };
const loader = new URL('../widget.js', location.href).href;
const { trustedTypes } = window as { trustedTypes?: { createPolicy(name: string, rules: object): typeof policy } };
const policy: { createScriptURL(name: string): string } = trustedTypes?.createPolicy('a4-preview', {
  createScriptURL: () => loader,
}) ?? { createScriptURL: () => loader };

const tell = (type: FromPreview['type'], turn = 0) =>
  parent.postMessage({ type, turn } satisfies FromPreview, location.origin);

/** What the built-in upstream answers so; see service/demonstration.py. */
const QUESTIONS: Partial<Record<State, string>> = { conversation: 'Show me Markdown', error: 'Show me an error' };

let isLoading = false;
/** What the conversation was made for, which each look that follows shows again. */
let asked: State = 'welcome';
let next: Shown | undefined;

addEventListener('message', ({ data, origin, source }: MessageEvent<Shown>) => {
  if (origin !== location.origin || source !== parent || source === window) return;
  next = data;
  if (!isLoading) mount();
});

/** Takes the former widget away before the new one comes: a page has one of an id. */
function mount(): void {
  const shown = next as Shown;
  next = undefined;
  isLoading = true;
  const { mode = 'bubble', ...attributes } = shown.attributes;
  if (window.A4ChatWidget && 'destroy' in window.A4ChatWidget) window.A4ChatWidget.destroy();
  // Every look is seen by somebody who was never here, so that a proactive message is said again.
  sessionStorage.removeItem(`a4-chat-widget-${widgetId}`);
  root.style.cssText = '';
  for (const [name, value] of Object.entries(shown.vars)) root.style.setProperty(name, value);
  root.dataset.scheme = shown.scheme;
  if (root.dataset.mode !== mode) {
    root.dataset.mode = mode;
    // Only here: `scrollIntoView` would move the studio as well.
    scrollTo(0, mode === 'inline' ? place.offsetTop - 20 : 0);
  }

  const script = document.createElement('script');
  script.src = policy.createScriptURL('');
  Object.assign(script.dataset, attributes, { apiKey, widgetId, mode });
  if (attributes.theme !== 'light' && attributes.theme !== 'dark') script.dataset.theme = shown.scheme;
  if (attributes.target) script.dataset.target = '#chat';
  if (attributes.proactive && !attributes.proactiveExit) script.dataset.proactiveDelay = '1';
  delete script.dataset.proactivePath;
  delete script.dataset.open;
  if (shown.state !== 'closed') script.dataset.open = '';
  script.addEventListener('load', () => mounted(shown));
  script.addEventListener('error', () => mounted(shown));
  place.replaceChildren(script);
}

function mounted({ anew, state, turn }: Shown): void {
  isLoading = false;
  const widget = window.A4ChatWidget;
  if (widget && 'destroy' in widget) {
    widget.on('open', () => tell('open', turn));
    widget.on('close', () => tell('close', turn));
    if (state !== 'closed') {
      if (anew || asked !== state) widget.newConversation();
      const question = QUESTIONS[state];
      if (question && (anew || asked !== state)) widget.send(question);
      asked = state;
    }
  }
  if (next) mount();
}

tell('loaded');
