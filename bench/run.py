#!/usr/bin/env python3
"""Speed and memory beside llama.cpp: `make bench`.

Forges a model of a real shape for each weight type, then lets plimsoll and the peer (bench/peer: npm's node-llama-cpp) run
prefill and decode in turns. Each run is a process of its own; who begins changes from round to round. Each round gives one
ratio, and printed is the median of the ratios: a machine that is slow for a while slows both, and the ratio stays. Other work
on the same processors does not slow both alike, so each run waits for quiet, and a warning tells when there was none.
"""
import argparse
import hashlib
import json
import os
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


def run(command, cwd=None):
    try:
        done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
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


def measure(command, tests):
    """{test: its line}, from the JSON lines that a run prints."""
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
    return lines


def bench_type(o, kind):
    model = forge_model(o, kind)
    tests = [f"pp{o.pp}", f"tg{o.tg}"]
    same = ["--pp", str(o.pp), "--tg", str(o.tg), "--threads", str(o.threads), "--reps", str(o.reps), "--json"]
    commands = {
        "plimsoll": [o.plimsoll, "bench", "-m", model] + same,
        "llama.cpp": ["node", os.path.join(PEER, "speed.mjs"), "--model", model] + same
                     + (["--flash-attention"] if o.flash_attention else []),
    }
    rounds, busiest = [], 0.0
    for i in range(o.rounds):
        rounds.append({})
        for who in list(commands) if i % 2 == 0 else list(commands)[::-1]:
            busiest = max(busiest, wait_for_quiet(o))
            rounds[-1][who] = measure(commands[who], tests)
        speed = lambda who, test: f"{rounds[-1][who][test]['tokens_per_s']:.1f}"
        said = ", ".join(f"{t} {speed('plimsoll', t)} : {speed('llama.cpp', t)}" for t in tests)
        note(f"{kind} round {i + 1} of {o.rounds}: {said}")
    return [{**summary(kind, test, rounds), "others_busy": busiest} for test in tests]


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def memory(lines):
    """Peak of the process; for the peer less what Node itself held before the model was loaded."""
    peaks = [line["peak_bytes"] - line.get("runtime_bytes", 0) for line in lines if "peak_bytes" in line]
    return statistics.median(peaks) if peaks else None


def summary(kind, test, rounds):
    ours, peer = ([r[who][test] for r in rounds] for who in ("plimsoll", "llama.cpp"))
    speeds = [(a["tokens_per_s"], b["tokens_per_s"]) for a, b in zip(ours, peer)]
    result = {"type": kind, "test": test, "ours": spread([a for a, _ in speeds]), "peer": spread([b for _, b in speeds]),
              "ratio": spread([a / b for a, b in speeds]), "pairs": speeds, "model_bytes": ours[0].get("model_bytes"),
              "ours_peak_bytes": memory(ours), "peer_peak_bytes": memory(peer)}
    if result["ours_peak_bytes"] and result["peer_peak_bytes"]:
        result["memory_ratio"] = result["ours_peak_bytes"] / result["peer_peak_bytes"]
    return result


def print_type(o, kind, results):
    attention = "on" if o.flash_attention else "off"
    print(f"\n{o.shape} {kind}, {o.threads} threads, {o.rounds} rounds in turns; tokens/s, median (least - most); "
          f"peer's flash attention {attention}")
    print(f"{'':8}{'plimsoll':>28}{'llama.cpp':>28}{'ours / peer':>24}")
    cell = lambda s, digits: f"{s['median']:.{digits}f} ({s['min']:.{digits}f} - {s['max']:.{digits}f})"
    for r in results:
        print(f"{r['test']:8}{cell(r['ours'], 1):>28}{cell(r['peer'], 1):>28}{cell(r['ratio'], 2):>24}")
    last = results[-1]
    if "memory_ratio" in last:
        times = lambda n: f"{n / MIB:.0f} MiB" + (f" ({n / last['model_bytes']:.2f} x)" if last["model_bytes"] else "")
        print(f"{'peak':8}{times(last['ours_peak_bytes']):>28}{times(last['peer_peak_bytes']):>28}{last['memory_ratio']:>24.2f}")
        print("        peak memory beside the model's tensors; the peer's without what Node took before loading")
    if last["others_busy"] > QUIET:
        print(f"        WARNING: others used up to {100 * last['others_busy']:.0f} % of the processors. The peer's threads spin while\n"
              "        they wait for each other and may lose far more by that than ours. Run again on a quiet machine.")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    build = os.path.join(ROOT, "build")
    whole = lambda text: int(text) if int(text) > 0 else parser.error(f"{text}: a whole number above zero is needed")
    parser.add_argument("--plimsoll", default=os.path.join(build, "plimsoll"), help="the built program (build/plimsoll)")
    parser.add_argument("--forge", default=os.path.join(build, "forge"), help="the built forge (build/forge)")
    parser.add_argument("--cache", default=os.path.join(build, "bench-models"), help="where forged models stay")
    parser.add_argument("--shape", default="llama-1b", help="shape to forge (llama-1b)")
    parser.add_argument("--types", default="Q4_0,Q8_0", help="weight types, with commas (Q4_0,Q8_0)")
    parser.add_argument("--rounds", type=whole, default=5, help="runs of each (5)")
    parser.add_argument("--reps", type=whole, default=1, help="measurements within a run, after its warm-up (1)")
    parser.add_argument("--pp", type=whole, default=512, help="tokens of prefill (512)")
    parser.add_argument("--tg", type=whole, default=64, help="tokens of decode (64)")
    parser.add_argument("--threads", type=whole, default=2, help="threads for both (2)")
    parser.add_argument("--wait-quiet", type=float, default=30, metavar="SECONDS",
                        help="wait so long for other processes to leave the processors alone, before each run (30)")
    parser.add_argument("--flash-attention", action="store_true", help="let the peer use its flash attention")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too")
    return parser.parse_args()


def main():
    o = arguments()
    try:
        for path in (o.plimsoll, o.forge):
            if not os.access(path, os.X_OK):
                raise Failure(f"{path} is not there or not a program: make build first")
        install_peer()
        results = []
        for kind in o.types.split(","):
            of_type = bench_type(o, kind.strip())
            print_type(o, kind.strip(), of_type)
            results += of_type
        if o.json:
            about = {"shape": o.shape, "threads": o.threads, "rounds": o.rounds, "reps": o.reps,
                     "flash_attention": o.flash_attention}
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
