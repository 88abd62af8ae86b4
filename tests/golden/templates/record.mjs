// Records what @huggingface/jinja makes of the templates and expressions here, as facts for the unit tests.
//   npm ci && node record.mjs [FOLDER]   FOLDER: more templates (*.jinja), recorded by their hash alone
//   node record.mjs --show TEMPLATE CONVERSATION [FOLDER]
// matrix.facts: a line for each template (its name and hash), then one for each conversation: its name, and "refused"
// or the hash and the length of what was rendered. expressions.facts: template, "=" or "!" (refused), what came out.
import { Template } from "@huggingface/jinja";
import fs from "node:fs";
import path from "node:path";
import { conversations } from "./conversations.mjs";
import { context, expressions } from "./expressions.mjs";

process.env.TZ = "UTC";
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor() {
    super(1700000000000); // the unit tests' now
  }
};

const here = path.dirname(new URL(import.meta.url).pathname);
const version = JSON.parse(fs.readFileSync(path.join(here, "node_modules/@huggingface/jinja/package.json"))).version;
const bytes = (text) => Buffer.from(text, "utf8");
function fnv(text) {
  let h = 0xcbf29ce484222325n;
  for (const b of bytes(text)) h = ((h ^ BigInt(b)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return h.toString(16).padStart(16, "0");
}
function render(source, given) {
  try {
    return new Template(source).render(given);
  } catch (e) {
    if (process.argv[2] === "--show") console.error(String(e));
    return null;
  }
}
// As tests/unit/text/facts.h reads it.
const escaped = (text) => text.replace(/[\x00-\x1f\\\x7f-\u009f]/g, (c) => [...bytes(c)].map((b) => "\\x" + b.toString(16).toUpperCase().padStart(2, "0")).join(""));

const show = process.argv[2] === "--show";
const folders = [here, ...process.argv.slice(show ? 5 : 2)];
const templates = folders.flatMap((folder) =>
  fs.readdirSync(folder).filter((f) => f.endsWith(".jinja")).sort()
    .map((f) => [path.basename(f, ".jinja"), fs.readFileSync(path.join(folder, f), "utf8")]))
  .filter(([name], i, all) => all.findIndex(([n]) => n === name) === i);

if (show) {
  const [, source] = templates.find(([name]) => name === process.argv[3]);
  process.stdout.write(render(source, conversations[process.argv[4]]) ?? "");
} else {
  fs.writeFileSync(path.join(here, "conversations.facts"), Object.entries(conversations).map(([name, given]) => `${name}\t${escaped(JSON.stringify(given))}\n`).join(""));
  const lines = [`# @huggingface/jinja ${version}`];
  for (const [name, source] of templates) {
    lines.push(`${name}\t${fnv(source)}`);
    for (const [conversation, given] of Object.entries(conversations)) {
      const out = render(source, given);
      lines.push(`\t${conversation}\t${out === null ? "refused" : `${fnv(out)}\t${bytes(out).length}`}`);
    }
  }
  fs.writeFileSync(path.join(here, "matrix.facts"), lines.join("\n") + "\n");
  const made = expressions.map((e) => [e, render(e, structuredClone(context))]);
  fs.writeFileSync(path.join(here, "expressions.facts"), `context\t${escaped(JSON.stringify(context))}\n` +
    made.map(([e, out]) => `${escaped(e)}\t${out === null ? "!" : "="}\t${escaped(out ?? "")}\n`).join(""));
  console.log(`${templates.length} templates, ${made.length} expressions (${made.filter(([, o]) => o === null).length} refused)`);
}
