// Ten clients, each doing what people do with it. What is said is the model's business; how it is said is asserted.
import { generateObject, generateText, streamText, embedMany, tool, jsonSchema } from 'ai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOllama } from 'ollama-ai-provider-v2';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { ChatOllama, OllamaEmbeddings } from '@langchain/ollama';
import { ChatAnthropic } from '@langchain/anthropic';
import { InferenceClient } from '@huggingface/inference';
import { z } from 'zod';
import Ajv from 'ajv/dist/2020.js';
import { assert, main, ndjson, sseEvents, test } from './lib.mjs';

const messages = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Tell me of a cat.' }];
const prompt = 'Tell me of a cat.';
const parameters = {
  type: 'object', properties: { city: { type: 'string', maxLength: 20 }, days: { type: 'integer', minimum: 1, maximum: 9 } },
  required: ['city', 'days'], additionalProperties: false,
};
const weather = { type: 'function', function: { name: 'get_weather', description: 'The weather.', parameters } };
const clock = { type: 'function', function: { name: 'now', description: 'The time.', parameters: { type: 'object', properties: {} } } };
const isWeather = new Ajv().compile(parameters);
const checkCall = call => {
  assert.equal(call.type, 'function');
  assert(call.id);
  assert.equal(call.function.name, 'get_weather');
  assert(isWeather(JSON.parse(call.function.arguments)), call.function.arguments);
};
const forced = { tools: [weather, clock], tool_choice: { type: 'function', function: { name: 'get_weather' } } };
const collect = async iterable => { const all = []; for await (const x of iterable) all.push(x); return all; };

// ---- openai ----

test('openai: an answer has every part', async s => {
  const { data: r, response } = await s.openai.chat.completions.create({ model: s.model, messages, max_tokens: 12, seed: 1 }).withResponse();
  assert.equal(r.object, 'chat.completion');
  assert.equal(r.model, s.model);
  assert.deepEqual(Object.keys(r.choices[0]).sort(), ['finish_reason', 'index', 'logprobs', 'message']);
  const m = r.choices[0].message;
  assert.equal(m.role, 'assistant');
  assert.equal(typeof m.content, 'string');
  assert.equal(m.refusal, null);
  assert(['stop', 'length'].includes(r.choices[0].finish_reason));
  assert.equal(r.usage.total_tokens, r.usage.prompt_tokens + r.usage.completion_tokens);
  assert(r.usage.completion_tokens <= 12 && r.usage.completion_tokens > 0);
  assert.equal(typeof r.usage.completion_tokens_details.reasoning_tokens, 'number');
  assert(response.headers.get('x-request-id'));
  assert(Math.abs(r.created - Date.now() / 1000) < 60);
});

test('openai: a stream says what the answer says', async s => {
  const ask = { model: s.model, messages, max_tokens: 24, temperature: 0, seed: 3 };
  const whole = await s.openai.chat.completions.create(ask);
  const chunks = await collect(await s.openai.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } }));
  assert.equal(chunks.map(c => c.choices[0]?.delta.content ?? '').join(''), whole.choices[0].message.content);
  assert.equal(new Set(chunks.map(c => c.id)).size, 1);
  assert.equal(chunks[0].choices[0].delta.role, 'assistant');
  assert.deepEqual(chunks.filter(c => c.choices[0]?.finish_reason).map(c => c.choices[0].finish_reason), [whole.choices[0].finish_reason]);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, whole.usage.completion_tokens);
  assert(chunks.slice(0, -1).every(c => c.usage === null));
});

test('openai: without include_usage no chunk has usage; [DONE] ends the stream', async s => {
  const r = await s.post('/v1/chat/completions', { model: s.model, messages, max_tokens: 4, stream: true });
  assert.match(r.headers.get('content-type'), /^text\/event-stream/);
  const data = sseEvents(r.text).map(e => e.data);
  assert.equal(data.pop(), '[DONE]');
  assert(data.every(d => !JSON.parse(d).usage && JSON.parse(d).choices.length === 1));
});

