import type rare from './en-rare.ts';

/**
 * The window's texts. Those of rarely loaded parts are in en-rare.ts. Every other language has the keys of both in one
 * file; `Strings` is the type of all.
 *
 * `{name}` is replaced with a value. A text with a `{count}` may have several forms, separated by `|`: each but the last
 * begins with its plural category and a colon (`zero: one: two: few: many:`, as in `Intl.PluralRules`); the last is for
 * all others.
 */
const en = {
  // The header and its menu
  title: 'Chat',
  online: 'Ready to help',
  answering: 'Answering…',
  reconnecting: 'Reconnecting…',
  restoring: 'Loading your conversation…',
  offline: 'Offline',
  unavailable: 'Unavailable',
  close: 'Close chat',
  expand: 'Expand',
  shrink: 'Collapse',
  more: 'More',
  controls: 'Chat controls',
  newConversation: 'New conversation',

  // The conversation
  conversation: 'Conversation',
  greeting: 'Hi! How can I help you today?',
  suggestions: 'Suggested questions',
  you: 'You said:',
  assistant: 'Answer:',
  answered: 'Answer complete.',
  latest: 'Jump to latest',
  copy: 'Copy',
  copied: 'Copied',
  copyFailed: 'Couldn’t copy',
  regenerate: 'Regenerate',
  good: 'Helpful',
  bad: 'Not helpful',
  actions: 'Answer actions',
  edit: 'Edit question',
  stopped: 'Stopped',
  retry: 'Try again',

  // In Markdown
  copyCode: 'Copy code',
  showImage: 'Show image',
  code: 'Code',
  table: 'Table',
  task: 'Task',
  sources: 'Sources',

  // The field and the foot
  placeholder: 'Write a message…',
  send: 'Send message',
  stop: 'Stop',
  offlineNote: 'You’re offline. Your message will be sent when you’re back.',
  offlineWait: 'Will send when you’re back online',
  note: 'AI can make mistakes. Check important details.',
  privacy: 'Privacy notice',
  consentText: 'Your messages are processed by an AI service.',
  consent: 'Agree and start',

  // Errors
  lost: 'The connection was lost before the answer was complete.',
  errorGeneric: 'Something went wrong. Please try again.',
  errorOffline: 'Can’t reach the chat. Check your connection and try again.',
};

export type Strings = Record<keyof typeof en | keyof typeof rare, string>;
export default en as Strings; // as soon as a text of en-rare.ts is needed, `Object.assign` has put it there
