import { describe, expect, test, vi } from 'vitest';
import { forget } from '../src/window/conversation/upkeep.ts';
import { answered, CONVERSATION, createChat, DONE, fakePageAndWeb, page, problem, START, web } from './helpers.ts';

fakePageAndWeb();

describe('stopping', () => {
  test('tells the service and keeps the text received', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const call = await web.next();
    const pen = call.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Half' }, 4);
    await until(() => chat.status === 'streaming');
    chat.stop();
    expect(chat.status).toBe('stopping');
    const stop = await web.next();
    expect(stop).toMatchObject({ url: `api/v1/messages/${call.body.message_id}/stop`, method: 'POST' });
    stop.respond(new Response(null, { status: 204 }));
    pen.event('done', { status: 'cancelled', usage: null });
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ status: 'cancelled', answer: 'Half' });
  });

  test('does not wait longer than two seconds for the service', async () => {
    vi.useFakeTimers();
    const { chat, until } = createChat();
    chat.send('Hi');
    const call = await web.next();
    const pen = call.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Half' }, 4);
    await until(() => chat.status === 'streaming');
    chat.stop();
    await vi.advanceTimersByTimeAsync(2000);
    expect(chat.status).toBe('idle');
    expect(chat.last).toMatchObject({ status: 'cancelled', answer: 'Half' });
    expect(call.signal?.aborted).toBe(true);
  });
});

describe('a late answer', () => {
  test('cannot enter a newer conversation', async () => {
    const { chat, until } = createChat();
    chat.send('Old');
    const old = (await web.next()).stream();
    old.event('start', START);
    old.event('message', { chunk: 'Old ' }, 4);
    await until(() => chat.status === 'streaming');
    chat.newConversation();
    expect(chat.turns).toEqual([]);
    expect((await web.next()).url).toMatch(/\/stop$/);
    chat.send('New');
    const pen = (await web.next()).stream();
    pen.event('start', { ...START, conversation_id: 'new' });
    pen.event('message', { chunk: 'New' }, 3);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.turns).toHaveLength(1);
    expect(chat.last).toMatchObject({ question: 'New', answer: 'New', status: 'complete' });
  });
});

describe('after a reload', () => {
  const stored = (messages: unknown[]) => Response.json({ conversation_id: CONVERSATION, messages });
  const entry = (role: string, content: string, more = {}) => ({
    message_id: 'm1',
    role,
    content,
    created_at: '2026-01-01T00:00:00Z',
    ...more,
  });

  test('the conversation is restored', async () => {
    await answered();
    const { chat, until } = createChat();
    void chat.restore();
    const call = await web.next();
    expect(call).toMatchObject({ url: `api/v1/conversations/${CONVERSATION}`, method: 'GET' });
    call.respond(stored([entry('user', 'Question?'), entry('assistant', 'Yes.', { status: 'complete' })]));
    await until(() => chat.status === 'idle');
    expect(chat.turns).toMatchObject([{ question: 'Question?', answer: 'Yes.', status: 'complete' }]);
  });

  test('a running answer continues from its start', async () => {
    await answered();
    const { chat, until } = createChat();
    void chat.restore();
    (await web.next()).respond(stored([entry('user', 'Question?'), entry('assistant', 'Ye', { status: 'running' })]));
    const call = await web.next();
    expect(call.body).toMatchObject({ message: 'Question?', message_id: 'm1', conversation_id: CONVERSATION });
    expect(call.headers['Last-Event-ID']).toBe('0');
    const pen = call.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Yes.' }, 4);
    pen.event('done', DONE);
    await until(() => chat.last?.status === 'complete');
    expect(chat.last?.answer).toBe('Yes.');
  });

  test('a pending question is sent again with the same id', async () => {
    const before = createChat();
    before.chat.send('First words');
    const lost = await web.next();
    const { chat } = createChat();
    void chat.restore();
    const again = await web.next();
    expect(again.body).toEqual(lost.body);
    expect(chat.last?.question).toBe('First words');
  });

  test('a conversation that the service has deleted is removed here, too', async () => {
    await answered();
    const { chat, memory, until } = createChat();
    void chat.restore();
    (await web.next()).respond(problem(404, 'conversation_not_found'));
    await until(() => chat.status === 'idle');
    expect(chat.turns).toEqual([]);
    expect(memory.get().conversationId).toBeNull();
  });

  test('a conversation that cannot be loaded is kept for another attempt', async () => {
    await answered();
    const { chat, memory, until } = createChat();
    void chat.restore();
    (await web.next()).fail(new TypeError('Failed to fetch'));
    await until(() => chat.status === 'idle');
    expect(chat.restoreFailed).toBe(true);
    expect(memory.get().conversationId).toBe(CONVERSATION);
  });

  test('a question asked during a failed load is sent afterwards', async () => {
    await answered();
    const { chat, until } = createChat();
    void chat.restore();
    chat.send('Where is my order?');
    (await web.next()).fail(new TypeError('Failed to fetch'));
    const call = await web.next();
    expect(call.body).toMatchObject({ message: 'Where is my order?', conversation_id: CONVERSATION });
    expect(chat.restoreFailed).toBe(true);
    const pen = call.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'On its way.' }, 11);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.turns).toMatchObject([{ question: 'Where is my order?', answer: 'On its way.' }]);
  });

  test('a question that cannot replace another one is sent after it', async () => {
    const { chat } = await answered();
    void chat.restore();
    chat.resend('Edited?');
    (await web.next()).respond(
      stored([entry('user', 'Question?'), entry('assistant', 'Yes.', { status: 'complete' })]),
    );
    expect((await web.next()).body).toMatchObject({ message: 'Edited?', regenerate: false });
    expect(chat.turns).toMatchObject([{ question: 'Question?' }, { question: 'Edited?' }]);
  });

  test('a conversation can be deleted from the service and locally', async () => {
    const { chat, memory } = await answered();
    const gone = forget(chat);
    const call = await web.next();
    expect(call).toMatchObject({ url: `api/v1/conversations/${CONVERSATION}`, method: 'DELETE' });
    call.respond(new Response(null, { status: 204 }));
    expect(await gone).toBe(true);
    expect(chat.turns).toEqual([]);
    expect(memory.get().conversationId).toBeNull();
    expect(page.stored.size).toBe(0);
  });
});

describe('without access to storage', () => {
  test('the loader stores the state', async () => {
    vi.stubGlobal('localStorage', undefined);
    let kept = '';
    const { chat, until } = createChat((value) => {
      kept = value;
    });
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'x' }, 1);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(createChat(() => {}, kept).memory.get().conversationId).toBe(CONVERSATION);
  });
});