test('openai: the same paths without /v1', async s => {
  for (const where of ['/chat/completions', '/completions', '/embeddings']) {
    const r = await s.post(where, { model: s.model, messages, prompt, input: prompt, max_tokens: 2 });
    assert.equal(r.status, 200, where + ' ' + r.text);
  }
  assert.equal((await s.get('/models')).status, 200);
});

test('openai: models', async s => {
  const all = await collect(await s.openai.models.list());
  assert(all.some(m => m.id === s.model && m.object === 'model' && typeof m.created === 'number' && m.owned_by));
  assert.equal((await s.openai.models.retrieve(s.model)).id, s.model);
  await assert.rejects(s.openai.models.retrieve('nope'), e => e.status === 404 && e.code === 'model_not_found');
});

test('openai: n choices, streamed and not', async s => {
  const ask = { model: s.model, messages, max_tokens: 6, n: 3, temperature: 1, seed: 5 };
  const whole = await s.openai.chat.completions.create(ask);
  assert.deepEqual(whole.choices.map(c => c.index), [0, 1, 2]);
  const texts = ['', '', ''], finished = [0, 0, 0];
  for await (const c of await s.openai.chat.completions.create({ ...ask, stream: true })) for (const x of c.choices) {
    texts[x.index] += x.delta.content ?? '';
    finished[x.index] += x.finish_reason !== null;
  }
  assert.deepEqual(texts, whole.choices.map(c => c.message.content));
  assert.deepEqual(finished, [1, 1, 1]);
});

test('openai: logprobs', async s => {
  const ask = { model: s.model, messages, max_tokens: 5, temperature: 0, logprobs: true, top_logprobs: 3 };
  const r = await s.openai.chat.completions.create(ask);
  const entries = r.choices[0].logprobs.content;
  assert.equal(Buffer.from(entries.flatMap(e => e.bytes)).toString(), r.choices[0].message.content);
  for (const e of entries) {
    assert(e.logprob <= 0 && e.top_logprobs.length === 3);
    assert.equal(e.top_logprobs[0].token, e.token); // greedy
  }
  const chunks = await collect(await s.openai.chat.completions.create({ ...ask, stream: true }));
  assert.deepEqual(chunks.flatMap(c => c.choices[0]?.logprobs?.content ?? []).map(e => e.logprob), entries.map(e => e.logprob));
});

test('openai: stop strings, many and one; seed; logit_bias', async s => {
  const ask = { model: s.model, messages, max_tokens: 40, temperature: 0 };
  const text = (await s.openai.chat.completions.create(ask)).choices[0].message.content;
  const word = text.trim().split(/\s+/)[3];
  for (const stop of [word, ['\u0001none', word]]) {
    const r = await s.openai.chat.completions.create({ ...ask, stop });
    assert.equal(r.choices[0].finish_reason, 'stop');
    assert.equal(r.choices[0].message.content, text.slice(0, text.indexOf(word)));
  }
  const hot = { ...ask, temperature: 1, seed: 11, max_tokens: 12 };
  const [a, b] = [await s.openai.chat.completions.create(hot), await s.openai.chat.completions.create(hot)];
  assert.equal(a.choices[0].message.content, b.choices[0].message.content);
  const biased = await s.openai.chat.completions.create({ ...ask, max_tokens: 3, logit_bias: { 300: 100 }, logprobs: true });
  assert.equal(new Set(biased.choices[0].logprobs.content.map(e => e.token)).size, 1);
});

