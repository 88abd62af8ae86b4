#!/usr/bin/env python3
"""Writes what test vectors need of a vocabulary, so that tests run without the vocabulary itself.

    tools/record_vocab_facts.py VOCAB.gguf VECTORS.inp VECTORS.out [MORE.json] > tests/golden/vocab/NAME.facts

VECTORS.inp holds texts, each followed by a line "__ggml_vocab_test__"; VECTORS.out the ids of each, a line
per text. MORE.json comes from tools/record_tokens.mjs. Kept are the tokens that can occur inside the texts
(with id, type and score) and the merges among them; other ids stay holes, which no text can reach.

Lines: "set KEY VALUE", "token ID TYPE SCORE TEXT", "merge LEFT RIGHT", "plain TEXT IDS…" (control tokens are
plain text), "special TEXT IDS…" (control tokens are parsed). Fields are separated by tabs; in texts, blanks,
control characters and backslashes are written \\xNN.
"""
import json
import struct
import sys
import unicodedata

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
SEPARATOR = b"\n__ggml_vocab_test__\n"
IDS = ("bos", "eos", "eot", "unknown", "seperator", "padding", "cls", "mask")  # as GGUF spells them
FLAGS = ("add_bos_token", "add_eos_token", "add_space_prefix")


def read_metadata(path):
    data = open(path, "rb").read()
    at = 8

    def take(fmt):
        nonlocal at
        value = struct.unpack_from("<" + fmt, data, at)[0]
        at += struct.calcsize("<" + fmt)
        return value

    def value(kind):
        nonlocal at
        if kind == 8:
            n = take("Q")
            at += n
            return data[at - n:at]
        if kind == 9:
            item, n = take("I"), take("Q")
            return [value(item) for _ in range(n)]
        return take(SCALARS[kind])

    _, n_kvs = take("Q"), take("Q")
    out = {}
    for _ in range(n_kvs):
        key = value(8).decode()
        out[key] = value(take("I"))
    return out


def byte_letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


LETTERS = byte_letters()


def bert_words(text):
    folded = "".join(c for c in unicodedata.normalize("NFD", text.decode(errors="replace"))
                     if unicodedata.category(c) not in ("Mn", "Cf")).lower()
    word = ""
    for c in folded + " ":
        alone = unicodedata.category(c)[0] in "PS" or "\u3400" <= c <= "\u9fff"
        if alone or c.isspace():
            if word:
                yield word
            word = ""
        if alone:
            yield c
        elif not c.isspace():
            word += c


def reachable(model, texts):
    """All strings that a token made from the texts can be."""
    out = set()
    for text in texts:
        if model == "llama":
            stretches = ["\u2581" + text.decode(errors="replace").replace(" ", "\u2581")]
        elif model == "gpt2":
            stretches = ["".join(LETTERS[b] for b in text)]
        else:
            stretches = ["\u2581" + w for w in bert_words(text)]
        for s in stretches:
            for i in range(len(s)):
                for j in range(i + 1, min(len(s), i + 64) + 1):
                    out.add(s[i:j])
    return out


def escape(raw):
    text = raw.decode("utf-8", "surrogateescape")
    return "".join(c if c > " " and c not in "\\\x7f" and not 0xD800 <= ord(c) < 0xE000 and not c.isspace()
                   else "".join("\\x%02X" % b for b in c.encode("utf-8", "surrogateescape")) for c in text)


def main():
    kv = read_metadata(sys.argv[1])
    inputs = open(sys.argv[2], "rb").read().split(SEPARATOR)[:-1]
    ids = [[int(x) for x in line.split()] for line in open(sys.argv[3]).read().split("\n")[:-1]]
    assert len(inputs) == len(ids)
    cases = [("plain", text, want) for text, want in zip(inputs, ids)]
    if len(sys.argv) > 4:
        for fact in json.load(open(sys.argv[4])):
            cases += [(k, fact["text"].encode(), fact[k]) for k in ("plain", "special")]
    get = lambda key, default=None: kv.get("tokenizer.ggml." + key, default)
    model, tokens = get("model").decode(), get("tokens")
    types, scores = get("token_type") or [1] * len(tokens), get("scores") or [0.0] * len(tokens)
    texts = [text for _, text, _ in cases]
    keep = reachable(model, texts) | set(LETTERS.values())
    expected = {i for _, _, want in cases for i in want}

    print("set\tmodel\t" + model)
    print("set\tpre\t" + get("pre", b"").decode())
    print("set\tn_tokens\t%d" % len(tokens))
    for name in IDS:
        if get(name + "_token_id", 0xFFFFFFFF) != 0xFFFFFFFF:
            print("set\t%s\t%d" % (name, get(name + "_token_id")))
    for name in FLAGS:
        if get(name) is not None:
            print("set\t%s\t%d" % (name, get(name)))
    for i, (token, kind) in enumerate(zip(tokens, types)):
        special = kind in (2, 3, 4) and not token.startswith(b"[PAD1") and not token.startswith(b"[PAD3")
        if i in expected or special or kind == 6 or token.decode("utf-8", "replace") in keep:
            print("token\t%d\t%d\t%.9g\t%s" % (i, kind, scores[i], escape(token)))
    for merge in get("merges") or []:
        cut = merge.index(b" ", 1)
        if (merge[:cut] + merge[cut + 1:]).decode() in keep:
            print("merge\t%s\t%s" % (escape(merge[:cut]), escape(merge[cut + 1:])))
    for kind, text, want in cases:
        print("%s\t%s\t%s" % (kind, escape(text), " ".join(map(str, want))))


main()
