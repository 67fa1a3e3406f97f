/** What the loader does on the host page once the chat is shown there. It is fetched then: most visitors never open a chat. */
import type { Place, ToApp } from '../protocol.ts';

/** A page whose background's relative luminance is lower is dark. */
const DARK = 0.18;
/** Milliseconds from a change of the page to a look at its colours. */
const WAIT = 50;

/** Newer browsers move an element as it is. */
interface Root {
  moveBefore?(node: Node, before: Node | null): void;
}

export interface PageWatch {
  /** What the app is to know. An open layer goes to where nothing of the page holds it back. */
  facts(open: boolean): Pick<Place, 'dark' | 'top' | 'height'>;
}

/** Calls `onChange` when the facts may be others, and `post` with where the visitor goes on the page, until `signal`. */
export function watchPage(
  host: Element,
  frame: HTMLElement,
  inFlow: boolean,
  signal: AbortSignal,
  post: (message: ToApp) => void,
  onChange: () => void,
): PageWatch {
  const until = { signal, capture: true };
  const system = matchMedia('(prefers-color-scheme:dark)');
  const screen = visualViewport as VisualViewport;
  const root = document.documentElement;
  let timer: ReturnType<typeof setTimeout>;
  let wasDark: boolean;

  /** By its `color-scheme`, or by the first background below the chat that is not see-through. */
  function isDark(): boolean {
    const place = (inFlow && host.parentElement) || document.body || root;
    const { colorScheme } = getComputedStyle(place);
    const canBeDark = colorScheme.includes('dark');
    if (canBeDark && !colorScheme.includes('light')) return true;
    for (let under: Element | null = place; under; under = under.parentElement) {
      const { backgroundColor } = getComputedStyle(under);
      if (/^rgba|\//.test(backgroundColor)) continue;
      // The browser knows all notations: y is the relative luminance.
      frame.style.color = `color(from ${backgroundColor} xyz-d65 y y y)`;
      return Number(getComputedStyle(frame).color.split(' ')[1]) < DARK;
    }
    return canBeDark && system.matches;
  }

  /** A page that switches its theme changes an attribute, a style sheet or what the visitor's system says. */
  function onTheme(): void {
    clearTimeout(timer);
    timer = setTimeout(() => wasDark !== isDark() && onChange(), WAIT);
  }

  function raise(): void {
    const place: Root & Element =
      ('moveBefore' in host && document.querySelector('dialog:modal')) || document.documentElement;
    if (!inFlow && host.isConnected && host.parentNode !== place) place.moveBefore?.(host, null);
  }

  const onVisit = (event: Event) =>
    post({ type: 'visit', path: location.pathname, leaving: (event as MouseEvent).clientY <= 0 });

  const observer = new MutationObserver(onTheme);
  for (const element of document.querySelectorAll('html, body, head'))
    observer.observe(element, { attributes: true, childList: element.localName === 'head' });
  signal.addEventListener('abort', () => observer.disconnect());
  system.addEventListener('change', onTheme, until);
  document.addEventListener('transitionend', onTheme, until);
  // What was raised into a dialog that closes would be gone with it.
  document.addEventListener('close', raise, until);
  for (const event of ['resize', 'scroll']) screen.addEventListener(event, () => onChange(), until);
  root.addEventListener('mouseleave', onVisit, { signal });
  (window as { navigation?: EventTarget }).navigation?.addEventListener('navigatesuccess', onVisit, until);

  return {
    facts(open) {
      if (open) raise();
      wasDark = isDark();
      // Pinched, the page's own zoom stays in charge.
      const { scale, offsetTop: top, height } = screen;
      return { dark: wasDark, top, height: scale === 1 ? height : 0 };
    },
  };
}
