// Structured output: each schema of tests/golden/schemas.json, five answers at temperature 1, all of them JSON that ajv finds valid.
import fs from 'node:fs';
import Ajv from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { Server, assert, main, test } from './lib.mjs';

const SAMPLES = 5, AT_ONCE = 4, MAX_TOKENS = 1000, LIMIT_MS = 240000;
const schemas = JSON.parse(fs.readFileSync(new URL('../golden/schemas.json', import.meta.url)));

function validator(schema) {
  const ajv = new Ajv({ strict: false, allErrors: true, logger: false });
  addFormats(ajv);
  const { $schema, ...own } = schema === true ? {} : schema; // drafts are one here
  return ajv.compile(own);
}

async function answer(s, name, schema, seed) {
  return (await s.openai.chat.completions.create({
    model: s.model, messages: [{ role: 'user', content: 'Tell me about ' + name }], temperature: 1, seed, max_tokens: MAX_TOKENS,
    response_format: { type: 'json_schema', json_schema: { name: 'it', schema } },
  })).choices[0];
}

test('every schema: what is answered is JSON, and valid', async s => {
  const queue = schemas.flatMap(({ name, schema, endless }) => {
    const valid = validator(schema);
    return Array.from({ length: endless ? 1 : SAMPLES }, (_, seed) => ({ name, schema, endless, valid, seed }));
  });
  let whole = 0, cut = 0;
  const wrong = [];
  const work = async () => {
    for (let q; (q = queue.pop());) {
      const choice = await answer(s, q.name, q.schema === true ? {} : q.schema, q.seed), text = choice.message.content;
      if (q.endless && choice.finish_reason === 'length') { cut++; continue; } // lists that a model may add to for ever
      let ok = false;
      try { ok = q.valid(JSON.parse(text)); } catch { /* not even JSON */ }
      if (ok) whole++;
      else wrong.push(`${q.name} (${choice.finish_reason}): ${text.slice(0, 200)} ${JSON.stringify(q.valid.errors)?.slice(0, 160)}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  console.log(`# ${whole} of ${whole + wrong.length} valid, ${cut} endless ones cut at ${MAX_TOKENS} tokens`);
  assert.deepEqual(wrong, []);
  assert(whole >= 200 * SAMPLES);
}, LIMIT_MS);

await main();
