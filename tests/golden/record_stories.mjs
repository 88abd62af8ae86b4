// node record_stories.mjs stories260K.gguf
// Records stories260K.json: what the peer says of a small trained model. README.md tells where the model comes from.
import {writeFileSync} from "node:fs";
import {aboutPeer, command, greedy, logProbabilities, openPeer, promptTokens} from "../../bench/peer/peer.mjs";
import {sha256} from "../../bench/peer/logp.mjs";

const PROMPT = "Once upon a time", GREEDY = 64, ROWS_AFTER_PROMPT = 16;

await command(async () => {
    const model = process.argv[2];
    if (!model) throw new Error("the model's path is needed");
    const peer = await openPeer({model, contextSize: 512});
    const prompt = promptTokens(peer, PROMPT), rows = [];
    const {tokens, gaps, text} = await greedy(peer, prompt, GREEDY, (i, row) => {
        if (i < prompt.length + ROWS_AFTER_PROMPT) rows.push(logProbabilities(row));
    });
    const facts = {
        about: {...aboutPeer(peer), kv: "f16", flash_attention: false, model_sha256: sha256(model).toString("hex")},
        prompt: PROMPT, prompt_tokens: prompt, greedy_tokens: tokens, greedy_text: text,
        greedy_gaps: gaps.map((gap) => +gap.toFixed(4)), n_vocab: rows[0].length
    };
    const lines = rows.map((row) => `    [${Array.from(row, (x) => +x.toFixed(5)).join(",")}]`);
    const head = JSON.stringify(facts, (_, v) => (Array.isArray(v) ? `@[${v.join(",")}]@` : v), 2).replaceAll(/"@|@"/g, "");
    writeFileSync(new URL("stories260K.json", import.meta.url),
        `${head.slice(0, -2)},\n  "logp": [\n${lines.join(",\n")}\n  ]\n}\n`);
    await peer.close();
});
