#!/usr/bin/env python3
"""Speed and memory beside llama.cpp: `make bench`.

Forges a model of a real shape for each weight type, then lets plimsoll and the peer (bench/peer: npm's node-llama-cpp) run
the same tests in turns, line by line (LINES below). Each run is a process of its own; who begins changes from round to
round. Each round gives one ratio, and printed is the median of the ratios: a machine that is slow for a while slows both, and
the ratio stays. Other work on the same processors does not slow both alike, so each run waits for quiet, and the table says
how much others used. Beside our figures stands their share of the limit that was measured right after them.

  bench/run.py --only decode,batched      some lines
  bench/run.py --quick                    one round of everything that does not take minutes, written nowhere
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEER = os.path.join(ROOT, "bench", "peer")
SEED = 1
QUIET = 0.1  # others may use this share of the processors
MIB = 1 << 20


class Failure(Exception):
    """What went wrong, in one line for the user; output, if any, is what the failed command said."""

    def __init__(self, line, output=""):
        super().__init__(line)
        self.output = output


def note(line):
    print(line, file=sys.stderr, flush=True)


def run(command, cwd=None, env=None):
    try:
        done = subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    except OSError as e:
        raise Failure(f"{command[0]}: {e.strerror}") from e
    if done.returncode:
        raise Failure(f"{' '.join(command)}: exit status {done.returncode}", (done.stdout + done.stderr).strip())
    return done.stdout


def install_peer():
    """npm ci, when the packages are missing or not those of the lockfile."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            raise Failure(f"{program} is missing: the peer needs Debian's packages nodejs and npm (Node 20 or later)")
    with open(os.path.join(PEER, "package-lock.json"), encoding="utf-8") as f:
        due = json.load(f)["packages"]["node_modules/node-llama-cpp"]["version"]
    try:
        with open(os.path.join(PEER, "node_modules", "node-llama-cpp", "package.json"), encoding="utf-8") as f:
            if json.load(f)["version"] == due:
                return
    except (OSError, ValueError):
        pass
    note(f"installing the peer: npm ci in bench/peer (node-llama-cpp {due})")
    run(["npm", "ci"], cwd=PEER)


def forge_model(o, kind):
    """The model's path; forged once for each version of the forge, older ones are removed."""
    os.makedirs(o.cache, exist_ok=True)
    with open(o.forge, "rb") as f:
        version = hashlib.sha256(f.read()).hexdigest()[:8]
    stem = f"{o.shape}-{kind}-"
    path = os.path.join(o.cache, f"{stem}{version}.gguf")
    if not os.path.exists(path):
        for old in os.listdir(o.cache):
            if old.startswith(stem):
                os.unlink(os.path.join(o.cache, old))
        note(f"forging {o.shape} {kind}")
        run([o.forge, "--shape", o.shape, "--type", kind, "--seed", str(SEED), "-o", path])
    return path


