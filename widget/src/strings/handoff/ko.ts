import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: '담당 팀이 이 대화를 읽고 이메일로 답변해 드립니다.',
  email: '이메일 주소',
  note: '메시지(선택 사항)',
  consent: '이 대화와 내 이메일 주소를 이 사이트의 담당 팀에 보내는 데 동의합니다.',
  emailWrong: '올바른 이메일 주소를 입력해 주세요.',
  consentMissing: '계속하려면 동의해 주세요.',
  sent: '보냈습니다. {email}(으)로 답변해 드리겠습니다.',
  tooMany: '이미 여러 번 보내셨습니다. 나중에 다시 시도해 주세요.',
  done: '채팅으로 돌아가기',
};

export default strings;
