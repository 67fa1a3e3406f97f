import { describe, expect, test, vi } from 'vitest';
import { personOf, UNKNOWN } from '../src/window/conversation/identity.ts';
import { createChat, fakePageAndWeb, page, tokenOf, web } from './helpers.ts';

const CONVERSATION = '6f1b1f0e-5a52-4a63-9f0a-000000000001';
const START = { conversation_id: CONVERSATION, message_id: 'any' };
const DONE = { status: 'complete', usage: null };
const ALICE = tokenOf('alice');
const BOB = tokenOf('bob');
const STORED = [
  { message_id: 'm1', role: 'user', content: 'Question?', created_at: '2026-01-01T12:00:00Z' },
  { message_id: 'm1', role: 'assistant', content: 'Yes.', status: 'complete', created_at: '2026-01-01T12:00:00Z' },
];

fakePageAndWeb();

/** A freshly loaded page with this token. */
const load = (token = '') => createChat(() => {}, '', token);

/** A conversation of this visitor with one question and its answer. */
async function answered(token = '') {
  const harness = load(token);
  harness.chat.send('Question?');
  const pen = (await web.next()).stream();
  pen.event('start', START);
  pen.event('message', { chunk: 'Yes.' }, 4);
  pen.event('done', DONE);
  await harness.until(() => harness.chat.status === 'idle');
  return harness;
}

describe('the visitor in a token', () => {
  test('is its subject, whatever the other claims', () => {
    expect(personOf(tokenOf('alice', 1))).toBe(personOf(tokenOf('alice', 2)));
    expect(personOf(ALICE)).not.toBe(personOf(BOB));
    expect(personOf('')).toBe('');
  });

  test('may differ only in non-ASCII letters', () => {
    const token = (sub: string) => {
      const bytes = new TextEncoder().encode(JSON.stringify({ sub }));
      const text = btoa(String.fromCharCode(...bytes));
      return `h.${text.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')}.s`;
    };
    const subjects = ['jürgen', 'jörgen', '李', '王', 'ÿ?>', 'ÿ?~'];
    expect(new Set(subjects.map((sub) => personOf(token(sub)))).size).toBe(subjects.length);
  });

  test.each(['eyJ', 'a.b.c', 'a..c', `a.${btoa('[]')}.c`, `a.${btoa('{"sub":7}')}.c`, `a.${btoa('{"sub":""}')}.c`])(
    'is unknown of %s',
    (token) => {
      expect(personOf(token)).toBe(UNKNOWN);
    },
  );
});

describe('another visitor', () => {
  test.each([
    ['another token', BOB],
    ['no token', ''],
    ['a token that cannot be read', 'eyJ'],
  ])('with %s finds nothing of the first one, on the screen or in the browser', async (_, token) => {
    const { chat } = await answered(ALICE);
    expect(chat.identify(token)).toBe(true);
    expect(chat.turns).toEqual([]);
    expect(page.stored.size).toBe(0);
    chat.send('Mine');
    const call = await web.next();
    expect(call.body).toMatchObject({ message: 'Mine', conversation_id: null });
    expect(call.headers['X-User-Token']).toBe(token || undefined);
  });

  test('ends a running answer with the token of the visitor who asked', async () => {
    const { chat, until } = load(ALICE);
    chat.send('Question?');
    chat.send('And then?');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Ye' }, 2);
    await until(() => chat.status === 'streaming');
    chat.identify(BOB);
    expect(chat).toMatchObject({ turns: [], waiting: [], status: 'idle' });
    const stop = await web.next();
    expect(stop.url).toMatch(/stop$/);
    expect(stop.headers['X-User-Token']).toBe(ALICE);
  });

  test('does not get a conversation that is still loading for the first one', async () => {
    await answered(ALICE);
    const { chat } = load(ALICE);
    void chat.restore();
    const call = await web.next();
    chat.identify(BOB);
    call.respond(Response.json({ messages: STORED }));
    chat.send('Mine');
    expect((await web.next()).body).toMatchObject({ message: 'Mine', conversation_id: null });
    expect(chat.turns.map(({ question }) => question)).toEqual(['Mine']);
  });

  test('does not send a pending question of the first one after a reload', async () => {
    load(ALICE).chat.send('Secret');
    await web.next();
    for (const token of [BOB, '', 'eyJ']) {
      const { chat, memory } = load(token);
      void chat.restore();
      expect(memory.get()).toMatchObject({ conversationId: null, pending: null });
      expect(chat).toMatchObject({ turns: [], status: 'idle' });
    }
    expect(web.calls).toHaveLength(1);
  });

  test('who leaves at once leaves nothing to the next one', async () => {
    const { chat } = await answered(ALICE);
    chat.identify(BOB);
    chat.identify('');
    chat.identify(tokenOf('carol'));
    expect(chat.turns).toEqual([]);
    expect(page.stored.size).toBe(0);
  });
});

