#!/usr/bin/env python3
"""Speculation on and off, alternating request by request on one server: decode speed, its ratio, and whether they said the same.

    python3 bench/speculate.py [-m MODEL] [-r ROUNDS] [-n TOKENS] [-- server options]

Texts: one that says the same again and again (repeats), one that seems to and does not (breaks), one
that begins anything but again (story), one that
does not repeat (fresh: sampled at temperature 1.5). Then the first with several streams at once. The second ratio is of the
processor time that answers took: on a busy machine it says more than the first (take one thread: -- -t 1).
"""
import argparse
import concurrent.futures
import glob
import os
import statistics
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "scenario"))
from harness import Server  # noqa: E402

LIST = "The red cat sat on the mat. The blue dog sat on the log. The green frog sat on the rock. "
TEXTS = {
    "repeats": (LIST * 8, {"temperature": 0}),
    "breaks": (LIST * 3, {"temperature": 0}),
    "story": ("Once upon a time there was a little boat.", {"temperature": 0.8}),
    "fresh": ("Once upon a time there was a little boat.", {"temperature": 1.5, "top_k": 0, "top_p": 1, "min_p": 0}),
}


def rate_of(answers):
    return sum((a["usage"]["completion_tokens"] - 1) for a in answers) * 1000 / max(a["timings"]["decode_ms"] for a in answers)


def processor_ms(server):
    return sum(int(open(path).read().split()[0]) for path in glob.glob("/proc/%d/task/*/schedstat" % server.process.pid)) / 1e6


def ask(server, text, streams, tokens, speculate, seed):
    prompt, fields = TEXTS[text]
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        jobs = [pool.submit(server.generate, prompt, max_tokens=tokens, ignore_end=True, seed=seed + i, speculate=speculate, **fields)
                for i in range(streams)]
        return [j.result() for j in jobs]


def compare(server, text, streams, rounds, tokens):
    rates, busy, ratios, saved, same, counts = {True: [], False: []}, {}, [], [], True, [0, 0]
    for r in range(rounds + 1):
        answers = {}
        for on in (True, False) if r % 2 else (False, True):
            start = processor_ms(server)
            answers[on] = ask(server, text, streams, tokens, on, 100 * r)
            busy[on] = processor_ms(server) - start
        same &= [a["text"] for a in answers[True]] == [a["text"] for a in answers[False]]
        if r == 0:
            continue  # warm-up; after it the prompt is remembered
        for on in answers:
            rates[on].append(rate_of(answers[on]))
        ratios.append(rates[True][-1] / rates[False][-1])
        saved.append(busy[False] / busy[True])
        for a in answers[True]:
            counts[0] += a["timings"]["drafted_tokens"]
            counts[1] += a["timings"]["accepted_tokens"]
    ratios.sort()
    saved.sort()
    spread = lambda v: "%.2f (%.2f – %.2f)" % (v[len(v) // 2], v[len(v) // 4], v[-1 - len(v) // 4])
    print("%-8s %2d streams: off %7.1f tokens/s, on %7.1f, ratio %s; processor %s; %d guessed, %d right, %s" %
          (text, streams, statistics.median(rates[False]), statistics.median(rates[True]), spread(ratios), spread(saved), *counts,
           "the same text" if same else "DIFFERENT TEXT"), flush=True)
    return same


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-m", "--model")
    p.add_argument("-r", "--rounds", type=int, default=11)
    p.add_argument("-n", "--tokens", type=int, default=256)
    p.add_argument("-s", "--streams", type=int, nargs="*", default=[4, 16])
    p.add_argument("--texts", nargs="*", default=list(TEXTS))
    p.add_argument("server", nargs="*", help="options of the server")
    o = p.parse_args()
    flags = ["-np", str(max(o.streams + [4]))] + (["-m", o.model] if o.model else []) + o.server
    with Server(*flags) as server:
        same = all([compare(server, text, 1, o.rounds, o.tokens) for text in o.texts] +
                   [compare(server, o.texts[0], n, o.rounds, o.tokens) for n in o.streams])
    sys.exit(0 if same else 1)


main()
