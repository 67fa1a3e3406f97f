import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Nasz zespół przeczyta tę rozmowę i odpowie e-mailem.',
  email: 'Twój adres e-mail',
  note: 'Wiadomość (opcjonalnie)',
  consent: 'Zgadzam się na przekazanie tej rozmowy i mojego adresu e-mail zespołowi tej strony.',
  emailWrong: 'Podaj prawidłowy adres e-mail.',
  consentMissing: 'Aby kontynuować, wyraź zgodę.',
  sent: 'Wysłano. Odpowiemy na adres {email}.',
  tooMany: 'Wysłano już kilka zgłoszeń. Spróbuj ponownie później.',
  done: 'Wróć do czatu',
};

export default strings;
