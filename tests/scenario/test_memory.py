"""The ledger beside the kernel: balanced at every moment, flat, never over the line, all given back."""
from harness import *

PROMPT = "Once upon a time"


def sizes_of(s):
    status = s.status()
    return status.get("RssAnon", 0) + status.get("RssFile", 0)


class Sampler(threading.Thread):
    """Reads RssAnon + RssFile every 5 ms (VmHWM would count pages that never were there together)."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.peak, self.count, self.going = server, 0, 0, True
        self.start()

    def run(self):
        while self.going:
            now = sizes_of(self.server)
            self.count += 1
            self.peak = max(self.peak, now)
            time.sleep(0.005)

    def stop(self):
        self.going = False
        self.join()
        return self.peak


def balanced(s, when):
    for _ in range(20):  # memory moves between two readings: the server's lies between those before and after it, or all are taken again
        before, b, after = s.resident_bytes(), s.memory()["books"], s.resident_bytes()
        if min(before, after) - 4 * MIB <= b["kernel_bytes"] <= max(before, after) + 4 * MIB:
            break
    check(b["balanced"] and abs(b["unexplained_bytes"]) <= b["tolerance_bytes"],
          lambda: "%s: kernel %d, ledger %d, unexplained %d, tolerance %d" %
          (when, b["kernel_bytes"], b["ledger_bytes"], b["unexplained_bytes"], b["tolerance_bytes"]))
    # The server's reading of the kernel is the kernel's.
    check(min(before, after) - 4 * MIB <= b["kernel_bytes"] <= max(before, after) + 4 * MIB,
          "%s: /memory says %d resident, /proc says %d before and %d after" % (when, b["kernel_bytes"], before, after))
    return b["unexplained_bytes"]


def books_through_a_load(*flags, requests=8, **fields):
    with Server(*flags) as s:
        worst = [balanced(s, "idle")]
        threads = [threading.Thread(target=lambda i=i: s.post(PROMPT, seed=i, **fields), daemon=True) for i in range(requests)]
        for t in threads:
            t.start()
        while any(t.is_alive() for t in threads):
            worst.append(balanced(s, "while generating"))
            time.sleep(0.01)
        until_quiet(s)
        worst.append(balanced(s, "right after"))
        time.sleep(1.5)
        worst.append(balanced(s, "after the idle trim"))
        note("unexplained from %.2f to %.2f MiB in %d readings" % (min(worst) / MIB, max(worst) / MIB, len(worst)))
        check(len(worst) > 10, "too few readings to mean anything")


@test
def books_balance_with_the_built_in_model():
    books_through_a_load("-c", "2048", max_tokens=600, ignore_end=True)


@test(timeout=120)
def books_balance_with_a_forged_model():
    books_through_a_load("-m", forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0"), "-c", "2048", max_tokens=12, ignore_end=True)


def load_peak(*flags):
    p = plan_of(*flags)
    weights, total = p["plan"]["accounts"]["weights"], p["plan"]["total_bytes"]
    samplers = []
    with Server(*flags, on_start=lambda s: samplers.append(Sampler(s))) as s:
        for i in range(3):
            s.generate(PROMPT, max_tokens=8, ignore_end=True, seed=i)
        time.sleep(0.3)
        peak = samplers[0].stop()
        accounts = s.memory()["books"]["accounts"]
        pages = accounts["kv"]["peak_bytes"]  # what was taken of the pool, not all that the plan has room for
        allowed = 1.02 * p["tensor_bytes"] + (total - weights - p["plan"]["accounts"]["kv"]) + pages
        note("peak %.2f MiB in %d samples from start to after the first answers; tensors %.2f MiB, allowed %.2f MiB" %
             (peak / MIB, samplers[0].count, p["tensor_bytes"] / MIB, allowed / MIB))
        check(weights <= 1.02 * p["tensor_bytes"] + 64 * KIB, "the plan's weights are %.3f of the tensors" % (weights / p["tensor_bytes"]))
        check(samplers[0].count >= 10, "only %d samples" % samplers[0].count)
        check(peak <= allowed, "peak of RssAnon + RssFile %d, allowed %d" % (peak, allowed))


@test
def load_peak_built_in():
    load_peak()


@test(timeout=120)
def load_peak_forged_q4_0():
    load_peak("-m", forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0"), "-c", "2048")


@test(timeout=120)
def load_peak_forged_q8_0():
    load_peak("-m", forge("--shape", "qwen2-0.5b", "--layers", "2", "--type", "Q8_0"), "-c", "2048")


@test
def no_malloc_per_token():
    with Server("-c", "2048") as s:
        engine = s.memory()["engine"]
        expect(engine["mallocs_counted"], True, "mallocs_counted")
        for fields in ({"stream": True}, {}, {"top_logprobs": 5}, {"temperature": 0}, {"repeat_penalty": 1.2, "frequency_penalty": 0.5, "typical_p": 0.9},
                       {"stop": ["zzz", "qqq"]}, {"logit_bias": {"5": 1}}):
            s.post(PROMPT * 20, max_tokens=500, ignore_end=True, **fields)
        now = s.memory()["engine"]
        check(now["tokens"] - engine["tokens"] >= 7 * 500, "too few tokens: %r" % now)
        expect(now["step_mallocs"], 0, "mallocs during %d steps" % now["steps"])


@test(timeout=120)
def three_hundred_requests_leave_it_flat():
    with Server("--prompt-cache-bytes", "1M") as s:
        idle = []
        for i in range(300):
            if i % 3 == 0:
                for _ in s.stream(PROMPT, max_tokens=12, seed=i):
                    pass
            else:
                s.post(PROMPT * (1 + i % 7), max_tokens=5 + i % 20, seed=i, logprobs=i % 5 == 0)
            idle.append(s.status()["RssAnon"])
        last = idle[100:]
        note("RssAnon over the last 200: %d KiB to %d KiB" % (min(last) // KIB, max(last) // KIB))
        check(max(last) - min(last) <= 256 * KIB, "RssAnon moved by %d KiB over the last 200 requests" % ((max(last) - min(last)) // KIB))
        CONNECTION = 18 * KIB  # one of http's: whether an earlier client's has been closed yet is chance

        def accounts():
            a = s.accounts()
            a.pop("runtime")
            a["http"] %= CONNECTION
            return a

        before = accounts()
        for i in range(50):
            s.post(PROMPT, max_tokens=12, seed=i)
        expect(accounts(), before, "accounts after 50 more")


@test
def pages_come_back_after_a_load():
    with Server("-c", "4096", "-np", "4") as s:
        s.generate(PROMPT, max_tokens=5)
        time.sleep(1.5)
        before = s.status()["RssAnon"]
        threads = [threading.Thread(target=lambda: s.post([5] * 3000, max_tokens=8, ignore_end=True, cache=False), daemon=True) for _ in range(4)]
        for t in threads:
            t.start()
        most = 0
        while any(t.is_alive() for t in threads):
            most = max(most, s.status()["RssAnon"])
            time.sleep(0.01)
        check(most > before + 8 * MIB, "the load took no memory: %d, then %d" % (before, most))
        until_quiet(s)
        wait_until(lambda: s.status()["RssAnon"] <= before + MIB, "RssAnon back at its level (%d MiB, at most %d MiB)" % (before // MIB, most // MIB), 10, 0.05)
        expect(s.memory()["kv_pool"]["committed_bytes"], s.memory()["kv_pool"]["used_bytes"], "committed bytes: those of remembered pages")


def line_holds(*flags, prompt_tokens, max_tokens):
    """A line just above what the plan needs at the least; then more load than fits."""
    least = plan_of(*flags, "--no-prompt-cache")["plan"]["total_bytes"]
    line = (least + 2 * MIB + KIB - 1) // KIB
    over, samples, busy = [], 0, 0
    with Server(*flags, "--memory", "%dK" % line) as s:
        threads = [threading.Thread(target=lambda i=i: s.post([5 + i] * prompt_tokens, max_tokens=max_tokens, ignore_end=True, stream=i % 2 == 0), daemon=True) for i in range(12)]
        for t in threads:
            t.start()
        most = 0
        while any(t.is_alive() for t in threads):
            now = s.resident_bytes()
            most = max(most, now)
            samples += 1
            if now > line * KIB:
                over.append(now)
            time.sleep(0.003)
        b = s.memory()["books"]
        expect(b["line_bytes"], line * KIB, "the line that /memory shows")
        check(b["ledger_peak_bytes"] <= line * KIB, "the ledger's peak %d is over the line %d" % (b["ledger_peak_bytes"], line * KIB))
        note("line %.2f MiB, most resident %.2f MiB in %d samples" % (line / KIB, most / MIB, samples))
        check(samples > 20, "too few samples")
        check(not over, lambda: "over the line of %d in %d samples, up to %d" % (line * KIB, len(over), max(over)))
        until_quiet(s)
        expect(s.generate(PROMPT, max_tokens=4, ignore_end=True)["usage"]["completion_tokens"], 4, "an answer afterwards")


@test
def line_holds_built_in():
    line_holds("-np", "2", "-c", "2048", prompt_tokens=1500, max_tokens=400)


@test(timeout=120)
def line_holds_forged():
    line_holds("-m", forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0"), "-np", "1", "-c", "1024", prompt_tokens=100, max_tokens=8)


def bytes_of(size):
    return {"2M": "2.00 MiB", "16M": "16.0 MiB"}[size]


@test
def too_small_a_line_is_refused_with_what_would_fit():
    fixed = plan_of("-c", "32", "-np", "1", "--no-prompt-cache")["plan"]["total_bytes"]
    whole = plan_of("-c", "32768", "-np", "1", "--no-prompt-cache")["plan"]["total_bytes"]
    between = "%dK" % ((fixed + (whole - fixed) // 4) // KIB)
    for command in ("serve", "plan"):
        arguments = [command, "-np", "1"] + (["--port", "0"] if command == "serve" else [])
        done = run_plimsoll(*arguments, "-c", "32768", "--memory", between, rc=2)
        lines = done.err.splitlines()
        expect(len(lines), 1, "lines on stderr: %r" % lines)
        fits = re.search(r"-c (\d+) it would fit", lines[0])
        check(lines[0].startswith("plimsoll: ") and fits, lambda: "no offer in: " + lines[0])
        # The offer is true, but for pages of the program's own that differ from process to process.
        offer = str(int(fits.group(1)) - 64)
        run_plimsoll("plan", "-np", "1", "-c", offer, "--memory", between, rc=0)
        beyond = str(int(fits.group(1)) + 256)
        run_plimsoll("plan", "-np", "1", "-c", beyond, "--memory", between, rc=2)  # and no mere guess
        for line in ("2M", "16M"):  # under the program's own size; under what stands before any context
            done = run_plimsoll(*arguments, "--memory", line, rc=2)
            check(len(done.err.splitlines()) == 1 and bytes_of(line) in done.err, lambda: "stderr: " + done.err)
            check(line == "2M" or "raise --memory" in done.err, lambda: "no advice: " + done.err)
            expect(done.out, b"", "stdout of " + command)
    with Server("-np", "1", "-c", offer, "--memory", between) as s:
        expect(s.generate(PROMPT, max_tokens=4, ignore_end=True)["usage"]["completion_tokens"], 4)


@test
def without_a_context_the_largest_that_fits_is_taken():
    model = ("-m", forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0"), "-np", "1")
    fixed = plan_of(*model, "-c", "32", "--no-prompt-cache")["plan"]["total_bytes"]
    line = "%dK" % ((fixed + 20 * MIB) // KIB)
    p = plan_of(*model, "--memory", line)
    trained = json.loads(run_plimsoll("inspect", "--json", model[1], rc=0).out)["metadata"]["llama.context_length"]
    check(512 <= p["context"] < trained, "context %d of %d" % (p["context"], trained))
    with Server(*model, "--memory", line) as s:
        context = s.memory()["kv_pool"]["context"]
        # Two processes: `runtime` is measured in each, and differs by pages of the libraries.
        check(abs(context - p["context"]) * p["kv_bytes_per_token"] <= 2 * MIB, "the server's context is %d, the plan's %d" % (context, p["context"]))
        expect(s.post([5] * context, max_tokens=1).status, 413, "a prompt of that many tokens")
        expect(s.post([5] * 20, max_tokens=1).status, 200, "a short one")


@test
def the_plan_is_what_is_taken():
    with Server("-np", "2") as s:
        rows = plan_of("-np", "2")["plan"]["accounts"]
        for i in range(4):
            s.generate(PROMPT, max_tokens=20, seed=i)
        for name, row in s.memory()["books"]["accounts"].items():
            if name in rows and name != "runtime":
                check(row["peak_bytes"] <= rows[name] + 64 * KIB, "%s: peak %d, planned %d" % (name, row["peak_bytes"], rows[name]))
            if name in ("weights", "workspace", "http"):
                check(rows[name] - row["now_bytes"] <= 64 * KIB, "%s: holds %d, planned %d" % (name, row["now_bytes"], rows[name]))


@test
def everything_is_given_back_at_the_end():
    s = Server("-np", "2", "-c", "2048")
    for i in range(5):
        s.generate(PROMPT, max_tokens=20, seed=i)
    left = s.open_request(PROMPT, max_tokens=1500, ignore_end=True, stream=True)
    left.close()
    s.stop()  # exit 0, "stopped", no bytes left in any account
    check("bytes are still in account" not in s.log(), "an account is not empty")


def places(value, path=()):
    if not isinstance(value, dict):
        return [".".join("NAME" if path[:2] == ("books", "accounts") and i == 2 else k for i, k in enumerate(path))]
    return [p for k, v in value.items() for p in places(v, path + (k,))]


@test
def every_figure_has_a_row_in_the_table():
    run = subprocess.run([os.path.join(ROOT, "tools/metrics.py"), "--check"], capture_output=True, text=True)
    expect((run.returncode, run.stdout), (0, ""), "tools/metrics.py --check")
    rows = [l.strip().split("|")[-2].strip(" `") for l in open(os.path.join(ROOT, "docs/METRICS.md")) if l.startswith("| ") and l.count("|") == 6][1:]
    with tempfile.TemporaryDirectory() as folder, Server("-c", "512", "--memory", "600M", "--spill-file", folder + "/spill", "--spill-bytes", "16M") as s:
        s.generate(PROMPT, max_tokens=4)
        expect(sorted(set(places(s.memory()))), sorted(rows), "GET /memory and docs/METRICS.md")


main()
