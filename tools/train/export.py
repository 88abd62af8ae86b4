"""Write the trained model as GGUF v3: norms in float32, matrices in Q8_0. Own writer; needs only numpy and torch."""
import argparse
import json
import os
import struct

import numpy as np
import torch

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
ALIGN = 32

# ChatML. A system turn may be given; tools are listed in it. The tokenizer puts <s> before the prompt.
TEMPLATE = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- '\\n\\nYou may call these tools:\\n<tools>' }}
    {%- for tool in tools %}
        {{- '\\n' }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '\\n</tools>\\nTo call one, answer with\\n<tool_call>\\n{"name": <name>, "arguments": <arguments>}\\n</tool_call><|im_end|>\\n' }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' + message['content'] + '\\n</tool_response><|im_end|>\\n' }}
    {%- elif message['role'] == 'assistant' and message['tool_calls'] %}
        {{- '<|im_start|>assistant' }}
        {%- if message['content'] %}
            {{- '\\n' + message['content'] }}
        {%- endif %}
        {%- for tool_call in message['tool_calls'] %}
            {%- set call = tool_call['function'] if tool_call['function'] else tool_call %}
            {{- '\\n<tool_call>\\n{"name": "' + call['name'] + '", "arguments": ' }}
            {%- if call['arguments'] is string %}
                {{- call['arguments'] }}
            {%- else %}
                {{- call['arguments'] | tojson }}
            {%- endif %}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message['role'] == 'user' or message['role'] == 'assistant' or (message['role'] == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""


def string(s):
    b = s.encode("utf-8")
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    if kind == STRING:
        return string(v)
    return struct.pack({U32: "<I", F32: "<f", I32: "<i", BOOL: "<?"}[kind], v)


def entry(key, kind, v):
    return string(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, vs):
    return string(key) + struct.pack("<IIQ", ARRAY, kind, len(vs)) + b"".join(value(kind, v) for v in vs)


def q8_0(w):
    """Blocks of 32: a float16 scale, then 32 signed bytes."""
    b = w.astype(np.float32).reshape(-1, 32)
    d = np.abs(b).max(1) / 127.0
    inv = np.where(d > 0, 1.0 / np.where(d > 0, d, 1), 0)
    q = np.rint(b * inv[:, None]).clip(-127, 127).astype(np.int8)
    return np.concatenate([d.astype("<f2").view(np.uint8).reshape(-1, 2), q.view(np.uint8)], 1).tobytes()


def pairs(w, heads):
    """Reorder rows from (half, half) to adjacent pairs, head by head."""
    rows, cols = w.shape
    return w.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def heldout_text(path, size):
    """Whole stories from the held-out corpus, with blank lines between them, up to about `size` bytes."""
    from tokenizer import documents
    out, n = [], 0
    for d in documents(path):
        if n + len(d) + 2 > size:
            break
        out.append(d)
        n += len(d) + 2
    return "\n\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--heldout")
    ap.add_argument("--context", type=int, help="what to declare, if training was stopped before its long windows")
    args = ap.parse_args()
    ck = torch.load(os.path.join(args.build, "checkpoint.pt"), map_location="cpu")
    c, w = ck["config"], {k: v.float().numpy() for k, v in ck["model"].items()}
    with open(os.path.join(args.build, "vocab.json"), encoding="utf-8") as f:
        vocab = json.load(f)

    kv = [entry("general.architecture", STRING, "llama"), entry("general.type", STRING, "model"),
          entry("general.name", STRING, "plimsoll-tiny"), entry("general.license", STRING, "mit"),
          entry("general.description", STRING, "Plimsoll's small built-in model: simple stories and simple talk"),
          entry("general.file_type", U32, 7), entry("general.quantization_version", U32, 2), entry("general.alignment", U32, ALIGN),
          array("general.languages", STRING, ["en"]),
          entry("llama.context_length", U32, args.context or c["context"]), entry("llama.embedding_length", U32, c["dim"]),
          entry("llama.block_count", U32, c["layers"]), entry("llama.feed_forward_length", U32, c["ffn"]),
          entry("llama.attention.head_count", U32, c["heads"]), entry("llama.attention.head_count_kv", U32, c["kv_heads"]),
          entry("llama.attention.layer_norm_rms_epsilon", F32, c["eps"]), entry("llama.rope.dimension_count", U32, c["head_dim"]),
          entry("llama.rope.freq_base", F32, c["theta"]), entry("llama.vocab_size", U32, c["vocab"]),
          entry("tokenizer.ggml.model", STRING, "llama"), entry("tokenizer.ggml.pre", STRING, "default"),
          array("tokenizer.ggml.tokens", STRING, vocab["tokens"]), array("tokenizer.ggml.scores", F32, vocab["scores"]),
          array("tokenizer.ggml.token_type", I32, vocab["types"]),
          entry("tokenizer.ggml.bos_token_id", U32, 1), entry("tokenizer.ggml.eos_token_id", U32, 2),
          entry("tokenizer.ggml.unknown_token_id", U32, 0),
          entry("tokenizer.ggml.eot_token_id", U32, vocab["tokens"].index("<|im_end|>")),
          entry("tokenizer.ggml.add_bos_token", BOOL, True), entry("tokenizer.ggml.add_eos_token", BOOL, False),
          entry("tokenizer.ggml.add_space_prefix", BOOL, True), entry("tokenizer.chat_template", STRING, TEMPLATE)]

    tensors = [("token_embd.weight", w["embed"]), ("output_norm.weight", w["final_norm"])]
    for i in range(c["layers"]):
        b = "blocks.%d." % i
        tensors += [("blk.%d.%s.weight" % (i, n), t) for n, t in [
            ("attn_norm", w[b + "attn_norm"]), ("attn_q", pairs(w[b + "q"], c["heads"])), ("attn_k", pairs(w[b + "k"], c["kv_heads"])),
            ("attn_v", w[b + "v"]), ("attn_output", w[b + "o"]), ("ffn_norm", w[b + "ffn_norm"]),
            ("ffn_gate", w[b + "gate"]), ("ffn_up", w[b + "up"]), ("ffn_down", w[b + "down"])]]

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(kv)) + b"".join(kv)
    infos, data, at = b"", [], 0
    for name, t in tensors:
        raw = t.astype("<f4").tobytes() if t.ndim == 1 else q8_0(t)
        infos += string(name) + struct.pack("<I", t.ndim) + b"".join(struct.pack("<Q", n) for n in reversed(t.shape))
        infos += struct.pack("<IQ", 0 if t.ndim == 1 else 8, at)
        raw += b"\0" * (-len(raw) % ALIGN)
        data.append(raw)
        at += len(raw)
    head += infos
    head += b"\0" * (-len(head) % ALIGN)
    blob = head + b"".join(data)
    if len(blob) >= 8000000:
        raise SystemExit("%d bytes: more than the 8,000,000 that the program may carry" % len(blob))
    with open(args.out, "wb") as f:
        f.write(blob)
    print(args.out, len(blob), "bytes, step", ck["step"])
    if args.heldout:
        with open(args.heldout, "w", encoding="utf-8") as f:
            f.write(heldout_text(os.path.join(args.build, "heldout_stories.txt"), 32768))


if __name__ == "__main__":
    main()
