// Token ids of llama.cpp (npm's node-llama-cpp) for given texts, as facts for tests/golden/vocab.
//
//   node tools/record_tokens.mjs VOCAB.gguf < texts.json > ids.json
//
// texts.json: ["text", …]. ids.json: [{"text": …, "special": [ids], "plain": [ids]}, …]: with control
// tokens parsed, and taken as plain text. node-llama-cpp must be resolvable from the working directory.
import fs from "node:fs";
import path from "node:path";
import {createRequire} from "node:module";

const require = createRequire(path.join(process.cwd(), "package.json"));
const {getLlama} = await import(require.resolve("node-llama-cpp"));
const texts = JSON.parse(fs.readFileSync(0, "utf8"));
const llama = await getLlama({gpu: false, logLevel: "disabled"});
const model = await llama.loadModel({modelPath: path.resolve(process.argv[2]), vocabOnly: true});
const facts = texts.map((text) => ({
    text, special: [...model.tokenize(text, true)], plain: [...model.tokenize(text, false)],
}));
fs.writeFileSync(1, JSON.stringify(facts) + "\n", {flag: "a"});
process.exit(0);
