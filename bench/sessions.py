#!/usr/bin/env python3
"""Long agent sessions and long chats on a synthetic model of small layers: whether they are served, how long they take, and how much of it is reading.

    python3 bench/sessions.py [-c CONTEXT] [KIND N ...]        KIND: rounds (of tools), messages; default: rounds 407 2000, messages 2318 10000
"""
import argparse
import json
import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "scenario"))
import harness  # noqa: E402
from harness import Server, forge  # noqa: E402

RUNS = [("rounds", 407), ("messages", 2318), ("messages", 10000), ("rounds", 2000)]


def rounds(n):
    m = [{"role": "user", "content": "x"}]
    for i in range(n):
        m += [{"role": "assistant", "content": [{"type": "text", "text": "I read."}, {"type": "tool_use", "id": "toolu_%09d" % i, "name": "Read", "input": {"path": "a"}}]},
              {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_%09d" % i, "content": [{"type": "text", "text": "ok"}]}]}]
    return m


def messages(n):
    return [{"role": ("user", "assistant")[i % 2], "content": "m"} for i in range(n)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", "--context", default="262144")
    parser.add_argument("runs", nargs="*")
    args = parser.parse_args()
    harness.SOCKET_TIMEOUT_S = 1200
    runs = list(zip(args.runs[::2], map(int, args.runs[1::2]))) or RUNS
    print("| | body | tokens | status | read and counted | whole answer |\n|---|---|---|---|---|---|")
    for kind, n in runs:
        with Server("-m", forge("--shape", "tiny", "--type", "Q8_0"), "-c", args.context, "--memory", "4G", "--any-model") as s:
            body = json.dumps({"model": "x", "max_tokens": 1, "messages": {"rounds": rounds, "messages": messages}[kind](n)})
            path, times = "/v1/messages", []
            for where in (path + "/count_tokens", path):
                before = time.monotonic()
                r = s.request("POST", where, body)
                times.append(time.monotonic() - before)
            said = r.json()
            tokens = said.get("usage", {}).get("input_tokens", 0)
            print("| %d %s | %.0f KB | %s | %d | %.2f s | %.1f s |" % (n, kind, len(body) / 1e3, tokens, r.status, times[0], times[1]), flush=True)
            if r.status != 200:
                print("\n" + json.dumps(said))
                sys.exit(1)


main()
