// Every field of every dialect with every wrong kind of value: the dialect's own 400 that names the field. Fields that are
// null are as if they were not there. Never a 5xx, never silence, never an answer to what was not asked.
import { assert, main, test } from './lib.mjs';

const values = {
  text: 'x', empty: '', one: 1, zero: 0, negative: -1, fraction: 0.5, huge: 1e300, vast: 9223372036854775807n, yes: true,
  list: [], numbers: [-1], texts: ['x'], object: {}, null: null,
};
const json = v => JSON.stringify(v, (k, x) => typeof x === 'bigint' ? `vast:${x}` : x).replace(/"vast:(\d+)"/g, '$1');

// What is answered with 200; what may be (the rest of the kinds must be refused).
const kinds = {
  text: ['text', 'empty null'],
  text_needed: ['text', 'empty'],
  text_needed_: ['text', ''],
  limit: ['one negative null', 'zero'],        // -1: none
  count_needed: ['one', 'zero'],
  whole: ['one zero null', 'negative vast'],
  bool: ['yes null', ''],
  share: ['one fraction null', 'zero'],           // 0 … 1
  heat: ['one fraction zero null', ''],
  penalty: ['one fraction zero negative null', ''],
  object: ['null', 'object'],
  list: ['list null', ''],
  texts: ['texts null', 'list'],
  text_or_texts: ['text texts null', 'empty list'],
  word: ['null', 'text'],                         // one of a few; "x" is perhaps not among them
  nothing: ['', ''],
  tools: ['list null', ''],
};

const chat = s => ({ model: s.model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1 });
const messages = s => ({ model: s.model, max_tokens: 1, messages: [{ role: 'user', content: 'Hi' }] });
const ollama = s => ({ model: s.model, stream: false, options: { num_predict: 1 } });
const parameters = { type: 'object', properties: {} };
const openaiTool = { type: 'function', function: { name: 'f', description: 'd', parameters } };
const anthropicTool = { name: 'f', description: 'd', input_schema: parameters };
const openaiCall = { role: 'assistant', content: 'x', tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }] };
const user = { role: 'user', content: 'Hi' };
const blocks = (...content) => ({ messages: [{ role: 'user', content }] });

const sampling = { temperature: 'heat', top_p: 'share', frequency_penalty: 'penalty', presence_penalty: 'penalty', seed: 'whole' };

// Ours, that go along in every dialect.
const own = {
  priority: ['one zero negative null', ''], kv_type: ['null', ''], window: ['zero null', 'one'], keep: ['zero null', 'one'], cache: 'bool', speculate: 'bool',
  cache_ttl: ['one zero null', ''], pin: 'bool', adapter: ['null', 'text empty'],
};
const sampler = { min_p: 'share', typical_p: 'share', repeat_penalty: ['one fraction null', ''], repeat_last_n: ['one zero negative null', ''], top_k: ['one zero negative null', ''], ignore_end: 'bool' };