describe('the same visitor', () => {
  test('keeps the conversation with a new token', async () => {
    const { chat } = await answered(ALICE);
    expect(chat.identify(tokenOf('alice', 2))).toBe(false);
    expect(chat.turns).toMatchObject([{ question: 'Question?', answer: 'Yes.' }]);
    chat.send('And then?');
    const call = await web.next();
    expect(call.body).toMatchObject({ conversation_id: CONVERSATION });
    expect(call.headers['X-User-Token']).toBe(tokenOf('alice', 2));
  });

  test('finds a pending question after a reload', async () => {
    load(ALICE).chat.send('First words');
    const lost = await web.next();
    const { chat } = load(tokenOf('alice', 2));
    void chat.restore();
    expect((await web.next()).body).toEqual(lost.body);
  });

  test('gets the conversation back when the page identifies them late', async () => {
    await answered(ALICE);
    const { chat, until } = load();
    void chat.restore();
    expect(chat.turns).toEqual([]);
    chat.identify(ALICE);
    const call = await web.next();
    expect(call.headers['X-User-Token']).toBe(ALICE);
    call.respond(Response.json({ messages: STORED }));
    await until(() => chat.status === 'idle');
    expect(chat.turns).toMatchObject([{ question: 'Question?' }]);
  });

  test('keeps a conversation started before signing in', async () => {
    const { chat, memory } = await answered();
    expect(chat.identify(ALICE)).toBe(false);
    expect(chat.turns).toHaveLength(1);
    chat.send('And then?');
    const call = await web.next();
    expect(call.body).toMatchObject({ conversation_id: CONVERSATION });
    const pen = call.stream();
    pen.event('start', START);
    pen.event('done', DONE);
    await vi.waitFor(() => expect(memory.get().chats).toEqual([])); // The service lists it for her now.
    expect(load(BOB).memory.get().conversationId).toBeNull();
  });
});

describe('a proof', () => {
  const page200 = (proof: string) => new Response('', { headers: { 'X-Widget-Proof': proof } });
  const refused = () => Response.json({ code: 'proof_invalid' }, { status: 403 });

  test('is sent with every call and the origin of the page, until a new one replaces it', async () => {
    const { chat, until } = load();
    chat.send('Hi');
    const call = await web.next();
    expect(call.headers).toMatchObject({ 'X-Widget-Proof': 'first', 'X-Page-Origin': 'https://shop.example' });
    call.respond(Response.json({ code: 'internal' }, { status: 500, headers: { 'X-Widget-Proof': 'second' } }));
    await until(() => chat.status === 'idle');
    chat.retry();
    expect((await web.next()).headers['X-Widget-Proof']).toBe('second');
  });

  test('that has expired is renewed, and the call repeated', async () => {
    const { chat, emitted, until } = load();
    chat.send('Hi');
    const first = await web.next();
    first.respond(refused());
    const own = await web.next();
    expect(own).toMatchObject({ url: '', method: 'GET' });
    own.respond(page200('second'));
    const again = await web.next();
    expect(again.headers['X-Widget-Proof']).toBe('second');
    expect(again.body).toEqual(first.body);
    const pen = again.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Yes.' }, 4);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(emitted.map(({ name }) => name)).toEqual(['message', 'answer']);
  });

  test('that is refused again is not renewed forever', async () => {
    const { chat, until } = load();
    chat.send('Hi');
    (await web.next()).respond(refused());
    (await web.next()).respond(page200('second'));
    (await web.next()).respond(refused());
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ status: 'error', code: 'proof_invalid' });
    expect(web.calls).toHaveLength(3);
  });
});
