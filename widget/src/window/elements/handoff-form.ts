/**
 * The form that sends a conversation to the site's owner: a modal dialog over the chat. It uses no Lit and gets its
 * dependencies passed in, so that it shares no module with the open chat's chunk, which would be split.
 */
import { sheet } from '../../shared/dom.ts';
import { loadHandoffStrings } from '../../strings/handoff/index.ts';
import type { Strings } from '../../strings/index.ts';
import type { WindowOptions } from '../base/options.ts';
import type { ChatMemory } from '../conversation/chat-memory.ts';
import type { ChatService, ServiceError } from '../conversation/chat-service.ts';

/** The service's limits. */
const MAX_EMAIL = 254;
const MAX_NOTE = 2000;

const styles = sheet(`
  dialog {
    inset: 0; width: 100%; max-width: none; height: 100%; max-height: none; margin: 0; padding: 20px 18px; border: 0;
    overflow-y: auto; overscroll-behavior: contain; background: var(--_bg); color: var(--_text); animation: rise .2s;
  }
  dialog form { display: grid; gap: 14px; max-width: 560px; margin: 0 auto; }
  dialog :is(h2, p) { margin: 0; }
  dialog h2 { font-size: 1.0625rem; font-weight: 650; line-height: 1.3; }
  dialog p { font-size: .875rem; text-wrap: pretty; }
  dialog .field { display: grid; gap: 5px; font-size: .8125rem; }
  dialog .field label:not(.check) { font-weight: 600; }
  dialog .check { display: flex; align-items: flex-start; gap: 10px; font-size: .875rem; }
  dialog :is(input, textarea) {
    margin: 0; border: 1px solid var(--_line); border-radius: 10px;
    background: var(--_bg); color: inherit; font: inherit; font-size: 1rem;
  }
  dialog :is([type=email], textarea) { width: 100%; min-height: 44px; padding: 9px 12px; }
  dialog #note { min-height: 88px; resize: vertical; }
  dialog [type=checkbox] { flex: none; width: 22px; height: 22px; accent-color: var(--a4w-primary-color); }
  dialog [aria-invalid=true] { border-color: var(--_danger); outline-color: var(--_danger); }
  dialog .problem { color: var(--_danger); font-size: .8125rem; font-weight: 500; }
  dialog p:empty { display: none; }
  dialog .actions { display: flex; flex-wrap: wrap; gap: 10px; }
  dialog .pill { min-height: 44px; padding: 5px 18px; font-size: .875rem; }
  dialog .primary { border-color: transparent; }
  dialog .sent :is(.field, .check, .primary, .intro) { display: none; }
`);

/** The unsent text, and its conversation. */
const draft = { conversationId: '', email: '', note: '' };

/** Shows the form over the chat whose root this is. */
export async function showForm(
  root: ShadowRoot,
  { locale, settings }: WindowOptions,
  strings: Strings,
  service: ChatService,
  memory: ChatMemory,
): Promise<void> {
  const conversationId = `${memory.get().conversationId}`;
  const words = await loadHandoffStrings(locale);
  if (root.querySelector('dialog')) return;
  if (!root.adoptedStyleSheets.includes(styles)) root.adoptedStyleSheets.push(styles);
  if (draft.conversationId !== conversationId) Object.assign(draft, { conversationId, email: '', note: '' });

  const email = make('input', {
    id: 'email',
    type: 'email',
    autocomplete: 'email',
    maxLength: MAX_EMAIL,
    dir: 'ltr',
    required: true,
  });
  const note = make('textarea', { id: 'note', maxLength: MAX_NOTE, dir: 'auto' });
  const consent = make('input', { id: 'consent', type: 'checkbox', required: true });
  Object.assign(email, { value: draft.email });
  Object.assign(note, { value: draft.note });
  const emailProblem = problemOf(email);
  const consentProblem = problemOf(consent);
  const outcome = make('p', { role: 'status' });
  const problem = make('p', { className: 'problem', role: 'alert' });
  const send = make('button', { className: 'pill primary' }, strings.send);
  const leave = make('button', { className: 'pill', type: 'button' }, strings.cancel);
  const form = make(
    'form',
    { noValidate: true },
    make('h2', { id: 'handoff' }, strings.handoff),
    outcome,
    make('p', { className: 'intro' }, words.intro),
    make('div', { className: 'field' }, make('label', { htmlFor: 'email' }, words.email), email, emailProblem),
    make('div', { className: 'field' }, make('label', { htmlFor: 'note' }, words.note), note),
    make(
      'div',
      { className: 'field' },
      make('label', { className: 'check' }, consent, make('span', {}, words.consent)),
      consentProblem,
    ),
  );
  if (settings.privacyUrl)
    form.append(
      make(
        'p',
        { className: 'intro' },
        make('a', { href: settings.privacyUrl, target: '_blank', rel: 'noopener noreferrer' }, strings.privacy),
      ),
    );
  form.append(problem, make('div', { className: 'actions' }, send, leave));
  const dialog = make('dialog', {}, form);
  dialog.setAttribute('aria-labelledby', 'handoff');

  /** Errors appear when the visitor tries to send, and disappear once they are fixed. */
  const check = (tell: boolean): boolean => {
    for (const [field, place, text] of [
      [email, emailProblem, words.emailWrong],
      [consent, consentProblem, words.consentMissing],
    ] as const) {
      const wrong = !field.validity.valid;
      if (!wrong || tell) mark(field, place, wrong ? text : '');
    }
    return form.checkValidity();
  };

  const submit = async (): Promise<void> => {
    problem.textContent = '';
    if (send.ariaDisabled) return;
    if (!check(true)) {
      (email.validity.valid ? consent : email).focus();
      return;
    }
    send.ariaDisabled = 'true';
    try {
      await service.request(`conversations/${conversationId}/handoff`, {
        method: 'POST',
        body: JSON.stringify({ email: draft.email, consent: true, ...(draft.note && { note: draft.note }) }),
      });
      form.className = 'sent';
      outcome.textContent = words.sent.replace('{email}', draft.email);
      draft.note = '';
      leave.textContent = words.done;
      leave.focus();
    } catch (error) {
      const { status } = error as Partial<ServiceError>;
      if (status === 422) {
        mark(email, emailProblem, words.emailWrong);
        email.focus();
      } else
        problem.textContent = status === 429 ? words.tooMany : status ? strings.errorGeneric : strings.errorOffline;
    }
    send.ariaDisabled = null;
  };

  form.addEventListener('input', () => {
    Object.assign(draft, { email: email.value.trim(), note: note.value.trim() });
    check(false);
  });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void submit();
  });
  leave.addEventListener('click', () => dialog.close());
  // Escape closes the form, and not the chat behind it.
  dialog.addEventListener('keydown', (event) => event.key === 'Escape' && event.stopPropagation());
  dialog.addEventListener('close', () => dialog.remove());
  root.append(dialog);
  dialog.showModal();
}

function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Partial<HTMLElementTagNameMap[Name]>,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** The place for an error below a field. */
function problemOf(field: HTMLElement): HTMLElement {
  const id = `${field.id}-problem`;
  field.setAttribute('aria-describedby', id);
  return make('p', { id, className: 'problem' });
}

function mark(field: HTMLElement, place: HTMLElement, text: string): void {
  field.ariaInvalid = text ? 'true' : null;
  place.textContent = text;
}
