import { html, nothing } from 'lit/html.js';
import { fill } from '../../strings/fill.ts';
import { language, type Strings } from '../../strings/index.ts';
import { check } from '../base/icons.ts';
import type { WindowOptions } from '../base/options.ts';
import * as icons from '../base/rare-icons.ts';
import type { ChatController } from '../conversation/chat-controller.ts';
import type { Chat, ChatMemory } from '../conversation/chat-memory.ts';
import type { ChatService } from '../conversation/chat-service.ts';
import { endText } from '../conversation/end-text.ts';
import { problemText } from '../conversation/problems.ts';
import type { Turn } from '../conversation/turn.ts';
import { forget as forgetChat } from '../conversation/upkeep.ts';
import { renderPerson } from './chat-cards.ts';
import type { ChatHistory } from './chat-history.ts';

/** The interface of the window. */
export interface MenuOwner {
  readonly root: ShadowRoot;
  readonly options: WindowOptions;
  readonly strings: Strings;
  readonly service: ChatService;
  readonly memory: ChatMemory;
  readonly chat: ChatController;
  /** Its heading. */
  readonly heading: string;
  /** How to reach a person: an address, 'form', or nothing. */
  readonly person: string | undefined;
  menu: boolean;
  history: boolean;
  forgetting: Pick<Chat, 'id' | 'title'> | undefined;
  find<T extends HTMLElement>(selector: string): T | null;
  focus(): void;
  /** Returns from the delete confirmation to the list, or to the conversation. */
  back(): void;
  note(text: string): void;
}

/** The entries behind “More”. */
export function renderMenu(owner: MenuOwner) {
  const { chat, memory, strings, options, heading, person } = owner;
  const { turns, remembered } = chat;
  const hasTurns = turns.length > 0;
  const { conversationId, muted } = memory.get();
  const pick = (act: () => void, stays: boolean) => () => {
    owner.menu = false;
    owner.forgetting = undefined;
    (stays ? owner.find('.more') : owner)?.focus();
    act();
  };
  const item = (
    shown: boolean | undefined,
    label: string,
    icon: unknown,
    act: () => void,
    stays = false,
    pressed?: boolean,
  ) =>
    shown
      ? html`<button aria-pressed=${pressed ?? nothing} @click=${pick(act, stays)}>${icon}<span>${label}</span>${pressed ? check : nothing}</button>`
      : nothing;
  return html`<div class="menu">
    ${item(true, strings.history, icons.clock, () => {
      owner.history = true;
    })}
    ${item(hasTurns, strings.export, icons.save, () => download(conversationText(heading, turns, strings)), true)}
    ${item(options.settings.sound, strings.sound, icons.speaker, () => memory.set({ muted: !muted }), true, !muted)}
    ${
      person
        ? renderPerson(
            person,
            strings.handoff,
            '',
            pick(() => talkToPerson(owner), true),
          )
        : nothing
    }
    ${item(remembered, strings.forget, icons.bin, () => {
      owner.forgetting = { id: `${conversationId}`, title: '' };
    })}
  </div>`;
}

/** Shows the list of past conversations instead of this one. */
export const renderHistory = (owner: MenuOwner) => html`<chat-history
  .chat=${owner.chat} .strings=${owner.strings} .current=${owner.memory.get().conversationId}
  @history-delete=${({ detail }: CustomEvent<Chat>) => {
    owner.forgetting = detail;
    owner.focus();
  }}
  @history-close=${() => {
    owner.forgetting = undefined;
    owner.back();
  }}></chat-history>`;

/** Asks whether to delete a conversation: this one, or one from the list by its title. */
export const renderForget = (owner: MenuOwner) => {
  const { strings, forgetting } = owner;
  const title = forgetting?.title;
  return html`<div class="card" role="alertdialog" aria-labelledby="ask" aria-describedby="undone">
    <b id="ask">${title ? `${fill(strings.historyDelete, { title })}?` : strings.forgetConfirm}</b>
    <p id="undone">${strings.forgetNote}</p>
    <div>
      <button class="pill danger" @click=${() => forget(owner)}>${strings.forgetYes}</button>
      <button class="pill asking" @click=${() => owner.back()}>${strings.forgetNo}</button>
    </div>
  </div>`;
};

async function forget(owner: MenuOwner): Promise<void> {
  const id = owner.forgetting?.id;
  owner.back();
  const isGone = await forgetChat(owner.chat, id);
  owner.note(isGone ? owner.strings.forgotten : owner.strings.forgetFailed);
  owner.find<ChatHistory>('chat-history')?.load();
}

/** Loads and opens the form that sends the conversation to the owner. */
export const talkToPerson = ({ root, options, strings, service, memory }: MenuOwner): Promise<void> =>
  import('./handoff-form.ts').then((form) => form.showForm(root, options, strings, service, memory), console.error);

/** A conversation as a text file; the answers keep their Markdown. */
function conversationText(title: string, turns: readonly Turn[], strings: Strings): string {
  const parts = turns.flatMap((turn) => [
    turn.at ? new Date(turn.at).toLocaleString(language()) : '',
    `${strings.you}\n${turn.question}`,
    `${strings.assistant}\n${turn.answer}`,
    ...turn.sources.map(({ title, url }, index) => `[${index + 1}] ${title} ${url}`),
    endText(turn, strings, problemText),
  ]);
  return `${[title, ...parts].filter(Boolean).join('\n\n')}\n`;
}

function download(text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/plain;charset=utf-8' }));
  link.download = `chat-${new Date().toISOString().slice(0, 10)}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // Safari reads it some time after the click.
}
