/** Questions and ways out that are wanted rarely. */
import { html, nothing } from 'lit/html.js';
import { duration } from '../../strings/duration.ts';
import { fill, type Strings } from '../../strings/index.ts';
import { pen, retry } from '../base/icons.ts';
import * as icons from '../base/rare-icons.ts';
import { personUrl } from '../conversation/person.ts';
import type { Turn } from '../conversation/turn.ts';

/** Asks whether a conversation shall go; `title` names one of the list. */
export const renderDelete = (strings: Strings, title: string, yes: () => void, no: () => void) => html`
  <div class="card" role="alertdialog" aria-labelledby="ask" aria-describedby="undone">
    <b id="ask">${title ? `${fill(strings.historyDelete, { title })}?` : strings.forgetConfirm}</b>
    <p id="undone">${strings.forgetNote}</p>
    <div>
      <button class="pill danger" @click=${yes}>${strings.forgetYes}</button>
      <button class="pill asking" @click=${no}>${strings.forgetNo}</button>
    </div>
  </div>`;

/** Above the field, while it holds a question to be asked anew. */
export const renderEditing = (
  strings: Strings,
  cancel: () => void,
) => html`<div class="edited">${pen}<span>${strings.editing}</span>
  <button class="pill" @click=${cancel}>${strings.cancel}</button></div>`;

/** The messages that were there before could not be fetched. */
export const renderNotRestored = (
  strings: Strings,
  again: () => void,
) => html`<div class="notice problem">${icons.alert}
  <span>${strings.restoreFailed}</span><button class="pill" @click=${again}>${retry}${strings.retry}</button></div>`;

/** After an answer that was cut off for its length. */
export const renderContinue = (list: Helped, busy: boolean) => {
  const { strings } = list;
  return html`<button class="pill" ?disabled=${busy} @click=${() => list.tell('message-send', strings.continueMessage)}>${strings.continue}</button>`;
};

/** Before the last question can be tried again. */
export const renderWait = (strings: Strings, { retryAt }: Turn) =>
  html`<button class="pill" disabled>${retry}${fill(strings.retryIn, { time: duration(Math.ceil((retryAt - Date.now()) / 1000)) })}</button>`;

/** What the header says meanwhile; `wait` in seconds. */
export const pausedText = (wait: number, strings: Strings): string => fill(strings.paused, { time: duration(wait) });

/** How far the text in the field is from the limit, near it and beyond. */
export const renderCount = (
  strings: Strings,
  left: number,
) => html`<div id="count" class="count ${left < 0 ? 'over' : ''}">
  ${fill(left < 0 ? strings.charactersOver : strings.charactersLeft, { count: Math.abs(left) })}</div>`;

/** Of the list of messages. */
interface Helped {
  strings: Strings;
  /** How somebody can be reached: an address, 'form', or not. */
  person: string | undefined;
  tell(name: string, detail?: unknown): void;
  copyText(text: string): unknown;
}

/** Below an error: a person, if there is one, and by what the service's own people find it in their logs. */
export const renderHelp = (list: Helped, { reference }: Turn) => html`
  ${list.person ? renderPerson(list.person, list.strings.handoff, 'pill', () => list.tell('person')) : nothing}
  ${
    reference
      ? html`<button class="reference" title=${list.strings.copy} @click=${() => list.copyText(reference)}>${fill(list.strings.reference, { id: reference })}</button>`
      : nothing
  }`;

/** The way to a person: a link, or a button that opens the form. */
export function renderPerson(handoff: string, label: string, kind: string, form: () => void) {
  const url = personUrl(handoff);
  const content = html`${icons.person}<span>${label}</span>`;
  return url
    ? html`<a class=${kind} href=${url} target="_blank" rel="noopener noreferrer">${content}</a>`
    : html`<button class=${kind} @click=${form}>${content}</button>`;
}
