// Calls with an argument per tag (Qwen Coder, GLM): each schema of tests/golden/schemas.json as a tool's argument, and as its parameters
// where it is of objects. Whatever the model says at temperature 1, the arguments that come back are JSON that ajv finds valid.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { Server, assert, main, test } from './lib.mjs';

const AT_ONCE = 4, MAX_TOKENS = 1000, LIMIT_MS = 240000;
const schemas = JSON.parse(fs.readFileSync(new URL('../golden/schemas.json', import.meta.url)));
const turns = words => `{% if tools %}{% for tool in tools %}{{ tool.function.name }}{% endfor %}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if false %}${words}{% endif %}<|im_start|>assistant\n`;
const families = {
  'Qwen Coder': turns('<tool_call>\n<function=f>\n<parameter=p>'),
  GLM: turns('<tool_call>f\n<arg_key>k</arg_key>'),
};

function validator(schema) {
  const ajv = new Ajv({ strict: false, allErrors: true, logger: false });
  addFormats(ajv);
  const { $schema, ...own } = schema;
  return ajv.compile(own);
}

// A reference of the whole finds its place when the whole is an argument.
const moved = s => JSON.parse(JSON.stringify(s, (key, v) => (key === '$ref' && /^#(\/|$)/.test(v) ? '#/properties/v' + v.slice(1) : v)));
const isOfObjects = s => s !== true && (s.type === 'object' || 'properties' in s);

// Every n-th of them.
function questions(n) {
  return schemas.flatMap(({ name, schema, endless }, i) => {
    if (i % n || endless || JSON.stringify(schema).includes('"$id"')) return []; // within an $id references are to that
    const whole = { type: 'object', properties: { v: moved(schema) }, required: ['v'], additionalProperties: false };
    const all = [{ name, parameters: whole }];
    if (isOfObjects(schema)) all.push({ name: name + ', as parameters', parameters: schema });
    return all;
  });
}

async function run(family, n) {
  const file = path.join(os.tmpdir(), `plimsoll-tags-${process.pid}.jinja`);
  fs.writeFileSync(file, families[family]);
  const s = await Server.start('--chat-template', file, '-c', '20000'), queue = questions(n), asked = queue.length, wrong = [];
  let whole = 0, cut = 0;
  const work = async () => {
    for (let q; (q = queue.pop());) {
      const r = await s.post('/v1/chat/completions', {
        model: s.model, messages: [{ role: 'user', content: 'Call it for ' + q.name }], temperature: 1, seed: q.name.length, max_tokens: MAX_TOKENS,
        tools: [{ type: 'function', function: { name: 'it', parameters: q.parameters } }], tool_choice: 'required',
      });
      const choice = r.json?.choices?.[0], text = choice?.message.tool_calls?.[0]?.function.arguments;
      if (choice?.finish_reason === 'length') { cut++; continue; }
      const valid = validator(q.parameters);
      let ok = false;
      try { ok = valid(JSON.parse(text)); } catch { /* not even JSON */ }
      if (ok) whole++;
      else wrong.push(`${q.name} (${choice?.finish_reason ?? r.status}): ${text?.slice(0, 200) ?? r.text.slice(0, 300)} ${JSON.stringify(valid.errors)?.slice(0, 160)}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  await s.stop?.();
  fs.rmSync(file);
  console.log(`# ${family}: ${whole} of ${whole + wrong.length} valid, ${cut} cut at ${MAX_TOKENS} tokens`);
  assert.deepEqual(wrong, []);
  assert(whole + cut === asked && cut < asked / 20);
}

test("Qwen Coder: arguments obey the tool's schema", () => run('Qwen Coder', 3), LIMIT_MS);
test("GLM: arguments obey the tool's schema", () => run('GLM', 5), LIMIT_MS);

await main();
