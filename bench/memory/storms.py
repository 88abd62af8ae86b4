#!/usr/bin/env python3
"""Storms in memory control groups: may any load get the server killed?

    python3 bench/memory/storms.py [--runs 216] [--seconds 6] [--at-once 3] [--for SECONDS] [--state build/storms.jsonl] [--write]

Each run starts `plimsoll serve` with a line of 8 GiB in a group of its own, of the smallest size in which `plimsoll plan` says that it fits, or so much larger,
beside two busy loops, and lets one kind of clients (storm_clients.py) loose on it. Read of the group: kills, how often its limit was met, the least room that
was left (without pages of files that are dropped when they are in the way). Afterwards the server must answer, and end as it should.

Runs are written to --state as they end: the same command goes on where it stopped (--for: after so many seconds, at the end of a run). --write puts the
tables into RESULTS.md here. Exit 1 when a server was killed, ended, or did not answer afterwards.
"""
import argparse
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

from common import MIB, ROOT, when_and_where, write_section

sys.path.insert(0, os.path.join(ROOT, "tests", "scenario"))
import groups  # noqa: E402
import harness  # noqa: E402
from groups import BusyLoops, Group  # noqa: E402
from storm_clients import COMMON, KINDS, Storm  # noqa: E402

LINE = ("--memory", "8G")
MORE = (0, 0.5, 1, 2, 4, 8, 16, 32, 64)  # MiB above the smallest group
LEVELS = ("safe", "caution", "warning", "critical", "emergency")
TITLE = "Storms in control groups"


# ---- one run ----

def flags_of(kind):
    flags = COMMON + LINE + KINDS[kind][2]
    forged = harness.forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0") if "{forged}" in flags else ""
    return [f.format(temp=harness.temporary.name, tiny=os.path.join(ROOT, "models", "plimsoll-tiny.gguf"), forged=forged) for f in flags]


