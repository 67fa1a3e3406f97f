import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Notre équipe lira cette conversation et vous répondra par e-mail.',
  email: 'Votre adresse e-mail',
  note: 'Message (facultatif)',
  consent: 'J’accepte que cette conversation et mon adresse e-mail soient transmises à l’équipe de ce site.',
  emailWrong: 'Saisissez une adresse e-mail valide.',
  consentMissing: 'Veuillez donner votre accord pour continuer.',
  sent: 'Envoyé. Nous vous répondrons à l’adresse {email}.',
  tooMany: 'Vous avez déjà envoyé plusieurs demandes. Veuillez réessayer plus tard.',
  done: 'Retour au chat',
};

export default strings;
