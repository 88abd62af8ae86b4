#!/usr/bin/env python3
"""Patterns and grammars of random shapes, one after another, beside a neighbour's stream.

    bench/shapes.py [--shapes N] [--seed S] [--tokens N] PROGRAM

Three clients at once: a stream whose gaps are measured, /livez asked every 20 ms, and requests of a few tokens. Those
are plain ones at first (what company costs), then one for each shape: a JSON schema's pattern or a GBNF. Printed are
the gaps of the stream alone, beside plain requests and beside the shapes, the slowest /livez, and the slowest shape.
"""
import argparse
import collections
import json
import os
import random
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "scenario"))
import harness

PATTERN_ATOMS = ["a", "b", "[ab]", "[^a]", "\\d", "}c3d", "\\n", ".", "()", "\\\"", "é", "(?:)", "\\w"]
GBNF_ATOMS = ['"a"', '"b"', "[ab]", "[^a]", '""', "x", "y", "z", '"aa"', ".", '"é"']
COUNTS = [0, 1, 2, 3, 18, 100, 1000, 100000]


def times(r):
    form, a, b = r.randrange(8), r.choice(COUNTS), r.choice(COUNTS)
    return {0: "*", 1: "+", 2: "?", 3: "{%d}" % min(a, 100), 4: "{%d,}" % min(a, 100), 5: "{%d,%d}" % (min(a, b), max(a, b))}.get(form, "")


def sequence(r, atoms, depth, left):
    text = ""
    for _ in range(r.randrange(4)):
        if left[0] <= 0:
            break
        left[0] -= 1
        if depth >= 5 or r.randrange(16) < 10:
            atom = r.choice(atoms)
        else:
            ways = [sequence(r, atoms, depth + 1, left) if r.randrange(4) else "" for _ in range(r.randrange(1, 5))]
            atom = "(" + (" | " if atoms is GBNF_ATOMS else "|").join(ways or [""]) + ")"
            if atoms is GBNF_ATOMS:
                atom = atom.replace("( |", '("" |').replace("|  |", '| "" |').replace("| )", '| "")').replace("()", '("")')
        text += atom + times(r) + (" " if atoms is GBNF_ATOMS else "")
    return text or ('"" ' if atoms is GBNF_ATOMS else "")


def shape(r):
    if r.randrange(3) == 0:
        return {"grammar": "\n".join("%s ::= %s \"c\"?" % (name, sequence(r, GBNF_ATOMS, 0, [30])) for name in ("root", "x", "y", "z"))}
    schema = {"type": "string", "pattern": r.choice(["", "^"]) + sequence(r, PATTERN_ATOMS, 0, [30]) + r.choice(["", "$"])}
    if r.randrange(2):
        schema["maxLength"] = r.randrange(200)
    return {"json_schema": schema}


class Watch:
    """Gaps of one stream and of /livez, by what goes on beside them."""

    def __init__(self, server):
        self.server, self.beside, self.ends = server, "alone", False
        self.gaps, self.livez = collections.defaultdict(list), collections.defaultdict(list)
        self.threads = [threading.Thread(target=f) for f in (self.stream, self.ask_livez)]
        for t in self.threads:
            t.start()

    def stream(self):
        while not self.ends:
            last, beside = None, None
            for _ in self.server.stream("Once upon a time", max_tokens=3000, ignore_end=True, temperature=0):
                now = time.monotonic()
                if last and beside == self.beside:
                    self.gaps[beside].append(now - last)
                last, beside = now, self.beside
                if self.ends:
                    break

    def ask_livez(self):
        while not self.ends:
            start, beside = time.monotonic(), self.beside
            harness.expect(self.server.get("/livez").status, 200, "/livez")
            self.livez[beside].append(time.monotonic() - start)
            time.sleep(0.02)


def line(name, seconds):
    ms = sorted(1e3 * x for x in seconds)
    at = lambda part: ms[min(len(ms) - 1, int(part * len(ms)))]
    print("%-26s n %7d   p50 %7.2f   p99 %7.2f   p99.9 %7.2f   max %7.1f ms" % (name, len(ms), at(0.5), at(0.99), at(0.999), ms[-1]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("program")
    o = parser.parse_args()
    harness.PLIMSOLL = os.path.abspath(o.program)
    r = random.Random(o.seed)
    took, statuses, slowest = [], collections.Counter(), (0, None)
    with harness.Server("-c", "4096", "-np", "4") as s:
        w = Watch(s)
        time.sleep(20)
        w.beside = "beside plain requests"
        for i in range(o.shapes // 10):
            s.post("x", max_tokens=o.tokens, temperature=1, seed=i)
        w.beside = "beside the shapes"
        for i in range(o.shapes):
            body = shape(r)
            start = time.monotonic()
            a = s.post("x", max_tokens=o.tokens, temperature=1, seed=i, **body)
            took.append(time.monotonic() - start)
            statuses[a.status] += 1
            slowest = max(slowest, (took[-1], json.dumps(body)))
            if a.status not in (200, 400):
                print(a.status, a.body[:300], json.dumps(body))
            if i % 1000 == 999:
                print("%d shapes, %s" % (i + 1, dict(statuses)), file=sys.stderr)
        w.ends = True
        for t in w.threads:
            t.join()
        for name in w.gaps:
            line("stream " + name, w.gaps[name])
        for name in w.livez:
            line("/livez " + name, w.livez[name])
        line("shapes", took)
        print("answered and refused:", dict(statuses))
        print("the slowest: %.3f s %s" % (slowest[0], slowest[1][:400]))
        harness.expect(s.health()["status"], "ok")


main()
