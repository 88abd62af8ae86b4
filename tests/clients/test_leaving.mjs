// Clients that leave, and clients that are told to come again.
import { generateText } from 'ai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { assert, forge, main, sleep, test, until } from './lib.mjs';

const messages = [{ role: 'user', content: 'Tell me a story that does not end.' }];
const endless = { temperature: 0, max_tokens: 30000 };

const working = s => until(async () => await s.activeJobs() === 1, 'a job is in work', 5000);
const leaves = (name, open) => test(`${name} leaves: its job ends within a second`, async s => {
  await s.untilQuiet();
  const close = await open(s);
  await working(s);
  await close();
  await s.untilQuiet(1000);
});

leaves('openai, in the middle of a stream', async s => {
  const stream = await s.openai.chat.completions.create({ model: s.model, messages, ...endless, stream: true });
  await stream[Symbol.asyncIterator]().next();
  return () => stream.controller.abort();
});
leaves('openai, while it waits for the whole', async s => {
  const c = new AbortController(), p = s.openai.chat.completions.create({ model: s.model, messages, ...endless }, { signal: c.signal });
  p.catch(() => {});
  return async () => { c.abort(); await assert.rejects(p); };
});
leaves('anthropic, in the middle of a stream', async s => {
  const stream = s.anthropic.messages.stream({ model: s.model, messages, ...endless });
  stream.on('error', () => {}).on('abort', () => {});
  stream.done().catch(() => {});
  await new Promise(done => stream.once('text', done));
  return () => stream.abort();
});
leaves('anthropic, while it waits for the whole', async s => {
  const c = new AbortController(), p = s.anthropic.messages.create({ model: s.model, messages, ...endless, max_tokens: 8000 }, { signal: c.signal });
  p.catch(() => {});
  return async () => { c.abort(); await assert.rejects(p); };
});
leaves('ollama, in the middle of a stream', async s => {
  const stream = await s.ollama.chat({ model: s.model, messages, options: { temperature: 0, num_predict: 30000 }, stream: true });
  const reading = (async () => { try { for await (const _ of stream); } catch { /* aborted */ } })();
  return async () => { stream.abort(); await reading; };
});
leaves('a socket that is closed after its request', async s => {
  const c = new AbortController();
  const r = fetch(s.base + '/v1/completions', { method: 'POST', signal: c.signal, body: JSON.stringify({ model: s.model, prompt: 'x', ...endless }) });
  r.catch(() => {});
  return () => c.abort();
});

// One job runs and what may wait waits: the next one is refused, and told when to come again.
async function full(s) {
  await s.untilQuiet();
  const busy = [];
  for (let i = 0; i < 2; i++) {
    const c = new AbortController();
    fetch(s.base + '/v1/completions', { method: 'POST', signal: c.signal, body: JSON.stringify({ model: s.model, prompt: 'x' + i, ...endless }) }).catch(() => {});
    busy.push(c);
    await until(async () => await s.activeJobs() === i + 1, 'the server is busy', 5000);
  }
  return () => busy.forEach(c => c.abort());
}

// fetch that notes what came and when.
const noting = notes => async (...args) => {
  const r = await fetch(...args);
  notes.push({ status: r.status, after: r.headers.get('retry-after'), at: Date.now() });
  return r;
};

async function comesAgain(s, request) {
  const free = await full(s), notes = [];
  const answer = request(noting(notes));
  answer.catch(() => {});
  await until(() => notes.length > 0, 'a first answer', 5000);
  free();
  await answer;
  assert([429, 529].includes(notes[0].status));
  assert.equal(notes.at(-1).status, 200);
  assert(notes[0].after >= 1, `Retry-After: ${notes[0].after}`);
  for (let i = 1; i < notes.length; i++) assert(notes[i].at - notes[i - 1].at >= 900 * notes[i - 1].after, JSON.stringify(notes));
  assert(notes.length <= 3);
}

test('openai comes again after Retry-After', s => comesAgain(s, f => s.openaiWith({ maxRetries: 2, fetch: f }).chat.completions.create({ model: s.model, messages, max_tokens: 2 })));
test('anthropic comes again after Retry-After', s => comesAgain(s, f => s.anthropicWith({ maxRetries: 2, fetch: f }).messages.create({ model: s.model, messages, max_tokens: 2 })));
test('the AI SDK comes again after Retry-After', s => comesAgain(s, f => generateText({
  model: createOpenAICompatible({ name: 'x', baseURL: s.base + '/v1', apiKey: 'k', fetch: f })(s.model), prompt: 'x', maxOutputTokens: 2, maxRetries: 2,
})));

test('a full server refuses each dialect in its own words, streams too', async s => {
  const free = await full(s);
  try {
    for (const stream of [false, true]) {
      const a = await s.post('/v1/chat/completions', { model: s.model, messages, max_tokens: 2, stream });
      assert.deepEqual([a.status, a.json.error.type.length > 0, Object.keys(a.json.error).sort().join()], [429, true, 'code,message,param,type']);
      const b = await s.post('/v1/messages', { model: s.model, messages, max_tokens: 2, stream }, { 'anthropic-version': '2023-06-01' });
      assert([429, 529].includes(b.status));
      assert.equal(b.json.error.type, b.status === 429 ? 'rate_limit_error' : 'overloaded_error');
      const c = await s.post('/api/chat', { model: s.model, messages, stream });
      assert.deepEqual([c.status, typeof c.json.error], [429, 'string']);
      for (const r of [a, b, c]) assert(Number(r.headers.get('retry-after')) >= 1);
    }
    await assert.rejects(s.ollama.chat({ model: s.model, messages }), e => e.status_code === 429);
  } finally {
    free();
  }
  await s.untilQuiet(2000);
});

test('headers and signs of life come before the first token', async s => {
  await s.untilQuiet();
  const c = new AbortController();
  fetch(s.base + '/v1/completions', { method: 'POST', signal: c.signal, body: JSON.stringify({ model: s.model, prompt: 'y', ...endless }) }).catch(() => {});
  await working(s);
  const waiting = await fetch(s.base + '/v1/chat/completions', { method: 'POST', body: JSON.stringify({ model: s.model, messages, max_tokens: 2, stream: true }) });
  assert.equal(waiting.status, 200); // it waits in the queue: nothing was computed yet
  await sleep(50);
  c.abort();
  assert.match(await waiting.text(), /\[DONE\]/);
});

await main('-m', forge('--shape', 'golden', '--type', 'Q8_0', '--layers', '16'), '-c', '65536', '--parallel', '1', '--max-queue', '1');
