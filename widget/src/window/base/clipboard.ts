/** Copies a text, and fires `notice` with what to announce. Returns false if the browser refuses. */
export async function copyText(
  text: string,
  from: Element,
  strings: Record<'copied' | 'copyFailed', string>,
): Promise<boolean> {
  const isCopied = await copy(text);
  const detail = isCopied ? strings.copied : strings.copyFailed;
  from.dispatchEvent(new CustomEvent('notice', { detail, bubbles: true, composed: true }));
  return isCopied;
}

async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByEvent(text); // On plain http there is no clipboard API; in a frame it may be denied.
  }
}

function copyByEvent(text: string): boolean {
  const onCopy = (event: ClipboardEvent) => {
    event.clipboardData?.setData('text/plain', text);
    event.preventDefault();
  };
  document.addEventListener('copy', onCopy);
  const copied = document.execCommand('copy');
  document.removeEventListener('copy', onCopy);
  return copied;
}
