import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'سيقرأ فريقنا هذه المحادثة ويرد عليك عبر البريد الإلكتروني.',
  email: 'بريدك الإلكتروني',
  note: 'رسالة (اختياري)',
  consent: 'أوافق على إرسال هذه المحادثة وعنوان بريدي الإلكتروني إلى فريق هذا الموقع.',
  emailWrong: 'يُرجى إدخال عنوان بريد إلكتروني صالح.',
  consentMissing: 'يُرجى الموافقة للمتابعة.',
  sent: 'تم الإرسال. سنرد على {email}.',
  tooMany: 'لقد أرسلت عدة طلبات. يُرجى المحاولة لاحقًا.',
  done: 'العودة إلى الدردشة',
};

export default strings;
