"""A model file that is not what it claims to be: one line that names it and says why, exit 2, at once, and no memory.

Each case starts from a valid model and breaks one thing. Structural ones break the container, so that every command
refuses them; the others are well-formed files of which no model can be made."""
import struct

import gguf
from gguf import ARRAY, BOOL, F32, F64, I32, I64, STRING, U32, U64, Raw, Tensor
from harness import *

structural, semantic = [], []


def case(of):
    def add(f):
        of.append(f)
        return f
    return add


def breaks(of, name, change):
    change.__name__ = name
    of.append(change)


def set_key(name, kind, v):
    def change(f):
        f.keys[name] = (kind, v)
    return change


def claims(f, n_keys=None, n_tensors=None):
    f.n_keys, f.n_tensors = n_keys, n_tensors


def without(name):
    def change(f):
        del f.keys[name]
    return change


def raw_key(data):
    def change(f):
        f.keys["raw"] = Raw(data)
    return change


def tensor(which, **fields):
    def change(f):
        for k, v in fields.items():
            setattr(f.tensor(which), k, v)
    return change


S, K = gguf.string, "a.key"
MAX64, TOP = (1 << 64) - 1, 1 << 63
W = "blk.0.attn_q.weight"

# ---- the container ----
breaks(structural, "empty_file", lambda f: setattr(f, "cut", 0))
breaks(structural, "only_the_magic", lambda f: setattr(f, "cut", 4))
breaks(structural, "half_a_magic", lambda f: setattr(f, "cut", 3))
breaks(structural, "header_cut", lambda f: setattr(f, "cut", 20))
breaks(structural, "another_magic", lambda f: setattr(f, "magic", b"GGML"))
for v in (0, 1, 4, 0x03000000, (1 << 32) - 1):
    breaks(structural, "version_%d" % v, lambda f, v=v: setattr(f, "version", v))
for n in (1000, 1 << 32, TOP, MAX64):
    breaks(structural, "claims_%d_keys" % n, lambda f, n=n: claims(f, n_keys=n))
    breaks(structural, "claims_%d_tensors" % n, lambda f, n=n: claims(f, n_tensors=n))
breaks(structural, "counts_whose_product_wraps", lambda f: claims(f, (1 << 60) + 1, (1 << 60) + 1))
for n in (1000000, 1 << 31, TOP, MAX64, MAX64 - 7):
    breaks(structural, "key_of_%d_bytes" % n, raw_key(struct.pack("<Q", n) + b"abc"))
    breaks(structural, "string_of_%d_bytes" % n, raw_key(S(K) + struct.pack("<IQ", STRING, n) + b"abc"))
    breaks(structural, "array_of_%d_u32" % n, raw_key(S(K) + struct.pack("<IIQ", ARRAY, U32, n) + b"abcdefgh"))
    breaks(structural, "array_of_%d_strings" % n, raw_key(S(K) + struct.pack("<IIQ", ARRAY, STRING, n) + b"abcdefgh"))
    breaks(structural, "tensor_name_of_%d_bytes" % n, lambda f, n=n: f.tensors.insert(0, Raw(struct.pack("<Q", n) + b"abc")))
