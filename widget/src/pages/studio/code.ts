/** The snippets to copy, in the chosen format. */
import { configObject, esModule, type Look, OF_THE_PAGE, type Service, scriptTag, settingsFile } from '../snippet.ts';
import { toHex } from './colours.ts';
import { find, readLook } from './form.ts';

const FORMS = {
  'tab-tag': {
    make: scriptTag,
    how: 'Paste it anywhere in the HTML of your pages. An inline chat without a target appears where you paste it.',
  },
  'tab-object': {
    make: configObject,
    how: 'For tag managers that strip attributes: the same settings as an object, before the script.',
  },
  'tab-module': {
    make: esModule,
    how: 'For apps that add and remove the chat themselves.',
  },
  'tab-file': {
    make: (look: Look) => settingsFile(look, toHex),
    how: 'The same settings stored in the service, which keeps the tag short: python manage.py tenant set "My site" --look look.json',
  },
} as const;

const SAVED =
  'The look is saved in the service. The tag only holds your keys and the settings that each page makes itself.';

export const output = find('#snippet');
const tabs = [...document.querySelectorAll<HTMLElement>('[role=tab]')];
let tab: keyof typeof FORMS = 'tab-tag';

/** Settings that the service keeps for a live tenant aren't repeated in its tag. */
const ofThePage = ({ settings, vars }: Look): Look => ({
  settings: Object.fromEntries(Object.entries(settings).filter(([name]) => OF_THE_PAGE.includes(name))),
  vars,
});

/** Highlights names and strings. It only splits the text; the pieces add up to the input. */
function paint(code: string): Node[] {
  return code.split(/(data-[\w-]+(?=[\s=>])|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|--a4w-[\w-]+)/).map((piece, index) => {
    if (index % 2 === 0) return document.createTextNode(piece);
    const mark = document.createElement(/^["']/.test(piece) ? 'b' : 'i');
    mark.textContent = piece;
    return mark;
  });
}

/** `isLive`: the look is saved in the service for a tenant. */
export function showCode(look: Look, keys: Omit<Service, 'url'>, isLive: boolean): void {
  const url = new URL('.', location.href).href.replace(/\/$/, '');
  const { make, how } = FORMS[tab];
  const isFile = tab === 'tab-file';
  const code = make(isLive && !isFile ? ofThePage(look) : look, { url, ...keys });
  output.querySelector('code')?.replaceChildren(...paint(code));
  output.setAttribute('aria-labelledby', tab);
  find('#how').textContent = isLive && !isFile ? SAVED : how;
  find('#apart').hidden = !/module|file/.test(tab) || !Object.keys(look.vars).length;
}

function choose(chosen: HTMLElement, show: () => void): void {
  for (const other of tabs) {
    other.ariaSelected = `${other === chosen}`;
    other.tabIndex = other === chosen ? 0 : -1;
  }
  tab = chosen.id as typeof tab;
  show();
}

/** Sets up the tabs. `show` is called when one is selected. */
export function listenToTabs(show: (look: Look) => void): void {
  const list = find('[role=tablist]');
  const chosenOne = (chosen: HTMLElement) => choose(chosen, () => show(readLook()));
  list.addEventListener('click', ({ target }) => {
    const chosen = (target as Element).closest<HTMLElement>('[role=tab]');
    if (chosen) chosenOne(chosen);
  });
  list.addEventListener('keydown', (event) => {
    const { key } = event as KeyboardEvent;
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[key];
    if (!step) return;
    event.preventDefault();
    const index = tabs.findIndex(({ id }) => id === tab) + step;
    const chosen = Number.isFinite(step) ? tabs.at(index % tabs.length) : tabs.at(step < 0 ? 0 : -1);
    if (!chosen) return;
    chosenOne(chosen);
    chosen.focus();
  });
  output.tabIndex = 0; // so that the keyboard can scroll it
}