def others_busy():
    """Share of the machine's processors that others use just now (this process sleeps meanwhile)."""
    def ticks():
        with open("/proc/stat", encoding="ascii") as f:
            fields = [int(x) for x in f.readline().split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    total, idle = ticks()
    time.sleep(0.5)
    total_now, idle_now = ticks()
    return 1 - (idle_now - idle) / max(1, total_now - total)


def wait_for_quiet(o):
    """Until others leave the processors alone, or --wait-quiet seconds are over; returns what others still use."""
    end = time.monotonic() + o.wait_quiet
    while (busy := others_busy()) > QUIET and time.monotonic() < end:
        pass
    return busy


def measure(command, tests, *others):
    """{test: its line}, from the JSON lines that a run prints; tests must have a speed, others be there."""
    output = run(command)
    lines = {}
    for text in output.splitlines():
        try:
            line = json.loads(text)
            lines[line["test"]] = line
        except (ValueError, TypeError, KeyError):
            continue
    for test in tests:
        if not isinstance(lines.get(test, {}).get("tokens_per_s"), (int, float)) or lines[test]["tokens_per_s"] <= 0:
            raise Failure(f"{' '.join(command)}: no speed for {test} in its output", output.strip())
    for test in others:
        if test not in lines:
            raise Failure(f"{' '.join(command)}: no line {test} in its output", output.strip())
    return lines


# ---- the lines: what is measured, and what is asked of it ----

class Line:
    """One comparison: a test that both programs run, for each weight type."""

    def __init__(self, name, types, test, arguments, goals, share=None, rounds=None, ours=(), slow=False):
        self.name, self.types, self.test, self.arguments = name, types, test, arguments
        self.goals = goals if isinstance(goals, dict) else {kind: goals for kind in types}  # least ours / peer
        self.share, self.rounds, self.ours, self.slow = share, rounds, list(ours), slow


def lines_of(o):
    tg, deep = (32, 2048) if o.quick else (128, 8192)
    flags = lambda pp, tg, *more: ["--pp", str(pp), "--tg", str(tg), *more]
    k_types = {"Q4_K": 2.2, "Q5_K": 2.2, "Q6_K": 2.2}
    one = ["Q4_0"]
    lines = [Line("prefill", ["Q4_0", "Q8_0"], "pp512", flags(512, 0), 2.5, 0.68),
             Line("prefill", list(k_types), "pp512", flags(512, 0), k_types),
             Line("prefill-long", one, "pp8192", flags(8192, 32, "--depth", "8192"), 3, rounds=2, slow=True),
             Line("decode", ["Q4_0", "Q8_0", "Q4_K"], f"tg{tg}@0", flags(0, tg, "--depth", "0"), 1.2, 0.92)]
    for width, goal in ((4, 3.5), (8, 5), (16, 5.5)):
        lines.append(Line("batched", one, f"tg{tg}x{width}", flags(0, tg, "--depth", "0", "--streams", str(width)), goal))
    for name, depth in (("depth", deep), ("depth-long", 2 * deep)):
        for kv, goal in (("f16", 2.2), ("q8", 2.6)):
            lines.append(Line(name, one, f"tg32@{depth}", flags(depth, 32, "--depth", str(depth)), goal,
                              rounds=1 if name == "depth-long" else 2, slow=name == "depth-long",
                              ours=["--kv", kv] if kv != "f16" else []))
    return lines


def command_of(o, who, kind, arguments):
    model = forge_model(o, kind)
    same = arguments + ["--threads", str(o.threads), "--reps", str(o.reps), "--json"]
    if who == "plimsoll":
        return [o.plimsoll, "bench", "-m", model] + same
    return ["node", os.path.join(PEER, "speed.mjs"), "--model", model] + same + (["--flash-attention"] if o.flash_attention else [])


PAIR = ("plimsoll", "llama.cpp")


def in_turns(o, rounds, measure_one, say):
    """[{who: what measure_one(who, round) gave}], and what others used at most."""
    results, busiest = [], 0.0
    for i in range(rounds):
        results.append({})
        for who in PAIR if i % 2 == 0 else PAIR[::-1]:
            busiest = max(busiest, wait_for_quiet(o))
            results[-1][who] = measure_one(who, i)
        note(f"{say} round {i + 1} of {rounds}: " + " : ".join(f"{value_of(results[-1][who]):.2f}" for who in PAIR))
    return results, busiest


def value_of(line):
    return line.get("tokens_per_s") or line.get("first_token_ms") or line["kept"]


def row(name, unit, results, busiest, goal, smaller_is_better=False, share_goal=None):
    ours, peer = ([r[who] for r in results] for who in PAIR)
    pairs = [(value_of(a), value_of(b)) for a, b in zip(ours, peer)]
    peaks = [memory(lines) for lines in (ours, peer)]
    share = [line["share"] for line in ours if line.get("share") is not None]
    result = {"name": name, "unit": unit, "ours": spread([a for a, _ in pairs]), "peer": spread([b for _, b in pairs]),
              "ratio": spread([a / b for a, b in pairs]), "pairs": pairs, "goal": goal, "others_busy": busiest,
              "ours_peak_bytes": peaks[0], "peer_peak_bytes": peaks[1], "limit": ours[0].get("limit"),
              "share": statistics.median(share) if share else None, "share_goal": share_goal,
              "memory_ratio": peaks[0] / peaks[1] if all(peaks) else None}
    met = result["ratio"]["median"] <= goal if smaller_is_better else result["ratio"]["median"] >= goal
    result["met"] = bool(met and (share_goal is None or not share or result["share"] >= share_goal))
    result["goal_text"] = ("≤ " if smaller_is_better else "≥ ") + f"{goal:g}"
    return result


def versus(o, line):
    for kind in [k for k in line.types if k in o.types]:
        def one(who, i):
            """One long run may serve several lines of its round."""
            command = command_of(o, who, kind, line.arguments + (line.ours if who == "plimsoll" else []))
            if (i, *command) not in o.measured:
                o.measured[(i, *command)] = measure(command, [line.test])
            return o.measured[(i, *command)][line.test]
        name = f"{kind} {line.test}" + "".join(f", {word}" for word in line.ours[1:])
        results, busiest = in_turns(o, min(o.rounds, line.rounds or o.rounds), one, name)
        yield row(name, "tokens/s", results, busiest, line.goals[kind], share_goal=line.share)


def load_line(o):
    """From the start of loading to the first token's logits; the file is in the page cache. Each loads twice in a row, and
    the second counts: a guest may have given its free memory back to its host, and whoever loads first asks for it again."""
    def one(who, _):
        command = command_of(o, who, "Q4_0", ["--pp", "0", "--tg", "0"])
        return [measure(command, [], "load")["load"] for _ in range(2)][1]
    results, busiest = in_turns(o, o.rounds, one, "load")
    yield row("Q4_0 load to first token", "ms", results, busiest, 0.6, smaller_is_better=True)


class Busy:
    """A foreign process that computes all the time on the last of the processors that we use."""

    def __enter__(self):
        core = sorted(os.sched_getaffinity(0))[-1]
        self.process = subprocess.Popen([sys.executable, "-c", "while True: pass"],
                                        preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        time.sleep(0.3)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def beside_line(o):
    """What of its quiet rate a program keeps beside one busy loop."""
    def one(who, _):
        command = command_of(o, who, "Q4_0", ["--pp", "0", "--tg", "64", "--depth", "0"])
        quiet = measure(command, ["tg64@0"])["tg64@0"]
        with Busy():
            beside = measure(command, ["tg64@0"])["tg64@0"]
        return {**beside, "share": None, "tokens_per_s": None, "kept": beside["tokens_per_s"] / quiet["tokens_per_s"]}
    results, busiest = in_turns(o, o.rounds, one, "beside")
    r = row("Q4_0 tg64 beside a busy loop", "of its quiet rate", results, busiest, 1)
    r["met"], r["goal_text"], r["share"] = r["ours"]["median"] >= 0.55, "ours ≥ 0.55", None
    yield r


def cached_line(o):
    """Over HTTP: bench/serving.py."""
    path = os.path.join(o.cache, "serving.json")
    run([sys.executable, os.path.join(ROOT, "bench", "serving.py"), "--plimsoll", o.plimsoll, "--forge", o.forge, "--cache", o.cache,
         "--only", "prefix", "--rounds", str(o.rounds), "--wait-quiet", str(o.wait_quiet), "--json", path])
    with open(path, encoding="utf-8") as f:
        r = json.load(f)["prefix"]
    ratio = {"median": r["ratio"], "min": r["least"], "max": r["most"]}
    yield {"name": "Q4_0 first token, 2,048 known", "unit": "of cold", "ours": ratio, "peer": None, "ratio": ratio,
           "goal_text": "≤ 0.03", "met": ratio["median"] <= 0.03, "share": None, "memory_ratio": None, "others_busy": 0}


def alone(o, name, command, test, goal):
    speeds, busiest = [], 0.0
    for _ in range(o.rounds):
        busiest = max(busiest, wait_for_quiet(o))
        speeds.append(measure(command, [test])[test]["tokens_per_s"])
    speed = spread(speeds)
    return {"name": name, "unit": "tokens/s", "ours": speed, "peer": None, "ratio": None, "goal_text": f"ours ≥ {goal:,}",
            "met": speed["median"] >= goal, "share": None, "memory_ratio": None, "others_busy": busiest}


def embedded_line(o):
    command = [o.plimsoll, "bench", "--pp", "8", "--tg", "400", "--threads", str(o.threads), "--json"]
    yield alone(o, "embedded model, tg400", command, "tg400", 2000)


def speculate_line(o):
    """Repetitive text of the embedded model, guessing on and off: bench/speculate.py, which fails when the texts differ."""
    said = run([sys.executable, os.path.join(ROOT, "bench", "speculate.py"), "-r", str(max(3, o.rounds)), "--texts", "repeats", "-s"],
               env={**os.environ, "PLIMSOLL": os.path.abspath(o.plimsoll)})
    found = re.search(r"off +([0-9.]+) tokens/s, on +([0-9.]+), ratio ([0-9.]+) \(([0-9.]+) – ([0-9.]+)\)", said)
    if not found:
        raise Failure("bench/speculate.py: no ratio in its output", said)
    off, on, *ratio = (float(x) for x in found.groups())
    ratio = dict(zip(("median", "min", "max"), ratio))
    yield {"name": f"embedded model, repetitive text, guessing over not ({on:.0f} : {off:.0f} tokens/s)", "unit": "of the rate without",
           "ours": ratio, "peer": None, "ratio": None, "goal_text": "ours ≥ 1.5", "met": ratio["median"] >= 1.5, "share": None,
           "memory_ratio": None, "others_busy": 0}


def all_lines(o):
    """[(name, slow, function that yields rows)]"""
    lines = [(line.name, line.slow, lambda line=line: versus(o, line)) for line in lines_of(o)]
    return lines + [("beside", False, lambda: beside_line(o)), ("cached", True, lambda: cached_line(o)), ("load", False, lambda: load_line(o)),
                    ("embedded", False, lambda: embedded_line(o)), ("speculate", False, lambda: speculate_line(o))]


# ---- results ----

def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def memory(lines):
    """Peak of the process; for the peer less what Node itself held before the model was loaded."""
    peaks = [line["peak_bytes"] - line.get("runtime_bytes", 0) for line in lines if "peak_bytes" in line]
    return statistics.median(peaks) if peaks else None


HEADINGS = ["", "plimsoll", "llama.cpp", "ours / peer", "asked", "met", "of the limit", "memory / peer"]


def cells_of(r):
    digits = 0 if r["unit"] == "ms" else 3 if r["unit"].startswith("of ") else 1
    cell = lambda s, n: f"{s['median']:,.{n}f} ({s['min']:,.{n}f} – {s['max']:,.{n}f})" if s else ""
    share = f"{100 * r['share']:.0f} %" + (f" (asked {100 * r['share_goal']:.0f})" if r.get("share_goal") else "") if r["share"] else ""
    return [f"{r['name']}, {r['unit']}", cell(r["ours"], digits), cell(r["peer"], digits), cell(r["ratio"], 2 if r["peer"] else 4),
            r["goal_text"], "yes" if r["met"] else "no", share, f"{r['memory_ratio']:.2f}" if r["memory_ratio"] else ""]


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), "unknown processor")


