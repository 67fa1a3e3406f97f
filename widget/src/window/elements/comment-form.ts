import { html } from 'lit/html.js';
import type { Strings } from '../../strings/index.ts';
import { iconButton } from '../base/icon-button.ts';
import * as icons from '../base/icons.ts';

/** Of a comment, in characters; the service takes no more. */
const MAX_COMMENT = 1000;

/** Asks what was wrong with an answer; `send` gets the text, '' for none. */
export const renderComment = (strings: Strings, send: (comment: string) => void) => {
  const submit = (event: Event) => {
    event.preventDefault();
    send((event.currentTarget as Element).closest('form')?.querySelector('input')?.value.trim() ?? '');
  };
  return html`<form class="comment" @submit=${submit}>
    <input maxlength=${MAX_COMMENT} placeholder=${strings.comment} aria-label=${strings.comment} autocomplete="off">
    ${iconButton(strings.commentSend, icons.send, submit)}
  </form>`;
};
