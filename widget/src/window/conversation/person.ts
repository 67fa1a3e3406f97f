/** Where a person can be reached, as the owner has set it: an address, mailto: or https URL; '' for the form. */
export const personUrl = (handoff: string): string =>
  handoff === 'form' ? '' : handoff.replace(/^(?!https:|mailto:)/i, 'mailto:');
