/**
 * All that the window says. Every other language has the same keys: `Strings` is made of this one.
 *
 * `{name}` is filled in. A text with a `{count}` may have several forms, parted by `|`: each but the last begins with its
 * plural category and a colon (`zero: one: two: few: many:`, as `Intl.PluralRules` names them); the last is for the rest.
 */
const en = {
  // The header and its menu
  title: 'Chat',
  online: 'Ready to help',
  answering: 'Answering…',
  reconnecting: 'Reconnecting…',
  restoring: 'Loading your conversation…',
  offline: 'Offline',
  close: 'Close chat',
  expand: 'Expand',
  shrink: 'Collapse',
  more: 'More',
  newConversation: 'New conversation',
  history: 'Past conversations',
  historyEmpty: 'No past conversations yet',
  historyDelete: 'Delete “{title}”',
  back: 'Back',
  export: 'Download as text',
  sound: 'Sound',
  forget: 'Delete conversation',
  forgetConfirm: 'Delete this conversation? This can’t be undone.',
  forgetYes: 'Delete',
  forgetNo: 'Cancel',
  forgetFailed: 'Couldn’t delete this conversation. Please try again.',
  handoff: 'Talk to a person',

  // The conversation
  conversation: 'Conversation',
  greeting: 'Hi! How can I help you today?',
  suggestions: 'Suggested questions',
  you: 'You said:',
  assistant: 'Answer:',
  answered: 'Answer complete.',
  unread: 'one:{count} new message|{count} new messages',
  latest: 'Jump to latest',
  copy: 'Copy',
  copied: 'Copied',
  regenerate: 'Regenerate',
  good: 'Helpful',
  bad: 'Not helpful',
  comment: 'What could be better? (optional)',
  commentSend: 'Send feedback',
  thanks: 'Thank you for your feedback.',
  edit: 'Edit question',
  stopped: 'Stopped',
  retry: 'Try again',
  retryIn: 'Try again in {time}',
  continue: 'Continue',
  continueMessage: 'Please continue.',
  // In Markdown
  copyCode: 'Copy code',
  showImage: 'Show image',
  table: 'Table',
  sources: 'Sources',

  // The field and the foot
  placeholder: 'Write a message…',
  send: 'Send message',
  stop: 'Stop',
  editing: 'Editing your question',
  cancel: 'Cancel',
  charactersLeft: 'one:{count} character left|{count} characters left',
  charactersOver: 'one:{count} character too many|{count} characters too many',
  offlineNote: 'You’re offline. Your message will be sent when you’re back.',
  note: 'AI can make mistakes. Check important details.',
  privacy: 'Privacy notice',
  consentText: 'Your messages are processed by an AI service.',
  consent: 'Agree and start',

  // What can go wrong
  cutOff: 'This answer reached its maximum length.',
  filtered: 'A content filter blocked this answer.',
  filteredRest: 'A content filter blocked the rest of this answer.',
  empty: 'No answer was received. Please try again.',
  lost: 'The connection was lost before the answer was complete.',
  restoreFailed: 'Couldn’t load your earlier messages.',
  errorGeneric: 'Something went wrong. Please try again.',
  errorOffline: 'Can’t reach the chat. Check your connection and try again.',
  errorBusy: 'The chat is very busy right now. Please try again shortly.',
  errorRateLimit: 'You’re sending messages too quickly. Please wait a moment.',
  errorBudget: 'The chat has reached its limit for today. Please come back later.',
  errorTooLong: 'This message is too long. Please shorten it.',
  errorUpstream: 'The assistant isn’t available right now. Please try again later.',
  errorTimeout: 'The assistant took too long to answer. Please try again.',
  errorInterrupted: 'The answer was interrupted. Please try again.',
  errorAnswerTooLong: 'The answer got too long and was stopped.',
  errorRejected: 'This message wasn’t accepted. Please change it and try again.',
  errorSignIn: 'Your session has expired. Please sign in again.',
  errorUnavailable: 'The chat isn’t available here right now.',
};

export type Strings = Record<keyof typeof en, string>;
export default en as Strings;
