#!/usr/bin/env python3
"""The same load on the same server under several allocators: what each holds at its peak, afterwards, and how fast it is.

    python3 bench/memory/allocators/run.py [--plimsoll build/plimsoll] [--rounds N] [--quick] [--write]

`plimsoll load` asks `serve --engine echo` (1 KB and 200 KB) and the built-in model. Each measurement has a server of its own; the allocators
take turns, and figures are medians over the rounds. jemalloc and mimalloc come from Debian's packages libjemalloc2 and
libmimalloc2.0 (installed when that can be done), under shim.c; one that cannot be had is left out and said so. --write puts the
tables into bench/memory/RESULTS.md.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from common import MIB, ROOT, Server, resident, when_and_where, write_section

HERE = os.path.dirname(os.path.abspath(__file__))
REST_S = 2
ECHO = ["--engine", "echo", "--max-active", "112", "--memory", "128M"]
# (name, flags of the server, connections, payload, requests)
LOADS = [
    ("echo, 1 KB × 96", ECHO + ["--body-limit", "64K", "--body-pool", "1M"], 96, "1K", 20000),
    ("echo, 200 KB × 96", ECHO + ["--body-limit", "256K", "--body-pool", "26M"], 96, "200K", 4000),
    ("built-in model, 1 KB × 8", ["-np", "8", "--memory", "256M", "-n", "16"], 8, "1K", 600),
]


def libraries():
    """{package: (name for the loader, macro of the shim)}; installed when they are missing and that can be done."""
    wanted = {"libjemalloc2": ("libjemalloc.so.2", "JEMALLOC"), "libmimalloc2.0": ("libmimalloc.so.2", "MIMALLOC")}
    known = lambda: subprocess.run(["/sbin/ldconfig", "-p"], stdout=subprocess.PIPE, text=True).stdout
    for package, (library, _) in wanted.items():
        if library not in known():
            subprocess.run(["apt-get", "install", "-y", "-q", package], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return {p: x for p, x in wanted.items() if x[0] in known()}, [p for p, x in wanted.items() if x[0] not in known()]


def allocators(folder):
    """({name: environment}, what had to be left out)."""
    out = {"glibc": {}, "glibc, 2 arenas": {"MALLOC_ARENA_MAX": "2"}}
    have, missing = libraries()
    for package, (library, macro) in have.items():
        shim = os.path.join(folder, package + ".so")
        subprocess.run(["cc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-D" + macro, os.path.join(HERE, "shim.c"), "-o", shim,
                        "-l:" + library], check=True)
        version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE, text=True).stdout
        out["%s %s" % (macro.lower(), version.split("-")[0].split("+")[0])] = {"LD_PRELOAD": "%s %s" % (shim, library)}
    return out, missing


def cpu_seconds(pid):
    fields = open("/proc/%d/stat" % pid).read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(program, env, load, quick):
    """One server, one load: a dictionary of figures."""
    _, flags, connections, payload, requests = load
    with Server(program, flags, env) as s, tempfile.TemporaryDirectory() as folder:
        if "LD_PRELOAD" in env and not re.search(r"/lib(je|mi)malloc", open("/proc/%d/maps" % s.pid).read()):
            raise SystemExit("the allocator was not loaded: " + env["LD_PRELOAD"])
        path, cpu_s = os.path.join(folder, "load.json"), cpu_seconds(s.pid)
        subprocess.run([program, "load", s.url, "--concurrency", str(connections), "--payload", payload, "--requests",
                        str(requests // 10 if quick else requests), "--json", path], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)
        report = json.load(open(path))
        row = report["rows"][0]
        if row["refused"] or row["failed"]:
            raise SystemExit("%d refused, %d failed" % (row["refused"], row["failed"]))
        cpu_s = cpu_seconds(s.pid) - cpu_s
        time.sleep(REST_S)
        heap = s.memory()["books"]["heap"]
        return {"idle": report["idle_rss_bytes"], "peak": s.status()["VmHWM"], "after": resident(s.status()),
                "used": heap["in_use_bytes"], "free": heap["free_bytes"] if heap["arena_bytes"] else None,
                "rate": row["requests_per_second"], "cpu_us": cpu_s * 1e6 / row["answered"]}


def median(values):
    return None if None in values else statistics.median(values)


def mib(v):
    return "–" if v is None else "%.2f" % (v / MIB)


def table(found, first):
    """Speed is the server's own CPU time, which other work on the machine moves less than the clock's, against the first allocator's."""
    lines = ["| allocator | idle RSS, MiB | peak | %d s after | left of the load | heap in use | free but held | requests/s | CPU µs a request | of %s's |" % (REST_S, first),
             "|---|---|---|---|---|---|---|---|---|---|"]
    for name, rounds in found.items():
        m = {k: median([r[k] for r in rounds]) for k in rounds[0]}
        ratios = [r["cpu_us"] / f["cpu_us"] for r, f in zip(rounds, found[first])]
        lines.append("| %s | %s | %s | %s | %s | %s | %s | %.0f | %.1f | %.2f (%.2f – %.2f) |" % (
            name, mib(m["idle"]), mib(m["peak"]), mib(m["after"]), "%+.2f" % (median([r["after"] - r["idle"] for r in rounds]) / MIB),
            mib(m["used"]), mib(m["free"]), m["rate"], m["cpu_us"], statistics.median(ratios), min(ratios), max(ratios)))
    return "\n".join(lines)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--plimsoll", default=os.path.join(ROOT, "build", "plimsoll"))
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--quick", action="store_true")
    a.add_argument("--write", action="store_true")
    a = a.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        under, missing = allocators(folder)
        text = ["`python3 bench/memory/allocators/run.py --write`. The same load, a fresh server for each figure, the allocators in "
                "turns; medians of %d rounds, in brackets the least and the most. Serving takes its memory from pools that are there "
                "at start, so an allocator has little to do; what is left of a load is what it kept.\n\n%s"
                % (a.rounds, when_and_where())]
        text += ["Left out: %s could not be installed." % ", ".join(missing)] * bool(missing)
        for load in LOADS:
            found = {name: [] for name in under}
            for i in range(a.rounds):
                turn = list(under)[i % len(under):] + list(under)[:i % len(under)]
                for name in turn:
                    found[name].append(measure(os.path.abspath(a.plimsoll), under[name], load, a.quick))
            text.append("## %s\n\n`serve %s`\n\n%s" % (load[0], " ".join(load[1]), table(found, "glibc")))
            print("\n" + text[-1], flush=True)
    if a.write:
        write_section("Allocators under the same load", "\n\n".join(text))
    return 0


sys.exit(main())