test('our own fields go along in every dialect, and what they cost comes back', async s => {
  const own = { priority: 3, kv_type: 'q8', cache_ttl: 60, pin: false };
  const body = { model: s.model, messages, max_tokens: 3, ...own };
  const answers = {
    openai: (await s.post('/v1/chat/completions', body)).json, completions: (await s.post('/v1/completions', { ...body, prompt })).json,
    responses: (await s.post('/v1/responses', { model: s.model, input: prompt, max_output_tokens: 16, ...own })).json,
    anthropic: (await s.post('/v1/messages', body, { 'anthropic-version': '2023-06-01' })).json, ollama: (await s.post('/api/chat', { ...body, stream: false })).json,
  };
  for (const [name, answer] of Object.entries(answers)) for (const part of ['cache_stats', 'memory']) {
    assert.equal(typeof answer[part], 'object', `${name} has no ${part}: ${JSON.stringify(answer).slice(0, 300)}`);
  }
  const shown = await s.openai.chat.completions.create(body); // and strict clients do not mind
  assert(shown.choices[0].message.content.length >= 0);
});

test('control tokens that say nothing are not shown', async s => {
  const r = await s.openai.chat.completions.create({ model: s.model, messages, max_tokens: 4, logit_bias: { 259: 100 }, logprobs: true });
  assert.deepEqual(r.choices[0].logprobs.content.map(e => e.token), Array(4).fill('<|im_start|>'));
  assert.equal(r.choices[0].message.content, '');
});

test('openai: fields that are null are not there', async s => {
  const nulls = Object.fromEntries(['max_tokens', 'n', 'stop', 'seed', 'temperature', 'top_p', 'frequency_penalty', 'presence_penalty',
    'logit_bias', 'logprobs', 'top_logprobs', 'response_format', 'tools', 'tool_choice', 'parallel_tool_calls', 'stream',
    'stream_options', 'user', 'reasoning_effort', 'max_completion_tokens'].map(k => [k, null]));
  const r = await s.post('/v1/chat/completions', { ...nulls, model: s.model, messages, max_completion_tokens: 3, whatever: { a: 1 } });
  assert.equal(r.status, 200, r.text);
});

test('openai: content in parts', async s => {
  const parts = [{ role: 'user', content: [{ type: 'text', text: 'Tell me ' }, { type: 'text', text: 'of a cat.' }] }];
  const plain = [{ role: 'user', content: 'Tell me of a cat.' }], ask = { model: s.model, max_tokens: 8, temperature: 0 };
  const [a, b] = [await s.openai.chat.completions.create({ ...ask, messages: parts }), await s.openai.chat.completions.create({ ...ask, messages: plain })];
  assert.equal(a.choices[0].message.content, b.choices[0].message.content);
});

test('openai: cached tokens are counted within the prompt', async s => {
  const long = [{ role: 'user', content: 'A cat and a dog went for a walk. '.repeat(30) }], ask = { model: s.model, messages: long, max_tokens: 1 };
  const a = await s.openai.chat.completions.create(ask), b = await s.openai.chat.completions.create(ask);
  assert.equal(a.usage.prompt_tokens, b.usage.prompt_tokens);
  assert(b.usage.prompt_tokens_details.cached_tokens > 0.9 * b.usage.prompt_tokens, JSON.stringify(b.usage));
  assert(b.usage.prompt_tokens_details.cached_tokens <= b.usage.prompt_tokens);
});

test('openai: completions', async s => {
  const ask = { model: s.model, prompt: 'Once upon a time', max_tokens: 8, temperature: 0 };
  const r = await s.openai.completions.create(ask);
  assert.equal(r.object, 'text_completion');
  const chunks = await collect(await s.openai.completions.create({ ...ask, stream: true }));
  assert.equal(chunks.map(c => c.choices[0]?.text ?? '').join(''), r.choices[0].text);
  const two = await s.openai.completions.create({ ...ask, prompt: ['Once', 'There was'] });
  assert.deepEqual(two.choices.map(c => c.index), [0, 1]);
  assert((await s.openai.completions.create({ ...ask, echo: true })).choices[0].text.startsWith('Once upon a time'));
  const logged = await s.openai.completions.create({ ...ask, logprobs: 2 });
  assert.equal(logged.choices[0].logprobs.tokens.length, logged.choices[0].logprobs.token_logprobs.length);
});