def smallest(kind):
    """The size of the smallest group in which `plan` fits, four times of four (what is in the group varies by some pages), to 256 KiB."""
    flags, step = flags_of(kind), 256 << 10
    low, high = 16 * MIB // step, 1024 * MIB // step
    read_anew(flags)
    with Group(high * step, taker=False) as group:
        def fits(size):
            group.set_limit(size * step)
            read_anew(flags)
            return subprocess.run([group.server_program, "plan", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle, high)
        while high * step < 1024 * MIB and not all(fits(high) for _ in range(4)):
            high += 1
    return high * step


def read_anew(flags):
    """The program (a copy) and its files leave the page cache, so that the group pays for reading them, as a container's first process does."""
    program = os.path.join(harness.temporary.name, "plimsoll")
    if not os.path.exists(program):
        shutil.copy(harness.PLIMSOLL, program)
        harness.PLIMSOLL = groups.PLIMSOLL = program
    for path in [program] + [f for f in flags if f.endswith(".gguf")]:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


class Beside:
    """What happens in the group during the storm, a step at a time."""

    def __init__(self, what, group, least, seed):
        self.what, self.group, self.least, self.r, self.next, self.taking = what, group, least, random.Random(seed), 0.0, True
        self.most = group.limit

    def step(self):
        if not self.what or time.monotonic() < self.next:
            return
        self.next = time.monotonic() + (self.r.uniform(0.02, 0.4) if self.what == "limit" else 0.002)
        if self.what == "limit":
            wanted = self.r.choice((self.least, self.most, self.r.randrange(self.least, self.most + 1)))
            try:
                self.group.set_limit(wanted)
            except OSError:
                pass  # version 1 refuses a limit below what is used
        elif self.taking and self.group.room() > 8 * MIB:
            self.group.take(self.group.taker.taken + MIB)
        else:
            self.taking = not self.taking
            self.next += 0.2
            if self.taking:
                self.group.take(self.group.taker.taken * self.r.randrange(3) // 3)


def limit_met(group):
    if group.version == 1:
        return int(group.read("memory.failcnt"))
    return int(re.search(r"^max (\d+)$", group.read("memory.events"), re.M).group(1))


def started(group, flags, record):
    """A server that is ready. What is in a group varies by some pages, so at the edge it may refuse what `plan` took: then a step larger."""
    for record["refused"] in range(12):
        read_anew(flags)
        try:
            return harness.Server("--any-model", *flags)
        except harness.Failure as e:
            server = harness.Server.running.pop()
            record.update(kills=group.kills(), failure="did not start: %s: %s" % (e, server.log()[-300:]))
            if server.process.poll() != 2 or record["kills"]:
                return None
            record["limit"] += 256 << 10
            group.set_limit(record["limit"])
    return None


def storm(kind, least, more, seconds, seed):
    doings, n, _, beside = KINDS[kind]
    flags, record = flags_of(kind), {"kind": kind, "more": more, "seed": seed, "limit": least + int(more * MIB)}
    read_anew(flags)  # a copy of the program takes its place before the group names it
    with Group(record["limit"], taker=beside == "neighbour") as group:
        if group.taker:
            record["limit"] += group.limit - group.room()  # what a neighbour has already is not the server's
            group.set_limit(record["limit"])
        server = started(group, flags, record)
        if not server:
            return record
        going = Beside(beside, group, least, seed)
        at_ready = room = group.room()
        blowing = Storm(server.port, seed, seconds, doings, n)
        while blowing.going() and server.process.poll() is None:
            room = min(room, group.room())
            going.step()
            time.sleep(0.002)
        record.update(kills=group.kills(), met=limit_met(group), room=room, at_ready=at_ready, said=dict(blowing.said), failure="")
        if group.taker:
            group.take(0)
        group.set_limit(going.most)
        log = server.log()
        record["level"] = max([LEVELS.index(l) for l in re.findall(r"memory: (\w+), was", log) if l in LEVELS] or [0])
        record["failure"] = after(server) or ("killed" if record["kills"] else "")
        if "500" in record["said"]:
            record["failure"] = record["failure"] or "answered 500"
    return record


def after(server):
    """What is wrong with the server now: it must answer within a while, and end by SIGTERM."""
    if server.process.poll() is not None:
        return "ended with %d: %s" % (server.process.poll(), server.log()[-300:])
    try:
        harness.wait_until(lambda: server.post([9] * 100, max_tokens=4).status == 200, "an answer afterwards", 15, 0.05)
        server.stop()
    except (harness.Failure, OSError) as e:
        ended = server.process.poll()
        server.kill()
        return "%s (ended: %s): %s" % (e, ended, server.log()[-300:])
    return ""


# ---- all of them ----

def wanted_runs(runs):
    """Every kind in every size, round after round."""
    all_of_them = [(kind, more, seed) for seed in range(1, 100) for more in MORE for kind in KINDS]
    return all_of_them[:runs]


def records_of(state):
    return [json.loads(line) for line in open(state)] if os.path.exists(state) else []


def child(*arguments):
    return subprocess.Popen([sys.executable, os.path.abspath(__file__), *map(str, arguments)], stdout=subprocess.PIPE, text=True, env=os.environ)


def sizes_of(state):
    """The smallest group of each kind, found once."""
    sizes = {r["kind"]: r["smallest"] for r in records_of(state) if "smallest" in r}
    for kind in KINDS:
        if kind not in sizes:
            sizes[kind] = int(child("--smallest", kind).communicate()[0])
            append(state, {"kind": kind, "smallest": sizes[kind]})
            print("%-36s fits in a group of %.2f MiB" % (kind, sizes[kind] / MIB), flush=True)
    return sizes


def append(state, record):
    with open(state, "a") as f:
        f.write(json.dumps(record) + "\n")


def say(record, done, of):
    said = record.get("said", {})
    print("%3d/%d %-36s %7.2f MiB: %5.2f left, limit met %4d times, %-9s 200: %d, 429: %d, other: %d  %s" % (
        done, of, record["kind"], record["limit"] / MIB, record.get("room", 0) / MIB, record.get("met", 0), LEVELS[record.get("level", 0)],
        said.get("200", 0), said.get("429", 0) + said.get("529", 0), sum(n for s, n in said.items() if s not in ("200", "429", "529")), record["failure"]), flush=True)


def run_all(a):
    sizes = sizes_of(a.state)
    wanted = wanted_runs(a.runs)
    done = {(r["kind"], r["more"], r["seed"]) for r in records_of(a.state) if "limit" in r}
    left = [w for w in wanted if w not in done and (not a.kind or a.kind in w[0])]
    running, until = [], time.monotonic() + a.seconds_for
    with BusyLoops():
        while running or (left and time.monotonic() < until):
            while left and len(running) < a.at_once and time.monotonic() < until:
                kind, more, seed = left.pop(0)
                running.append(child("--one", json.dumps([kind, sizes[kind], more, a.seconds, seed])))
            process = next((p for p in running if p.poll() is not None), None)
            if not process:
                time.sleep(0.02)
                continue
            running.remove(process)
            record = json.loads(process.communicate()[0])
            append(a.state, record)
            done.add((record["kind"], record["more"], record["seed"]))
            say(record, len(done), len(wanted))


# ---- tables ----

def row(name, records):
    said = sum((collections.Counter(r.get("said", {})) for r in records), collections.Counter())
    refused = said["429"] + said["529"]
    return "| %s | %d | %s | %.2f | %d | %s | %d | %d | %d | %d |" % (
        name, len(records), "%.1f – %.1f" % (min(r["limit"] for r in records) / MIB, max(r["limit"] for r in records) / MIB),
        min(r.get("room", 0) for r in records) / MIB, sum(r.get("met", 0) for r in records), LEVELS[max(r.get("level", 0) for r in records)],
        said["200"], refused, sum(said.values()) - said["200"] - refused, sum(r["kills"] for r in records))


def tables(records, a):
    head = "| %s | runs | groups, MiB | least room left, MiB | limit met | level reached | answered | refused for now | others, left | kills |\n|---|---|---|---|---|---|---|---|---|---|"
    lines = ["`python3 bench/memory/storms.py --write`. `serve --memory 8G` in a control group (v%d) from the smallest in which `plan` fits upward, %g s a run beside two busy loops and "
             "whatever else the machine had to do. %d runs, **%d killed**, %d with anything else wrong; in %s each server answered and ended as it should afterwards.\n\n%s\n" % (
                 version(), a.seconds, len(records), sum(r["kills"] > 0 for r in records), sum(bool(r["failure"]) and not r["kills"] for r in records),
                 "all" if not any(r["failure"] for r in records) else "the others", when_and_where()), head % "storm"]
    lines += [row(kind, of) for kind in KINDS for of in [[r for r in records if r["kind"] == kind]] if of]
    lines += ["", head % "above the smallest, MiB"] + [row("+%g" % more, of) for more in MORE for of in [[r for r in records if r["more"] == more]] if of]
    return "\n".join(lines + ["", "*Least room left*: of the group's limit, every 2 ms, without pages of files that are dropped when they are in the way; the server keeps 2 MiB and a "
                              "128th of the limit for what nobody reserves (page tables, sockets). *Limit met*: the kernel took such pages back, or a neighbour's limit was lowered."])


def version():
    return groups.own_group()[0]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--runs", type=int, default=216)
    p.add_argument("--seconds", type=float, default=6)
    p.add_argument("--at-once", type=int, default=3)
    p.add_argument("--for", dest="seconds_for", type=float, default=1e9)
    p.add_argument("--kind", help="only kinds whose name has this")
    p.add_argument("--state", default=os.path.join(ROOT, "build", "storms.jsonl"))
    p.add_argument("--write", action="store_true")
    p.add_argument("--one", help=argparse.SUPPRESS)
    p.add_argument("--smallest", help=argparse.SUPPRESS)
    a = p.parse_args()
    try:
        if a.smallest:
            print(smallest(a.smallest))
            return 0
        if a.one:
            print(json.dumps(storm(*json.loads(a.one))))
            return 0
    except harness.Skip as e:
        raise SystemExit(str(e))
    run_all(a)
    records = [r for r in records_of(a.state) if "limit" in r]
    bad = [r for r in records if r["failure"] or r["kills"]]
    for r in bad:
        print("WRONG %(kind)s, %(limit)d bytes, seed %(seed)d, kills %(kills)d: %(failure)s" % r)
    print("%d runs, %d killed, %d wrong" % (len(records), sum(r["kills"] > 0 for r in records), len(bad)))
    if a.write:
        write_section(TITLE, tables(records, a))
    return 1 if bad else 0


sys.exit(main())
