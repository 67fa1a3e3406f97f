import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: '担当チームがこの会話を読み、メールで返信します。',
  email: 'メールアドレス',
  note: 'メッセージ（任意）',
  consent: 'この会話とメールアドレスを当サイトの担当チームに送信することに同意します。',
  emailWrong: '有効なメールアドレスを入力してください。',
  consentMissing: '続けるには同意が必要です。',
  sent: '送信しました。{email} 宛てに返信します。',
  tooMany: 'すでに複数回送信されています。時間をおいてお試しください。',
  done: 'チャットに戻る',
};

export default strings;
