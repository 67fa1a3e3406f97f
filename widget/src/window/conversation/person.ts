/** How to reach a person, from the owner's setting: an email address, mailto: or https: URL; '' for the form. */
export const personUrl = (handoff: string): string =>
  handoff === 'form' ? '' : handoff.replace(/^(?!https:|mailto:)/i, 'mailto:');
