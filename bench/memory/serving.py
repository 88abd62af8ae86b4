#!/usr/bin/env python3
"""Memory of a server with a real model's weights: requests at once, beside a process for each, and one after another.

    python3 bench/memory/serving.py [--plimsoll build/plimsoll] [--model FILE] [--requests 1000] [--only at-once,in-turn] [--write]

The model is a forged llama-1b Q4_0 (--forge makes it when --model is missing). Held to limits:

  at once   4 requests: the peak over the idle server is no more than POST /fit said that they need, and the whole peak
            no more than 1.1 × the model's tensors and that
  in turn   the server's RssAnon + swap after each request, all answered: the slope over all but the first tenth has 0 in its interval
            (Theil–Sen, Kendall, 99 %)

--write puts tables into RESULTS.md here, and the server's own timelines beside it. Exit 1 when a limit is passed.
"""
import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time

from common import HERE, MIB, ROOT, Server, resident, status_bytes, when_and_where, write_section

AT_ONCE, WORDS_AT_ONCE, TOKENS_AT_ONCE = 4, 500, 32
WORDS = "Once upon a time there was a small rabbit who lived in the wood and had never seen the sea".split()
# The buffers of a front end for a handful of clients, and a line with room for their prompts.
FLAGS = ["-np", "4", "-c", "2048", "--memory", "1200M", "--max-active", "16", "--max-connections", "32",
         "--max-queue", "16", "--body-pool", "4M"]
SAMPLE_S = 0.01
POOL_MIB = 96


def text_of(r, words):
    return " ".join(r.choice(WORDS) for _ in range(words))


