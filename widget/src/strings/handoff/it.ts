import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Il nostro team leggerà questa conversazione e ti risponderà via email.',
  email: 'Il tuo indirizzo email',
  note: 'Messaggio (facoltativo)',
  consent: 'Accetto che questa conversazione e il mio indirizzo email vengano inviati al team di questo sito.',
  emailWrong: 'Inserisci un indirizzo email valido.',
  consentMissing: 'Per continuare devi accettare.',
  sent: 'Inviato. Ti risponderemo a {email}.',
  tooMany: 'Hai già inviato più richieste. Riprova più tardi.',
  done: 'Torna alla chat',
};

export default strings;
