// node logits.mjs --model FILE --tokens FILE.json --out FILE.bin [--threads N] [--one-by-one]
// log p of the next token over the whole vocabulary, after each token of a given list. --one-by-one decodes single tokens
// instead of a batch: the difference between both is the peer's own noise.
import {parseArgs} from "node:util";
import {command, feed, logProbabilities, openPeer, readTokens} from "./peer.mjs";
import {floatWriter, sha256} from "./logp.mjs";

await command(async () => {
    const {values: o} = parseArgs({options: {
        model: {type: "string"}, tokens: {type: "string"}, out: {type: "string"}, threads: {type: "string", default: "2"},
        "one-by-one": {type: "boolean", default: false}
    }});
    if (!o.model || !o.tokens || !o.out) throw new Error("--model FILE --tokens FILE.json --out FILE.bin are needed");
    const tokens = readTokens(o.tokens), step = o["one-by-one"] ? 1 : 512;
    const peer = await openPeer({model: o.model, contextSize: tokens.length + 1, threads: Number(o.threads)});
    const out = floatWriter(o.out, tokens, sha256(o.model));
    for (let at = 0; at < tokens.length; at += step)
        await feed(peer, tokens.slice(at, at + step), (_, row) => out.row(logProbabilities(row)));
    out.close();
    await peer.close();
});