test('openai: a tool that is named is called, streamed and not', async s => {
  const ask = { model: s.model, messages, max_tokens: 200, temperature: 1, seed: 2, ...forced };
  const r = await s.openai.chat.completions.create(ask);
  assert.equal(r.choices[0].finish_reason, 'tool_calls');
  assert.equal(r.choices[0].message.tool_calls.length, 1);
  checkCall(r.choices[0].message.tool_calls[0]);
  const chunks = await collect(await s.openai.chat.completions.create({ ...ask, stream: true }));
  const deltas = chunks.flatMap(c => c.choices[0]?.delta.tool_calls ?? []);
  assert.deepEqual({ ...deltas[0], id: '' }, { index: 0, id: '', type: 'function', function: { name: 'get_weather', arguments: '' } });
  assert(deltas.slice(1).every(d => !d.id && !d.function.name && typeof d.function.arguments === 'string'));
  assert.equal(deltas.map(d => d.function.arguments).join(''), r.choices[0].message.tool_calls[0].function.arguments);
  assert(deltas.length > 3, 'arguments come in pieces');
});

test('openai: tool_choice required, none; results go back', async s => {
  const base = { model: s.model, messages, max_tokens: 200, temperature: 1, seed: 4, tools: [weather, clock] };
  const required = await s.openai.chat.completions.stream({ ...base, tool_choice: 'required', parallel_tool_calls: false }).finalChatCompletion();
  const call = required.choices[0].message.tool_calls[0];
  assert(['get_weather', 'now'].includes(call.function.name));
  const none = await s.openai.chat.completions.create({ ...base, tool_choice: 'none', max_tokens: 20 });
  assert(!none.choices[0].message.tool_calls?.length);
  const next = await s.openai.chat.completions.create({
    ...base, max_tokens: 8, messages: [...messages, required.choices[0].message, { role: 'tool', tool_call_id: call.id, content: '{"sun": true}' }],
  });
  assert(next.choices[0].finish_reason);
});

test('openai: json_schema and json_object', async s => {
  const ask = { model: s.model, messages, max_tokens: 200, temperature: 1 };
  for (let seed = 0; seed < 3; seed++) {
    const r = await s.openai.chat.completions.create({
      ...ask, seed, response_format: { type: 'json_schema', json_schema: { name: 'w', strict: true, schema: parameters } },
    });
    assert(isWeather(JSON.parse(r.choices[0].message.content)), r.choices[0].message.content);
  }
  const r = await s.openai.chat.completions.create({ ...ask, max_tokens: 400, response_format: { type: 'json_object' } });
  if (r.choices[0].finish_reason === 'stop') assert.equal(typeof JSON.parse(r.choices[0].message.content), 'object');
});

test('openai: embeddings, base64 and float; a vector a text', async s => {
  const input = ['a cat', 'a dog', 'a cat'];
  const packed = await s.openai.embeddings.create({ model: s.model, input });
  const plain = await s.openai.embeddings.create({ model: s.model, input, encoding_format: 'float' });
  assert.deepEqual(packed.data.map(d => d.index), [0, 1, 2]);
  assert.deepEqual(packed.data[0].embedding, packed.data[2].embedding);
  plain.data.forEach((d, i) => d.embedding.forEach((v, j) => assert(Math.abs(v - packed.data[i].embedding[j]) < 1e-6)));
  assert(Math.abs(plain.data[0].embedding.reduce((n, v) => n + v * v, 0) - 1) < 1e-4);
  assert.equal(plain.usage.prompt_tokens, plain.usage.total_tokens);
  for (const other of ['one text', [300, 301], [[300], [301, 302]]]) assert((await s.openai.embeddings.create({ model: s.model, input: other })).data.length);
});

test('openai: responses, streamed and not', async s => {
  const r = await s.openai.responses.create({ model: s.model, input: prompt, max_output_tokens: 16 });
  assert.equal(r.object, 'response');
  assert.equal(typeof r.output_text, 'string');
  const events = await collect(await s.openai.responses.create({ model: s.model, input: prompt, max_output_tokens: 16, stream: true }));
  assert.equal(events[0].type, 'response.created');
  assert(['response.completed', 'response.incomplete'].includes(events.at(-1).type));
});

