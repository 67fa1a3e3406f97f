/** The website in the studio's frame. It embeds the widget as a snippet would, again on each message from the studio. */
import type {} from '../../types/a4-chat-widget';

/** The state to show: closed, or open with no messages, with an answer or with a failed one. */
export type State = 'closed' | 'welcome' | 'conversation' | 'error';

/** The studio's message. */
export interface Shown {
  attributes: Record<string, string>;
  vars: Record<string, string>;
  scheme: 'light' | 'dark';
  state: State;
  /** Starts a new conversation, which shows the greeting and suggestions. */
  startsOver: boolean;
  /** The message's number, so that replies to older ones are ignored. */
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

/** Questions that give these states with the built-in upstream; see service/demonstration.py. */
const QUESTIONS: Partial<Record<State, string>> = { conversation: 'Show me Markdown', error: 'Show me an error' };

let isLoading = false;
/** The state that the current conversation is in, so that later looks can reuse it. */
let asked: State = 'welcome';
let next: Shown | undefined;

addEventListener('message', ({ data, origin, source }: MessageEvent<Shown>) => {
  if (origin !== location.origin || source !== parent || source === window) return;
  next = data;
  if (!isLoading) mount();
});

/** Removes the previous widget first: a page can only have one per id. */
function mount(): void {
  const shown = next as Shown;
  next = undefined;
  isLoading = true;
  const { mode = 'bubble', ...attributes } = shown.attributes;
  if (window.A4ChatWidget && 'destroy' in window.A4ChatWidget) window.A4ChatWidget.destroy();
  // Each look is shown to a new visitor, so that a proactive message appears again.
  sessionStorage.removeItem(`a4-chat-widget-${widgetId}`);
  root.style.cssText = '';
  for (const [name, value] of Object.entries(shown.vars)) root.style.setProperty(name, value);
  root.dataset.scheme = shown.scheme;
  if (root.dataset.mode !== mode) {
    root.dataset.mode = mode;
    // Not `scrollIntoView`, which would scroll the studio as well.
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

function mounted({ startsOver, state, turn }: Shown): void {
  isLoading = false;
  const widget = window.A4ChatWidget;
  if (widget && 'destroy' in widget) {
    widget.on('open', () => tell('open', turn));
    widget.on('close', () => tell('close', turn));
    if (state !== 'closed') {
      if (startsOver || asked !== state) widget.newConversation();
      const question = QUESTIONS[state];
      if (question && (startsOver || asked !== state)) widget.send(question);
      asked = state;
    }
  }
  if (next) mount();
}

tell('loaded');
