/** Where a link of the model leads, as the browser itself reads the address. Nothing else is linked, nor user names in it. */
export function parseLink(address: string): URL | undefined {
  try {
    const url = new URL(address);
    if (/^(https?|mailto):$/.test(url.protocol) && !url.username && !url.password) return url;
  } catch {
    // No address: there is nothing to link.
  }
  return undefined;
}

/** The host or mail address that a link must show, or nothing where its text begins with just that. */
export function realHost(url: URL, text: string): string {
  const host = url.host || url.pathname;
  const claim = text.trim().replace(/^(https?:\/\/|mailto:)/, '');
  return claim.startsWith(host) && /^([/?#]|$)/.test(claim.slice(host.length)) ? '' : host;
}
