// node record_embedded.mjs ../../models/plimsoll-tiny.gguf
// Records embedded.json and embedded.bin (all log-probabilities of the first positions): what the peer says of the model that the binary carries. To be run again whenever the model changes;
// the hash in the file tells whether it was.
import {writeFileSync} from "node:fs";
import {aboutPeer, command, feed, greedy, logProbabilities, openPeer, promptTokens, topTokens} from "../../bench/peer/peer.mjs";
import {sha256, writeFixed} from "../../bench/peer/logp.mjs";

const PROMPTS = ["Once upon a time", "The old captain", "In the morning"], GREEDY = 64;
const POSITIONS = 128, TOP = 20, FULL_POSITIONS = 64;
const TEXT = `Once upon a time there was a small harbour by a cold sea. Every morning the boats went out, and every evening they came
back. An old captain sat on the wall and counted them. One day a boat did not come back. The captain took a lamp and walked
down to the water. He waited all night, and the wind was loud. When the sun rose he saw a white sail, far away, coming slowly
home. "You are late," he said to the girl who jumped from the boat. "The fish were many," she said, "and the boat was heavy.
We had to throw half of them back, or the sea would have come in." The captain laughed and looked at the mark on the side of
the boat. "That is why we paint a line there," he said. "Never let the water rise above it, and you will always come home."`;

await command(async () => {
    const model = process.argv[2];
    if (!model) throw new Error("the model's path is needed");
    const open = () => openPeer({model, contextSize: 512});
    let peer = await open();
    const tokens = promptTokens(peer, TEXT.replaceAll("\n", " ")).slice(0, POSITIONS), rows = [], full = [];
    if (tokens.length < POSITIONS) throw new Error(`the text is ${tokens.length} tokens, ${POSITIONS} are needed`);
    await feed(peer, tokens, (_, row) => {
        const p = logProbabilities(row);
        if (full.length < FULL_POSITIONS) full.push(p);
        rows.push(topTokens(p, TOP).map((token) => [token, +p[token].toFixed(5)]));
    });
    writeFixed(new URL("embedded.bin", import.meta.url).pathname, tokens.slice(0, FULL_POSITIONS), full, sha256(model));
    const about = {...aboutPeer(peer), kv: "f16", flash_attention: false, model_sha256: sha256(model).toString("hex")};
    await peer.close();
    const greedies = [];
    for (const prompt of PROMPTS) {
        peer = await open();
        const ids = promptTokens(peer, prompt), {tokens: out, gaps, text} = await greedy(peer, ids, GREEDY);
        greedies.push({prompt, prompt_tokens: ids, greedy_tokens: out, greedy_text: text, greedy_gaps: gaps.map((g) => +g.toFixed(4))});
        await peer.close();
    }
    const list = (items) => `[\n    ${items.map((item) => JSON.stringify(item)).join(",\n    ")}\n  ]`;
    writeFileSync(new URL("embedded.json", import.meta.url),
        `{\n  "about": ${JSON.stringify(about)},\n  "greedy": ${list(greedies)},\n  "tokens": ${JSON.stringify(tokens)},\n` +
        `  "top": ${list(rows)}\n}\n`);
});
