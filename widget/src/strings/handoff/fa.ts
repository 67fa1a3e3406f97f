import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'تیم ما این گفتگو را می‌خواند و با ایمیل پاسخ می‌دهد.',
  email: 'نشانی ایمیل شما',
  note: 'پیام (اختیاری)',
  consent: 'موافقم که این گفتگو و نشانی ایمیل من برای تیم این وب‌سایت فرستاده شود.',
  emailWrong: 'یک نشانی ایمیل معتبر وارد کنید.',
  consentMissing: 'برای ادامه باید موافقت کنید.',
  sent: 'فرستاده شد. پاسخ را به {email} می‌فرستیم.',
  tooMany: 'چند درخواست فرستاده‌اید. لطفاً بعداً دوباره تلاش کنید.',
  done: 'بازگشت به گفتگو',
};

export default strings;