const routes = {
  'openai /v1/chat/completions': {
    base: chat,
    fields: {
      model: ['', 'empty null'], messages: 'nothing', max_tokens: 'limit', max_completion_tokens: 'limit', n: ['one null', ''], stop: 'text_or_texts',
      ...sampling, logit_bias: ['object null', 'list'], logprobs: 'bool', response_format: ['null', ''], tools: 'tools', tool_choice: ['null', ''],
      parallel_tool_calls: 'bool', stream: 'bool', stream_options: ['object null', ''], user: 'text', reasoning_effort: 'word', ...own, ...sampler,
      grammar: ['null', 'empty'], chat_template_kwargs: ['object null', ''],
    },
    nested: [
      [{ logprobs: true, top_logprobs: 1 }, { top_logprobs: ['one zero null', ''] }],
      [{ stream: true, stream_options: {} }, { 'stream_options.include_usage': 'bool' }],
      [{ messages: [user] }, { 'messages.0': 'nothing', 'messages.0.role': 'nothing', 'messages.0.content': ['text', 'empty list null'] }],
      [{ messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }] },
        { 'messages.0.content.0': ['', 'text'], 'messages.0.content.0.type': 'nothing', 'messages.0.content.0.text': 'text_needed' }],
      [{ messages: [user, openaiCall, { role: 'tool', tool_call_id: 'a', content: 'x' }] },
        { 'messages.1.tool_calls': ['null', 'list'], 'messages.1.tool_calls.0': 'nothing', 'messages.1.tool_calls.0.function': 'nothing',
          'messages.1.tool_calls.0.function.name': 'text_needed', 'messages.1.tool_calls.0.function.arguments': ['', 'empty text null object'],
          'messages.1.tool_calls.0.id': ['text', 'null empty'], 'messages.2.tool_call_id': ['text', 'null empty'], 'messages.2.content': ['text', 'empty list null'] }],
      [{ tools: [openaiTool] },
        { 'tools.0': 'nothing', 'tools.0.type': ['', 'null'], 'tools.0.function': 'nothing', 'tools.0.function.name': ['text', ''],
          'tools.0.function.description': 'text', 'tools.0.function.parameters': ['object null', ''] }],
      [{ tools: [openaiTool], tool_choice: { type: 'function', function: { name: 'f' } } },
        { 'tool_choice.type': ['', 'null'], 'tool_choice.function': 'nothing', 'tool_choice.function.name': 'nothing' }],
      [{ response_format: { type: 'json_schema', json_schema: { name: 'x', strict: true, schema: { type: 'integer' } } } },
        { 'response_format.type': 'nothing', 'response_format.json_schema': 'nothing', 'response_format.json_schema.schema': ['object', 'null'],
          'response_format.json_schema.name': ['text', 'null empty'], 'response_format.json_schema.strict': 'bool' }],
    ],
  },
  'openai /v1/completions': {
    base: s => ({ model: s.model, prompt: 'Hi', max_tokens: 1 }),
    fields: {
      model: ['', 'empty null'], prompt: ['text', 'empty null texts'], max_tokens: 'limit', n: ['one null', ''], best_of: ['one null', ''], stop: 'text_or_texts',
      ...sampling, logit_bias: ['object null', 'list'], logprobs: ['one zero null', ''], echo: 'bool', stream: 'bool', stream_options: ['object null', ''],
      suffix: ['null', 'text empty'], user: 'text', ...own, ...sampler, grammar: ['null', 'empty'],
    },
  },
  'openai /v1/embeddings': {
    base: s => ({ model: s.model, input: 'Hi' }),
    fields: { model: ['', 'empty null'], input: ['text texts', 'empty'], encoding_format: ['null', ''], dimensions: ['null', 'one'], user: 'text', ...own },
  },
  'openai /v1/responses': {
    base: s => ({ model: s.model, input: 'Hi', max_output_tokens: 16 }),
    fields: {
      model: ['', 'empty null'], input: ['text', 'empty'], instructions: 'text', max_output_tokens: 'limit', temperature: 'heat', top_p: 'share', tools: 'tools',
      tool_choice: ['null', ''], parallel_tool_calls: 'bool', stream: 'bool', text: ['object null', ''], reasoning: ['object null', ''], user: 'text', ...own, ...sampler, metadata: ['object null', ''],
      previous_response_id: ['null', 'empty'],
    },
    nested: [[{ reasoning: { effort: 'low' } }, { 'reasoning.effort': ['null', ''] }],
      [{ tools: [{ type: 'function', name: 'f', parameters }] },
        { 'tools.0': 'nothing', 'tools.0.type': 'nothing', 'tools.0.name': ['text', ''], 'tools.0.description': 'text', 'tools.0.parameters': ['object null', ''] }],
      [{ input: [{ role: 'user', content: 'Hi' }] }, { 'input.0': 'nothing', 'input.0.role': 'nothing', 'input.0.content': ['text', 'empty list'] }],
      [{ input: [{ type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hi' }] }] },
        { 'input.0.type': ['null', ''], 'input.0.content.0': ['', 'text'], 'input.0.content.0.type': 'nothing', 'input.0.content.0.text': 'text_needed' }],
      [{ input: [{ role: 'user', content: 'x' }, { type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' }, { type: 'function_call_output', call_id: 'a', output: 'x' }] },
        { 'input.1.call_id': 'text_needed_', 'input.1.name': 'text_needed_', 'input.1.arguments': ['', 'empty text null'], 'input.2.call_id': 'text_needed_', 'input.2.output': ['text', 'empty list null'] }],
      [{ text: { format: { type: 'json_schema', name: 'x', schema: { type: 'integer' } } } },
      { 'text.format': ['null', ''], 'text.format.type': ['', 'null'], 'text.format.schema': ['object', ''] }]],
  },
  'anthropic /v1/messages': {
    base: messages,
    fields: {
      model: ['', 'empty null'], messages: 'nothing', max_tokens: ['one', ''], system: ['text null', 'empty list'], stop_sequences: 'texts', stream: 'bool', temperature: 'heat',
      top_p: 'share', top_k: ['one zero null', 'negative'], tools: 'tools', tool_choice: ['null', ''], metadata: ['object null', ''], thinking: ['null', ''],
      output_config: ['object null', ''], ...own, grammar: ['null', 'empty'],
    },
    nested: [
      [{ messages: [user] }, { 'messages.0': 'nothing', 'messages.0.role': 'nothing', 'messages.0.content': ['text', 'empty list'] }],
      [blocks({ type: 'text', text: 'Hi' }), { 'messages.0.content.0': ['', 'text'], 'messages.0.content.0.type': 'nothing', 'messages.0.content.0.text': 'text_needed' }],
      [{ system: [{ type: 'text', text: 'Hi' }] }, { 'system.0': ['', 'text'], 'system.0.text': 'text_needed' }],
      [{ messages: [user, { role: 'assistant', content: [{ type: 'tool_use', id: 'a', name: 'f', input: {} }] },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: 'x' }] }] },
        { 'messages.1.content.0.name': 'text_needed', 'messages.1.content.0.input': ['object', 'null'], 'messages.1.content.0.id': ['text', 'null empty'],
          'messages.2.content.0.tool_use_id': ['text', 'null empty'], 'messages.2.content.0.content': ['text null', 'empty list texts'] }],
      [{ tools: [anthropicTool] }, { 'tools.0': 'nothing', 'tools.0.name': ['text', ''], 'tools.0.description': 'text', 'tools.0.input_schema': ['object', 'null'] }],
      [{ tools: [anthropicTool], tool_choice: { type: 'tool', name: 'f' } }, { 'tool_choice.type': 'nothing', 'tool_choice.name': 'nothing' }],
      [{ thinking: { type: 'enabled', budget_tokens: 1024 } }, { 'thinking.type': 'nothing', 'thinking.budget_tokens': ['', 'one zero null vast'] }],
      [{ output_config: { format: { type: 'json_schema', schema: { type: 'integer' } } } },
        { 'output_config.format': ['null', ''], 'output_config.format.type': ['', 'null'], 'output_config.format.schema': ['object', ''] }],
    ],
  },
  'anthropic /v1/messages/count_tokens': {
    base: s => ({ model: s.model, messages: [user] }),
    fields: { model: ['', 'empty null'], messages: 'nothing', system: ['text null', 'empty list'], tools: 'tools' },
  },
  'ollama /api/chat': {
    base: s => ({ ...ollama(s), messages: [user] }),
    fields: {
      model: 'nothing', messages: ['', 'list null'], stream: 'bool', format: ['null', 'empty object'], options: ['object null', ''],
      keep_alive: ['one zero negative null', 'fraction empty vast huge'], think: ['null', 'yes text'], tools: 'tools', logprobs: 'bool', ...own,
      tool_choice: ['null', ''], grammar: ['null', 'empty'],
    },
    nested: [
      [{ messages: [user] }, { 'messages.0': 'nothing', 'messages.0.role': 'nothing', 'messages.0.content': ['text', 'empty null list'], 'messages.0.images': ['null', 'list texts'] }],
      [{ messages: [user, { role: 'assistant', content: '', tool_calls: [{ function: { name: 'f', arguments: {} } }] }] },
        { 'messages.1.tool_calls': ['null', 'list'], 'messages.1.tool_calls.0.function': 'nothing', 'messages.1.tool_calls.0.function.name': 'text_needed',
          'messages.1.tool_calls.0.function.arguments': ['object', 'null text empty'] }],
      [{ tools: [openaiTool] }, { 'tools.0': 'nothing', 'tools.0.function': 'nothing', 'tools.0.function.name': ['text', ''], 'tools.0.function.parameters': ['object null', ''] }],
      [{ options: { num_predict: 1 } }, {
        'options.num_predict': ['one zero', 'negative null vast'], 'options.num_ctx': ['null', 'one zero'], 'options.seed': 'whole', 'options.temperature': 'heat',
        'options.top_k': ['one zero null', 'negative'], 'options.top_p': 'share', 'options.min_p': 'share', 'options.stop': 'text_or_texts',
        'options.repeat_penalty': ['one fraction null', 'zero'],
      }],
    ],
  },
  'ollama /api/generate': {
    base: s => ({ ...ollama(s), prompt: 'Hi' }),
    fields: {
      model: 'nothing', prompt: ['text', 'empty null'], system: 'text', template: ['null', 'text empty'], raw: 'bool', suffix: ['null', 'text empty'], context: ['null', 'list'], stream: 'bool',
      format: ['null', 'empty object'], options: ['object null', ''], keep_alive: ['one zero negative null', 'fraction empty vast huge'], think: ['null', 'yes text'], images: ['null', 'list texts'], logprobs: 'bool',
    },
  },
  'ollama /api/embed': {
    base: s => ({ model: s.model, input: 'Hi' }),
    fields: { model: 'nothing', input: ['text texts', 'empty list null'], options: ['object null', ''], keep_alive: ['one zero negative null', 'fraction empty vast huge'], truncate: 'bool', dimensions: ['null', 'one'] },
  },
  'ollama /api/embeddings': {
    base: s => ({ model: s.model, prompt: 'Hi' }), fields: { model: 'nothing', prompt: ['text', 'empty null'], options: ['object null', ''] },
  },
  'ollama /api/show': { base: s => ({ model: s.model }), fields: { model: 'nothing' } },
};

const reasons = {
  openai: r => {
    assert.deepEqual(Object.keys(r.json.error).sort(), ['code', 'message', 'param', 'type']);
    return `${r.json.error.message} ${r.json.error.param}`;
  },
  anthropic: r => {
    assert.deepEqual([r.json.type, typeof r.json.request_id, r.json.error.type], ['error', 'string', r.status === 404 ? 'not_found_error' : 'invalid_request_error']);
    return r.json.error.message;
  },
  ollama: r => {
    assert.equal(typeof r.json.error, 'string');
    return r.json.error;
  },
};

const put = (body, where, value) => {
  const steps = where.split('.'), last = steps.pop();
  steps.reduce((at, step) => at[step], body)[last] = value;
  return body;
};
const namesOf = where => where.split('.').filter(step => !/^\d+$/.test(step));

async function check(s, dialect, route, body, where, kind, expected) {
  const [ok, maybe] = Array.isArray(expected) ? expected : kinds[expected];
  const has = set => set.split(' ').includes(kind), about = `${where} = ${json(values[kind])}`;
  const r = await s.request('POST', route, json(put(body, where, values[kind])), dialect === 'anthropic' ? { 'anthropic-version': '2023-06-01' } : {});
  const unknownModel = where === 'model' && r.status === 404;
  if (has(ok)) return r.status === 200 ? null : `${about}: ${r.status} ${r.text.slice(0, 200)}`;
  if (r.status === 200) return has(maybe) ? null : `${about}: answered`;
  if (r.status !== 400 && !unknownModel) return `${about}: ${r.status} ${r.text.slice(0, 200)}`;
  try {
    const reason = reasons[dialect](r);
    return unknownModel || namesOf(where).some(name => reason.includes(`'${name}`) || reason.includes(`${name}'`)) ? null : `${about}: does not name the field: ${reason}`;
  } catch (e) {
    return `${about}: ${r.text.slice(0, 200)} (${e.message.split('\n')[0]})`;
  }
}

for (const [name, { base, fields, nested = [] }] of Object.entries(routes)) {
  const [dialect, route] = name.split(' ');
  for (const [extra, table] of [[{}, fields], ...nested]) {
    const inside = Object.keys(table)[0].split('.')[0];
    test(extra === nested || table === fields ? name : `${name}: inside of ${inside} (${Object.keys(table).join(', ')})`, async s => {
      const wrong = [];
      for (const [where, expected] of Object.entries(table)) for (const kind of Object.keys(values)) {
        const found = await check(s, dialect, route, structuredClone({ ...base(s), ...extra }), where, kind, expected);
        if (found) wrong.push(found);
      }
      assert.equal(wrong.length, 0, `${wrong.length} are wrong:\n       ${wrong.join('\n       ')}`);
    });
  }
  test(`${name}: bodies that are no object, or no JSON`, async s => {
    for (const body of ['', '[]', '"x"', '1', 'null', '{', '{"model":', '{"model":"x","model":"y"}', '[['.repeat(5000), '\u0000', '{"a":"\ud800"}']) {
      const r = await s.post(route, body, dialect === 'anthropic' ? { 'anthropic-version': '2023-06-01' } : {});
      assert(r.status === 400 || r.status === 404 && body.includes('"x"'), `${body.slice(0, 40)}: ${r.status} ${r.text.slice(0, 100)}`);
      reasons[dialect](r);
    }
  });
}

test('a message of a role that nobody has; tools that are named but not there; too long a prompt', async s => {
  const long = 'word '.repeat(9000);
  for (const [route, body, name] of [
    ['/v1/chat/completions', { ...chat(s), messages: [{ role: 'wizard', content: 'x' }] }, 'role'],
    ['/v1/chat/completions', { ...chat(s), tools: [openaiTool], tool_choice: { type: 'function', function: { name: 'g' } } }, 'g'],
    ['/v1/chat/completions', { ...chat(s), tool_choice: 'required' }, 'tool'],
    ['/v1/chat/completions', { ...chat(s), messages: [{ role: 'user', content: long }] }, 'context'],
    ['/v1/chat/completions', { ...chat(s), response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'array', uniqueItems: true } } } }, 'uniqueItems'],
    ['/v1/chat/completions', { ...chat(s), messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }, 'image'],
    ['/v1/messages', { ...messages(s), messages: [{ role: 'wizard', content: 'x' }] }, 'role'],
    ['/v1/messages', { ...messages(s), tools: [anthropicTool], tool_choice: { type: 'tool', name: 'g' } }, 'g'],
    ['/v1/messages', { ...messages(s), messages: [{ role: 'user', content: long }] }, 'prompt is too long'],
    ['/api/chat', { ...ollama(s), messages: [{ role: 'wizard', content: 'x' }] }, 'role'],
    ['/api/chat', { ...ollama(s), messages: [{ role: 'user', content: long }] }, 'context'],
  ]) {
    const r = await s.post(route, body, route === '/v1/messages' ? { 'anthropic-version': '2023-06-01' } : {});
    assert.equal(r.status, 400, `${route} ${name}: ${r.status} ${r.text.slice(0, 200)}`);
    assert(r.text.includes(name), `${route}: not a word of '${name}': ${r.text.slice(0, 300)}`);
  }
});

await main();
