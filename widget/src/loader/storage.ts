/**
 * Browsers that let no third party store anything leave the page's own storage: the app asks to keep one text there over
 * visits, and one during this visit. Returns what is kept; '' removes it.
 */
export function storedByPage(area: 'localStorage' | 'sessionStorage', key: string, value?: string): string | null {
  try {
    const storage = window[area];
    if (value) storage.setItem(key, value);
    else if (value === '') storage.removeItem(key);
    return storage.getItem(key);
  } catch {
    return null; // Denied here, too: the conversation lasts as long as the page.
  }
}
