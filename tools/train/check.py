"""Read the GGUF back and run it in numpy float32: perplexity of the held-out text, and a greedy sample.

Independent of torch and of model.py: it sees only what the file says.
"""
import argparse
import struct

import numpy as np

from tokenizer import Tokenizer

SIZES = {0: ("<B", 1), 1: ("<b", 1), 4: ("<I", 4), 5: ("<i", 4), 6: ("<f", 4), 7: ("<?", 1), 10: ("<Q", 8)}


def load(path):
    blob = open(path, "rb").read()
    at = 24

    def take(fmt, n):
        nonlocal at
        at += n
        return struct.unpack_from(fmt, blob, at - n)[0]

    def text():
        nonlocal at
        n = take("<Q", 8)
        at += n
        return blob[at - n:at].decode("utf-8")

    def val(kind):
        if kind == 8:
            return text()
        if kind == 9:
            k, n = take("<I", 4), take("<Q", 8)
            return [val(k) for _ in range(n)]
        return take(*SIZES[kind])

    n_tensors, n_kv = struct.unpack_from("<QQ", blob, 8)
    kv = {}
    for _ in range(n_kv):
        k = text()
        kv[k] = val(take("<I", 4))
    infos = []
    for _ in range(n_tensors):
        name, nd = text(), take("<I", 4)
        shape = [take("<Q", 8) for _ in range(nd)][::-1]
        infos.append((name, shape, take("<I", 4), take("<Q", 8)))
    base = (at + 31) // 32 * 32
    w = {}
    for name, shape, kind, off in infos:
        count = int(np.prod(shape))
        if kind == 0:
            w[name] = np.frombuffer(blob, "<f4", count, base + off).reshape(shape)
        else:
            raw = np.frombuffer(blob, np.uint8, count // 32 * 34, base + off).reshape(-1, 34)
            d = raw[:, :2].copy().view("<f2").astype(np.float32)
            w[name] = (raw[:, 2:].copy().view(np.int8) * d).astype(np.float32).reshape(shape)
    return kv, w


def forward(kv, w, ids):
    n, heads, kvh = len(ids), kv["llama.attention.head_count"], kv["llama.attention.head_count_kv"]
    eps, dim = kv["llama.attention.layer_norm_rms_epsilon"], kv["llama.rope.dimension_count"]
    ang = np.outer(np.arange(n), kv["llama.rope.freq_base"] ** (-np.arange(0, dim, 2) / dim))
    cos, sin = np.cos(ang)[:, None].astype(np.float32), np.sin(ang)[:, None].astype(np.float32)

    def norm(x, g):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * g

    def rope(x):
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack((a * cos - b * sin, a * sin + b * cos), -1).reshape(x.shape)

    x = w["token_embd.weight"][ids]
    mask = np.triu(np.full((n, n), -np.inf, np.float32), 1)
    for i in range(kv["llama.block_count"]):
        g = lambda s: w["blk.%d.%s.weight" % (i, s)]
        h = norm(x, g("attn_norm"))
        q = rope((h @ g("attn_q").T).reshape(n, heads, dim))
        k = rope((h @ g("attn_k").T).reshape(n, kvh, dim))
        v = (h @ g("attn_v").T).reshape(n, kvh, dim)
        out = []
        for j in range(heads):
            s = q[:, j] @ k[:, j * kvh // heads].T / np.sqrt(dim) + mask
            p = np.exp(s - s.max(-1, keepdims=True))
            out.append(p / p.sum(-1, keepdims=True) @ v[:, j * kvh // heads])
        x = x + np.concatenate(out, -1) @ g("attn_output").T
        h = norm(x, g("ffn_norm"))
        a = h @ g("ffn_gate").T
        x = x + (a / (1 + np.exp(-a)) * (h @ g("ffn_up").T)) @ g("ffn_down").T
    return norm(x, w["output_norm.weight"]) @ w["token_embd.weight"].T


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("model")
    ap.add_argument("text")
    ap.add_argument("--window", type=int, default=512)
    ap.add_argument("--windows", type=int, default=16)
    args = ap.parse_args()
    kv, w = load(args.model)
    tok = Tokenizer({"tokens": kv["tokenizer.ggml.tokens"], "scores": kv["tokenizer.ggml.scores"], "types": kv["tokenizer.ggml.token_type"]})
    ids = []
    for story in open(args.text, encoding="utf-8").read().rstrip("\n").split("\n\n"):
        ids += tok.encode(story) + [2]
    print("tokens", len(ids))
    total = count = 0
    for i in range(0, min(len(ids) - 1, args.window * args.windows), args.window):
        win = np.array(ids[i:i + args.window + 1])
        logits = forward(kv, w, win[:-1])
        top = logits.max(-1, keepdims=True)
        lse = np.log(np.exp(logits - top).sum(-1)) + top[:, 0]
        total += (lse - logits[np.arange(len(win) - 1), win[1:]]).sum()
        count += len(win) - 1
    print("loss %.4f perplexity %.3f over %d tokens" % (total / count, np.exp(total / count), count))
    for prompt in ("Once upon a time", "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"):
        ids = tok.encode(prompt)
        for _ in range(60):
            n = int(forward(kv, w, np.array(ids))[-1].argmax())
            if n == 2 or kv["tokenizer.ggml.tokens"][n] == "<|im_end|>":
                break
            ids.append(n)
        print(tok.decode(ids).strip())


if __name__ == "__main__":
    main()
