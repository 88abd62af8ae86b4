// node kl.mjs --model FILE --ours FILE.bin [--tokens FILE.json] [--threads N] [--max-mean-kl X] [--min-agreement X]
// KL(peer || ours) of models too big for recorded facts: the peer's rows are made here and met one by one with ours, which are
// bare float32 rows as `plimsoll bench --token-file T --logits FILE.bin` writes them (then --tokens T), or a PLIMLOGP file.
// Prints one JSON line; exit status 1 beyond the thresholds.
import {parseArgs} from "node:util";
import {command, feed, logProbabilities, openPeer, readTokens, topTokens} from "./peer.mjs";
import {openRows, sha256} from "./logp.mjs";

const CLEAR_GAP = 1e-2; // positions whose top two are closer than this say nothing about the top token

await command(async () => {
    const {values: o} = parseArgs({options: {
        model: {type: "string"}, ours: {type: "string"}, tokens: {type: "string"}, threads: {type: "string", default: "2"},
        "max-mean-kl": {type: "string", default: "1e-3"}, "min-agreement": {type: "string", default: "0.99"}
    }});
    if (!o.model || !o.ours) throw new Error("--model FILE --ours FILE.bin are needed");
    const tokens = o.tokens ? readTokens(o.tokens) : openRows(o.ours).tokens;
    const peer = await openPeer({model: o.model, contextSize: tokens.length + 1, threads: Number(o.threads)});
    let ours = null, sum = 0, most = 0, clear = 0, same = 0;
    const meet = (i, row) => {
        ours ??= openRows(o.ours, {tokens, vocab: row.length});
        if (ours.vocab !== row.length || ours.positions !== tokens.length) throw new Error(`${o.ours}: other shape than the peer's`);
        if (ours.modelHash && i === 0 && !ours.modelHash.equals(sha256(o.model))) throw new Error(`${o.ours}: of another model file`);
        const p = logProbabilities(row), q = logProbabilities(ours.row(i));
        let kl = 0;
        for (let v = 0; v < p.length; v++) if (p[v] > -Infinity) kl += Math.exp(p[v]) * (p[v] - q[v]);
        if (Number.isNaN(kl)) kl = Infinity; // a NaN of ours must not pass
        sum += kl;
        most = Math.max(most, kl);
        const [best, second] = topTokens(p, 2);
        if (p[best] - p[second] <= CLEAR_GAP) return;
        clear++;
        if (topTokens(q, 1)[0] === best) same++;
    };
    await feed(peer, tokens, meet);
    const mean = sum / tokens.length, agreement = clear ? same / clear : 1;
    const ok = mean <= Number(o["max-mean-kl"]) && agreement >= Number(o["min-agreement"]);
    console.log(JSON.stringify({model: o.model, positions: tokens.length, mean_kl: mean, max_kl: most, clear_positions: clear,
        agreement, ok}));
    await peer.close();
    if (!ok) process.exitCode = 1;
});
