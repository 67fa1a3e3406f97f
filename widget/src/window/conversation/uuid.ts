/** `crypto.randomUUID` exists in secure contexts only, and a page on plain http is none. Version 4 of RFC 9562. */
export const uuid = (): string =>
  '00000000-0000-4000-8000-000000000000'.replace(/[08]/g, (digit) => {
    const random = crypto.getRandomValues(new Uint8Array(1))[0] ?? 0;
    return (digit === '0' ? random & 15 : (random & 3) | 8).toString(16);
  });
