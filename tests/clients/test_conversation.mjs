// One conversation of six turns with tools, through three SDKs, streamed and not: each client keeps its own history, as
// applications do, and all of them are told the same.
import { assert, main, test } from './lib.mjs';

const parameters = {
  type: 'object', properties: { city: { type: 'string', enum: ['Rome', 'Oslo'] }, days: { type: 'integer', minimum: 1, maximum: 5 } },
  required: ['city', 'days'], additionalProperties: false,
};
const empty = { type: 'object', properties: {}, additionalProperties: false };
const tools = [{ name: 'get_weather', description: 'The weather of the next days.', parameters }, { name: 'now', description: 'What time it is.', parameters: empty }];
const maxTokens = 48;

// What is said to the model in each turn, and whether its answer has to be a call.
const script = [
  { say: 'What is the weather in Rome?', call: 'get_weather' },
  { result: '{"sky": "clear", "degrees": 21}' },
  { say: 'Tell me a story of that day. “Ça va?” 🐈' },
  { say: 'And what time is it now?', call: 'any' },
  { result: '12:30' },
  { say: 'Thank you. Good bye!' },
];

// Each takes the turn's input, returns { text, calls: [{ name, input }] } and keeps its history.
class OpenAIClient {
  constructor(s, stream) { Object.assign(this, { s, stream, history: [{ role: 'system', content: 'You are a helpful friend.' }] }); }
  async turn({ say, result, call }) {
    if (say) this.history.push({ role: 'user', content: say });
    for (const c of result ? this.calls : []) this.history.push({ role: 'tool', tool_call_id: c.id, content: result });
    const ask = {
      model: this.s.model, messages: this.history, temperature: 0, max_tokens: maxTokens, tools: tools.map(t => ({ type: 'function', function: t })),
      tool_choice: !call ? 'none' : call === 'any' ? 'required' : { type: 'function', function: { name: call } }, parallel_tool_calls: false,
    };
    const api = this.s.openai.chat.completions;
    const r = this.stream ? await api.stream(ask).finalChatCompletion() : await api.create(ask), m = r.choices[0].message;
    this.history.push({ role: 'assistant', content: m.content, ...(m.tool_calls?.length ? { tool_calls: m.tool_calls.map(({ id, type, function: f }) => ({ id, type, function: { name: f.name, arguments: f.arguments } })) } : {}) });
    this.calls = m.tool_calls ?? [];
    return { text: m.content ?? '', calls: this.calls.map(c => ({ name: c.function.name, input: JSON.parse(c.function.arguments) })) };
  }
}

class AnthropicClient {
  constructor(s, stream) { Object.assign(this, { s, stream, history: [] }); }
  async turn({ say, result, call }) {
    this.history.push({ role: 'user', content: say ?? this.calls.map(c => ({ type: 'tool_result', tool_use_id: c.id, content: result })) });
    const ask = {
      model: this.s.model, system: 'You are a helpful friend.', messages: this.history, temperature: 0, max_tokens: maxTokens,
      tools: tools.map(({ name, description, parameters: input_schema }) => ({ name, description, input_schema })),
      tool_choice: !call ? { type: 'none' } : call === 'any' ? { type: 'any', disable_parallel_tool_use: true } : { type: 'tool', name: call, disable_parallel_tool_use: true },
    };
    const r = this.stream ? await this.s.anthropic.messages.stream(ask).finalMessage() : await this.s.anthropic.messages.create(ask);
    this.history.push({ role: 'assistant', content: r.content });
    this.calls = r.content.filter(c => c.type === 'tool_use');
    return { text: r.content.filter(c => c.type === 'text').map(c => c.text).join(''), calls: this.calls.map(({ name, input }) => ({ name, input })) };
  }
}

// Its dialect has no tool_choice; ours goes along as an extension.
class OllamaClient {
  constructor(s, stream) { Object.assign(this, { s, stream, history: [{ role: 'system', content: 'You are a helpful friend.' }] }); }
  async turn({ say, result, call }) {
    if (say) this.history.push({ role: 'user', content: say });
    for (const c of result ? this.calls : []) this.history.push({ role: 'tool', tool_name: c.function.name, content: result });
    const ask = {
      model: this.s.model, messages: this.history, options: { temperature: 0, num_predict: maxTokens }, tools: tools.map(t => ({ type: 'function', function: t })),
      tool_choice: !call ? 'none' : call === 'any' ? 'required' : { type: 'function', function: { name: call } }, parallel_tool_calls: false,
    };
    let m = { role: 'assistant', content: '' };
    if (this.stream) {
      for await (const part of await this.s.ollama.chat({ ...ask, stream: true })) {
        m.content += part.message.content;
        if (part.message.tool_calls) m.tool_calls = [...m.tool_calls ?? [], ...part.message.tool_calls];
      }
    } else m = (await this.s.ollama.chat(ask)).message;
    this.history.push(m);
    this.calls = m.tool_calls ?? [];
    return { text: m.content, calls: this.calls.map(c => ({ name: c.function.name, input: c.function.arguments })) };
  }
}

let wanted;
for (const [name, Client] of Object.entries({ openai: OpenAIClient, anthropic: AnthropicClient, ollama: OllamaClient })) {
  for (const stream of [false, true]) test(`six turns through ${name}${stream ? ', streamed' : ''}`, async s => {
    const client = new Client(s, stream), turns = [];
    for (const input of script) {
      const got = await client.turn(input);
      assert.equal(got.calls.length, input.call ? 1 : 0, JSON.stringify({ input, got }));
      if (input.call && input.call !== 'any') assert.equal(got.calls[0].name, input.call);
      turns.push(got);
    }
    wanted ??= turns;
    assert.deepEqual(turns, wanted);
  });
}

await main();
