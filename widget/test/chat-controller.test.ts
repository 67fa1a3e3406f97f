import { beforeEach, describe, expect, test, vi } from 'vitest';
import {
  answered,
  CONVERSATION,
  createChat,
  DONE,
  encode,
  fakeFetch,
  fakePageAndWeb,
  page,
  problem,
  START,
  web,
} from './helpers.ts';

fakePageAndWeb();

describe('an answer', () => {
  test('is requested with the key, a new id and no conversation, and shown as it arrives', async () => {
    const { chat, emitted, until } = createChat();
    chat.send('  What is this? ');
    expect(chat.status).toBe('sending');
    const call = await web.next();
    expect(call).toMatchObject({ url: 'api/v1/chat', method: 'POST' });
    expect(call.headers).toMatchObject({ 'X-API-Key': 'a4_pub_test', 'Content-Type': 'application/json' });
    expect(call.headers).not.toHaveProperty('Last-Event-ID');
    expect(call.body).toEqual({
      message: 'What is this?',
      conversation_id: null,
      message_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      regenerate: false,
    });
    const pen = call.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'A ' }, 2);
    await until(() => chat.status === 'streaming');
    pen.event('message', { chunk: 'chat.' }, 7);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ question: 'What is this?', answer: 'A chat.', status: 'complete' });
    expect(emitted.map(({ name }) => name)).toEqual(['message', 'answer']);
  });

  test('has its sources, at most 20, until it is regenerated', async () => {
    const sources = Array.from({ length: 25 }, (_, index) => ({ title: `T${index}`, url: `https://x.test/${index}` }));
    const { chat, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Yes [1].' }, 8);
    pen.event('sources', { sources });
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.last?.sources).toEqual(sources.slice(0, 20));
    chat.retry();
    expect(chat.last?.sources).toEqual([]);
    const again = (await web.next()).stream();
    again.event('start', START);
    again.event('sources', { sources: 'none' });
    again.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ answer: 'Yes [1].', sources: sources.slice(0, 20) });
  });

  test('is the same however the network splits its bytes', async () => {
    const whole = new TextEncoder().encode(
      `: ping\r\n\r\n${encode('start', START)}${encode('message', { chunk: 'Grüße 👋 \u2028' }, 9)}${encode('message', { chunk: 'Ende' }, 13)}${encode('done', DONE)}`,
    );
    for (let at = 1; at < whole.length; at += 1) {
      const { chat, until } = createChat();
      chat.send('Hi');
      const pen = (await web.next()).stream();
      pen.bytes(whole.slice(0, at));
      pen.bytes(whole.slice(at));
      await until(() => chat.status === 'idle');
      expect(chat.last).toMatchObject({ answer: 'Grüße 👋 \u2028Ende', status: 'complete' });
    }
  });

  test('is the same when it arrives byte by byte', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    const whole = `${encode('start', START)}${encode('message', { chunk: 'Zażółć 🙂' }, 8)}${encode('done', DONE)}`;
    for (const byte of new TextEncoder().encode(whole)) pen.bytes(new Uint8Array([byte]));
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ answer: 'Zażółć 🙂', status: 'complete' });
  });

  test.each(['complete', 'length', 'filtered', 'cancelled'])('has the status %s at its end', async (status) => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Text' }, 4);
    pen.event('done', { status, usage: { prompt_tokens: 1, completion_tokens: 2 } });
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ status, answer: 'Text' });
  });

  test('without any text differs from a complete one', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: ' \n' }, 2);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.last?.status).toBe('empty');
  });

  test('that fails with an error keeps its text and the time of the next retry', async () => {
    const { chat, emitted, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Half' }, 4);
    pen.event('error', { code: 'upstream_interrupted', error: 'The answer was interrupted.', retry_after: 3 });
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ status: 'error', answer: 'Half', code: 'upstream_interrupted' });
    expect(chat.last?.retryAt).toBeGreaterThan(Date.now());
    expect(emitted.at(-1)).toMatchObject({ name: 'error', detail: { code: 'upstream_interrupted' } });
  });

  test('ignores unknown and malformed events', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('surprise', { chunk: 'no' }, 1);
    pen.event('message', { chunk: 5 }, 1);
    pen.bytes(new TextEncoder().encode('event: message\ndata: {broken\n\n'));
    pen.event('message', { chunk: 'ok' }, 2);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.last?.answer).toBe('ok');
  });

  test('to a second question belongs to the same conversation', async () => {
    const { chat } = await answered();
    chat.send('And then?');
    expect((await web.next()).body.conversation_id).toBe(CONVERSATION);
  });

  test('ends before the next question is sent', async () => {
    const { chat, until } = createChat();
    chat.send('One');
    chat.send('Two');
    expect(web.calls).toHaveLength(1);
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: '1' }, 1);
    pen.event('done', DONE);
    await until(() => chat.turns.length === 2);
    expect((await web.next()).body.message).toBe('Two');
  });
});

