import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: '我們的團隊會閱讀這段對話，並以電子郵件回覆您。',
  email: '您的電子郵件地址',
  note: '留言（選填）',
  consent: '我同意將這段對話和我的電子郵件地址傳送給本網站的團隊。',
  emailWrong: '請輸入有效的電子郵件地址。',
  consentMissing: '請先同意再繼續。',
  sent: '已傳送。我們會回覆至 {email}。',
  tooMany: '您已多次傳送，請稍後再試。',
  done: '返回聊天',
};

export default strings;
