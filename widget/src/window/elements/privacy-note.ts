import { html, nothing } from 'lit/html.js';
import type { Strings } from '../../strings/index.ts';

/** The owner's privacy note and its link. */
export function privacyNote(text: string | undefined, url: string | undefined, strings: Strings) {
  if (!text && !url) return nothing;
  const link = url ? html`<a href=${url} target="_blank" rel="noopener noreferrer">${strings.privacy}</a>` : nothing;
  return html`<p class="privacy" dir="auto">${text} ${link}</p>`;
}
