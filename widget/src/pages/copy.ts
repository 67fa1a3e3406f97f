/** Copies a text and confirms it on the button. Without a clipboard, selects `source` so that the user can copy it. */
export async function copy(button: HTMLElement, text: string, source?: Element): Promise<void> {
  const copied = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  if (!copied) {
    if (source) getSelection()?.selectAllChildren(source);
    return;
  }
  button.dataset.label ??= button.textContent ?? '';
  button.textContent = 'Copied';
  setTimeout(() => {
    button.textContent = button.dataset.label ?? '';
  }, 1500);
}