breaks(structural, "string_in_array_of_2_64_bytes", raw_key(S(K) + struct.pack("<IIQ", ARRAY, STRING, 2) + S("a") + struct.pack("<Q", MAX64)))
breaks(structural, "empty_key", raw_key(S("") + struct.pack("<II", U32, 1)))
breaks(structural, "key_is_not_utf8", raw_key(S(b"\xff\xfe") + struct.pack("<II", U32, 1)))
breaks(structural, "key_with_newline", raw_key(S("a\nplimsoll: all is well") + struct.pack("<II", U32, 1)))
breaks(structural, "key_type_13", raw_key(S(K) + struct.pack("<II", 13, 1)))
breaks(structural, "key_type_2_32", raw_key(S(K) + struct.pack("<II", (1 << 32) - 1, 1)))
breaks(structural, "array_of_arrays", raw_key(S(K) + struct.pack("<IIQ", ARRAY, ARRAY, 1) + struct.pack("<IQI", U32, 1, 1)))
breaks(structural, "array_of_type_99", raw_key(S(K) + struct.pack("<IIQ", ARRAY, 99, 1) + b"abcd"))
breaks(structural, "deeply_nested_arrays", raw_key(S(K) + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 100000))
breaks(structural, "bool_of_2", raw_key(S(K) + struct.pack("<IB", BOOL, 2)))
breaks(structural, "duplicate_key", lambda f: (setattr(f, "extra_keys", gguf.key("general.name", STRING, "again")), claims(f, len(f.keys) + 1)))
breaks(structural, "duplicate_tensor", lambda f: f.tensors.append(Tensor(W, [64, 64], data=b"\0" * 16384)))
for n in (0, 5, 255, (1 << 32) - 1):
    breaks(structural, "tensor_of_%d_dimensions" % n, lambda f, n=n: f.tensors.insert(0, Raw(S("x") + struct.pack("<I", n) + struct.pack("<Q", 1) * min(n, 6) + struct.pack("<IQ", 0, 0))))
breaks(structural, "zero_dimension", tensor(W, dims=[64, 0]))
breaks(structural, "zero_first_dimension", tensor(W, dims=[0, 64]))
breaks(structural, "dimensions_that_wrap", tensor(W, dims=[1 << 32, 1 << 32]))
breaks(structural, "dimensions_that_wrap_to_few", tensor(W, dims=[1 << 32, 1 << 31, 2, 1]))
breaks(structural, "bytes_that_wrap", tensor(W, dims=[1 << 62, 1]))
breaks(structural, "inflated_dimensions", tensor(W, dims=[64, 6400000]))
breaks(structural, "dimension_of_2_63", tensor(W, dims=[TOP, 1]))
breaks(structural, "rows_no_multiple_of_the_block", tensor("blk.0.ffn_up.weight", kind=2, dims=[33, 64]))
for n in (4, 5, 99, 255, (1 << 32) - 1):
    breaks(structural, "tensor_type_%d" % n, tensor(W, kind=n))
for n in (16, 1, MAX64, MAX64 - 31, TOP, 1 << 40):
    breaks(structural, "tensor_offset_%d" % n, tensor(W, offset=n))
breaks(structural, "overlapping_tensors", tensor("blk.1.ffn_down.weight", offset=0))
breaks(structural, "empty_tensor_name", tensor(W, name=""))
breaks(structural, "tensor_name_with_escape", tensor(W, name="\x1b[2J"))
for n in (0, 3, 1, 1 << 30, 1 << 31, (1 << 32) - 1):
    breaks(structural, "alignment_%d" % n, set_key("general.alignment", U32, n))
breaks(structural, "alignment_is_text", set_key("general.alignment", STRING, "32"))
breaks(structural, "alignment_is_negative", set_key("general.alignment", I32, -32))


@case(structural)
def forty_three_bytes_with_an_array_of_2_63(f):
    f.keys, f.tensors = {"raw": Raw(S("a") + struct.pack("<IIQ", ARRAY, 0, TOP))}, []
    f.cut = 43


for part in (0.02, 0.3, 0.6, 0.95):
    def cut_at(f, part=part):
        f.cut = int(len(f.bytes()) * part)
    breaks(structural, "cut_at_%d_percent" % (part * 100), cut_at)
breaks(structural, "last_byte_missing", lambda f: setattr(f, "cut", len(f.bytes()) - 1))


# ---- the model ----
for name in ("general.architecture", "llama.context_length", "llama.embedding_length", "llama.block_count", "llama.feed_forward_length", "llama.attention.head_count",
             "tokenizer.ggml.model", "tokenizer.ggml.tokens"):
    breaks(semantic, "missing_" + name, without(name))
    breaks(semantic, "wrong_type_" + name, set_key(name, ARRAY, (F32, [1.0])))
for name in ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv"):
    for kind, n in ((U32, 0), (I32, -1), (I64, -(1 << 63)), (U64, MAX64), (U32, (1 << 32) - 1), (F32, 2.0), (STRING, "2"), (BOOL, 1)):
        if not (name == "context_length" and n in (MAX64, (1 << 32) - 1) and False):
            breaks(semantic, "%s_is_%s_of_type_%d" % (name, n, kind), set_key("llama." + name, kind, n))
