/** How often an element is restored on a page that keeps removing it. Each wait is twice as long as the one before. */
const TRIES = 9;
/** Milliseconds from the first removal to the next try. */
const WAIT = 25;
/** Milliseconds after which the count of tries restarts. It also restarts if the page itself has changed. */
const STAY = 10_000;
const STAY_AMID_CHANGE = 1000;

/**
 * Returns a function that puts `element` on the page, and from then on restores it if the page removes it, until `signal`.
 *
 * `insert` does this, or returns false while its place does not exist. `deep`: the place may be anywhere in the document.
 */
export function createPlacement(
  element: Element,
  insert: () => boolean,
  deep: boolean,
  signal: AbortSignal,
): () => void {
  let timer = 0;
  let tries = 0;
  /** When the element was last put on the page. */
  let since: number;
  /** The page's URL at the previous removal. */
  let address: string;

  function place(): void {
    clearTimeout(timer);
    timer = 0;
    if (!element.isConnected && insert()) {
      tries += 1;
      since = Date.now();
    }
    watch();
  }

  /** The root may be replaced, and does not exist while a script rewrites the document. */
  function watch(): void {
    for (const node of [document, document.documentElement, document.body])
      if (node) observer.observe(node, { childList: true, subtree: deep });
  }

  /** Only schedules the work: two observers that undo each other's changes in microtasks would hang the page. */
  const observer = new MutationObserver(() => {
    watch();
    if (element.isConnected || timer) return;
    const stayed = Date.now() - since;
    const changed = element.parentNode || location.href !== address;
    if (changed ? stayed > STAY_AMID_CHANGE : tries <= TRIES && stayed > STAY) tries = 0;
    address = location.href;
    element.remove();
    if (tries < TRIES) timer = setTimeout(place, WAIT << tries);
    else if (tries++ === TRIES) console.error('A4ChatWidget: the page keeps removing it.');
  });
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    observer.disconnect();
    element.remove();
  });
  return place;
}
