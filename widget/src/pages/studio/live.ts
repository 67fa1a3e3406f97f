/** A live tenant: loads its look into the form, saves it, and manages its keys. */
import { ask, type Key, listTenants, Refused, type Tenant } from '../owner-api.ts';
import { type Look, settingsFile } from '../snippet.ts';
import { toHex } from './colours.ts';
import { checkAll, find, form, fromSettings, readLook } from './form.ts';

const site = find<HTMLSelectElement>('#site');
const bar = find('#unsaved');
const dialog = find<HTMLDialogElement>('#new-key');
/** What edits a tenant. It is inert while another tenant loads, because the change would be lost. */
const editors = [form, bar, find('#make-key')];
const day = new Intl.DateTimeFormat('en', { dateStyle: 'medium' });

let tenant: Tenant | undefined;
let saved = '';
/** A key created here, kept until the page closes: the service only returns it once. */
let newKey = '';

export const isLive = (): boolean => tenant !== undefined;

const toSave = (look: Look) => settingsFile(look, toHex);
const isUnsaved = (look: Look) => tenant !== undefined && toSave(look) !== saved;

const valid = (keys: readonly Key[]) => keys.filter(({ kind }) => kind === 'public');

/** The placeholder for a live tenant's key, of which only the last characters are known. */
export function liveKeys(): { apiKey: string; widgetId: string } | undefined {
  if (!tenant) return undefined;
  const newest = valid(tenant.keys).at(-1);
  return { apiKey: newKey || `a4_pub_…${newest?.hint ?? ''}`, widgetId: tenant.widget_id };
}

/** Shows whether there are unsaved changes. */
export function showUnsaved(look: Look): void {
  bar.hidden = !isUnsaved(look);
}

function showKeys(): void {
  if (!tenant) return;
  const keys = valid(tenant.keys);
  const newest = keys.at(-1);
  const others = keys.length > 1 ? ` Other valid keys: ${keys.length - 1}.` : '';
  find('#key-facts').textContent = newKey
    ? 'This is the new key. It’s only shown once: copy the snippet before you leave this page.'
    : newest
      ? `The key …${newest.hint} was created on ${day.format(new Date(newest.created_at))}, when it was shown in full. Put it in place of a4_pub_…, or create a new one.${others}`
      : 'This site has no valid key. Create one to show the chat.';
}

/**
 * Lets the owner select a tenant and save its look. `begun` is called after another tenant's look was loaded, `changed` after
 * this tenant changed, `say` with a notice.
 */
export async function startLive(begun: () => void, changed: () => void, say: (text: string) => void): Promise<void> {
  const failed = (error: unknown) => say(error instanceof Refused ? error.message : `${error}`);

  function show(next: Tenant | undefined): void {
    if (next?.widget_id !== tenant?.widget_id) newKey = '';
    tenant = next;
    document.body.classList.toggle('live', next !== undefined);
    find('#live-note').textContent = next
      ? `On ${next.origins.includes('*') ? 'any website' : next.origins.join(', ')}. Visitors see changes once you save them.`
      : 'Try out a look. Nothing is saved: copy the snippet to keep it.';
    fromSettings(next?.settings ?? {});
    saved = toSave(readLook());
    showKeys();
    begun();
  }

  function setLoading(isLoading: boolean): void {
    for (const editor of editors) editor.inert = isLoading;
    form.ariaBusy = `${isLoading}`;
  }

  let opened = 0;

  async function open(widgetId: string): Promise<void> {
    const number = ++opened;
    setLoading(true);
    try {
      const next = widgetId ? await ask<Tenant>(`tenants/${widgetId}`) : undefined;
      if (number !== opened) return; // another site was selected meanwhile
      show(next);
      history.replaceState(null, '', widgetId ? `?site=${widgetId}` : location.pathname);
    } catch (error) {
      if (number !== opened) return;
      site.value = tenant?.widget_id ?? '';
      failed(error);
    }
    setLoading(false);
  }

  /** Changes the tenant on the service. No other site can be selected until it has answered. */
  async function send<Answer>(method: string, path: string, body: object): Promise<Answer> {
    site.disabled = true;
    try {
      return await ask<Answer>(`tenants/${tenant?.widget_id}/${path}`, method, body);
    } finally {
      site.disabled = false;
    }
  }

  async function save(): Promise<void> {
    const wrong = checkAll();
    if (wrong) {
      for (let group = wrong.closest('details'); group; group = group.parentElement?.closest('details') ?? null)
        group.open = true;
      wrong.focus();
      return say('Not saved: a field isn’t valid.');
    }
    const text = toSave(readLook());
    try {
      const { settings, keys } = await send<Tenant>('PUT', 'look', { settings: JSON.parse(text) });
      tenant = Object.assign(tenant as Tenant, { settings, keys });
      saved = text;
      showUnsaved(readLook());
      say(`Saved. Visitors to ${tenant.name} see it on the next page they load.`);
    } catch (error) {
      failed(error);
    }
  }

  async function makeKey(): Promise<void> {
    const grace = new FormData(dialog.querySelector('form') as HTMLFormElement).get('grace');
    try {
      const created = await send<{ api_key: string; keys: Key[] }>('POST', 'keys', {
        grace_hours: grace === 'keep' ? null : Number(grace),
      });
      newKey = created.api_key;
      if (tenant) tenant.keys = created.keys;
      showKeys();
      changed();
      say('New key created. It’s in the snippet.');
    } catch (error) {
      failed(error);
    }
  }

  site.addEventListener('change', () => {
    if (isUnsaved(readLook()) && !confirm(`Discard the unsaved changes to ${tenant?.name}?`)) {
      site.value = tenant?.widget_id ?? '';
      return;
    }
    void open(site.value);
  });
  find('#save').addEventListener('click', () => void save());
  find('#discard').addEventListener('click', () => {
    fromSettings(tenant?.settings ?? {});
    changed();
    say('Changes discarded.');
  });
  find('#make-key').addEventListener('click', () => {
    dialog.returnValue = '';
    dialog.showModal();
  });
  dialog.addEventListener('close', () => {
    if (dialog.returnValue === 'make') void makeKey();
  });
  addEventListener('beforeunload', (event) => {
    if (isUnsaved(readLook())) event.preventDefault();
  });

  const wanted = new URLSearchParams(location.search).get('site') ?? '';
  setLoading(wanted !== '');
  try {
    for (const { name, widget_id } of await listTenants()) site.add(new Option(name, widget_id));
  } catch (error) {
    failed(error);
  }
  if ([...site.options].some(({ value }) => value && value === wanted)) {
    site.value = wanted;
    await open(wanted);
  } else setLoading(false);
}
