// What each family of models is taught to write, through the server and into the clients' hands. The built-in model is given
// another chat template, and a grammar makes it write what such a model would: so the text is the family's, and all that
// reads it is real.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { assert, main, ndjson, Server, sseEvents, test } from './lib.mjs';

const tiny = fs.readFileSync(path.join(import.meta.dirname, '../../models/plimsoll-tiny.gguf'));

// The built-in model with another template, in the same place: what is left of its bytes is a comment. token: the text of
// its control token <|im_start|>, as long as that.
function modelWith(template, token = '<|im_start|>') {
  const key = 'tokenizer.chat_template', at = tiny.indexOf(key) + key.length + 4, length = Number(tiny.readBigUInt64LE(at));
  const bytes = Buffer.from(template), rest = length - bytes.length - '{##}'.length;
  assert(rest >= 0, `a template of ${bytes.length} bytes is too long`);
  const copy = Buffer.from(tiny), file = path.join(os.tmpdir(), `plimsoll-family-${process.pid}.gguf`);
  Buffer.concat([bytes, Buffer.from('{#' + ' '.repeat(rest) + '#}')]).copy(copy, at + 8);
  assert.equal(copy.write(token, copy.indexOf('<|im_start|>')), '<|im_start|>'.length);
  fs.writeFileSync(file, copy);
  return file;
}

const turns = (end, more = '') => `{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}${more}<|im_start|>assistant\n${end}`;
const unused = words => `{% if false %}${words}{% endif %}`;

const rome = { name: 'get_weather', input: { city: 'Rome', days: 2 } }, now = { name: 'now', input: {} };
const families = {
  'Hermes, Qwen': {
    template: turns('', unused('<tool_call> <think>')),
    says: 'I look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    text: 'I look.', calls: [rome, now],
  },
  'Qwen, thinking': {
    template: turns('', unused('<tool_call> <think>')), says: '<think>\nA cat?\n</think>\n\nYes.', reasoning: 'A cat?', text: 'Yes.', calls: [],
  },
  'Qwen, a thought that is not ended before the call': {
    template: turns('', unused('<tool_call> <think>')),
    says: '<think>\nI must look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}\n</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    reasoning: 'I must look.', text: '', calls: [rome, now],
  },
  'a thought that the prompt began': {
    template: turns('<think>\n', unused('<tool_call>')), says: 'A cat?\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>', reasoning: 'A cat?', text: '', calls: [now], thinksFirst: true,
  },
  'Qwen Coder': {
    template: turns('', unused('<tool_call>\n<function=f>\n<parameter=p>')),
    says: '<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>', text: '', calls: [rome],
  },
  GLM: {
    template: turns('', unused('<tool_call>{f}\n<arg_key>k</arg_key>')),
    says: '<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>', text: '', calls: [rome],
  },
  'Llama 3': {
    template: turns('', unused('<|python_tag|>')), says: '{"name": "get_weather", "parameters": {"city": "Rome", "days": 2}}; {"name": "now", "parameters": {}}', text: '', calls: [rome, now],
  },
  'Llama 3, built-in': {
    template: turns('', unused('<|python_tag|>')), says: '<|python_tag|>get_weather.call(city="Rome", days=2)', text: '', calls: [rome],
  },
  Mistral: {
    template: turns('', unused('[TOOL_CALLS]')), says: '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}, "id": "abcdefghi"}]', text: '', calls: [rome],
  },
  'Mistral, newer': {
    template: turns('', unused('[TOOL_CALLS][ARGS][THINK]')), says: '[THINK]A cat?[/THINK]So[TOOL_CALLS]get_weather[ARGS]{"city": "Rome", "days": 2}', reasoning: 'A cat?', text: 'So', calls: [rome],
  },
  'Mistral, with a control token': {
    template: turns('', unused('[TOOL_CALLS]')).replaceAll('<|im_start|>', ''), token: '[TOOL_CALLS]',
    grammar: 'root ::= "Ok" <|[TOOL_CALLS]|> "[{\\"name\\": \\"now\\", \\"arguments\\": {}}]"', says: '', text: 'Ok', calls: [now],
  },
  'gpt-oss': {
    template: turns('', unused('<|channel|><|message|>')).replace('<|im_start|>assistant\n', '<|start|>assistant'),
    says: '<|channel|>analysis<|message|>A cat?<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Rome", "days": 2}',
    reasoning: 'A cat?', text: '', calls: [rome], thinksFirst: true,
  },
  'gpt-oss, an answer': {
    template: turns('', unused('<|channel|><|message|>')).replace('<|im_start|>assistant\n', '<|start|>assistant'),
    says: '<|channel|>analysis<|message|>A cat?<|end|><|start|>assistant<|channel|>final<|message|>Yes.', reasoning: 'A cat?', text: 'Yes.', calls: [],
    thinksFirst: true,
  },
  DeepSeek: {
    template: turns('<think>\n', unused('<｜tool▁calls▁begin｜>```json')),
    says: 'A cat?\n</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Rome", "days": 2}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    reasoning: 'A cat?', text: '', calls: [rome], thinksFirst: true,
  },
  Granite: {
    template: turns('', unused('<|tool_call|>')), says: '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}]', text: '', calls: [rome],
  },
  'a model without words of its own': {
    template: turns(''), says: '{"name": "get_weather", "arguments": {"city": "Rome", "days": 2}}', text: '', calls: [rome],
  },
};

