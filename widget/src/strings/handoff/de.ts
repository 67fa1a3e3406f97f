import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Unser Team liest diese Unterhaltung und antwortet per E-Mail.',
  email: 'Ihre E-Mail-Adresse',
  note: 'Nachricht (optional)',
  consent:
    'Ich bin einverstanden, dass diese Unterhaltung und meine E-Mail-Adresse an das Team dieser Website gesendet werden.',
  emailWrong: 'Bitte geben Sie eine gültige E-Mail-Adresse ein.',
  consentMissing: 'Bitte stimmen Sie zu, um fortzufahren.',
  sent: 'Gesendet. Unsere Antwort geht an {email}.',
  tooMany: 'Sie haben bereits mehrere Anfragen gesendet. Bitte versuchen Sie es später erneut.',
  done: 'Zurück zum Chat',
};

export default strings;