test('openai: errors', async s => {
  await assert.rejects(s.openai.chat.completions.create({ model: 'nope', messages }), e => e.status === 404 && e.code === 'model_not_found' && !!e.requestID);
  for (const body of ['{bad', { model: s.model }, { model: s.model, messages: [] }, []]) {
    const r = await s.post('/v1/chat/completions', body);
    assert.equal(r.status, 400, JSON.stringify(body));
    assert.deepEqual(Object.keys(r.json.error).sort(), ['code', 'message', 'param', 'type']);
  }
  const wrong = await s.get('/v1/chat/completions');
  assert([404, 405].includes(wrong.status) && wrong.json.error.message);
});

// ---- anthropic ----

const system = [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }];
const said = [{ role: 'user', content: [{ type: 'text', text: prompt }] }];
const inputTool = { name: 'get_weather', description: 'The weather.', input_schema: parameters };

test('anthropic: an answer has every part', async s => {
  const { data: r, request_id } = await s.anthropic.messages.create({ model: s.model, max_tokens: 12, system, messages: said }).withResponse();
  assert.equal(r.type, 'message');
  assert.equal(r.role, 'assistant');
  assert.equal(r.content[0].type, 'text');
  assert(['end_turn', 'max_tokens'].includes(r.stop_reason));
  assert.equal(r.stop_sequence, null);
  for (const k of ['input_tokens', 'output_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens']) assert.equal(typeof r.usage[k], 'number', k);
  assert(request_id);
});

test('anthropic: a stream says what the answer says, in the order of the book', async s => {
  const ask = { model: s.model, max_tokens: 20, temperature: 0, messages: said };
  const whole = await s.anthropic.messages.create(ask);
  const final = await s.anthropic.messages.stream(ask).finalMessage();
  assert.deepEqual(final.content, whole.content);
  assert.equal(final.stop_reason, whole.stop_reason);
  assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
  const raw = await s.post('/v1/messages', { ...ask, stream: true }, { 'anthropic-version': '2023-06-01' });
  const events = sseEvents(raw.text).filter(e => e.event !== 'ping');
  assert(events.every(e => JSON.parse(e.data).type === e.event));
  assert.match(events.map(e => e.event).join(' '), /^message_start content_block_start (content_block_delta )+content_block_stop message_delta message_stop$/);
});

test('anthropic: input_tokens leaves out what was cached', async s => {
  const ask = { model: s.model, max_tokens: 1, messages: [{ role: 'user', content: 'The dog sat under a big tree. '.repeat(30) }] };
  await s.anthropic.messages.create(ask);
  const again = await s.anthropic.messages.create(ask), count = await s.anthropic.messages.countTokens({ model: s.model, messages: ask.messages });
  assert(again.usage.cache_read_input_tokens > 0.9 * count.input_tokens, JSON.stringify(again.usage));
  assert.equal(again.usage.input_tokens + again.usage.cache_read_input_tokens + again.usage.cache_creation_input_tokens, count.input_tokens);
});

test('anthropic: stop sequences', async s => {
  const ask = { model: s.model, max_tokens: 40, temperature: 0, messages: said };
  const text = (await s.anthropic.messages.create(ask)).content[0].text, word = text.trim().split(/\s+/)[3];
  const r = await s.anthropic.messages.create({ ...ask, stop_sequences: ['\u0001none', word] });
  assert.equal(r.stop_reason, 'stop_sequence');
  assert.equal(r.stop_sequence, word);
  assert.equal(r.content[0].text, text.slice(0, text.indexOf(word)));
});