for name, n in (("attention.head_count", 3), ("attention.head_count", 5), ("attention.head_count", 64), ("attention.head_count_kv", 3), ("attention.head_count_kv", 8), ("block_count", 3),
                ("block_count", 1 << 20), ("embedding_length", 63), ("embedding_length", 128), ("feed_forward_length", 129), ("attention.key_length", 15), ("attention.key_length", 1 << 20),
                ("attention.value_length", 0), ("rope.dimension_count", 0), ("rope.dimension_count", 15), ("rope.dimension_count", 17), ("rope.dimension_count", 1 << 30),
                ("expert_count", 8), ("expert_count", 1 << 20)):
    breaks(semantic, "%s_of_%d" % (name, n), set_key("llama." + name, U32, n))
for name in ("attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.scaling.factor"):
    for text, n in (("nan", float("nan")), ("inf", float("inf")), ("negative", -1.0)):
        breaks(semantic, "%s_%s" % (name, text), set_key("llama." + name, F32, n))
breaks(semantic, "rope_base_1e300", set_key("llama.rope.freq_base", F64, 1e300))
breaks(semantic, "rope_base_0", set_key("llama.rope.freq_base", F32, 0.0))
breaks(semantic, "rope_scaling_unknown", set_key("llama.rope.scaling.type", STRING, "sideways"))
breaks(semantic, "unknown_architecture", set_key("general.architecture", STRING, "ornithopter"))
breaks(semantic, "empty_architecture", set_key("general.architecture", STRING, ""))
breaks(semantic, "architecture_of_a_megabyte", set_key("general.architecture", STRING, "x" * (1 << 20)))
breaks(semantic, "architecture_with_newlines", set_key("general.architecture", STRING, "a\nb\x1b[2J"))
breaks(semantic, "unknown_tokenizer", set_key("tokenizer.ggml.model", STRING, "morse"))
breaks(semantic, "unknown_pre_tokenizer", lambda f: (set_key("tokenizer.ggml.model", STRING, "gpt2")(f), set_key("tokenizer.ggml.pre", STRING, "morse")(f)))
breaks(semantic, "bpe_without_merges", lambda f: set_key("tokenizer.ggml.model", STRING, "gpt2")(f))
for name in ("bos", "eos", "unknown"):
    for n in (10000, (1 << 32) - 2, 1 << 31):
        breaks(semantic, "%s_id_%d" % (name, n), set_key("tokenizer.ggml.%s_token_id" % name, U32, n))
    breaks(semantic, name + "_id_negative", set_key("tokenizer.ggml.%s_token_id" % name, I32, -5))


def tokens(change):
    def apply(f):
        items = list(f.keys["tokenizer.ggml.tokens"][1][1])
        f.keys["tokenizer.ggml.tokens"] = (ARRAY, (STRING, change(items)))
    return apply


def replaced(index, text):
    def change(items):
        items[index] = text
        return items
    return change


