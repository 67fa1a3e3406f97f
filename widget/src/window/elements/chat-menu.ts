import { html, nothing } from 'lit/html.js';
import { language, type Strings } from '../../strings/index.ts';
import { check } from '../base/icons.ts';
import * as icons from '../base/rare-icons.ts';
import type { ChatController } from '../conversation/chat-controller.ts';
import type { ChatMemory } from '../conversation/chat-memory.ts';
import { endText } from '../conversation/end-text.ts';
import { problemText } from '../conversation/problems.ts';
import type { Turn } from '../conversation/turn.ts';
import { renderPerson } from './chat-cards.ts';

export type MenuEntry = 'new' | 'history' | 'export' | 'sound' | 'person' | 'forget';

/** The entries behind “More”. `heading` is the window's; with `hasSound` the visitor may mute it. */
export function chatMenu(
  heading: string,
  chat: ChatController,
  memory: ChatMemory,
  strings: Strings,
  hasSound: boolean | undefined,
  person: string | undefined,
  pick: (entry: MenuEntry) => void,
) {
  const { turns, remembered } = chat;
  const begun = turns.length > 0;
  const { muted } = memory.get();
  const item = (shown: boolean | undefined, entry: MenuEntry, label: string, icon: unknown, pressed?: boolean) =>
    shown
      ? html`<button aria-pressed=${pressed ?? nothing} @click=${() => {
          if (entry === 'export') download(conversationText(heading, turns, strings));
          if (entry === 'sound') memory.set({ muted: !muted });
          pick(entry);
        }}>${icon}<span>${label}</span>${pressed ? check : nothing}</button>`
      : nothing;
  return html`<div class="menu">
    ${item(begun, 'new', strings.newConversation, icons.compose)}
    ${item(true, 'history', strings.history, icons.clock)}
    ${item(begun, 'export', strings.export, icons.save)}
    ${item(hasSound, 'sound', strings.sound, icons.speaker, !muted)}
    ${person ? renderPerson(person, strings.handoff, '', () => pick('person')) : nothing}
    ${item(remembered, 'forget', strings.forget, icons.bin)}
  </div>`;
}

/** A conversation to read elsewhere; the answers keep their Markdown. */
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
