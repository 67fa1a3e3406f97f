/** What the form for a person says beside the window's own words. Every other language has the same keys. */
const en = {
  intro: 'Our team reads this conversation and replies by email.',
  email: 'Your email address',
  note: 'Message (optional)',
  consent: 'I agree to share this conversation and my email address with this website’s team.',
  emailWrong: 'Enter a valid email address.',
  consentMissing: 'Please agree to continue.',
  sent: 'Sent. We’ll reply to {email}.',
  tooMany: 'You’ve already sent several requests. Please try again later.',
  done: 'Back to the chat',
};

export type HandoffStrings = Record<keyof typeof en, string>;
export default en as HandoffStrings;
