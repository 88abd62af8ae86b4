#!/usr/bin/env python3
"""The front end's memory under load: `plimsoll load` against `plimsoll serve --engine echo`, held to limits.

    python3 bench/memory/run.py [--plimsoll build/plimsoll] [--quick] [--write]

Each payload and table has a server of its own, whose buffers are sized for it (flags below). Prints the tables and the limits; --write
puts them into RESULTS.md here, with a picture for each. --quick: a tenth of the requests. Exit 1 when a limit is passed.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

from common import HERE, MB, ROOT, Server, when_and_where, write_section

# 96 bodies at once: one slot in eight is kept for requests without a body, so 112.
SERVERS = {
    "1K": dict(flags=["--max-active", "112", "--body-limit", "64K", "--body-pool", "1M", "--memory", "128M"], rss=16 * MB, growth=1.15, rate=None),
    "200K": dict(flags=["--max-active", "112", "--body-limit", "256K", "--body-pool", "26M", "--memory", "128M"], rss=45 * MB, growth=1.08, rate=1200),
}
CONCURRENCY = "2,4,8,16,32,48,64,96"
SCAN = [1000, 2000, 4000, 8000, 16000, 32000, 64000]
SCAN_GROWTH, HEAP_FREE = 1.02, 3 * MB


def measure(program, payload, arguments, chart):
    s = SERVERS[payload]
    with Server(program, s["flags"] + ["--engine", "echo"]) as server, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "load.json")
        done = subprocess.run([program, "load", server.url, "--payload", payload, *arguments, "--json", path, "--chart", chart],
                              stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit("load ended with %d" % done.returncode)
        return done.stdout, json.load(open(path))["rows"], server.status()["VmHWM"]


def measure_both(program, payload, quick, folder):
    """Each table has a server of its own: what one leaves in the heap is not the other's base."""
    scan = ",".join(str(n // 10 if quick else n) for n in SCAN)
    tables = {"concurrency": ["--concurrency", CONCURRENCY, "--requests", "1000" if quick else "10000"],
              "requests": ["--concurrency", "48", "--requests", scan.split(",")[0], "--requests-scan", scan]}
    rows, most = [], 0
    for kind, arguments in tables.items():
        printed, measured, peak = measure(program, payload, arguments, os.path.join(folder, "%s-%s.svg" % (kind, payload)))
        print(printed, flush=True)
        rows += [r for r in measured if r["table"] == kind]
        most = max(most, peak)
    return rows, most


def limits(payload, rows, peak):
    """(what, figure, limit, good) for each."""
    s = SERVERS[payload]
    at = {r["concurrency"]: r for r in rows if r["table"] == "concurrency"}
    scan = [r for r in rows if r["table"] == "requests"]
    low, high = min(at), max(at)
    growth = at[high]["peak_rss_bytes"] / at[low]["peak_rss_bytes"]
    over_scan = max(r["peak_rss_bytes"] for r in scan) / scan[0]["peak_rss_bytes"]
    held = max(r["memory"]["heap_free_bytes"] for r in rows)
    lost = sum(r["failed"] + r["refused"] for r in rows)
    out = [("peak RSS of all (the kernel's VmHWM)", "%.1f MB" % (peak / MB), "≤ %.0f MB" % (s["rss"] / MB), peak <= s["rss"]),
           ("growth, %d → %d connections" % (low, high), "%+.2f %%" % (100 * growth - 100), "≤ %.0f %%" % (100 * s["growth"] - 100), growth <= s["growth"]),
           ("growth, %d → %d requests at %d" % (scan[0]["requests"], scan[-1]["requests"], scan[0]["concurrency"]),
            "%+.2f %%" % (100 * over_scan - 100), "≤ 2 %", over_scan <= SCAN_GROWTH),
           ("heap free but held, most", "%.2f MB" % (held / MB), "≤ 3 MB", held <= HEAP_FREE),
           ("refused or failed", "%d" % lost, "0", lost == 0)]
    if s["rate"]:
        rate = at[high]["requests_per_second"]
        out.append(("requests a second at %d" % high, "%.0f" % rate, "≥ %d" % s["rate"], rate >= s["rate"]))
    return out


def table(rows, kind):
    lines = ["| connections | requests | a second | peak RSS, MiB | growth, MiB | ratio | its books, MiB | unexplained, MiB | heap free, MiB |",
             "|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        if r["table"] == kind:
            m, mib = r["memory"], 1 << 20
            lines.append("| %d | %d | %.0f | %.2f | %+.2f | %.4f | %.2f | %+.2f | %.2f |" % (
                r["concurrency"], r["requests"], r["requests_per_second"], r["peak_rss_bytes"] / mib, r["growth_bytes"] / mib,
                r["ratio"], m["ledger_bytes"] / mib, m["unexplained_bytes"] / mib, m["heap_free_bytes"] / mib))
    return "\n".join(lines)


REFERENCES = """## Beside these: the systems that grew

What users of other servers reported (the reasons this project has a memory line), beside what is measured here.

| reported elsewhere | here |
|---|---|
| 149–169 requests/s at 96 × 200 KB through a front end of the same job | the table above |
| memory grows with connections and with requests served, and does not come back | growth over connections and over requests, above |
| a documented limit that was not wired: 17 GB became 243 | buffers are taken at start, inside `--memory`; nothing grows with load |
"""


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--plimsoll", default=os.path.join(ROOT, "build", "plimsoll"))
    a.add_argument("--quick", action="store_true")
    a.add_argument("--write", action="store_true")
    a = a.parse_args()
    text = ["`python3 bench/memory/run.py --write`. `serve --engine echo`: "
            "everything but a model. One process serves, one (`plimsoll load`) asks, both on this machine. Every request is answered "
            "with its own prompt: parsed, checked, quoted again.\n\n%s\n" % when_and_where()]
    all_good = True
    for payload, s in SERVERS.items():
        with tempfile.TemporaryDirectory() as folder:
            rows, peak = measure_both(a.plimsoll, payload, a.quick, HERE if a.write else folder)
        text.append("## %sB a request\n\n`serve --engine echo %s`\n\n| | measured | limit | |\n|---|---|---|---|" % (payload, " ".join(s["flags"])))
        for what, figure, limit, good in limits(payload, rows, peak):
            print("%-4s %-45s %12s  %s" % ("ok" if good else "OVER", what, figure, limit))
            text.append("| %s | %s | %s | %s |" % (what, figure, limit, "kept" if good else "**not kept**"))
            all_good &= good
        text.append("\nMore and more connections:\n\n%s\n\nMore and more requests, on a fresh server:\n\n%s\n\n"
                    "![memory over connections](concurrency-%s.svg)\n![memory over requests](requests-%s.svg)\n" % (
            table(rows, "concurrency"), table(rows, "requests"), payload, payload))
    text.append(REFERENCES)
    if a.write:
        write_section("Memory of the front end under load", "\n".join(text))
    return 0 if all_good else 1


sys.exit(main())
