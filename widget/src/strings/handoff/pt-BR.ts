import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Nossa equipe lerá esta conversa e responderá por e-mail.',
  email: 'Seu e-mail',
  note: 'Mensagem (opcional)',
  consent: 'Concordo que esta conversa e meu e-mail sejam enviados à equipe deste site.',
  emailWrong: 'Informe um e-mail válido.',
  consentMissing: 'É preciso concordar para continuar.',
  sent: 'Enviado. Responderemos para {email}.',
  tooMany: 'Você já enviou várias solicitações. Tente novamente mais tarde.',
  done: 'Voltar ao chat',
};

export default strings;
