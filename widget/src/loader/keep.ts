/** Browsers that let no third party store anything leave the page's own storage: the app asks to keep one text there. */

export function kept(key: string): string {
  try {
    return localStorage.getItem(key) ?? '';
  } catch {
    return ''; // Denied here, too: the conversation lasts as long as the page.
  }
}

export function keep(key: string, value: string): void {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    return; // As above.
  }
}