def table(o, results):
    busiest = max(r["others_busy"] for r in results)
    lines = [f"{o.shape} shape, {o.threads} threads, {o.rounds} rounds in turns, medians (least – most); peer's KV f16, flash attention "
             f"{'on' if o.flash_attention else 'off'}; other processes used up to {100 * busiest:.0f} % of the processors", ""]
    lines.append("| " + " | ".join(HEADINGS) + " |")
    lines.append("|" + "---|" * len(HEADINGS))
    lines += ["| " + " | ".join(cells_of(r)) + " |" for r in results]
    return "\n".join(lines) + "\n"


def write_results(o, text):
    """The newest on top, under the file's heading."""
    old = "# Results\n\n"
    if os.path.exists(o.results):
        with open(o.results, encoding="utf-8") as f:
            old = f.read()
    at = old.find("\n## ")
    at = len(old) if at < 0 else at + 1
    heading = f"## {time.strftime('%Y-%m-%d')} — {cpu_name()}, {os.cpu_count()} cores\n\n"
    with open(o.results, "w", encoding="utf-8") as f:
        f.write(old[:at] + heading + text + "\n" + old[at:])


def arguments():
    build = os.path.join(ROOT, "build")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whole = lambda text: int(text) if int(text) > 0 else parser.error(f"{text}: a whole number above zero is needed")
    parser.add_argument("--plimsoll", default=os.path.join(build, "plimsoll"), help="the built program (build/plimsoll)")
    parser.add_argument("--forge", default=os.path.join(build, "forge"), help="the built forge (build/forge)")
    parser.add_argument("--cache", default=os.path.join(build, "bench-models"), help="where forged models stay")
    parser.add_argument("--shape", default="llama-1b", help="shape to forge (llama-1b)")
    parser.add_argument("--types", default="Q4_0,Q8_0,Q4_K,Q5_K,Q6_K", help="weight types, of those that a line has")
    parser.add_argument("--only", metavar="LINES", help="only these: prefill,prefill-long,decode,batched,depth,depth-long,beside,cached,load,"
                        "embedded,speculate")
    parser.add_argument("--quick", action="store_true", help="one round, short tests, no waiting; no line that takes minutes")
    parser.add_argument("--rounds", type=whole, help="runs of each (5)")
    parser.add_argument("--reps", type=whole, default=1, help="measurements within a run, after its warm-up (1)")
    parser.add_argument("--threads", type=whole, default=2, help="threads for both (2)")
    parser.add_argument("--wait-quiet", type=float, metavar="SECONDS",
                        help="wait so long for other processes to leave the processors alone, before each run (30)")
    parser.add_argument("--flash-attention", action="store_true", help="let the peer use its flash attention")
    parser.add_argument("--results", metavar="FILE", help="add the table there (bench/RESULTS.md; with --quick or --only nowhere)")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    o = parser.parse_args()
    o.measured = {}
    o.types = [kind.strip() for kind in o.types.split(",")]
    o.rounds = o.rounds or (1 if o.quick else 5)
    o.wait_quiet = o.wait_quiet if o.wait_quiet is not None else 0 if o.quick else 30
    if not o.results and not o.quick and not o.only:
        o.results = os.path.join(ROOT, "bench", "RESULTS.md")
    return o