const parameters = { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } }, required: ['city', 'days'], additionalProperties: false };
const tools = [
  { type: 'function', function: { name: 'get_weather', parameters } }, { type: 'function', function: { name: 'now', parameters: { type: 'object', properties: {} } } },
];
const messages = [{ role: 'user', content: 'Hi' }];
const literal = text => `root ::= "${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;

// Each of them brings what it heard into one form.
const heard = {
  async openai(s, grammar) {
    const r = await s.openai.chat.completions.create({ model: s.model, messages, tools, grammar, max_tokens: 300 }), m = r.choices[0].message;
    assert.equal(r.choices[0].finish_reason, m.tool_calls ? 'tool_calls' : 'stop');
    if (m.reasoning_content) assert(r.usage.completion_tokens_details.reasoning_tokens > 0);
    return { reasoning: m.reasoning_content, text: m.content, calls: m.tool_calls?.map(c => ({ name: c.function.name, input: JSON.parse(c.function.arguments) })) };
  },
  async 'openai, streamed'(s, grammar) {
    const said = { reasoning: '', text: '' }, calls = [];
    for await (const c of await s.openai.chat.completions.create({ model: s.model, messages, tools, grammar, max_tokens: 300, stream: true })) {
      const delta = c.choices[0].delta;
      said.reasoning += delta.reasoning_content ?? '';
      said.text += delta.content ?? '';
      for (const d of delta.tool_calls ?? []) {
        calls[d.index] ??= { name: d.function.name, input: '' };
        calls[d.index].input += d.function.arguments;
      }
    }
    return { ...said, calls: calls.map(c => ({ name: c.name, input: JSON.parse(c.input) })) };
  },
  async responses(s, grammar) {
    const r = await s.openai.responses.create({
      model: s.model, input: 'Hi', tools: tools.map(t => ({ type: 'function', ...t.function })), grammar, max_output_tokens: 300,
    });
    return {
      reasoning: r.output.find(i => i.type === 'reasoning')?.content?.map(c => c.text).join(''), text: r.output_text,
      calls: r.output.filter(i => i.type === 'function_call').map(i => ({ name: i.name, input: JSON.parse(i.arguments) })),
    };
  },
  async anthropic(s, grammar, stream) {
    const ask = { model: s.model, messages, tools: tools.map(({ function: f }) => ({ name: f.name, input_schema: f.parameters })), grammar, max_tokens: 300, thinking: { type: 'enabled', budget_tokens: 1024 } };
    const m = stream ? await s.anthropic.messages.stream(ask).finalMessage() : await s.anthropic.messages.create(ask);
    const all = (type, member) => m.content.filter(c => c.type === type).map(c => c[member]).join('');
    const calls = m.content.filter(c => c.type === 'tool_use').map(({ name, input }) => ({ name, input }));
    assert.equal(m.stop_reason, calls.length ? 'tool_use' : 'end_turn');
    return { reasoning: all('thinking', 'thinking'), text: all('text', 'text'), calls };
  },
  'anthropic, streamed': (s, grammar) => heard.anthropic(s, grammar, true),
  async ollama(s, grammar) {
    const m = (await s.ollama.chat({ model: s.model, messages, tools, grammar, options: { num_predict: 300 } })).message;
    return { reasoning: m.thinking, text: m.content, calls: m.tool_calls?.map(c => ({ name: c.function.name, input: c.function.arguments })) };
  },
  async 'ollama, streamed'(s, grammar) {
    const said = { reasoning: '', text: '', calls: [] };
    for await (const { message: m } of await s.ollama.chat({ model: s.model, messages, tools, grammar, options: { num_predict: 300 }, stream: true })) {
      said.reasoning += m.thinking ?? '';
      said.text += m.content;
      said.calls.push(...(m.tool_calls ?? []).map(c => ({ name: c.function.name, input: c.function.arguments })));
    }
    return said;
  },
};

// What is left of a reply that breaks off within a call: the finish, and the arguments where the dialect can say half of them.
const broken = {
  async openai(s, ask) {
    const c = (await s.openai.chat.completions.create({ model: s.model, messages, tools, ...ask })).choices[0];
    return { finish: c.finish_reason, half: c.message.tool_calls.at(-1).function.arguments };
  },
  async 'openai, streamed'(s, ask) {
    let half = '', finish;
    for await (const c of await s.openai.chat.completions.create({ model: s.model, messages, tools, ...ask, stream: true })) {
      for (const d of c.choices[0].delta.tool_calls ?? []) half += d.function.arguments;
      finish = c.choices[0].finish_reason ?? finish;
    }
    return { finish, half };
  },
  async responses(s, { max_tokens, stop, ...ask }) {
    if (stop) return { finish: 'length', half: '' }; // it has no such field
    const r = await s.openai.responses.create({ model: s.model, input: 'Hi', tools: tools.map(t => ({ type: 'function', ...t.function })), ...ask, max_output_tokens: max_tokens });
    assert.deepEqual([r.status, r.incomplete_details.reason, r.output.at(-1).status], ['incomplete', 'max_output_tokens', 'incomplete']);
    return { finish: 'length', half: r.output.at(-1).arguments };
  },
  async anthropic(s, { max_tokens, stop, grammar }, stream) {
    const r = await s.post('/v1/messages', {
      model: s.model, messages, tools: tools.map(({ function: f }) => ({ name: f.name, input_schema: f.parameters })), grammar, max_tokens, stop_sequences: stop ? [stop] : undefined, stream,
    });
    const events = stream ? sseEvents(r.text).map(e => JSON.parse(e.data)) : [];
    const reason = stream ? events.find(e => e.type === 'message_delta').delta.stop_reason : r.json.stop_reason;
    assert(!r.text.includes('tool_use"'), r.text);
    return { finish: reason === 'max_tokens' ? 'length' : reason, half: events.map(e => e.delta?.partial_json ?? '').join('') };
  },
  'anthropic, streamed': (s, ask) => broken.anthropic(s, ask, true),
  async ollama(s, { max_tokens, stop, ...ask }, stream) {
    const r = await s.post('/api/chat', { model: s.model, messages, tools, ...ask, stream: !!stream, options: { num_predict: max_tokens, stop } });
    const lines = ndjson(r.text);
    assert(!lines.some(l => l.message.tool_calls), r.text);
    return { finish: lines.at(-1).done_reason, half: '' };
  },
  'ollama, streamed': (s, ask) => broken.ollama(s, ask, true),
};

async function breaksOff(s, family) {
  const at = family.says.indexOf('Rome') + 2, half = literal(family.says.slice(0, at)), whole = literal(family.says);
  for (const [client, listen] of Object.entries(broken)) {
    for (const ask of [{ grammar: half, max_tokens: 300 }, { grammar: whole, max_tokens: 300, stop: 'ome' }]) {
      const got = await listen(s, ask);
      assert.equal(got.finish, 'length', client);
      assert(['', ask.stop ? '{"city": "R' : '{"city": "Ro'].includes(got.half), `${client}: ${got.half}`);
      assert(got.half || !client.startsWith('openai'), client);
    }
  }
}

// Arguments that are no JSON, in a call that is whole: where a dialect has a text for them they come as they were written; where
// it has an object there is no call, and what was written is the answer's text.
async function isNoJson(s, family) {
  const good = '{"city": "Rome", "days": 2}', bad = '{"city": oops, "b": [1,]}', head = family.says.split(good)[0].slice(-8);
  if (!family.says.includes(good)) return; // a tag for each argument
  const grammar = literal(family.says.replace(good, bad));
  const functions = tools.map(({ function: f }) => ({ name: f.name, input_schema: f.parameters }));
  const chat = { model: s.model, messages, tools, grammar, max_tokens: 300 }, claude = { ...chat, tools: functions }, last = list => list.at(-1);
  const openai = (await s.openai.chat.completions.create(chat)).choices[0];
  assert.deepEqual([openai.finish_reason, openai.message.tool_calls[0].function], ['tool_calls', { name: 'get_weather', arguments: bad }]);
  let streamed = '';
  for await (const c of await s.openai.chat.completions.create({ ...chat, stream: true }))
    for (const d of c.choices[0].delta.tool_calls ?? []) streamed += d.index ? '' : d.function.arguments;
  assert.equal(streamed, bad);
  const r = await s.openai.responses.create({ model: s.model, input: 'Hi', tools: tools.map(t => ({ type: 'function', ...t.function })), grammar, max_output_tokens: 300 });
  assert.deepEqual([r.status, r.output.find(i => i.type === 'function_call').arguments], ['completed', bad]);
  const whole = await s.anthropic.messages.create(claude), said = whole.content.filter(c => c.type === 'text').map(c => c.text).join('');
  assert(said.includes(head + bad), said);
  assert.deepEqual(whole.content.filter(c => c.type === 'tool_use').map(c => c.name), family.calls.slice(1).map(c => c.name));
  assert.equal(whole.stop_reason, family.calls.length > 1 ? 'tool_use' : 'end_turn');
  const streamedClaude = await s.anthropic.messages.stream(claude).finalMessage();
  const bare = m => [m.stop_reason, m.content.filter(c => c.type === 'text').map(c => c.text).join(''), m.content.filter(c => c.type === 'tool_use').map(({ name, input }) => ({ name, input }))];
  assert.deepEqual(bare(streamedClaude), bare(whole));
  for (const stream of [false, true]) {
    const lines = ndjson((await s.post('/api/chat', { model: s.model, messages, tools, grammar, stream, options: { num_predict: 300 } })).text);
    assert(lines.map(l => l.message.content).join('').includes(head + bad), JSON.stringify(lines));
    assert.deepEqual(lines.flatMap(l => l.message.tool_calls ?? []).map(c => c.function.name), family.calls.slice(1).map(c => c.name));
    assert.equal(last(lines).done_reason, 'stop');
  }
}

for (const [name, family] of Object.entries(families)) test(name, async () => {
  const file = modelWith(family.template, family.token), s = await Server.start('-m', file, '--parallel', '2');
  const wanted = { reasoning: family.reasoning ?? '', text: family.text, calls: family.calls };
  try {
    for (const [client, listen] of Object.entries(heard)) {
      const got = await listen(s, family.grammar ?? literal(family.says));
      assert.deepEqual({ reasoning: got.reasoning ?? '', text: got.text ?? '', calls: got.calls ?? [] }, wanted, client);
    }
    if (family.calls[0] === rome) await breaksOff(s, family);
    if (family.calls[0] === rome) await isNoJson(s, family);
    if (!family.thinksFirst) { // a small model would think for ever
      const ask = { model: s.model, messages, tools, max_tokens: 300, temperature: 0 };
      const called = await s.openai.chat.completions.create({ ...ask, tool_choice: { type: 'function', function: { name: 'now' } } });
      assert.deepEqual(called.choices[0].message.tool_calls.map(c => c.function), [{ name: 'now', arguments: '{}' }]);
      // A schema for the answer leaves calls possible, and nothing else.
      const schema = { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'], additionalProperties: false };
      const shaped = await s.openai.chat.completions.create({ ...ask, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } });
      const { message: m, finish_reason } = shaped.choices[0];
      if (finish_reason === 'stop') assert.equal(typeof JSON.parse(m.content).ok, 'boolean');
      else if (finish_reason === 'tool_calls') m.tool_calls.forEach(c => JSON.parse(c.function.arguments));
    }
    await s.stop();
  } finally {
    s.child.kill('SIGKILL');
    fs.rmSync(file, { force: true });
  }
});

await main();
