#!/usr/bin/env python3
"""Largest gap in a stream while another client is given a large answer, by several builds side by side.

    bench/neighbour.py [--rounds N] PROGRAM…

In each round each program in turn streams alone, and then beside one such answer at a time; printed are the medians of
the rounds, in ms. A gap is the time between two events as a client sees them.
"""
import argparse
import json
import os
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "scenario"))
import harness

TOKENS = 3000
BESIDE = {
    "embeddings of 2,000 texts": ("/v1/embeddings", {"input": ["a text of a few words, number %d" % i for i in range(2000)]}),
    "n 16 with 20 top_logprobs": ("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Once"}], "n": 16, "max_tokens": 200, "logprobs": True, "top_logprobs": 20,
        "ignore_eos": True}),
    "the same as a stream": ("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Once"}], "n": 16, "max_tokens": 200, "logprobs": True, "top_logprobs": 20,
        "ignore_eos": True, "stream": True}),
    "a long response's stream": ("/v1/responses", {"input": "Once", "max_output_tokens": 3000, "ignore_eos": True, "stream": True}),
}


def gap(server, path=None, body=None):
    """In ms; from the moment the other was asked until it is answered."""
    state = {"from": None, "to": None}

    def ask():
        state["from"] = time.monotonic()
        r = server.request("POST", path, json.dumps(body))
        harness.expect(r.status, 200, r.body[:200])
        state["to"] = time.monotonic()

    beside, largest, last, count = None, 0.0, None, 0
    stream = server.stream("Once upon a time", max_tokens=60000, ignore_end=True, window=512, keep=16)
    for _ in stream:
        now, count = time.monotonic(), count + 1
        if last and count > 20:
            largest = max(largest, now - last)
        last = now
        if count == 20 and path:
            beside = threading.Thread(target=ask)
            beside.start()
        if (state["to"] or not path and count > TOKENS) and count > 40:
            break
    stream.close()
    if beside:
        beside.join()
    return largest * 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("programs", nargs="+")
    o = parser.parse_args()
    seen = {}
    for _ in range(o.rounds):
        for program in o.programs:
            harness.PLIMSOLL = os.path.abspath(program)
            with harness.Server("-c", "8192", "-np", "20", "--max-queue", "256") as s:
                for name, (path, body) in {"quiet": (None, None), **BESIDE}.items():
                    seen.setdefault((name, program), []).append(gap(s, path, body))
    for (name, program), gaps in seen.items():
        print("%-28s %-32s median %6.0f   %s" % (name, program[-32:], statistics.median(gaps), " ".join("%.0f" % g for g in gaps)))


main()
