/**
 * The host page's own storage, for browsers that deny storage to third parties: the app stores one text there across
 * visits, and one for the current visit. Returns the stored text; '' removes it.
 */
export function storedByPage(area: 'localStorage' | 'sessionStorage', key: string, value?: string): string | null {
  try {
    const storage = window[area];
    if (value) storage.setItem(key, value);
    else if (value === '') storage.removeItem(key);
    return storage.getItem(key);
  } catch {
    return null; // Denied here, too: the conversation lasts only as long as the page.
  }
}
