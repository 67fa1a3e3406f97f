import { html, nothing } from 'lit/html.js';
import type { Strings } from '../../strings/index.ts';

/** What the owner says about privacy, and where to read more. */
export function privacyNote(text: string | undefined, url: string | undefined, strings: Strings) {
  if (!text && !url) return nothing;
  const link = url ? html`<a href=${url} target="_blank" rel="noopener noreferrer">${strings.privacy}</a>` : nothing;
  return html`<p class="privacy" dir="auto">${text} ${link}</p>`;
}