breaks(semantic, "one_token_too_many", tokens(lambda t: t + ["one more"]))
breaks(semantic, "one_token_too_few", tokens(lambda t: t[:-1]))
breaks(semantic, "no_tokens", tokens(lambda t: []))
breaks(semantic, "token_of_a_megabyte", tokens(replaced(270, "x" * (1 << 20))))
breaks(semantic, "tokens_are_numbers", set_key("tokenizer.ggml.tokens", ARRAY, (U32, [1] * 290)))
breaks(semantic, "too_few_scores", set_key("tokenizer.ggml.scores", ARRAY, (F32, [0.0] * 3)))
breaks(semantic, "scores_are_text", set_key("tokenizer.ggml.scores", ARRAY, (STRING, ["0"] * 290)))
breaks(semantic, "scores_are_nan", lambda f: set_key("tokenizer.ggml.scores", ARRAY, (F32, [float("nan")] * len(f.keys["tokenizer.ggml.tokens"][1][1])))(f))
breaks(semantic, "too_few_token_types", set_key("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 3)))
breaks(semantic, "token_type_99", lambda f: f.keys["tokenizer.ggml.token_type"][1][1].__setitem__(260, 99))
breaks(semantic, "token_type_negative", lambda f: f.keys["tokenizer.ggml.token_type"][1][1].__setitem__(260, -1))
for name in ("token_embd.weight", "output_norm.weight", "blk.0.attn_norm.weight", "blk.1.attn_q.weight", "blk.1.attn_k.weight", "blk.0.attn_v.weight", "blk.1.attn_output.weight",
             "blk.1.ffn_norm.weight", "blk.0.ffn_gate.weight", "blk.1.ffn_up.weight", "blk.1.ffn_down.weight"):
    breaks(semantic, "missing_tensor_" + name, lambda f, name=name: f.drop(name))
for name, dims in ((W, [64, 32]), (W, [32, 128]), (W, [4096]), (W, [64, 64, 1, 1]), ("token_embd.weight", [32, 580]), ("token_embd.weight", [64 * 290]), ("output_norm.weight", [32]),
                   ("output_norm.weight", [64, 1]), ("blk.1.ffn_down.weight", [64, 128]), ("blk.0.attn_k.weight", [64, 16])):
    def shape(f, name=name, dims=dims):
        t = f.tensor(name)
        if dims == [64 * 290]:
            dims = [64 * t.dims[1]]
        if dims == [32, 580]:
            dims = [32, 2 * t.dims[1]]
        t.dims = dims
        t.data = b"\0" * t.size()
    if dims != [64, 64, 1, 1]:
        breaks(semantic, "%s_is_%s" % (name, "x".join(map(str, dims))), shape)
    else:
        breaks(semantic, "%s_is_64x64x1x1" % name, shape)


def norm_as_f16(f):
    t = f.tensor("output_norm.weight")
    t.kind, t.data = 1, b"\0" * 128


breaks(semantic, "norm_is_f16", norm_as_f16)
breaks(semantic, "bias_of_a_wrong_size", lambda f: f.tensors.append(Tensor("blk.0.attn_q.bias", [63], data=b"\0" * 252)))
breaks(semantic, "output_of_a_wrong_size", lambda f: f.tensors.append(Tensor("output.weight", [64, 10], data=b"\0" * 2560)))
breaks(semantic, "rope_factors_of_zero", lambda f: f.tensors.append(Tensor("rope_freqs.weight", [8], data=b"\0" * 32)))
breaks(semantic, "rope_factors_too_few", lambda f: f.tensors.append(Tensor("rope_freqs.weight", [3], data=b"\0" * 12)))
breaks(semantic, "no_tensors_at_all", lambda f: setattr(f, "tensors", []))
breaks(semantic, "chat_template_is_a_number", set_key("tokenizer.chat_template", U32, 5))
breaks(semantic, "name_is_a_number", set_key("general.name", U32, 5))

# What shows only while the weights are loaded, which planning does not do.
ONLY_WHEN_LOADED = {"rope_factors_of_zero", "rope_factors_too_few"}


def made(change):
    f = gguf.tiny_llama()
    change(f)
    return f.write(temp_path("broken.gguf"))


class Worst:
    seconds = rss_bytes = 0


def ordinary_rss():
    return run_plimsoll("--version", rc=0).peak_rss_bytes


def must_refuse(what, path, arguments, ordinary, worst):
    done = run_plimsoll(*arguments, timeout_s=20)
    shown = "%s: plimsoll %s" % (what, arguments[0])
    check(done.rc == 2, lambda: "%s: exit status %d, not 2 (stderr: %r)" % (shown, done.rc, done.err[:300]))
    lines = done.err.split("\n")
    if what in ONLY_WHEN_LOADED and arguments[0] == "serve":
        lines = lines[-2:]  # the plan stood, and was printed
    check(len(lines) == 2 and lines[1] == "", lambda: "%s: not one line on stderr: %r" % (shown, done.err[:500]))
    check(lines[0].startswith("plimsoll: ") and "broken.gguf: " in lines[0], lambda: "%s: the line does not name the file: %r" % (shown, lines[0]))
    check(len(lines[0].split("broken.gguf: ", 1)[1]) > 8, lambda: "%s: no reason: %r" % (shown, lines[0]))
    check(lines[0].isprintable(), lambda: "%s: control characters on stderr: %r" % (shown, lines[0]))
    expect(done.out, b"", shown + ": stdout")
    check(done.cpu_seconds < 3, "%s took %.1f s" % (shown, done.cpu_seconds))
    check(done.peak_rss_bytes < ordinary + 16 * MIB, "%s took %d MiB" % (shown, done.peak_rss_bytes // MIB))
    worst.seconds = max(worst.seconds, done.cpu_seconds)
    worst.rss_bytes = max(worst.rss_bytes, done.peak_rss_bytes - ordinary)


def refuse_all(cases, commands):
    ordinary, worst, problems = ordinary_rss(), Worst(), []
    for change in cases:
        path = made(change)
        for command, arguments in commands.items():
            if command in ("plan",) and change.__name__ in ONLY_WHEN_LOADED:
                continue
            try:
                must_refuse(change.__name__, path, [command] + [path if a == "FILE" else a for a in arguments], ordinary, worst)
            except Exception as e:
                problems.append(str(e))
    note("%d files, each with %s: slowest %.0f ms, at most %.1f MiB above `plimsoll --version`" %
         (len(cases), ", ".join(commands), worst.seconds * 1000, worst.rss_bytes / MIB))
    for p in problems:
        print("     ! " + p)
    check(not problems, "%d wrong of %d" % (len(problems), len(cases) * len(commands)))


LOADING = {"run": ["-m", "FILE", "x"], "plan": ["-m", "FILE"], "serve": ["--port", "0", "-m", "FILE"]}


@test
def the_model_unbroken_is_fine():
    path = made(lambda f: None)
    run_plimsoll("inspect", path, rc=0)
    run_plimsoll("plan", "-m", path, rc=0)
    run_plimsoll("run", "-m", path, "-n", "10", "--temp", "0", "a the in", rc=0)
    with Server("-m", path) as s:
        expect(s.generate("a the in", max_tokens=10, ignore_end=True)["usage"]["completion_tokens"], 10)
    # A name is shown in logs and plans, its control characters are not.
    path = made(set_key("general.name", STRING, "evil\nplimsoll: ok\x1b[2J"))
    with Server("-m", path) as s:
        check("\x1b" not in s.log() and "\nplimsoll: ok" not in s.log(), lambda: "the name reached the log as it is: %r" % s.log())
    # Two harmless oddities: code in the chat template, and a version 2 file.
    path = made(lambda f: (setattr(f, "version", 2), set_key("tokenizer.chat_template", STRING, "{{ ''.__class__.__mro__[1].__subclasses__() }}")(f)))
    run_plimsoll("run", "-m", path, "-n", "2", "a", rc=0)


@test(timeout=120)
def broken_containers():
    refuse_all(structural, {**LOADING, "inspect": ["FILE"], "tokenize": ["-m", "FILE", "x"]})


@test(timeout=180)
def broken_models():
    refuse_all(semantic, LOADING)


@test
def a_sparse_file_of_a_tebibyte():
    path = made(lambda f: None)
    for size in (1 << 40, 1 << 33):
        os.truncate(path, size)
        run_plimsoll("inspect", path, rc=0)  # a long tail of nothing does no harm
        with open(path, "r+b") as f:
            f.write(b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 1 << 40))
        must_refuse("a file of 2^40 bytes that claims 2^40 keys", path, ["inspect", path], ordinary_rss(), Worst())
        path = made(lambda f: None)


@test
def a_file_that_shrinks_is_no_crash_of_others():
    """The file is read, not kept mapped: once loaded, its end is no concern."""
    path = made(lambda f: None)
    with Server("-m", path) as s:
        before = s.generate("a the in", max_tokens=20, temperature=0, ignore_end=True)["text"]
        os.truncate(path, 10)
        expect(s.generate("a the in", max_tokens=20, temperature=0, ignore_end=True)["text"], before, "the answer after the file was cut")


main()
