// node record_forged.mjs FORGE [--shape NAME] [TYPE...]
// Records forged/TYPE.bin and forged/tokens.json: the peer's log-probabilities for forged models of every weight type;
// of another shape than golden forged/NAME-TYPE.bin.
// FORGE is the built program (build/forge). README.md describes the files; compare.py and the tests in C read them.
import {execFileSync} from "node:child_process";
import {mkdtempSync, rmSync, statSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {aboutPeer, command, feed, logProbabilities, openPeer} from "../../bench/peer/peer.mjs";
import {sha256, writeFixed} from "../../bench/peer/logp.mjs";

const TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"];
const GOLDEN = "golden", SEED = 1, POSITIONS = 256, VOCAB = 320, BOS = 1, FIRST_PLAIN = 3;

// BOS, then ids drawn from splitmix64 (seed 1).
function drawTokens() {
    const mask = (1n << 64n) - 1n, tokens = [BOS];
    let state = 1n;
    while (tokens.length < POSITIONS) {
        state = (state + 0x9e3779b97f4a7c15n) & mask;
        let z = state;
        z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
        z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
        z ^= z >> 31n;
        tokens.push(FIRST_PLAIN + Number(z % BigInt(VOCAB - FIRST_PLAIN)));
    }
    return tokens;
}

async function record(forge, shape, type, tokens, folder) {
    const model = join(folder, `${type}.gguf`), rows = [];
    execFileSync(forge, ["--shape", shape, "--type", type, "--seed", String(SEED), "-o", model], {stdio: ["ignore", "ignore", "inherit"]});
    const peer = await openPeer({model, contextSize: POSITIONS + 1});
    await feed(peer, tokens, (_, row) => rows.push(logProbabilities(row)));
    if (rows[0].length < VOCAB) throw new Error(`${type}: a vocabulary of ${rows[0].length}; ids up to ${VOCAB} are drawn`);
    const out = new URL(`forged/${shape === GOLDEN ? "" : `${shape}-`}${type}.bin`, import.meta.url).pathname;
    const error = writeFixed(out, tokens, rows, sha256(model));
    console.error(`${shape} ${type}: ${statSync(out).size} bytes, log p within ${error.toExponential(1)}`);
    const about = aboutPeer(peer);
    await peer.close();
    return about;
}

await command(async () => {
    const [forge, ...rest] = process.argv.slice(2);
    const [shape, types] = rest[0] === "--shape" ? [rest[1], rest.slice(2)] : [GOLDEN, rest];
    if (!forge) throw new Error("the path of forge is needed");
    const tokens = drawTokens(), folder = mkdtempSync(join(tmpdir(), "golden-"));
    let about;
    try {
        for (const type of types.length ? types : TYPES) about = await record(forge, shape, type, tokens, folder);
    } finally {
        rmSync(folder, {recursive: true});
    }
    const name = shape === GOLDEN ? "about" : shape;
    if (shape === GOLDEN) writeFileSync(new URL("forged/tokens.json", import.meta.url), `${JSON.stringify(tokens)}\n`);
    writeFileSync(new URL(`forged/${name}.json`, import.meta.url), `${JSON.stringify(
        {...about, kv: "f16", flash_attention: false, shape, seed: SEED}, null, 2)}\n`);
});
