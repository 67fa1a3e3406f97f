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
  expand: 'Larger window',
  shrink: 'Smaller window',
  more: 'More',
  newConversation: 'New conversation',
  history: 'Earlier conversations',
  historyEmpty: 'No earlier conversations.',
  historyDelete: 'Delete “{title}”',
  back: 'Back',
  export: 'Download as text',
  sound: 'Sound',
  forget: 'Delete conversation',
  forgetConfirm: 'Delete it for good?',
  forgetYes: 'Delete',
  forgetNo: 'Keep',
  forgetFailed: 'It could not be deleted. Please try again.',
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
  regenerate: 'New answer',
  good: 'Good answer',
  bad: 'Bad answer',
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

  // The field and the foot
  placeholder: 'Write a message…',
  send: 'Send message',
  stop: 'Stop answering',
  editing: 'Editing your question',
  cancel: 'Cancel',
  charactersLeft: 'one:{count} character left|{count} characters left',
  charactersOver: 'one:{count} character too many|{count} characters too many',
  offlineNote: 'You are offline. The chat goes on as soon as you are back.',
  note: 'AI answers can be wrong.',
  privacy: 'Privacy notice',
  consentText: 'What you write here is sent to an AI service, which answers you.',
  consent: 'Agree and start',

  // What can go wrong
  cutOff: 'The answer was cut off at its maximum length.',
  filtered: 'The answer was held back by a content filter.',
  empty: 'No answer came back. Please try again.',
  lost: 'The connection was lost before the answer was complete.',
  restoreFailed: 'Your earlier messages could not be loaded.',
  errorGeneric: 'Something went wrong. Please try again.',
  errorOffline: 'The chat cannot be reached. Check your connection and try again.',
  errorBusy: 'The chat is very busy at the moment. Please try again shortly.',
  errorRateLimit: 'That was a lot of messages in a short time. Please wait a moment.',
  errorBudget: 'The chat has reached its limit for today. Please come back later.',
  errorTooLong: 'That message is too long. Please shorten it.',
  errorUpstream: 'The assistant is not available right now. Please try again later.',
  errorTimeout: 'The assistant took too long to answer. Please try again.',
  errorInterrupted: 'The answer was interrupted. Please try again.',
  errorAnswerTooLong: 'The answer became too long and was stopped.',
  errorRejected: 'That message was not accepted. Please change it and try again.',
  errorSignIn: 'Your sign-in is no longer valid. Please sign in again.',
  errorUnavailable: 'The chat is not available here at the moment.',
};

export type Strings = Record<keyof typeof en, string>;
export default en as Strings;