test('anthropic: tools, streamed and not; results go back', async s => {
  const ask = { model: s.model, max_tokens: 200, temperature: 1, messages: said, tools: [inputTool] };
  for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'get_weather' }]) {
    const r = await s.anthropic.messages.create({ ...ask, tool_choice }), use = r.content.find(c => c.type === 'tool_use');
    assert(isWeather(use.input));
    assert.equal(r.stop_reason, 'tool_use');
    const final = await s.anthropic.messages.stream({ ...ask, tool_choice }).finalMessage();
    assert(isWeather(final.content.find(c => c.type === 'tool_use').input));
    const next = await s.anthropic.messages.create({
      ...ask, max_tokens: 8, messages: [...said, { role: 'assistant', content: r.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: [{ type: 'text', text: 'sunny' }] }] }],
    });
    assert.equal(next.type, 'message');
  }
  const raw = await s.post('/v1/messages', { ...ask, tool_choice: { type: 'any' }, stream: true }, { 'anthropic-version': '2023-06-01' });
  const start = sseEvents(raw.text).map(e => JSON.parse(e.data)).find(e => e.content_block?.type === 'tool_use');
  assert.deepEqual(start.content_block.input, {});
});

test('anthropic: a schema for the output', async s => {
  const r = await s.post('/v1/messages', {
    model: s.model, max_tokens: 200, messages: said, output_config: { format: { type: 'json_schema', schema: parameters } },
  }, { 'anthropic-version': '2023-06-01' });
  assert.equal(r.status, 200, r.text);
  assert(isWeather(JSON.parse(r.json.content[0].text)));
});

test('anthropic: models, count_tokens, errors', async s => {
  const all = await collect(s.anthropic.models.list());
  assert(all.some(m => m.id === s.model && m.type === 'model' && m.display_name && m.created_at));
  const few = await s.anthropic.messages.countTokens({ model: s.model, messages: said });
  const more = await s.anthropic.messages.countTokens({ model: s.model, messages: said, system: 'Be brief.', tools: [inputTool] });
  assert(more.input_tokens > few.input_tokens);
  await assert.rejects(s.anthropic.messages.create({ model: s.model, messages: said }), e => e.status === 400 && e.type === 'invalid_request_error' && !!e.requestID);
  await assert.rejects(s.anthropic.messages.create({ model: 'nope', max_tokens: 1, messages: said }), e => e.status === 404 && e.type === 'not_found_error');
  const r = await s.post('/v1/messages', '{bad', { 'anthropic-version': '2023-06-01' });
  assert.equal(r.status, 400);
  assert.deepEqual([r.json.type, r.json.error.type, typeof r.json.request_id], ['error', 'invalid_request_error', 'string']);
});

// ---- ollama ----

const options = { num_predict: 12, temperature: 0, seed: 1 };

test('ollama: chat and generate, streamed and not', async s => {
  const whole = await s.ollama.chat({ model: s.model, messages, options });
  const parts = await collect(await s.ollama.chat({ model: s.model, messages, options, stream: true }));
  assert.equal(parts.map(p => p.message.content).join(''), whole.message.content);
  assert(parts.slice(0, -1).every(p => !p.done) && parts.at(-1).done);
  for (const k of ['total_duration', 'load_duration', 'prompt_eval_count', 'prompt_eval_duration', 'eval_count', 'eval_duration']) assert.equal(typeof parts.at(-1)[k], 'number', k);
  assert(['stop', 'length'].includes(whole.done_reason));
  const generated = await s.ollama.generate({ model: s.model, prompt, options }), raw = await s.ollama.generate({ model: s.model, prompt, raw: true, options });
  assert.equal(typeof generated.response, 'string');
  const hasTemplate = (await s.ollama.show({ model: s.model })).template.length > 0;
  assert.equal(raw.prompt_eval_count < generated.prompt_eval_count, hasTemplate, 'raw has no template');
  const r = await s.post('/api/generate', { model: s.model, prompt, options });
  assert.match(r.headers.get('content-type'), /application\/x-ndjson/);
  assert.equal(ndjson(r.text).map(p => p.response).join(''), generated.response);
});

