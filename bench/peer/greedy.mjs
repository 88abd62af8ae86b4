// node greedy.mjs --model FILE --prompt TEXT [-n N] [--threads N]
// Greedy decoding (temperature 0, no penalties) as one JSON object; gaps are top-two distances, in log p: a small one is where
// another implementation may rightly go another way.
import {parseArgs} from "node:util";
import {command, greedy, openPeer, promptTokens} from "./peer.mjs";

await command(async () => {
    const {values: o} = parseArgs({options: {
        model: {type: "string"}, prompt: {type: "string"}, count: {type: "string", short: "n", default: "64"},
        threads: {type: "string", default: "2"}
    }});
    if (!o.model || o.prompt === undefined) throw new Error("--model FILE --prompt TEXT are needed");
    const peer = await openPeer({model: o.model, contextSize: 2048, threads: Number(o.threads)});
    const prompt = promptTokens(peer, o.prompt);
    const {tokens, gaps, text} = await greedy(peer, prompt, Number(o.count));
    console.log(JSON.stringify({prompt: o.prompt, prompt_tokens: prompt, tokens, text, gaps: gaps.map((g) => +g.toFixed(4))}));
    await peer.close();
});
