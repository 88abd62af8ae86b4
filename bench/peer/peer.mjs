// The peer: llama.cpp as npm's node-llama-cpp brings it, behind the few calls that the commands here need.
// Owns: how the peer is set up (CPU only, prebuilt, f16 KV) and what a model's rows mean.
// Used by: logits, greedy, speed and kl beside this file, and the recorders in tests/golden.
// Refuses: anything but Linux on x86-64, since only that binary is installed (package.json).
import {readFileSync} from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

export async function openPeer({model: modelPath, contextSize, threads = 2, flashAttention = false}) {
    const llama = await getLlama({
        gpu: false, build: "never", skipDownload: true, progressLogs: false, logLevel: LlamaLogLevel.error, maxThreads: threads
    });
    const beforeLoad = processMemory();
    const model = await llama.loadModel({modelPath});
    const context = await model.createContext({
        contextSize, batchSize: Math.min(contextSize, 512), threads: {ideal: threads, min: threads}, flashAttention,
        ignoreMemorySafetyChecks: true
    });
    const sequence = context.getSequence();
    return {llama, model, context, sequence, beforeLoad, close: () => llama.dispose()};
}

/** What recorded the facts, for their headings. */
export function aboutPeer(peer) {
    const own = JSON.parse(readFileSync(new URL("node_modules/node-llama-cpp/package.json", import.meta.url)));
    const cpu = /^model name\s*: (.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"));
    return {
        peer: `node-llama-cpp ${own.version}`, llama_cpp: peer.llama.llamaCppRelease.release,
        cpu: cpu ? cpu[1] : "unknown", features: peer.llama.systemInfo.trim()
    };
}

/**
 * Feeds the tokens in one go and calls onRow(position, logits) once for each, in order; logits is a Float32Array over the
 * whole vocabulary that is reused for the next. Rows come one by one: a vocabulary of 128,256 does not pile up.
 */
export async function feed(peer, tokens, onRow) {
    let row = null, failure = null, next = 0;
    const take = (index, output) => {
        const pairs = output.next.logits;
        delete output.next.logits; // or the library keeps every row until the end
        try {
            if (index !== next++) throw new Error(`row ${index} came where ${next - 1} was due`);
            row ??= new Float32Array(pairs.size);
            if (pairs.size !== row.length) throw new Error(`row ${index} has ${pairs.size} values, not ${row.length}`);
            for (const [token, logit] of pairs) row[token] = logit;
            onRow(index, row);
        } catch (error) {
            failure ??= error; // the library would print it and go on
        }
    };
    await peer.sequence.controlledEvaluate(tokens.map((token) => [token, {generateNext: {logits: true}}]), {onTokenResult: take});
    if (failure) throw failure;
    if (next !== tokens.length) throw new Error(`${next} rows for ${tokens.length} tokens`);
}

/** Token ids of a prompt as the peer begins a text with it. */
export function promptTokens(peer, text) {
    const tokens = peer.model.tokenize(text);
    return peer.model.tokens.shouldPrependBosToken ? [peer.model.tokens.bos, ...tokens] : tokens;
}

/** Greedy decoding: no penalties, no truncation. onRow sees the row that each token was chosen from. */
export async function greedy(peer, prompt, count, onRow = () => {}) {
    const tokens = [], gaps = [];
    let last, position = 0;
    const look = (_, row) => {
        const [best, second] = topTokens(row, 2);
        last = {token: best, gap: row[best] - row[second]};
        onRow(position++, row);
    };
    await feed(peer, prompt, look);
    while (tokens.length < count) {
        tokens.push(last.token);
        gaps.push(last.gap);
        if (peer.model.isEogToken(last.token) || tokens.length === count) break;
        await feed(peer, [last.token], look);
    }
    return {tokens, gaps, text: peer.model.detokenize(tokens, false, prompt)};
}

/** log p of a row of logits (or of log p themselves), in double precision. */
export function logProbabilities(row) {
    let most = -Infinity, sum = 0;
    for (const x of row) if (x > most) most = x;
    for (const x of row) sum += Math.exp(x - most);
    const total = most + Math.log(sum);
    return Float64Array.from(row, (x) => x - total);
}

export function topTokens(row, count) {
    const best = []; // count is small: insertion into a short list
    for (let token = 0; token < row.length; token++) {
        if (best.length === count && row[token] <= row[best[count - 1]]) continue;
        let at = best.length;
        while (at > 0 && row[best[at - 1]] < row[token]) at--;
        best.splice(at, 0, token);
        if (best.length > count) best.pop();
    }
    return best;
}

/** The kernel's figures for this process, in bytes. */
export function processMemory() {
    const status = readFileSync("/proc/self/status", "utf8");
    const bytes = (name) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
    return {rss_bytes: bytes("VmRSS"), anon_bytes: bytes("RssAnon"), file_bytes: bytes("RssFile"), peak_bytes: bytes("VmHWM")};
}

/** Token ids from a file: a JSON array, or an object with one under "tokens". */
export function readTokens(path) {
    const value = JSON.parse(readFileSync(path, "utf8"));
    const tokens = Array.isArray(value) ? value : value.tokens;
    if (!Array.isArray(tokens) || tokens.length === 0 || !tokens.every((t) => Number.isInteger(t) && t >= 0))
        throw new Error(`${path}: no array of token ids`);
    return tokens;
}

/** Runs a command's main; a failure is one line on stderr and exit status 1. */
export async function command(main) {
    try {
        await main();
    } catch (error) {
        console.error(`${process.argv[1]}: ${error.message}`);
        process.exitCode = 1;
    }
}
