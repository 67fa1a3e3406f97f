import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Ons team leest dit gesprek en antwoordt per e-mail.',
  email: 'Je e-mailadres',
  note: 'Bericht (optioneel)',
  consent: 'Ik ga ermee akkoord dat dit gesprek en mijn e-mailadres naar het team van deze website worden gestuurd.',
  emailWrong: 'Vul een geldig e-mailadres in.',
  consentMissing: 'Ga akkoord om verder te gaan.',
  sent: 'Verzonden. Je ontvangt ons antwoord op {email}.',
  tooMany: 'Je hebt al meerdere aanvragen verstuurd. Probeer het later opnieuw.',
  done: 'Terug naar de chat',
};

export default strings;