test('ollama: tools, format, think', async s => {
  const called = await s.ollama.chat({ model: s.model, messages, tools: [weather], options });
  assert.equal(typeof called.message.content, 'string');
  const shaped = await s.ollama.chat({ model: s.model, messages, format: parameters, options: { ...options, num_predict: 200 } });
  assert(isWeather(JSON.parse(shaped.message.content)));
  const json = await s.ollama.generate({ model: s.model, prompt, format: 'json', options: { ...options, num_predict: 300 } });
  if (json.done_reason === 'stop') JSON.parse(json.response);
  assert.equal((await s.ollama.chat({ model: s.model, messages, think: false, options })).done, true);
});

test('ollama: embed and the older embeddings', async s => {
  const r = await s.ollama.embed({ model: s.model, input: ['a cat', 'a dog'] });
  assert.equal(r.embeddings.length, 2);
  assert.equal((await s.ollama.embeddings({ model: s.model, prompt: 'a cat' })).embedding.length, r.embeddings[0].length);
  const openai = await s.openai.embeddings.create({ model: s.model, input: 'a cat', encoding_format: 'float' });
  openai.data[0].embedding.forEach((v, i) => assert(Math.abs(v - r.embeddings[0][i]) < 1e-6));
});

test('ollama: version, tags, ps, show; what cannot be done says so', async s => {
  assert((await s.ollama.version()).version);
  const [model] = (await s.ollama.list()).models;
  for (const k of ['name', 'model', 'modified_at', 'size', 'digest']) assert(model[k], k);
  for (const k of ['format', 'family', 'families', 'parameter_size', 'quantization_level']) assert(model.details[k], k);
  for (const m of (await s.ollama.ps()).models) assert(m.expires_at && m.context_length && 'size_vram' in m);
  const shown = await s.ollama.show({ model: s.model });
  assert(shown.details && shown.model_info['general.architecture'] && shown.capabilities.includes('completion') && typeof shown.template === 'string');
  const root = await s.get('/', { accept: '*/*' });
  assert.equal(root.text.trim(), 'Ollama is running');
  assert.equal((await s.request('HEAD', '/')).status, 200);
  for (const [method, where, body] of [['POST', '/api/pull', { model: 'x', stream: false }], ['POST', '/api/create', { model: 'x', from: s.model }],
    ['POST', '/api/copy', { source: 'x', destination: 'y' }], ['DELETE', '/api/delete', { model: 'x' }]]) {
    const r = await s.request(method, where, body);
    assert(r.status >= 400 && r.status < 500 || r.status === 501, `${where} ${r.status}`);
    assert(typeof r.json.error === 'string' && r.json.error.length > 5, where);
  }
  await assert.rejects(s.ollama.chat({ model: 'nope', messages }), e => e.status_code === 404 && /nope/.test(e.error));
});

// ---- the AI SDK, through three providers ----

