import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Ekibimiz bu sohbeti okuyup e-postayla yanıt verecek.',
  email: 'E-posta adresiniz',
  note: 'Mesaj (isteğe bağlı)',
  consent: 'Bu sohbetin ve e-posta adresimin bu sitenin ekibine gönderilmesini kabul ediyorum.',
  emailWrong: 'Geçerli bir e-posta adresi girin.',
  consentMissing: 'Devam etmek için onay verin.',
  sent: 'Gönderildi. Yanıtımız {email} adresine gelecek.',
  tooMany: 'Zaten birkaç istek gönderdiniz. Lütfen daha sonra yeniden deneyin.',
  done: 'Sohbete dön',
};

export default strings;
