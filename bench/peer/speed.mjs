// node speed.mjs --model FILE [--pp 512] [--tg 64] [--threads 2] [--reps R] [--flash-attention] [--json]
// The peer's speed, measured as `plimsoll bench` measures: prefill of pp random tokens from an empty context with the last one's
// logits; then, after those, tg single tokens, each with its logits and none sampled. A warm-up before each, the median of R.
import {parseArgs} from "node:util";
import {statSync} from "node:fs";
import {command, openPeer, processMemory} from "./peer.mjs";

// The library's own low-level context: no sampling, no bookkeeping in JavaScript, so nothing here slows the peer down.
async function decode(context, tokens, position) {
    context.initBatch(tokens.length);
    context.addToBatch(0, position, tokens, Uint32Array.of(tokens.length - 1));
    await context.decodeBatch();
}

async function prefill(context, tokens, piece) {
    context.removeTokenCellsFromSequence(0, 0, -1);
    const start = performance.now();
    for (let at = 0; at < tokens.length; at += piece) await decode(context, tokens.subarray(at, at + piece), at);
    return tokens.length * 1000 / (performance.now() - start);
}

async function generate(context, tokens, position) {
    context.removeTokenCellsFromSequence(0, position, -1);
    const start = performance.now();
    for (let i = 0; i < tokens.length; i++) await decode(context, tokens.subarray(i, i + 1), position + i);
    return tokens.length * 1000 / (performance.now() - start);
}

async function measure(test, reps) {
    const speeds = [];
    await test();
    for (let i = 0; i < reps; i++) speeds.push(await test());
    speeds.sort((a, b) => a - b);
    const round = (x) => +x.toFixed(3);
    return {tokens_per_s: round(speeds[reps >> 1]), min: round(speeds[0]), max: round(speeds.at(-1)), reps};
}

await command(async () => {
    const {values: o} = parseArgs({options: {
        model: {type: "string"}, pp: {type: "string", default: "512"}, tg: {type: "string", default: "64"},
        threads: {type: "string", default: "2"}, reps: {type: "string", default: "3"},
        "flash-attention": {type: "boolean", default: false}, json: {type: "boolean", default: false}
    }});
    if (!o.model) throw new Error("--model FILE is needed");
    const pp = Number(o.pp), tg = Number(o.tg), threads = Number(o.threads), reps = Number(o.reps);
    if (![pp, tg, threads, reps].every((n) => Number.isInteger(n) && n > 0)) throw new Error("numbers must be whole and above zero");
    const peer = await openPeer({model: o.model, contextSize: pp + tg + 1, threads, flashAttention: o["flash-attention"]});
    const context = peer.context._ctx, vocab = peer.model.fileInfo.metadata.tokenizer.ggml.tokens.length;
    context.setThreads(threads);
    const loaded = processMemory(); // of mapped weights, only what loading touched
    const tokens = Uint32Array.from({length: Math.max(pp, tg)}, (_, i) => (i * 2654435761 >>> 7) % vocab);
    const print = (test, figures) => {
        if (!o.json) return console.log(`${test.padEnd(8)} ${figures.tokens_per_s.toFixed(2)} tokens/s (${figures.min} - ${figures.max})`);
        const now = processMemory();
        console.log(JSON.stringify({peer: "llama.cpp", test, ...figures, model_bytes: statSync(o.model).size,
            rss_bytes: now.rss_bytes, peak_bytes: now.peak_bytes, loaded_bytes: loaded.rss_bytes,
            runtime_bytes: peer.beforeLoad.rss_bytes, threads, flash_attention: o["flash-attention"]}));
    };
    print(`pp${pp}`, await measure(() => prefill(context, tokens.subarray(0, pp), 512), reps));
    print(`tg${tg}`, await measure(() => generate(context, tokens.subarray(0, tg), pp), reps));
    await peer.close();
});
