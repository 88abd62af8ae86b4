"""Writes GGUF files, right ones and wrong ones: every part can be replaced by whatever bytes a test wants."""
import math
import random
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SCALARS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
BLOCK = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2)}


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return string(v)
    if kind == ARRAY:
        item, items = v
        return struct.pack("<IQ", item, len(items)) + b"".join(value(item, i) for i in items)
    return struct.pack("<" + SCALARS[kind], v)


def key(name, kind, v):
    return string(name) + struct.pack("<I", kind) + value(kind, v)


class Raw:
    """Bytes in place of a key or a tensor's header."""

    def __init__(self, data):
        self.data = data


class Tensor:
    def __init__(self, name, dims, kind=0, offset=None, data=None):
        self.name, self.dims, self.kind, self.offset, self.data = name, list(dims), kind, offset, data

    def size(self):
        values, size = BLOCK[self.kind]
        return math.prod(self.dims) // values * size

    def header(self, offset):
        return string(self.name) + struct.pack("<I", len(self.dims)) + b"".join(struct.pack("<Q", d) for d in self.dims) + \
            struct.pack("<IQ", self.kind, offset if self.offset is None else self.offset)


class File:
    """keys: {name: (type, value)} or Raw; tensors: a list. What bytes() gives is complete."""

    def __init__(self):
        self.keys, self.tensors = {}, []
        self.magic, self.version, self.alignment = b"GGUF", 3, 32
        self.n_keys = self.n_tensors = None  # claims; None: the truth
        self.extra_keys = b""
        self.cut = None  # this many bytes only

    def tensor(self, name):
        return next(t for t in self.tensors if isinstance(t, Tensor) and t.name == name)

    def drop(self, name):
        self.tensors = [t for t in self.tensors if t.name != name]

    def bytes(self):
        keys = b"".join(k.data if isinstance(k, Raw) else key(name, *k) for name, k in self.keys.items()) + self.extra_keys
        headers, data = b"", b""
        for t in self.tensors:
            if isinstance(t, Raw):
                headers += t.data
                continue
            headers += t.header(len(data))
            content = t.data if t.data is not None else b""
            data += content + b"\0" * (-len(content) % self.alignment)
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_keys = len(self.keys) if self.n_keys is None else self.n_keys
        out = self.magic + struct.pack("<IQQ", self.version, n_tensors, n_keys) + keys + headers
        out += b"\0" * (-len(out) % self.alignment) + data
        return out if self.cut is None else out[:self.cut]

    def write(self, path):
        with open(path, "wb") as f:
            f.write(self.bytes())
        return path


def tiny_llama():
    """A valid model: 2 layers, 64 wide, 4 heads sharing 2, and a SentencePiece-style vocabulary of bytes and letters."""
    f = File()
    pieces = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + ["▁"] + list("abcdefghijklmnopqrstuvwxyz") + ["▁a", "th", "he", "in"]
    n = len(pieces)
    types = [2, 3, 3] + [6] * 256 + [1] * (n - 259)
    width, heads, kv_heads, ff, layers = 64, 4, 2, 128, 2
    f.keys = {
        "general.architecture": (STRING, "llama"), "general.name": (STRING, "tiny"),
        "llama.context_length": (U32, 256), "llama.embedding_length": (U32, width), "llama.block_count": (U32, layers),
        "llama.feed_forward_length": (U32, ff), "llama.attention.head_count": (U32, heads), "llama.attention.head_count_kv": (U32, kv_heads),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5), "llama.rope.dimension_count": (U32, width // heads), "llama.rope.freq_base": (F32, 10000.0),
        "tokenizer.ggml.model": (STRING, "llama"), "tokenizer.ggml.tokens": (ARRAY, (STRING, pieces)),
        "tokenizer.ggml.scores": (ARRAY, (F32, [-float(i) for i in range(n)])), "tokenizer.ggml.token_type": (ARRAY, (I32, types)),
        "tokenizer.ggml.bos_token_id": (U32, 1), "tokenizer.ggml.eos_token_id": (U32, 2), "tokenizer.ggml.unknown_token_id": (U32, 0),
    }
    r = random.Random(7)
    def add(name, *dims):
        count = math.prod(dims)
        numbers = [1.0] * count if "norm" in name else [r.gauss(0, 0.1) for _ in range(count)]
        f.tensors.append(Tensor(name, dims, 0, data=struct.pack("<%df" % count, *numbers)))
    kv = width // heads * kv_heads
    add("token_embd.weight", width, n)
    add("output_norm.weight", width)
    for i in range(layers):
        for name, dims in (("attn_norm", (width,)), ("attn_q", (width, width)), ("attn_k", (width, kv)), ("attn_v", (width, kv)), ("attn_output", (width, width)),
                           ("ffn_norm", (width,)), ("ffn_gate", (width, ff)), ("ffn_up", (width, ff)), ("ffn_down", (ff, width))):
            add("blk.%d.%s.weight" % (i, name), *dims)
    return f
