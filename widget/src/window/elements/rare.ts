import type { ChatElement } from '../base/chat-element.ts';

/** What is fetched when it is wanted first, and is one chunk: the menu, the list of conversations, questions and errors. */
export let rare: typeof import('./menu-and-history.ts') | undefined;

/** Resolves to `rare`. If it cannot be had, what depends on it is left out, and the next call tries again. */
export const loadRare = (): Promise<typeof rare> =>
  import('./menu-and-history.ts').then(
    (parts) => (rare = parts),
    () => undefined,
  );

/** `rare`, for an element that shows some of it: if it is not there yet, the element is drawn again once it is. */
export function rarely(element: ChatElement): typeof rare {
  const { adoptedStyleSheets } = element.root;
  if (!rare) void loadRare().then((parts) => parts && element.requestUpdate());
  else if (!adoptedStyleSheets.includes(rare.cardStyles)) adoptedStyleSheets.push(rare.cardStyles);
  return rare;
}
