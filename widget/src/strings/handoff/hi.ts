import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'हमारी टीम यह बातचीत पढ़कर ईमेल से जवाब देगी।',
  email: 'आपका ईमेल पता',
  note: 'संदेश (वैकल्पिक)',
  consent: 'मैं सहमत हूँ कि यह बातचीत और मेरा ईमेल पता इस वेबसाइट की टीम को भेजा जाए।',
  emailWrong: 'मान्य ईमेल पता डालें।',
  consentMissing: 'आगे बढ़ने के लिए सहमति दें।',
  sent: 'भेज दिया गया। हम {email} पर जवाब देंगे।',
  tooMany: 'आप पहले ही कई अनुरोध भेज चुके हैं। कृपया बाद में फिर से कोशिश करें।',
  done: 'चैट पर वापस जाएँ',
};

export default strings;
