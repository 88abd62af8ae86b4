#!/usr/bin/env python3
"""Serving many at once, measured on one running server: `make bench-serving`.

Forges a model of a real shape, serves it, and measures over HTTP, each figure against one of the same run:

  streams   tokens/s of 16 generations at once, all together, over one alone (rounds in turns)
  gaps      the longest gap between a stream's tokens while a long prompt is read beside it, over its gap without
  prefix    time to a prompt's first token when its first 2,048 tokens are known, over the time when they are not

Absolute figures are printed for reading; the ratios are what counts.
"""
import argparse
import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time

from run import Failure, ROOT, forge_model, note, wait_for_quiet


class Server:
    def __init__(self, o, model):
        command = [o.plimsoll, "serve", "-m", model, "--port", "0", "-t", str(o.threads), "-c", str(o.context),
                   "-np", "16", "--memory", o.memory, "--log-level", "info", "--body-limit", "4M"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = None
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        if not self.port:
            raise Failure("the server did not start")
        threading.Thread(target=lambda: [None for _ in self.process.stdout], daemon=True).start()
        while self.get("/readyz")[0] != 200:
            time.sleep(0.1)

    def get(self, path, method="GET"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        c.request(method, path)
        r = c.getresponse()
        return r.status, r.read()

    def generate(self, body, on_token=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        c.request("POST", "/generate", json.dumps({"temperature": 0, "ignore_end": True, "speculate": False, **body}))
        r = c.getresponse()
        if r.status != 200:
            raise Failure(f"/generate: {r.status} {r.read()[:300]!r}")
        if not body.get("stream"):
            return json.loads(r.read())
        last = None
        for line in r:
            if line.startswith(b"data: "):
                last = json.loads(line[6:])
                if on_token and "token" in last:
                    on_token()
        return last

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def prompt(o, n):
    return [o.random.randrange(300, o.vocab) for _ in range(n)]


def stream_many(server, o, n):
    """Decoded tokens a second, all streams together, counted only while all of them decode."""
    stamps = [[] for _ in range(n)]
    threads = []
    for i in range(n):
        body = {"prompt": prompt(o, 16), "max_tokens": o.tokens, "stream": True, "cache": False}
        threads.append(threading.Thread(target=server.generate, args=(body, lambda i=i: stamps[i].append(time.monotonic()))))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    begin, end = max(s[0] for s in stamps), min(s[-1] for s in stamps)
    counted = sum(sum(begin < t <= end for t in s) for s in stamps)
    return counted / (end - begin)


def streams(server, o):
    ratios, ones, manys = [], [], []
    for i in range(o.rounds):
        wait_for_quiet(o)
        order = [1, 16] if i % 2 == 0 else [16, 1]
        speed = {n: stream_many(server, o, n) for n in order}
        ones.append(speed[1]), manys.append(speed[16])
        ratios.append(speed[16] / speed[1])
        note(f"round {i + 1}: one {speed[1]:.1f} tokens/s, sixteen {speed[16]:.1f}, ratio {ratios[-1]:.2f}")
    return {"one": statistics.median(ones), "sixteen": statistics.median(manys), "ratio": statistics.median(ratios),
            "least": min(ratios), "most": max(ratios)}


def gaps(server, o):
    results = []
    for i in range(o.rounds):
        wait_for_quiet(o)
        stamps, long_one = [], {}

        def read_long():
            long_one["begin"] = time.monotonic()
            server.generate({"prompt": prompt(o, o.long), "max_tokens": 1, "cache": False})
            long_one["end"] = time.monotonic()

        thread = threading.Thread(target=read_long)

        def on_token():
            stamps.append(time.monotonic())
            if len(stamps) == 64:
                thread.start()

        stream = threading.Thread(target=server.generate, args=(
            {"prompt": prompt(o, 16), "max_tokens": 1200, "stream": True, "cache": False}, on_token))
        stream.start()
        stream.join()
        thread.join()
        pairs = list(zip(stamps, stamps[1:]))
        quiet = [b - a for a, b in pairs[1:62]]
        beside = [b - a for a, b in pairs if a >= long_one["begin"] and b <= long_one["end"]]
        r = {"quiet": statistics.median(quiet), "quiet_longest": max(quiet), "longest": max(beside),
             "p99": statistics.quantiles(beside, n=100)[98], "tokens_beside": len(beside),
             "prefill_s": long_one["end"] - long_one["begin"]}
        r["ratio"] = r["longest"] / r["quiet"]
        results.append(r)
        note(f"round {i + 1}: quiet {1000 * r['quiet']:.1f} ms (longest {1000 * r['quiet_longest']:.1f}), beside {o.long} "
             f"tokens longest {1000 * r['longest']:.1f} ms, 99 % {1000 * r['p99']:.1f} ms ({len(beside)} tokens in "
             f"{r['prefill_s']:.1f} s), ratio {r['ratio']:.2f}")
    ratios = [r["ratio"] for r in results]
    return {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "rounds": results}


def prefix(server, o):
    """Time to the first token, as the client sees it."""
    def first_token_ms(tokens):
        start = time.monotonic()
        known = server.generate({"prompt": tokens, "max_tokens": 1})["usage"]["cached_tokens"]
        return 1000 * (time.monotonic() - start), known

    ratios = []
    for i in range(o.rounds):
        wait_for_quiet(o)
        server.get("/cache", "DELETE")
        shared = prompt(o, 2048)
        cold, _ = first_token_ms(shared + prompt(o, 16))
        warm, known = first_token_ms(shared + prompt(o, 16))
        ratios.append(warm / cold)
        note(f"round {i + 1}: first {cold:.0f} ms, second {warm:.0f} ms ({known} tokens known), ratio {ratios[-1]:.4f}")
    return {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def main():
    build = os.path.join(ROOT, "build")
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--plimsoll", default=os.path.join(build, "plimsoll"))
    p.add_argument("--forge", default=os.path.join(build, "forge"))
    p.add_argument("--cache", default=os.path.join(build, "bench-models"), help="where forged models stay")
    p.add_argument("--shape", default="llama-1b")
    p.add_argument("--type", default="Q4_0")
    p.add_argument("--vocab", type=int, default=128000, help="ids of prompts are below this")
    p.add_argument("--memory", default="6G")
    p.add_argument("--context", type=int, default=8192)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--tokens", type=int, default=96, help="of each stream (96)")
    p.add_argument("--long", type=int, default=4096, help="tokens of the long prompt (4096)")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--wait-quiet", type=float, default=30)
    p.add_argument("--only", default="streams,gaps,prefix")
    p.add_argument("--json", metavar="FILE")
    o = p.parse_args()
    o.random = random.Random(1)
    try:
        server = Server(o, forge_model(o, o.type))
    except Failure as e:
        note(f"bench: {e}")
        return 1
    results = {}
    try:
        for name in o.only.split(","):
            note(f"-- {name}")
            results[name] = {"streams": streams, "gaps": gaps, "prefix": prefix}[name](server, o)
    finally:
        server.stop()
    says = {"streams": "16 streams together over one alone", "gaps": "longest gap beside a long prompt over the quiet one",
            "prefix": "first token with 2,048 tokens known over without"}
    for name, r in results.items():
        print(f"{says[name]:55} {r['ratio']:.3f}  ({r['least']:.3f} – {r['most']:.3f})")
    if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
