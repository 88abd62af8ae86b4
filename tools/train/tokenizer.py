"""A SentencePiece-style BPE: train it, and encode text exactly as GGUF's tokenizer model "llama" means it.

Encoding: blanks become U+2581, one is put before the text (and before the text after a control token), every
character starts as its own piece, and the neighbouring pair whose union is the best-scored piece is merged until
none is left; characters that are not pieces become byte tokens. No piece has U+2581 anywhere but in front,
and digits never merge, so text can be cut before blanks and at line ends and the parts kept in a table.
"""
import argparse
import collections
import json
import re

import numpy as np

BLANK = "\u2581"
SPECIAL = ["<|im_start|>", "<|im_end|>"]
FIRST = ["<unk>", "<s>", "</s>"]
PIECE = re.compile(r"\u2581?[A-Za-z']+|\u2581?[^A-Za-z0-9\u2581\n']+|[0-9]|\u2581|\n")
CHUNK = re.compile(r"\u2581?[^\u2581\n]+|\u2581|\n")
SPLIT = re.compile("(" + "|".join(re.escape(s) for s in SPECIAL) + ")")


def train(text, size):
    words = collections.Counter()
    for part in SPLIT.split(text):
        if part not in SPECIAL:
            words.update(PIECE.findall(BLANK + part.replace(" ", BLANK)))
    chars = sorted(set(chr(c) for c in range(33, 127)) | {BLANK})
    tokens = FIRST + ["<0x%02X>" % b for b in range(256)] + SPECIAL
    merges = size - len(tokens) - len(chars)
    seqs = [(list(w), n) for w, n in words.items() if w != "\n"]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for i, (s, n) in enumerate(seqs):
        for p in zip(s, s[1:]):
            pairs[p] += n
            where[p].add(i)
    pieces, known = [], set(chars)
    while len(pieces) < merges:
        pair = max(pairs, key=lambda p: (pairs[p], p))
        new = "".join(pair)
        for i in sorted(where[pair]):
            s, n = seqs[i]
            for p in zip(s, s[1:]):
                pairs[p] -= n
                if pairs[p] <= 0:
                    del pairs[p]
            j, out = 0, []
            while j < len(s):
                if j + 1 < len(s) and (s[j], s[j + 1]) == pair:
                    out.append(new)
                    j += 2
                else:
                    out.append(s[j])
                    j += 1
            seqs[i] = (out, n)
            for p in zip(out, out[1:]):
                pairs[p] += n
                where[p].add(i)
        if new not in known:
            known.add(new)
            pieces.append(new)
    scores = [0.0] * len(tokens) + [-float(i) for i in range(len(pieces))] + [-float(len(pieces) + i) for i in range(len(chars))]
    types = [2, 3, 3] + [6] * 256 + [3] * len(SPECIAL) + [1] * (len(pieces) + len(chars))
    return {"tokens": tokens + pieces + chars, "scores": scores, "types": types}


class Tokenizer:
    def __init__(self, vocab):
        self.tokens, self.scores, self.types = vocab["tokens"], vocab["scores"], vocab["types"]
        self.id = {t: i for i, t in enumerate(self.tokens)}
        self.normal = {t: -s for t, s, k in zip(self.tokens, self.scores, self.types) if k == 1}
        self.cache = {}

    def chunk(self, s):
        got = self.cache.get(s)
        if got is not None:
            return got
        p = list(s)
        while len(p) > 1:
            best, at = None, -1
            for i in range(len(p) - 1):
                r = self.normal.get(p[i] + p[i + 1])
                if r is not None and (best is None or r < best):
                    best, at = r, i
            if at < 0:
                break
            p[at:at + 2] = [p[at] + p[at + 1]]
        out = []
        for x in p:
            out += [self.id[x]] if x in self.normal else [3 + b for b in x.encode("utf-8")]
        self.cache[s] = out
        return out

    def encode(self, text, bos=True):
        out = [1] if bos else []
        for part in SPLIT.split(text):
            if part in SPECIAL:
                out.append(self.id[part])
            elif part:
                for c in CHUNK.findall(BLANK + part.replace(" ", BLANK)):
                    out += self.chunk(c)
        return out

    def decode(self, ids):
        b = bytearray()
        for i in ids:
            b += bytes([i - 3]) if self.types[i] == 6 else self.tokens[i].replace(BLANK, " ").encode() if self.types[i] == 1 else \
                self.tokens[i].encode() if self.tokens[i] in SPECIAL else b""
        return b.decode("utf-8", "replace")


def documents(path):
    with open(path, encoding="utf-8") as f:
        doc = []
        for line in f:
            if line == "<|end|>\n":
                yield "".join(doc)[:-1]
                doc = []
            else:
                doc.append(line)


def main():
    ap = argparse.ArgumentParser()
    sub = ap.add_subparsers(dest="what", required=True)
    t = sub.add_parser("train")
    t.add_argument("corpus")
    t.add_argument("vocab")
    t.add_argument("--size", type=int, default=2048)
    t.add_argument("--chars", type=int, default=8000000)
    e = sub.add_parser("encode")
    e.add_argument("corpus")
    e.add_argument("vocab")
    e.add_argument("out")
    args = ap.parse_args()
    if args.what == "train":
        with open(args.corpus, encoding="utf-8") as f:
            vocab = train(f.read(args.chars).replace("\n<|end|>\n", "\n"), args.size)
        with open(args.vocab, "w", encoding="utf-8") as f:
            json.dump(vocab, f, ensure_ascii=False)
        return
    with open(args.vocab, encoding="utf-8") as f:
        tok = Tokenizer(json.load(f))
    out, part = [], []
    for d in documents(args.corpus):
        part += tok.encode(d)
        part.append(2)
        if len(part) > 1000000:
            out.append(np.array(part, dtype=np.uint16))
            part = []
    out.append(np.array(part, dtype=np.uint16))
    data = np.concatenate(out)
    data.tofile(args.out)
    print(args.out, len(data), "tokens")


if __name__ == "__main__":
    main()
