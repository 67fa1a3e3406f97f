import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: '我们的团队会阅读此对话，并通过电子邮件回复您。',
  email: '您的电子邮箱',
  note: '留言（选填）',
  consent: '我同意将此对话和我的电子邮箱地址发送给本网站的团队。',
  emailWrong: '请输入有效的电子邮箱地址。',
  consentMissing: '请先同意再继续。',
  sent: '已发送。我们会回复至 {email}。',
  tooMany: '您已多次发送，请稍后再试。',
  done: '返回聊天',
};

export default strings;
