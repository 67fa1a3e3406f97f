import type { Init } from '../protocol.ts';

/**
 * The data that the service wrote into the page: its widget, the proof for calls from it, the origins that may embed it,
 * and the tenant's settings. The host page cannot choose another widget.
 */
export interface Page {
  id: string;
  proof: string;
  origins: readonly string[];
  settings: Record<string, unknown>;
}

/** The message of a page with a listed origin, and that origin from the browser; `parseInit` validates it. */
export type RawInit = Partial<Record<keyof Init | 'origin', unknown>>;

/** A copy: an import from the protocol would add 106 bytes, as this bundle shares no chunk with the loader's. */
const INIT: Init['type'] = 'a4:init';

/**
 * An entry is an exact origin, an origin with the port `*` (any port), an origin with `*` as its first label (any name at
 * that level), or `*` (any web page).
 */
export function originAllowed(origin: string, allowed: readonly string[]): boolean {
  const anyPort = origin.replace(/(:\d+)?$/, ':*');
  const anyName = origin.replace(/\/[\w-]+\./, '/*.');
  const matching = [origin, anyPort, anyName, /^http/.test(origin) && '*'];
  return !origin.includes('*') && matching.some((entry) => allowed.includes(entry as string));
}

/** Waits for `a4:init` from the embedding page, of `origin`; all other messages are ignored. */
export function awaitInit(page: Page, begin: (init: RawInit, port: MessagePort, origin: string) => void): void {
  addEventListener('message', function listen({ data, origin, source, ports: [port] }: MessageEvent) {
    if (source !== parent || !originAllowed(origin, page.origins)) return;
    if (!port || data?.type !== INIT) return;
    removeEventListener('message', listen);
    begin(data, port, origin);
  });
}
