/** Waits, at most until the network or the visitor is back, or the wait is aborted. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = new AbortController();
    const end = () => {
      clearTimeout(timer);
      over.abort();
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    addEventListener('online', end, { signal: over.signal });
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && end(), {
      signal: over.signal,
    });
    signal.addEventListener('abort', end, { signal: over.signal });
  });
}

/** A backoff of about 0.5, 1, 2, 4, 4, … seconds, with jitter so that clients do not all return at once. */
export const backoff = (attempt: number): number => 500 * 2 ** Math.min(attempt, 3) * (0.75 + Math.random() / 2);
