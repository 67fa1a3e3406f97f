import type { Init } from '../protocol.ts';

/**
 * What the service wrote into the page: the one widget that it is, the proof that calls come from it, the origins that
 * may embed it, and the tenant's own settings. Nothing that the host page says chooses another widget.
 */
export interface Page {
  id: string;
  proof: string;
  origins: readonly string[];
  settings: Record<string, unknown>;
}

/** What a page of a listed origin sent, and that origin as the browser gives it: `parseInit` checks it. */
export type RawInit = Partial<Record<keyof Init | 'origin', unknown>>;

/** Not imported: the loader's bundle and this one share nothing, and the import would weigh 106 bytes. */
const INIT: Init['type'] = 'a4:init';

/**
 * An entry is an exact origin; or one with `:*` for its port, any port of that scheme and host; or one with `*` for its
 * first label, any one name at that level; or `*`, any web page.
 */
export function originAllowed(origin: string, allowed: readonly string[]): boolean {
  const matching = [origin, origin.replace(/(:\d+)?$/, ':*'), origin.replace(/\/[\w-]+\./, '/*.')];
  if (/^http/.test(origin)) matching.push('*');
  return !origin.includes('*') && matching.some((entry) => allowed.includes(entry));
}

/** Waits for the one `a4:init` of the page that embeds this one, of `origin`; everything else that arrives is ignored. */
export function awaitInit(page: Page, begin: (init: RawInit, port: MessagePort, origin: string) => void): void {
  addEventListener('message', function listen({ data, origin, source, ports: [port] }: MessageEvent) {
    if (source !== parent || !originAllowed(origin, page.origins)) return;
    if (!port || data?.type !== INIT) return;
    removeEventListener('message', listen);
    begin(data, port, origin);
  });
}
