// node speed.mjs --model FILE [--pp 512] [--tg 64] [--depth LIST] [--streams LIST] [--threads 2] [--reps R] [--flash-attention] [--json]
// The peer's speed, measured as `plimsoll bench` measures, test by test under the same names: time from the start of loading to
// the first token's logits (without what Node and the library take to start); prefill of pp random tokens from an empty
// context with the last one's logits; then tg single tokens, each with its logits and none sampled, after the prefill or after
// each depth; then tg tokens of many streams at once, each after 128. A warm-up before each, the median of R.
import {parseArgs} from "node:util";
import {statSync} from "node:fs";
import {command, openPeer, processMemory} from "./peer.mjs";

const PIECE = 512, STREAM_PROMPT = 128, WARM_TOKENS = 512;

// The library's own low-level context: no sampling, no bookkeeping in JavaScript, so nothing here slows the peer down.
async function decode(context, tokens, position, streams = 1) {
    context.initBatch(tokens.length * streams);
    for (let s = 0; s < streams; s++) context.addToBatch(s, position, tokens, Uint32Array.of(tokens.length - 1));
    await context.decodeBatch();
}

async function feed(context, tokens, from, to) {
    for (let at = from; at < to; at += PIECE) await decode(context, tokens.subarray(at, Math.min(at + PIECE, to)), at);
}

async function measure(test, reps) {
    const speeds = [];
    await test(true);
    for (let i = 0; i < reps; i++) speeds.push(await test(false));
    speeds.sort((a, b) => a - b);
    const round = (x) => +x.toFixed(3);
    return {tokens_per_s: round(speeds[reps >> 1]), min: round(speeds[0]), max: round(speeds.at(-1)), reps};
}

const rate = (count, start) => count * 1000 / (performance.now() - start);
const numbers = (text) => text ? text.split(",").map(Number) : [];

await command(async () => {
    const {values: o} = parseArgs({options: {
        model: {type: "string"}, pp: {type: "string", default: "512"}, tg: {type: "string", default: "64"},
        depth: {type: "string"}, streams: {type: "string"},
        threads: {type: "string", default: "2"}, reps: {type: "string", default: "3"},
        "flash-attention": {type: "boolean", default: false}, json: {type: "boolean", default: false}
    }});
    if (!o.model) throw new Error("--model FILE is needed");
    const pp = Number(o.pp), tg = Number(o.tg), threads = Number(o.threads), reps = Number(o.reps);
    const widths = numbers(o.streams), depths = o.depth ? numbers(o.depth) : [pp];
    if (![pp, tg, threads, reps, ...widths, ...depths].every((n) => Number.isInteger(n) && n >= 0) || !threads || !reps)
        throw new Error("numbers must be whole and above zero");
    const most = Math.max(pp, ...depths, widths.length ? STREAM_PROMPT : 0) + tg + 1;
    const peer = await openPeer({model: o.model, contextSize: Math.max(most, 256), threads,
        flashAttention: o["flash-attention"], sequences: Math.max(1, ...widths)});
    const context = peer.context._ctx, vocab = peer.model.fileInfo.metadata.tokenizer.ggml.tokens.length;
    context.setThreads(threads);
    const loaded = processMemory(); // of mapped weights, only what loading touched
    const tokens = Uint32Array.from({length: most}, (_, i) => (i * 2654435761 >>> 7) % vocab);
    const print = (test, figures) => {
        const now = processMemory();
        if (o.json) return console.log(JSON.stringify({peer: "llama.cpp", test, ...figures, model_bytes: statSync(o.model).size,
            rss_bytes: now.rss_bytes, peak_bytes: now.peak_bytes, loaded_bytes: loaded.rss_bytes,
            runtime_bytes: peer.beforeLoad.rss_bytes, threads, flash_attention: o["flash-attention"]}));
        if (figures.first_token_ms) return console.log(`${test.padEnd(12)} ${figures.first_token_ms.toFixed(0)} ms to the first token`);
        console.log(`${test.padEnd(12)} ${figures.tokens_per_s.toFixed(2)} tokens/s (${figures.min} - ${figures.max})`);
    };
    let have = 0; // tokens of sequence 0
    const goTo = async (n) => {
        context.removeTokenCellsFromSequence(0, Math.min(n, have), -1);
        await feed(context, tokens, Math.min(n, have), n);
        have = n;
    };

    await decode(context, tokens.subarray(0, 1), 0);
    print("load", {first_token_ms: performance.now() - peer.loadStart});
    have = 1;
    if (pp) print(`pp${pp}`, await measure(async (warmUp) => {
        await goTo(0);
        const count = warmUp ? Math.min(pp, WARM_TOKENS) : pp, start = performance.now();
        await goTo(count);
        return rate(count, start);
    }, reps));
    if (tg) for (const depth of depths) print(o.depth ? `tg${tg}@${depth}` : `tg${tg}`, await measure(async (warmUp) => {
        await goTo(depth);
        const count = warmUp ? Math.min(tg, 4) : tg, start = performance.now();
        for (let i = 0; i < count; i++) await decode(context, tokens.subarray(i, i + 1), depth + i);
        have = depth + count;
        return rate(count, start);
    }, reps));
    await goTo(0);
    for (let s = 0; tg && s < Math.max(0, ...widths); s++) {
        context.initBatch(STREAM_PROMPT);
        context.addToBatch(s, 0, tokens.subarray(0, STREAM_PROMPT), Uint32Array.of());
        await context.decodeBatch();
    }
    if (tg) for (const width of widths) print(`tg${tg}x${width}`, await measure(async (warmUp) => {
        for (let s = 0; s < width; s++) context.removeTokenCellsFromSequence(s, STREAM_PROMPT, -1);
        const count = warmUp ? Math.min(tg, 4) : tg, start = performance.now();
        for (let i = 0; i < count; i++) await decode(context, tokens.subarray(i, i + 1), STREAM_PROMPT + i, width);
        return rate(count * width, start);
    }, reps));
    await peer.close();
});
