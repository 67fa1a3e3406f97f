import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'הצוות שלנו יקרא את השיחה הזאת וישיב בדוא״ל.',
  email: 'כתובת הדוא״ל שלך',
  note: 'הודעה (לא חובה)',
  consent: 'מוסכם עליי שהשיחה הזאת וכתובת הדוא״ל שלי יישלחו לצוות האתר.',
  emailWrong: 'יש להזין כתובת דוא״ל תקינה.',
  consentMissing: 'יש לאשר כדי להמשיך.',
  sent: 'נשלח. התשובה תישלח אל {email}.',
  tooMany: 'כבר נשלחו כמה פניות. אפשר לנסות שוב מאוחר יותר.',
  done: 'חזרה לצ׳אט',
};

export default strings;
