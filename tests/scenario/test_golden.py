"""The built-in model's greedy texts against what llama.cpp continued (tests/golden/embedded.json)."""
import hashlib
import json
import os

from harness import *  # noqa: F403

HERE = os.path.dirname(os.path.abspath(__file__))
FACTS = json.load(open(os.path.join(HERE, "..", "golden", "embedded.json"), encoding="utf-8"))
CLEAR_GAP = 0.05  # where the peer's best two are closer, two correct engines may part


@test
def the_facts_are_of_this_model():
    with open(os.path.join(HERE, "..", "..", "models", "plimsoll-tiny.gguf"), "rb") as f:
        expect(hashlib.sha256(f.read()).hexdigest(), FACTS["about"]["model_sha256"], "sha256 of the model (else record again)")


@test
def greedy_texts_are_the_peers():
    compared = 0
    for fact in FACTS["greedy"]:
        n = next((i for i, gap in enumerate(fact["greedy_gaps"]) if gap < CLEAR_GAP), len(fact["greedy_gaps"]))
        compared += n
        if n == 0:
            continue
        done = run_plimsoll("run", "--temp", "0", "-n", str(len(fact["greedy_tokens"])), "--no-echo", fact["prompt"], rc=0)
        ids = run_plimsoll("tokenize", "--ids", fact["prompt"], rc=0).out.split()
        expect([int(i) for i in ids], fact["prompt_tokens"], "tokens of %r" % fact["prompt"])
        text = done.out if isinstance(done.out, str) else done.out.decode()
        text = text.removesuffix("\n")
        if n == len(fact["greedy_tokens"]):
            expect(text, fact["greedy_text"], "the text after %r" % fact["prompt"])
        else:  # at least the part before the first near tie: n tokens are no fewer than n / 2 characters here
            shared = os.path.commonprefix([text, fact["greedy_text"]])
            check(len(shared) >= n, "only %r is shared after %r, with %d clear tokens" % (shared, fact["prompt"], n))
    check(compared >= 64, "only %d clear tokens in all" % compared)


main()
