/** How often an element is put on a page that removes it each time. Every wait is twice as long as the one before. */
const TRIES = 9;
/** Milliseconds from a removal to the next try, before the tries double it. */
const WAIT = 25;
/** Milliseconds after which the tries are counted anew; and where the page itself has changed, not only the element gone. */
const STAY = 10_000;
const STAY_AMID_CHANGE = 1000;

/**
 * Returns a function that puts `element` on the page, and from then on puts back what the page removes, until `signal`.
 *
 * `insert` does it, or returns false while there is no place. `deep`: the place may be anywhere, not only below the root.
 */
export function createPlacement(
  element: Element,
  insert: () => boolean,
  deep: boolean,
  signal: AbortSignal,
): () => void {
  let timer = 0;
  let tries = 0;
  /** When the element was put on the page last. */
  let since: number;
  /** Of the page at the removal before. */
  let address: string;

  function place(): void {
    clearTimeout(timer);
    timer = 0;
    if (!element.isConnected && insert()) {
      tries += 1;
      since = performance.now();
    }
    watch();
  }

  /** The root may be another one each time, and there is none while a script writes the document anew. */
  function watch(): void {
    for (const node of [document, ...document.querySelectorAll('html,body')])
      observer.observe(node, { childList: true, subtree: deep });
  }

  /** Only plans: two observers that undo each other's changes in microtasks would hang the page. */
  const observer = new MutationObserver(() => {
    watch();
    if (element.isConnected || timer) return;
    const stayed = performance.now() - since;
    const changed = element.parentNode || location.href !== address;
    if (changed ? stayed > STAY_AMID_CHANGE : tries <= TRIES && stayed > STAY) tries = 0;
    address = location.href;
    element.remove();
    if (tries < TRIES) timer = setTimeout(place, WAIT << tries);
    else if (tries++ === TRIES) console.error('A4ChatWidget: the page keeps removing the chat.');
  });
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    observer.disconnect();
    element.remove();
  });
  return place;
}