describe('a refusal', () => {
  test('with Retry-After sets the time of the next retry, which replaces the question', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const first = await web.next();
    first.respond(problem(429, 'visitor_rate_limited', { 'Retry-After': '7' }));
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ status: 'error', code: 'visitor_rate_limited', detail: '' });
    const wait = (chat.last?.retryAt ?? 0) - Date.now();
    expect(wait).toBeGreaterThan(6000);
    expect(wait).toBeLessThanOrEqual(7000);
    chat.retry();
    const second = await web.next();
    expect(second.body).toMatchObject({ message: 'Hi', replaces: [first.body.message_id] });
    expect(second.body.message_id).not.toBe(first.body.message_id);
  });

  test('without a known code, as from a proxy, is classified by its status', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    (await web.next()).respond(new Response('<h1>502 Bad Gateway</h1>', { status: 502 }));
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ status: 'error', code: '502', detail: '' });
  });

  test('of an unknown conversation starts a new one with the same question', async () => {
    const { chat, memory, until } = await answered();
    chat.send('Again');
    const refused = await web.next();
    refused.respond(problem(404, 'conversation_not_found'));
    const second = await web.next();
    expect(second.body).toMatchObject({ message: 'Again', conversation_id: null, regenerate: false });
    const pen = second.stream();
    pen.event('start', { ...START, conversation_id: 'new' });
    pen.event('message', { chunk: 'Fine' }, 4);
    pen.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(memory.get().conversationId).toBe('new');
  });
});

describe('trying again', () => {
  test('after the question was deleted sends it again, replacing no other one', async () => {
    const { chat, until } = await answered();
    chat.send('And then?');
    const first = await web.next();
    const pen = first.stream();
    pen.event('start', START);
    pen.event('error', { code: 'message_not_found', error: 'There is no such message.' });
    await until(() => chat.status === 'idle');
    chat.retry();
    const again = await web.next();
    expect(again.body).toMatchObject({ conversation_id: CONVERSATION, replaces: [first.body.message_id] });
  });

  test('after an answer that began replaces it: a new id, the same question, regenerate', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const first = await web.next();
    const pen = first.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Half' }, 4);
    pen.event('error', { code: 'interrupted', error: 'x' });
    await until(() => chat.status === 'idle');
    chat.retry();
    expect(chat.last?.answer).toBe('');
    const second = await web.next();
    expect(second.body).toMatchObject({ message: 'Hi', conversation_id: CONVERSATION, regenerate: true });
    expect(second.body.replaces).toEqual([first.body.message_id]);
    expect(second.body.message_id).not.toBe(first.body.message_id);
    expect(second.headers).not.toHaveProperty('Last-Event-ID');
    expect(chat.turns).toHaveLength(1);
  });
});

