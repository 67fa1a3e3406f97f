/** Watches the host page while the chat is open. Loaded only then, because most visitors never open the chat. */
import type { Place, ToApp } from '../protocol.ts';

/** A page is dark if the relative luminance of its background is lower. */
const DARK = 0.18;
/** Milliseconds from a change of the page until its colours are read. */
const WAIT = 50;

/** Newer browsers can move an element without resetting it. */
interface Root {
  moveBefore?(node: Node, before: Node | null): void;
}

export interface PageWatch {
  /** The facts for the app. Also raises an open layer above a modal dialog. */
  facts(open: boolean): Pick<Place, 'dark' | 'top' | 'height'>;
}

/** Calls `onChange` when the facts may have changed, and `post` when the visitor navigates on the page, until `signal`. */
export function watchPage(
  host: Element,
  frame: HTMLElement,
  inFlow: boolean,
  small: MediaQueryList,
  signal: AbortSignal,
  post: (message: ToApp) => void,
  onChange: () => void,
): PageWatch {
  const until = { signal, capture: true };
  const system = matchMedia('(prefers-color-scheme:dark)');
  const screen = visualViewport as VisualViewport;
  let timer: ReturnType<typeof setTimeout>;
  let wasDark: boolean;

  /** Decides by the page's `color-scheme`, or by the first opaque background below the chat. */
  function isDark(): boolean {
    const place = (inFlow && host.parentElement) || document.body || document.documentElement;
    const { colorScheme } = getComputedStyle(place);
    const canBeDark = colorScheme.includes('dark');
    if (canBeDark && !colorScheme.includes('light')) return true;
    for (let under: Element | null = place; under; under = under.parentElement) {
      const { backgroundColor } = getComputedStyle(under);
      if (/^rgba|\//.test(backgroundColor)) continue;
      // Lets the browser parse the colour, in any notation: y is the relative luminance.
      frame.style.color = `color(from ${backgroundColor} xyz-d65 y y y)`;
      return Number(getComputedStyle(frame).color.split(' ')[1]) < DARK;
    }
    return canBeDark && system.matches;
  }

  /** A theme switch changes an attribute, a style sheet, the body or the system's preference. */
  function onTheme(): void {
    clearTimeout(timer);
    timer = setTimeout(() => {
      observe();
      if (wasDark !== isDark()) onChange();
    }, WAIT);
  }

  /** Again after each change, because the page may have replaced what was observed. */
  function observe(): void {
    if (signal.aborted) return;
    size.observe(host);
    for (const element of document.querySelectorAll('html, body, head'))
      theme.observe(element, { attributes: true, childList: element !== document.body });
  }

  /** Moves an open layer into the innermost modal dialog, because everything else is inert, and back. */
  function raise(): void {
    const place: Root & Element =
      ('moveBefore' in host && [...document.querySelectorAll('dialog:modal')].pop()) || document.documentElement;
    if (!inFlow && host.isConnected && host.parentNode !== place) place.moveBefore?.(host, null);
  }

  const onVisit = (event: Event) =>
    post({ type: 'visit', path: location.pathname, leaving: (event as MouseEvent).clientY <= 0 });

  const theme = new MutationObserver(onTheme);
  // A dialog that is removed takes the widget with it, which then has no size.
  const size = new ResizeObserver(() => {
    if (!inFlow && !host.isConnected && host.parentNode) document.documentElement.append(host);
  });
  observe();
  signal.addEventListener('abort', () => {
    theme.disconnect();
    size.disconnect();
  });
  system.addEventListener('change', onTheme, until);
  document.addEventListener('transitionend', onTheme, until);
  // A widget inside a dialog would disappear when the dialog closes.
  document.addEventListener('close', raise, until);
  for (const event of ['resize', 'scroll']) screen.addEventListener(event, () => onChange(), until);
  // In WebKit it changes after `resize`.
  small.addEventListener('change', () => onChange(), until);
  document.documentElement.addEventListener('mouseleave', onVisit, { signal });
  (window as { navigation?: EventTarget }).navigation?.addEventListener?.('navigatesuccess', onVisit, until);

  return {
    facts(open) {
      if (open) raise();
      wasDark = isDark();
      // While the page is pinch-zoomed, the window does not follow the viewport's height.
      const { scale, offsetTop: top, height } = screen;
      return { dark: wasDark, top, height: scale === 1 ? height : 0 };
    },
  };
}
