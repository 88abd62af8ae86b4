// A coding agent's conversation: 48 KB of system prompt and tools, max_tokens 32000, streamed; its second turn finds the first
// one's prompt computed.
import { assert, main, sseEvents, test } from './lib.mjs';

const paragraph = i => `## Rule ${i}\nWhen the user asks for change ${i}, read the file first, keep to its style, run the tests, and say in one line what was done. ` +
  'Never guess at a path; look for it. Prefer small steps that can be undone, and ask when a choice is not yours to make.\n\n';
const tool = i => ({
  name: ['bash', 'read', 'write', 'edit', 'grep', 'glob', 'fetch', 'todo', 'plan', 'task', 'notebook', 'search'][i],
  description: `Tool ${i}. ` + 'Say exactly what you want of it; it does nothing else. Its answer may be long. '.repeat(4),
  input_schema: {
    $schema: 'http://json-schema.org/draft-07/schema#', type: 'object', additionalProperties: false, required: ['path'],
    properties: {
      path: { type: 'string', description: 'Where, from the root.', maxLength: 4096, pattern: '^/' },
      limit: { type: 'integer', minimum: 0, maximum: 100000, default: 2000, description: 'How many lines.' },
      timeout: { type: 'number', exclusiveMinimum: 0, description: 'In seconds.' },
      mode: { type: 'string', enum: ['content', 'files', 'count'] },
      items: { type: 'array', maxItems: 50, items: { type: 'object', properties: { text: { type: 'string' }, done: { type: 'boolean' } }, required: ['text'] } },
    },
  },
});
const cached = { cache_control: { type: 'ephemeral' } };
const system = [
  { type: 'text', text: 'You are an agent that helps with software.' },
  { type: 'text', text: Array.from({ length: 140 }, (_, i) => paragraph(i)).join(''), ...cached },
];
const tools = Array.from({ length: 12 }, (_, i) => tool(i));
const headers = {
  'anthropic-version': '2023-06-01', 'user-agent': 'agent/2.1.329 (external, cli)', 'x-app': 'cli', 'x-stainless-retry-count': '0',
  'anthropic-beta': 'oauth-2025-04-20,interleaved-thinking-2025-05-14,context-management-2025-06-27,fine-grained-tool-streaming-2025-05-14,prompt-caching-scope-2026-01-05',
};
const call = (s, messages, more = {}) => s.post('/v1/messages?beta=true', {
  model: s.model, max_tokens: 32000, stream: true, system, tools, messages, temperature: 0, metadata: { user_id: 'user_1_account__session_2' },
  thinking: { type: 'adaptive' }, context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] }, output_config: { effort: 'high' },
  stop_sequences: ['.'], ...more, // so that it ends within a sentence
}, headers);
const first = [
  { role: 'user', content: [{ type: 'text', text: '<system-reminder>Today is a day.</system-reminder>' }, { type: 'text', text: 'Fix the bug in the parser, please', ...cached }] },
  { role: 'system', content: [{ type: 'text', text: 'The working directory is /src.' }] },
];

const read = r => {
  assert.equal(r.status, 200, r.text.slice(0, 500));
  const events = sseEvents(r.text).map(e => JSON.parse(e.data));
  assert.equal(events.at(-1).type, 'message_stop');
  return {
    usage: events.find(e => e.type === 'message_start').message.usage, end: events.find(e => e.type === 'message_delta'),
    text: events.filter(e => e.delta?.type === 'text_delta').map(e => e.delta.text).join(''),
  };
};
const inputOf = u => u.input_tokens + u.cache_read_input_tokens + u.cache_creation_input_tokens;

test('an agent\'s two turns over the Anthropic dialect', async s => {
  const bytes = JSON.stringify({ system, tools, first }).length;
  assert(bytes > 48000, `the body has ${bytes} bytes`);
  const one = read(await call(s, first));
  assert(one.end.usage.output_tokens > 0);
  const second = [...first, { role: 'assistant', content: [{ type: 'text', text: one.text || 'Well' }] },
    { role: 'user', content: [{ type: 'text', text: 'Go on', ...cached }] }];
  const two = read(await call(s, second));
  const share = two.usage.cache_read_input_tokens / inputOf(one.usage);
  console.log(`     · ${bytes} bytes, ${inputOf(one.usage)} tokens; the second turn reads ${(100 * share).toFixed(1)} % of them from the cache`);
  assert(share >= 0.95, JSON.stringify([one.usage, two.usage]));
}, 120000);

test('the same over the OpenAI dialect', async s => {
  const ask = messages => s.openai.chat.completions.create({
    model: s.model, max_tokens: 32000, temperature: 0, stop: '.', tools: tools.map(({ name, description, input_schema: parameters }) => ({ type: 'function', function: { name, description, parameters } })),
    messages: [{ role: 'system', content: system.map(b => b.text).join('\n') }, ...messages],
  });
  const one = await ask([{ role: 'user', content: 'Fix it' }]);
  const two = await ask([{ role: 'user', content: 'Fix it' }, { role: 'assistant', content: one.choices[0].message.content || 'Well' }, { role: 'user', content: 'Go on' }]);
  assert(two.usage.prompt_tokens_details.cached_tokens >= 0.95 * one.usage.prompt_tokens, JSON.stringify([one.usage, two.usage]));
}, 120000);

test('tools of an agent can be enforced', async s => {
  const r = await s.post('/v1/messages', {
    model: s.model, max_tokens: 400, messages: first.slice(0, 1), tools, tool_choice: { type: 'tool', name: 'grep' },
  }, headers);
  assert.equal(r.status, 200, r.text);
  const use = r.json.content.find(c => c.type === 'tool_use');
  assert.equal(use.name, 'grep');
}, 120000);

test('max_tokens beyond the context is no reason to refuse', async s => {
  for (const max_tokens of [32000, 64000, 128000]) {
    const r = await s.post('/v1/messages', { model: s.model, max_tokens, messages: [{ role: 'user', content: 'Hi' }], stop_sequences: ['.', ' '], stream: true }, headers);
    assert.equal(r.status, 200, `${max_tokens}: ${r.text}`);
  }
}, 120000);

await main('-c', '65536', '--parallel', '2');
