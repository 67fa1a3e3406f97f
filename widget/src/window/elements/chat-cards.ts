/** Rarely needed cards: hints and ways out of errors. */
import { html, nothing } from 'lit/html.js';
import { duration } from '../../strings/duration.ts';
import { fill } from '../../strings/fill.ts';
import type { Strings } from '../../strings/index.ts';
import { copyText } from '../base/clipboard.ts';
import { pen, retry } from '../base/icons.ts';
import * as icons from '../base/rare-icons.ts';
import { personUrl } from '../conversation/person.ts';
import type { Turn } from '../conversation/turn.ts';

/** Shown above the field while the last question is being edited. */
export const renderEditing = (
  strings: Strings,
  cancel: () => void,
) => html`<div class="edited">${pen}<span>${strings.editing}</span>
  <button class="pill" @click=${cancel}>${strings.cancel}</button></div>`;

/** Shown if earlier messages could not be loaded. */
export const renderNotRestored = (
  strings: Strings,
  again: () => void,
) => html`<div class="notice problem">${icons.alert}
  <span>${strings.restoreFailed}</span><button class="pill" @click=${again}>${retry}${strings.retry}</button></div>`;

/** Shown after an answer that reached its maximum length. */
export const renderContinue = (list: Helped, busy: boolean) => {
  const { strings } = list;
  return html`<button class="pill" ?disabled=${busy} @click=${() => list.tell('message-send', strings.continueMessage)}>${strings.continue}</button>`;
};

/** Shown until the last question can be retried. */
export const renderWait = (strings: Strings, { retryAt }: Turn) =>
  html`<button class="pill" disabled>${retry}${fill(strings.retryIn, { time: duration(Math.ceil((retryAt - Date.now()) / 1000)) })}</button>`;

/** How many answers have arrived while the window was closed. */
export const unreadText = (count: number, strings: Strings): string => fill(strings.unread, { count });

/** What the header says meanwhile; `wait` in seconds. */
export const pausedText = (wait: number, strings: Strings): string => fill(strings.paused, { time: duration(wait) });

/** The distance of the text from the limit, when it is near or beyond it. */
export const renderCount = (
  strings: Strings,
  left: number,
) => html`<div id="count" class="count ${left < 0 ? 'over' : ''}">
  ${fill(left < 0 ? strings.charactersOver : strings.charactersLeft, { count: Math.abs(left) })}</div>`;

/** Of the list of messages. */
interface Helped extends HTMLElement {
  strings: Strings;
  /** How to reach a person: an address, 'form', or nothing. */
  person: string | undefined;
  tell(name: string, detail?: unknown): void;
}

/** Shown below an error: how to reach a person, if possible, and the reference for the service's log. */
export const renderHelp = (list: Helped, { reference }: Turn) => html`
  ${list.person ? renderPerson(list.person, list.strings.handoff, 'pill', () => list.tell('person')) : nothing}
  ${
    reference
      ? html`<button class="reference" title=${list.strings.copy} @click=${() => copyText(reference, list, list.strings)}>${fill(list.strings.reference, { id: reference })}</button>`
      : nothing
  }`;

/** The link to a person, or the button that opens the form. */
export function renderPerson(handoff: string, label: string, kind: string, form: () => void) {
  const url = personUrl(handoff);
  const content = html`${icons.person}<span>${label}</span>`;
  return url
    ? html`<a class=${kind} href=${url} target="_blank" rel="noopener noreferrer">${content}</a>`
    : html`<button class=${kind} @click=${form}>${content}</button>`;
}
