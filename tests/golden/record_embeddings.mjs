// node record_embeddings.mjs ../../models/plimsoll-tiny.gguf
// Records embeddings.facts: the vectors that the peer makes of texts with the model that the binary carries, by each pooling.
// The peer pools as the file says: it is given copies that say so.
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";
import {aboutPeer, command, openPeer} from "../../bench/peer/peer.mjs";
import {sha256} from "../../bench/peer/logp.mjs";

const POOLINGS = {mean: 1, cls: 2, last: 3}; // llama.pooling_type
const TEXTS = [
    "The boat",
    "Once upon a time there was a small harbour by a cold sea.",
    "\"You are late,\" he said to the girl who jumped from the boat. \"The fish were many,\" she said, \"and the boat was heavy. " +
    "We had to throw half of them back, or the sea would have come in.\" The captain laughed and looked at the mark on the side " +
    "of the boat. \"That is why we paint a line there,\" he said."
];
const U32 = 4, STRING = 8, ALIGNMENT = 32;

const text = (s) => Buffer.concat([number(s.length, 8), Buffer.from(s, "latin1")]);
function number(value, bytes) {
    const b = Buffer.alloc(bytes);
    b.writeUInt32LE(value, 0);
    return b;
}

/** The file with one key more in front of the others, padded so that the tensors stay where they were aligned. */
function pooled(file, pooling) {
    const key = Buffer.concat([text("llama.pooling_type"), number(U32, 4), number(pooling, 4)]);
    const bare = Buffer.concat([text("x"), number(STRING, 4)]);
    const padding = (ALIGNMENT - (key.length + bare.length + 8) % ALIGNMENT) % ALIGNMENT;
    const header = Buffer.from(file.subarray(0, 24));
    header.writeBigUInt64LE(header.readBigUInt64LE(16) + 2n, 16);
    return Buffer.concat([header, key, bare, text(" ".repeat(padding)), file.subarray(24)]);
}

await command(async () => {
    const model = process.argv[2];
    if (!model) throw new Error("the model's path is needed");
    const directory = mkdtempSync(join(tmpdir(), "plimsoll-embeddings-")), lines = [];
    let about;
    try {
        for (const [name, pooling] of Object.entries(POOLINGS)) {
            const path = join(directory, `${name}.gguf`);
            writeFileSync(path, pooled(readFileSync(model), pooling));
            const peer = await openPeer({model: path, contextSize: 512});
            about = aboutPeer(peer);
            const context = await peer.model.createEmbeddingContext({contextSize: 512, batchSize: 512});
            for (const words of TEXTS) {
                const tokens = peer.model.tokenize(words);
                if (peer.model.tokens.shouldPrependBosToken) tokens.unshift(peer.model.tokens.bos);
                if (context.calculateInputLength(tokens) !== tokens.length) throw new Error("the peer adds tokens of its own");
                const {vector} = await context.getEmbeddingFor(tokens);
                lines.push(`${name} ${tokens.length} ${tokens.join(" ")}`, `${vector.length} ${vector.map((x) => x.toPrecision(6)).join(" ")}`);
            }
            await peer.close();
        }
    } finally {
        rmSync(directory, {recursive: true});
    }
    writeFileSync(new URL("embeddings.facts", import.meta.url),
        `# ${about.peer}, llama.cpp ${about.llama_cpp}, ${about.cpu}\n${sha256(model).toString("hex")}\n${lines.join("\n")}\n`);
});
