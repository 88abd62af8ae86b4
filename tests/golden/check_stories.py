#!/usr/bin/env python3
"""check_stories.py MODEL [PLIMSOLL]: our greedy text and log-probabilities of stories260K.gguf against stories260K.json.

The model (1.2 MB, MIT, published with karpathy's tinyllamas) is not in this tree, so this is no part of `make test`; the built-in
model's facts are. Exit status 1 when the text differs or a log-probability is off by more than 0.01.
"""
import array
import json
import math
import os
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
model = sys.argv[1]
plimsoll = sys.argv[2] if len(sys.argv) > 2 else os.path.join(here, "..", "..", "build", "plimsoll")
facts = json.load(open(os.path.join(here, "stories260K.json"), encoding="utf-8"))

run = [plimsoll, "run", "-m", model, "--temp", "0", "-n", str(len(facts["greedy_tokens"])), "--no-echo", facts["prompt"]]
text = subprocess.run(run, capture_output=True, text=True, check=True).stdout.removesuffix("\n")
same = text == facts["greedy_text"]
print(f"greedy: {len(facts['greedy_tokens'])} tokens, {'the same text' if same else 'ANOTHER TEXT'}")

tokens = facts["prompt_tokens"] + facts["greedy_tokens"][:len(facts["logp"]) - len(facts["prompt_tokens"])]
with tempfile.TemporaryDirectory() as folder:
    ids, rows = os.path.join(folder, "ids"), os.path.join(folder, "rows")
    with open(ids, "w", encoding="utf-8") as f:
        print(*tokens, file=f)
    subprocess.run([plimsoll, "bench", "-m", model, "--token-file", ids, "--logits", rows], check=True)
    ours = array.array("f", open(rows, "rb").read())
n = facts["n_vocab"]
worst = 0.0
for i, peer in enumerate(facts["logp"]):
    row = ours[i * n:(i + 1) * n]
    most = max(row)
    total = most + math.log(sum(math.exp(x - most) for x in row))
    worst = max([worst] + [abs(x - total - p) for x, p in zip(row, peer) if p > -10])
print(f"log p: {len(facts['logp'])} positions, at most {worst:.5f} apart (where p > e^-10)")
sys.exit(0 if same and worst <= 0.01 else 1)