def plan_of(o):
    return json.loads(subprocess.run([o.plimsoll, "plan", "--json", "-m", o.model, *FLAGS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     check=True).stdout)


class Peak:
    """The most that processes hold together, by the kernel, sampled until the end of a `with`."""

    def __init__(self, *pids):
        self.pids, self.bytes, self.going = list(pids), 0, True
        self.thread = threading.Thread(target=self.sample, daemon=True)

    def sample(self):
        while self.going:
            self.bytes = max(self.bytes, sum(resident(status_bytes(p)) for p in self.pids))
            time.sleep(SAMPLE_S)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()


# ---- requests at once ----

def serve_at_once(o, flags, chart=None):
    """Four different prompts at once to one server; a dictionary of bytes."""
    prompts = [text_of(random.Random(i), WORDS_AT_ONCE) for i in range(AT_ONCE)]
    bodies = [{"prompt": p, "max_tokens": TOKENS_AT_ONCE, "ignore_end": True, "temperature": 0} for p in prompts]
    with Server(o.plimsoll, ["-m", o.model, *flags]) as s:
        out = {"idle": resident(s.status()), "load_peak": s.status()["VmHWM"],
               "fit": sum(json.loads(s.ask("/fit", b))["required_bytes"] for b in bodies)}
        with Peak(s.pid) as peak:
            answers, start = [None] * AT_ONCE, time.monotonic()
            def ask(i):
                answers[i] = json.loads(s.ask("/generate", bodies[i]))
            threads = [threading.Thread(target=ask, args=(i,)) for i in range(AT_ONCE)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            out["seconds"] = time.monotonic() - start
        if any(not a or a["usage"]["completion_tokens"] != TOKENS_AT_ONCE for a in answers):
            raise SystemExit("an answer is not whole: %r" % answers)
        out["tokens"] = [a["usage"]["prompt_tokens"] for a in answers]
        out["peak"] = max(peak.bytes, s.status()["VmHWM"])
        s.ask("/cache", method="DELETE")
        s.ask("/cleanup-memory", method="POST", body={})
        out["after"] = resident(s.status())
        if chart:
            time.sleep(1.5)
            with open(chart, "wb") as f:
                f.write(s.ask("/memory/timeline.svg"))
        return out


def run_at_once(o):
    """The same prompts, a process with a model of its own for each."""
    start, children = time.monotonic(), []
    for i in range(AT_ONCE):
        prompt = text_of(random.Random(i), WORDS_AT_ONCE)
        children.append(subprocess.Popen([o.plimsoll, "run", "-m", o.model, "-c", "2048", "-n", str(TOKENS_AT_ONCE), "--temp", "0", prompt],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    with Peak(*(c.pid for c in children)) as peak:
        failed = [c.wait() for c in children if c.wait()]
    if failed:
        raise SystemExit("plimsoll run ended with %r" % failed)
    return {"peak": peak.bytes, "seconds": time.monotonic() - start}


def at_once(o):
    """(text, [(what, figure, limit, kept)])."""
    plan = plan_of(o)
    tensors = plan["tensor_bytes"]
    lean = serve_at_once(o, FLAGS, os.path.join(HERE, "at-once-1B.svg") if o.write else None)
    usual = serve_at_once(o, ["-c", "2048", "--memory", "1200M"])
    each = run_at_once(o)
    most = 1.1 * tensors + lean["fit"]
    over = lean["peak"] - lean["idle"]
    limits = [("peak over the idle server, %d requests at once" % AT_ONCE, "%.1f MiB" % (over / MIB), "≤ %.1f MiB, as /fit said" % (lean["fit"] / MIB),
               over <= lean["fit"]),
              ("whole peak", "%.1f MiB" % (lean["peak"] / MIB), "≤ %.1f MiB: 1.1 × tensors + that" % (most / MIB), lean["peak"] <= most),
              ("whole peak under the line", "%.1f MiB" % (lean["peak"] / MIB), "≤ %.1f MiB" % (plan["plan"]["line_bytes"] / MIB),
               lean["peak"] <= plan["plan"]["line_bytes"]),
              ("back afterwards, nothing remembered", "%+.2f MiB" % ((lean["after"] - lean["idle"]) / MIB), "≤ 2 MiB",
               lean["after"] - lean["idle"] <= 2 * MIB)]
    lines = ["%d requests of %s prompt tokens and %d generated, all at once; tensors %.1f MiB.\n" % (
                 AT_ONCE, "–".join(str(f(lean["tokens"])) for f in (min, max)), TOKENS_AT_ONCE, tensors / MIB),
             "| | idle, MiB | peak, MiB | over idle | of the tensors | seconds |", "|---|---|---|---|---|---|"]
    for name, r in (("one server, `serve %s`" % " ".join(FLAGS), lean), ("one server, default buffers, `serve -c 2048 --memory 1200M`", usual),
                    ("a process for each, %d × `plimsoll run -c 2048`" % AT_ONCE, each)):
        lines.append("| %s | %s | %.1f | %s | %.3f × | %.1f |" % (
            name, "%.1f" % (r["idle"] / MIB) if "idle" in r else "–", r["peak"] / MIB, "%.1f" % ((r["peak"] - r["idle"]) / MIB) if "idle" in r else "–",
            r["peak"] / tensors, r["seconds"]))
    lines.append("\nWhile loading, the server's peak was %.1f MiB." % (lean["load_peak"] / MIB))
    lines.append("\n![memory of %d requests at once](at-once-1B.svg)" % AT_ONCE)
    return "\n".join(lines), limits


# ---- one after another ----

def slope_of(bytes_each):
    """Theil and Sen's slope, bytes a request, with its interval at 99 % (Sen 1968)."""
    n = len(bytes_each)
    slopes = sorted((bytes_each[j] - bytes_each[i]) / (j - i) for j in range(n) for i in range(j))
    half = 2.576 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = int((len(slopes) - half) / 2), int((len(slopes) + half) / 2)
    return statistics.median(slopes), slopes[max(0, low)], slopes[min(len(slopes) - 1, high)]


def small_pool(o):
    """The flags of a line that leaves the pool so much."""
    plan = plan_of(o)
    line = plan["plan"]["total_bytes"] - plan["plan"]["accounts"]["kv"] + POOL_MIB * MIB
    return ["--memory", "%dK" % (line // 1024), "-c", "1024", "--level-caution", "16M", "--level-warning", "12M", "--level-critical", "8M",
            "--level-emergency", "4M"]


def serve_in_turn(o, flags, chart=None):
    """RssAnon + swap once idle, after each request."""
    r, out = random.Random(7), []
    with Server(o.plimsoll, ["-m", o.model, *flags]) as s:
        for _ in range(o.requests):
            s.ask("/generate", {"prompt": text_of(r, r.randrange(2, 20)), "max_tokens": r.randrange(1, 4), "ignore_end": True})
            status = s.status()
            out.append(status["RssAnon"] + status.get("VmSwap", 0))
        if chart:
            time.sleep(1.5)
            with open(chart, "wb") as f:
                f.write(s.ask("/memory/timeline.svg"))
    return out


def in_turn(o):
    lines = ["Prompts of 2 to 19 words, no two alike, 1 to 3 tokens generated; RssAnon + swap after each answer. `serve %s -t 1`\n" % " ".join(FLAGS),
             "| | first idle, MiB | after 10 | after %d | after %d | slope of the rest, bytes a request | 99 %% interval |" % (o.requests // 10, o.requests),
             "|---|---|---|---|---|---|---|"]
    limits = []
    # With what is remembered, memory is flat once the pool is full: a pool of few pages is.
    for name, flags in (("prompts remembered, a pool of %d MiB" % POOL_MIB, small_pool(o)), ("nothing remembered", ["--no-prompt-cache"])):
        v = serve_in_turn(o, FLAGS + ["-t", "1"] + flags, os.path.join(HERE, "in-turn-1B.svg") if o.write and "--memory" in flags else None)
        slope, low, high = slope_of(v[o.requests // 10:])
        lines.append("| %s | %.2f | %.2f | %.2f | %.2f | %+.1f | %+.1f … %+.1f |" % (
            name, v[0] / MIB, v[9] / MIB, v[o.requests // 10 - 1] / MIB, v[-1] / MIB, slope, low, high))
        print(lines[-1], flush=True)
        limits.append(("slope over the last %d, %s" % (o.requests - o.requests // 10, name), "%+.1f bytes a request" % slope, "interval holds 0", low <= 0 <= high))
    lines.append("\n![memory of requests in turn](in-turn-1B.svg)")
    return "\n".join(lines), limits


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--plimsoll", default=os.path.join(ROOT, "build", "plimsoll"))
    a.add_argument("--forge", default=os.path.join(ROOT, "build", "forge"))
    a.add_argument("--model", default=os.path.join(ROOT, "build", "models", "1b-q4_0.gguf"))
    a.add_argument("--requests", type=int, default=1000)
    a.add_argument("--only", default="at-once,in-turn")
    a.add_argument("--write", action="store_true")
    o = a.parse_args()
    if not os.path.exists(o.model):
        os.makedirs(os.path.dirname(o.model), exist_ok=True)
        subprocess.run([o.forge, "--shape", "llama-1b", "--type", "Q4_0", "-o", o.model], check=True)
    all_good = True
    for part, title, measure in (("at-once", "Requests at once, 1B model", at_once), ("in-turn", "Requests one after another, 1B model", in_turn)):
        if part not in o.only.split(","):
            continue
        where = when_and_where()
        text, limits = measure(o)
        rows = ["| %s | %s | %s | %s |" % (what, figure, limit, "kept" if good else "**not kept**") for what, figure, limit, good in limits]
        text = "`python3 bench/memory/serving.py --write`. %s\n\n| | measured | limit | |\n|---|---|---|---|\n%s\n\n%s" % (where, "\n".join(rows), text)
        print("\n## %s\n\n%s" % (title, text), flush=True)
        if o.write:
            write_section(title, text)
        all_good &= all(good for *_, good in limits)
    return 0 if all_good else 1


sys.exit(main())
