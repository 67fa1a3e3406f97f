import type { HandoffStrings } from './en.ts';

const strings: HandoffStrings = {
  intro: 'Nuestro equipo leerá esta conversación y te responderá por correo electrónico.',
  email: 'Tu correo electrónico',
  note: 'Mensaje (opcional)',
  consent: 'Acepto que esta conversación y mi correo electrónico se envíen al equipo de este sitio web.',
  emailWrong: 'Introduce un correo electrónico válido.',
  consentMissing: 'Para continuar, debes aceptar.',
  sent: 'Enviado. Te responderemos a {email}.',
  tooMany: 'Ya has enviado varias solicitudes. Inténtalo más tarde.',
  done: 'Volver al chat',
};

export default strings;
