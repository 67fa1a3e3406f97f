import type { ChatElement } from '../base/chat-element.ts';

/** A chunk that is loaded on first use: the menu, the list of conversations, confirmations and errors. */
export let rare: typeof import('./menu-and-history.ts') | undefined;

/** Resolves to `rare`. If it cannot be loaded, dependent parts are omitted, and the next call tries again. */
export const loadRare = (): Promise<typeof rare> =>
  import('./menu-and-history.ts').then(
    (parts) => (rare = parts),
    () => undefined,
  );

/** `rare`, for an element that renders parts of it; the element is rendered again once it has loaded. */
export function rarely(element: ChatElement): typeof rare {
  const { adoptedStyleSheets } = element.root;
  if (!rare) void loadRare().then((parts) => parts && element.requestUpdate());
  else if (!adoptedStyleSheets.includes(rare.cardStyles)) adoptedStyleSheets.push(rare.cardStyles);
  return rare;
}