const providers = {
  'openai-compatible': s => createOpenAICompatible({ name: 'x', baseURL: s.base + '/v1', apiKey: 'k', includeUsage: true, supportsStructuredOutputs: true })(s.model),
  anthropic: s => createAnthropic({ baseURL: s.base + '/v1', apiKey: 'k' })(s.model),
  ollama: s => createOllama({ baseURL: s.base + '/api' })(s.model),
};
for (const [name, model] of Object.entries(providers)) {
  test(`ai-sdk ${name}: text, streamed and not`, async s => {
    const ask = { model: model(s), prompt, maxOutputTokens: 10, temperature: 0, maxRetries: 0 };
    const whole = await generateText(ask), errors = [];
    let text = '', finish;
    for await (const p of streamText({ ...ask, onError: e => errors.push(e) }).fullStream) {
      if (p.type === 'text-delta') text += p.text;
      if (p.type === 'finish') finish = p;
    }
    assert.deepEqual(errors, []);
    assert.equal(text, whole.text);
    assert(finish.totalUsage.outputTokens > 0 && finish.totalUsage.inputTokens > 0, JSON.stringify(finish.totalUsage));
  });
}
test('ai-sdk: tools and objects', async s => {
  const get_weather = tool({ description: 'The weather.', inputSchema: jsonSchema(parameters) });
  for (const name of ['openai-compatible', 'anthropic']) {
    const ask = { model: providers[name](s), prompt, tools: { get_weather }, toolChoice: 'required', maxOutputTokens: 200, maxRetries: 0 };
    const r = await generateText(ask);
    assert.equal(r.finishReason, 'tool-calls');
    assert(isWeather(r.toolCalls[0].input), name);
    const streamed = streamText(ask);
    assert(isWeather((await streamed.toolCalls)[0].input), name);
  }
  const schema = z.object({ city: z.string().max(20), kind: z.enum(['sun', 'rain']), n: z.number().int().min(0).max(9) });
  const { object } = await generateObject({ model: providers['openai-compatible'](s), schema, prompt, maxOutputTokens: 200, maxRetries: 0 });
  schema.parse(object);
});
test('ai-sdk: embedMany', async s => {
  const provider = createOpenAICompatible({ name: 'x', baseURL: s.base + '/v1', apiKey: 'k' });
  assert.equal((await embedMany({ model: provider.embeddingModel(s.model), values: ['a', 'b'], maxRetries: 0 })).embeddings.length, 2);
});

// ---- LangChain, Hugging Face ----

const langchain = {
  openai: s => new ChatOpenAI({ model: s.model, apiKey: 'k', maxTokens: 60, temperature: 0, maxRetries: 0, configuration: { baseURL: s.base + '/v1' } }),
  ollama: s => new ChatOllama({ model: s.model, baseUrl: s.base, numPredict: 60, temperature: 0, maxRetries: 0 }),
  anthropic: s => new ChatAnthropic({ model: s.model, apiKey: 'k', maxTokens: 60, temperature: 0, maxRetries: 0, anthropicApiUrl: s.base }),
};
for (const [name, model] of Object.entries(langchain)) {
  test(`langchain ${name}: invoke and stream`, async s => {
    const whole = await model(s).invoke(prompt), parts = await collect(await model(s).stream(prompt));
    assert.equal(parts.map(p => p.text).join(''), whole.text);
    assert(parts.some(p => p.usage_metadata?.output_tokens > 0));
  });
}
test('langchain: tools, structured output, embeddings', async s => {
  const bound = { openai: { tool_choice: 'required' }, anthropic: { tool_choice: { type: 'any' } } };
  for (const [name, choice] of Object.entries(bound)) {
    const m = name === 'openai' ? new ChatOpenAI({ model: s.model, apiKey: 'k', maxTokens: 200, maxRetries: 0, configuration: { baseURL: s.base + '/v1' } })
      : new ChatAnthropic({ model: s.model, apiKey: 'k', maxTokens: 200, maxRetries: 0, anthropicApiUrl: s.base });
    const r = await m.bindTools([weather], choice).invoke(prompt);
    assert(isWeather(r.tool_calls[0].args), name + JSON.stringify(r.tool_calls));
  }
  const vectors = await new OpenAIEmbeddings({ model: s.model, apiKey: 'k', maxRetries: 0, configuration: { baseURL: s.base + '/v1' } }).embedDocuments(['a', 'b']);
  const others = await new OllamaEmbeddings({ model: s.model, baseUrl: s.base, maxRetries: 0 }).embedDocuments(['a', 'b']);
  assert.equal(vectors.length, 2);
  assert.equal(others[0].length, vectors[0].length);
});

test('huggingface: chat and stream', async s => {
  const client = new InferenceClient('k', { endpointUrl: s.base, retry_on_error: false }), ask = { model: s.model, messages, max_tokens: 10, temperature: 0 };
  const whole = await client.chatCompletion(ask), parts = await collect(client.chatCompletionStream(ask));
  assert.equal(parts.map(p => p.choices[0]?.delta.content ?? '').join(''), whole.choices[0].message.content);
});

await main('--parallel', '4');