describe('a dropped connection', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });

  test('is resumed after the last piece received, with no gap and no repeat', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const first = await web.next();
    const pen = first.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'One ' }, 4);
    pen.event('message', { chunk: 'two ' }, 8);
    await until(() => chat.status === 'streaming');
    pen.end();
    await until(() => chat.status === 'reconnecting');
    await vi.advanceTimersByTimeAsync(700);
    const second = await web.next();
    expect(second.body).toEqual({ ...first.body, conversation_id: CONVERSATION });
    expect(second.headers['Last-Event-ID']).toBe('8');
    const again = second.stream();
    again.event('start', START);
    again.event('message', { chunk: 'two ' }, 8);
    again.event('message', { chunk: 'three' }, 13);
    again.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ answer: 'One two three', status: 'complete' });
  });

  test('at any byte gives the same text', async () => {
    const events = [encode('start', START)];
    const words = ['Größe ', '🙂 ', 'ist ', 'alles.'];
    let position = 0;
    for (const word of words) {
      position += [...word].length;
      events.push(encode('message', { chunk: word }, position));
    }
    events.push(encode('done', DONE));
    const whole = new TextEncoder().encode(events.join(''));
    for (let at = 0; at < whole.length; at += 1) {
      const { chat, until } = createChat();
      chat.send('Hi');
      const pen = (await web.next()).stream();
      pen.bytes(whole.slice(0, at));
      pen.break();
      await until(() => chat.status === 'reconnecting');
      await vi.advanceTimersByTimeAsync(700);
      const second = await web.next();
      const after = Number(second.headers['Last-Event-ID'] ?? 0);
      const again = second.stream();
      again.event('start', START);
      let end = 0;
      for (const word of words) {
        end += [...word].length;
        if (end > after) again.event('message', { chunk: word }, end);
      }
      again.event('done', DONE);
      await until(() => chat.status === 'idle');
      expect(chat.last).toMatchObject({ answer: words.join(''), status: 'complete' });
    }
  });

  test('is resumed at once when the network comes back', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    (await web.next()).fail(new TypeError('Failed to fetch'));
    await until(() => chat.status === 'reconnecting');
    page.page.dispatchEvent(new Event('online'));
    await web.next();
    expect(web.calls).toHaveLength(2);
  });

  test('is resumed at once when the visitor comes back', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    (await web.next()).fail(new TypeError('Failed to fetch'));
    await until(() => chat.status === 'reconnecting');
    page.document.dispatchEvent(new Event('visibilitychange'));
    await web.next();
    expect(web.calls).toHaveLength(2);
  });

  test('is given up after about fifteen seconds, and a retry resumes the same answer', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const first = await web.next();
    const pen = first.stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Half' }, 4);
    await until(() => chat.status === 'streaming');
    pen.end();
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(chat.status).toBe('idle');
    expect(chat.last).toMatchObject({ status: 'lost', answer: 'Half' });
    const later = fakeFetch();
    chat.retry();
    const second = await later.next();
    expect(second.body).toMatchObject({ message_id: first.body.message_id, regenerate: false });
    expect(second.headers['Last-Event-ID']).toBe('4');
  });

  test('is not given up while the browser is offline', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.event('message', { chunk: 'Half' }, 4);
    await until(() => chat.status === 'streaming');
    page.navigator.onLine = false;
    page.page.dispatchEvent(new Event('offline'));
    await until(() => chat.status === 'reconnecting');
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')));
    await vi.advanceTimersByTimeAsync(120_000);
    expect(chat.status).toBe('reconnecting');
    const later = fakeFetch();
    page.navigator.onLine = true;
    page.page.dispatchEvent(new Event('online'));
    expect((await later.next()).headers['Last-Event-ID']).toBe('4');
  });

  test('is still resumed while a restarting service answers 503', async () => {
    const { chat, until } = createChat();
    chat.send('Hi');
    const pen = (await web.next()).stream();
    pen.event('start', START);
    pen.end();
    await until(() => chat.status === 'reconnecting');
    await vi.advanceTimersByTimeAsync(700);
    (await web.next()).respond(problem(503, 'restarting'));
    await vi.advanceTimersByTimeAsync(1300);
    const third = (await web.next()).stream();
    third.event('start', START);
    third.event('message', { chunk: 'Here' }, 4);
    third.event('done', DONE);
    await until(() => chat.status === 'idle');
    expect(chat.last).toMatchObject({ status: 'complete', answer: 'Here' });
  });
});
