/** A notice at the bottom of the page, which screen readers announce. */

const VISIBLE_MILLISECONDS = 8000;

const notice = document.querySelector('#notice') as HTMLElement;
let hiding: ReturnType<typeof setTimeout> | undefined;

export function say(text: string): void {
  notice.textContent = text;
  clearTimeout(hiding);
  hiding = setTimeout(() => {
    notice.textContent = '';
  }, VISIBLE_MILLISECONDS);
}