def chosen(o):
    lines = all_lines(o)
    if not o.only:
        return [line for line in lines if not (o.quick and line[1])]
    wanted = o.only.split(",")
    unknown = [name for name in wanted if name not in {line[0] for line in lines}]
    if unknown:
        raise Failure(f"--only: there is no line {unknown[0]} (--help lists them)")
    return [line for line in lines if line[0] in wanted]


def main():
    o = arguments()
    try:
        for path in (o.plimsoll, o.forge):
            if not os.access(path, os.X_OK):
                raise Failure(f"{path} is not there or not a program: make build first")
        lines = chosen(o)
        install_peer()
        results = []
        for _, _, rows in lines:
            results += rows()
        if not results:
            raise Failure("nothing was measured")
        text = table(o, results)
        print(text, end="")
        if o.results:
            write_results(o, text)
        if o.json:
            about = {"date": time.strftime("%Y-%m-%d"), "cpu": cpu_name(), "shape": o.shape, "threads": o.threads, "rounds": o.rounds,
                     "reps": o.reps, "flash_attention": o.flash_attention}
            with open(o.json, "w", encoding="utf-8") as f:
                json.dump({**about, "results": results}, f, indent=1)
                f.write("\n")
    except Failure as e:
        if e.output:
            note(e.output)
        note(f"bench: {e}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
