"""Start, options, queue, drain, stop; and every command from outside."""
import select

from harness import *

PROMPT = "Once upon a time"
COMMANDS = ["serve", "run", "plan", "bench", "inspect", "tokenize", "render"]
LONG = ("-c", "32768", "-np", "1")  # room for generations of seconds on a small model
MODEL_FLAGS = ["--model", "--config", "--print-config", "--help", "--log-level"]


# ---- stopping ----

@test
def sigterm_drains():
    with Server(*LONG) as s:
        reference = s.generate(PROMPT, max_tokens=1500, ignore_end=True, temperature=0)["text"]
        stream = s.stream(PROMPT, max_tokens=1500, ignore_end=True, temperature=0)
        events = iter(stream)
        got = [next(events)["text"] for _ in range(5)]
        whole = s.open_request(PROMPT, max_tokens=500, ignore_end=True)
        wait_until(lambda: s.health()["queued_jobs"] == 1, "the second request to wait")
        s.signal()
        wait_until(lambda: "draining" in s.log(), "the log to say draining")
        # While it drains: new work is refused, in one way or another; what was taken is finished.
        refused = 0
        try:
            for _ in range(3):
                r = s.post("no more", max_tokens=1)
                expect(r.status, 503, "status of new work while draining")
                check(1 <= int(r.headers["Retry-After"]) <= 59, "Retry-After: %s" % r.headers["Retry-After"])
                h = s.get("/health")
                expect((h.status, h.json()["status"]), (503, "draining"))
                expect(s.get("/readyz").status, 503)
                expect(s.get("/livez").status, 200)
                refused += 1
        except ConnectionRefusedError:
            pass
        check(refused or s.process.poll() is not None, "nothing was seen of the drain")
        last = None
        for e in events:
            last = e
            got.append(e.get("text", ""))
        expect("".join(got), reference, "the stream that was running at SIGTERM")
        expect((last["done"], last["finish_reason"], last["usage"]["completion_tokens"]), (True, "length", 1500))
        answer = b""
        while piece := whole.recv(65536):
            answer += piece
        check(b"200 OK" in answer and b'"completion_tokens":500' in answer, lambda: "the queued request got %r" % answer[-300:])
        expect(s.wait(), 0, "exit status")
        check("stopped" in s.log() and "bytes are still" not in s.log(), "the log does not say stopped, or an account is not empty")


@test
def second_signal_does_not_wait():
    for number in (signal.SIGTERM, signal.SIGINT):
        s = Server(*LONG)
        stream = s.stream(PROMPT, max_tokens=32000, ignore_end=True)
        next(iter(stream))
        s.signal(number)
        wait_until(lambda: "draining" in s.log(), "the log to say draining")
        check(s.process.poll() is None, "it did not wait for the running stream")
        s.signal(number)
        check(s.wait(10) != 0, "exit status 0 though a stream was cut")


@test
def drain_timeout_ends_the_drain():
    s = Server(*LONG, "--drain-timeout", "1")
    stream = s.stream(PROMPT, max_tokens=32000, ignore_end=True)
    next(iter(stream))
    s.signal()
    expect(s.wait(30), 0, "exit status")
    check("cancelled" in s.log() and "stopped" in s.log(), "the log does not say what was cancelled")


@test
def sigint_stops_an_idle_server():
    s = Server()
    s.signal(signal.SIGINT)
    expect(s.wait(), 0)


@test
def port_in_use():
    with Server() as s:
        done = run_plimsoll("serve", "--port", str(s.port))
        check(done.rc in (1, 2), "exit status %d" % done.rc)
        lines = [l for l in done.err.splitlines() if l.startswith("plimsoll: ")]
        check(len(lines) == 1 and str(s.port) in lines[0], lambda: "stderr: " + done.err)
        expect(s.get("/livez").status, 200, "the first server")
    for host in ("256.1.1.1", "no.such.host.invalid", ""):
        done = run_plimsoll("serve", "--port", "0", "--host", host)
        check(done.rc in (1, 2) and "plimsoll: " in done.err, "--host %r: %d %s" % (host, done.rc, done.err[-200:]))


# ---- options ----

def settings(out):
    rows = re.findall(r"^(?:# )?(\S+) = (.*)  # (.*)$", out.decode(), re.M)
    return {name: (value, source) for name, value, source in rows}


@test
def sources_of_options_and_their_strength():
    config = temp_path("plimsoll.conf")
    with open(config, "w") as f:
        f.write("# a comment\n\nport = 1111\n ctx-size=2222\t\nmax-queue = 3333\ntemp = 0.5\nhost = 127.0.0.3\n")
    environment = {"PLIMSOLL_PORT": "4444", "PLIMSOLL_CTX_SIZE": "5555"}
    flags = ["--config", config, "--port", "6666", "--print-config"]
    got = settings(run_plimsoll("serve", *flags, env=environment, rc=0).out)
    expect(got["port"], ("6666", "flag"))
    expect(got["ctx-size"], ("5555", "environment"))
    expect(got["max-queue"], ("3333", "config file"))
    expect(got["host"], ("127.0.0.3", "config file"))
    expect(got["parallel"], ("4", "default"))
    got = settings(run_plimsoll("run", "--print-config", "x", env={"PLIMSOLL_CONFIG": config, "PLIMSOLL_TEMP": "0.25"}, rc=0).out)
    expect(got["temp"], ("0.25", "environment"))
    got = settings(run_plimsoll("serve", "-c", "77", "--port=88", "--print-config", rc=0).out)
    expect((got["ctx-size"], got["port"]), (("77", "flag"), ("88", "flag")))
    with open(config, "wb") as f: # what it prints it reads
        f.write(run_plimsoll("serve", "-c", "77", "--alias", "a#b", "--print-config", rc=0).out)
    again = settings(run_plimsoll("serve", "--config", config, "--print-config", rc=0).out)
    expect((again["ctx-size"], again["alias"], again["model"]), (("77", "config file"), ("a#b", "config file"), ("", "default")))
    with Server(env={"PLIMSOLL_ALIAS": "from-the-environment"}) as s:
        expect(s.health()["model"], "from-the-environment")


@test
def bad_options_are_refused():
    config = temp_path("bad.conf")
    def with_config(text):
        with open(config, "w") as f:
            f.write(text)
        return ["serve", "--config", config]

    cases = [["serve", "--nonsense"], ["serve", "--port"], ["serve", "--port", "x"], ["serve", "--port", "65536"], ["serve", "--port", "-1"], ["serve", "--port", "1.5"],
             ["serve", "--memory", "lots"], ["serve", "--memory", "0%"], ["serve", "--memory", "101%"], ["serve", "--memory", "-1G"], ["serve", "--memory", ""],
             ["serve", "-np", "0"], ["serve", "-c", "nan"], ["serve", "-c", "99999999999999999999"], ["serve", "--body-limit", "1"], ["serve", "--log-level", "loud"],
             ["run", "--temp", "inf", "x"], ["run", "--temp", "-1", "x"], ["run", "--top-p", "2", "x"], ["run", "--port", "1", "x"], ["run", "--seed", "-1", "x"], ["run"],
             ["run", ""], ["tokenize"], ["bench", "--logits", "x"], ["bench", "-r", "0"], ["bench", "--streams", "0"], ["bench", "--depth", "1,x"], ["bench", "--streams", "9", "-b", "8"], ["inspect", "/does/not/exist"], ["run", "-m", "/does/not/exist", "x"],
             ["nonsense"], [], ["serve", "--config", "/does/not/exist"],
             with_config("port 1\n"), ]
    for arguments in cases:
        done = run_plimsoll(*arguments, rc=2)
        check(done.err.strip(), "nothing on stderr of %r" % arguments)
        if arguments and arguments[0] in COMMANDS:
            check(done.err.startswith("plimsoll: ") and len(done.err.splitlines()) == 1, lambda: "%r says: %s" % (arguments, done.err))
    for path in ("/", "/dev/null"):  # not the file's fault: the system's answer
        done = run_plimsoll("serve", "-m", path)
        check(done.rc in (1, 2) and done.err.startswith("plimsoll: " + path) and len(done.err.splitlines()) == 1, lambda: done.err)
    for text in ("nonsense = 1\n", "port = x\n", "port =\n", "= 5\n", "x" * 70000):
        done = run_plimsoll(*with_config(text), rc=2)
        check(done.err.startswith("plimsoll: ") and config.split("/")[-1] in done.err, lambda: "config %r: %s" % (text[:20], done.err))
    run_plimsoll("serve", env={"PLIMSOLL_PORT": "x"}, rc=2)


@test
def help_says_it_all():
    overview = run_plimsoll("--help", rc=0).out.decode()
    for command in COMMANDS:
        check(re.search(r"^  %s +\S" % command, overview, re.M), "the overview lacks " + command)
        text = run_plimsoll(command, "--help", rc=0).out.decode()
        options = settings(run_plimsoll(command, "--print-config", rc=0).out)
        for name in list(options) + ["help", "print-config"]:
            check(re.search(r"^ +(-\w+, )?--%s( .*)?  +\S|^ +(-\w+, )?--%s .* \S" % (name, name), text, re.M), "%s --help lacks --%s" % (command, name))
        for line in text.splitlines():
            check(len(line) <= 220, "%s --help has a line of %d" % (command, len(line)))
    check(re.match(rb"plimsoll \d+\.\d+", run_plimsoll("--version", rc=0).out), "--version")


# ---- commands ----

@test
def run_is_deterministic_with_a_seed():
    a = run_plimsoll("run", "--seed", "5", "-n", "40", PROMPT, rc=0).out
    expect(run_plimsoll("run", "--seed", "5", "-n", "40", PROMPT, rc=0).out, a, "the second run")
    check(a.decode().startswith(PROMPT), "the prompt is not echoed")
    bare = run_plimsoll("run", "--seed", "5", "-n", "40", "--no-echo", PROMPT, rc=0).out
    expect(PROMPT.encode() + bare, a, "--no-echo")
    check(len({run_plimsoll("run", "--seed", str(i), "-n", "40", PROMPT, rc=0).out for i in range(4)}) > 1, "four seeds, one text")
    greedy = run_plimsoll("run", "--temp", "0", "-n", "40", PROMPT, rc=0).out
    for threads in ("1", "2", "3"):
        expect(run_plimsoll("run", "--temp", "0", "-n", "40", "-t", threads, PROMPT, rc=0).out, greedy, "on %s threads" % threads)
    for batch in ("1", "3", "256"):
        expect(run_plimsoll("run", "--temp", "0", "-n", "40", "-b", batch, PROMPT, rc=0).out, greedy, "in batches of " + batch)


@test
def run_says_what_the_server_says():
    out = run_plimsoll("run", "--temp", "0", "-n", "40", "--no-echo", PROMPT, rc=0).out.decode()
    with Server() as s:
        expect(s.generate(PROMPT, max_tokens=40, temperature=0)["text"] + "\n", out)


@test
def run_reads_standard_input():
    a = run_plimsoll("run", "--seed", "5", "-n", "20", PROMPT, rc=0).out
    expect(run_plimsoll("run", "--seed", "5", "-n", "20", stdin=PROMPT.encode(), rc=0).out, a, "the prompt on stdin")
    expect(run_plimsoll("run", "--seed", "5", "-n", "20", *PROMPT.split(), rc=0).out, a, "the prompt in several arguments")
    run_plimsoll("run", stdin=b"", rc=2)
    run_plimsoll("run", stdin=b"x" * (3 << 20), rc=2)
    run_plimsoll("run", stdin=b"\xff\xfe half \xe6", timeout_s=20, rc=run_plimsoll("run", stdin=b"\xff").rc)
    run_plimsoll("run", "-c", "16", "word " * 100, rc=2)


@test
def tokenize_round_trip():
    for text in (PROMPT, "Grüße 日本語 😀\n\ttabs  and   blanks ", "a" * 500):
        ids = run_plimsoll("tokenize", "--ids", text, rc=0).out.split()
        table = run_plimsoll("tokenize", text, rc=0).out.decode(errors="replace")
        check(table.endswith("%d tokens\n" % len(ids)), "the table's count")
        rows = json.loads(run_plimsoll("tokenize", "--json", text, rc=0).out)
        expect([str(r["id"]).encode() for r in rows], ids, "ids as JSON")
        # Back to the text: a server given the ids continues as one given the text.
        expect(run_plimsoll("tokenize", "--ids", stdin=text.encode(), rc=0).out.split(), ids, "the text on stdin")
        if text.isascii():
            joined = "".join(r["text"] for r in rows[1:])
            expect(joined.lstrip(" "), text.lstrip(" "), "the tokens' texts")


@test
def inspect_both_ways():
    for arguments in ([], ["-m", forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0")], [forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0")]):
        whole = json.loads(run_plimsoll("inspect", "--json", *arguments, rc=0).out)
        expect(set(whole), {"version", "tensor_bytes", "metadata", "tensors"})
        expect(sum(t["bytes"] for t in whole["tensors"]), whole["tensor_bytes"], "the tensors' sum")
        expect(whole["metadata"]["general.architecture"], "llama")
        text = run_plimsoll("inspect", *arguments, rc=0).out.decode()
        for name in list(whole["metadata"]) + [t["name"] for t in whole["tensors"]]:
            check(name in text, "the text lacks " + name)


@test
def plan_adds_up():
    for flags in ([], ["-np", "1", "-c", "256"], ["--memory", "300M"], ["--memory", "50%"], ["-m", forge("--shape", "llama-8b", "--type", "Q4_K", "--header-only"), "-c", "4096", "--memory", "16G"]):
        p = plan_of(*flags)
        rows = p["plan"]["accounts"]
        expect(sum(rows.values()), p["plan"]["total_bytes"], "sum of rows for %r" % flags)
        check(p["plan"]["fits"] and p["plan"]["total_bytes"] <= p["plan"]["line_bytes"], lambda: "plan %r does not fit: %r" % (flags, p["plan"]))
        check(rows["weights"] <= 1.02 * p["tensor_bytes"] + 64 * KIB, "weights %d for tensors of %d" % (rows["weights"], p["tensor_bytes"]))
        check(p["kv_pages"] * p["kv_page_bytes"] <= rows["kv"], "the pages do not fit the row kv")
        text = run_plimsoll("plan", *flags, rc=0).out.decode()
        for name, value in rows.items():
            check(not value or name in text, "the text lacks " + name)


@test
def bench_prints_lines():
    lines = [json.loads(l) for l in run_plimsoll("bench", "--json", "--pp", "64", "--tg", "16", "-r", "2", rc=0).out.splitlines()]
    expect([l["test"] for l in lines], ["load", "pp64", "tg16"])
    check(0 < lines[0]["ready_ms"] < lines[0]["first_token_ms"], lambda: repr(lines[0]))
    for l in lines[1:]:
        check(l["gb_per_s"] > 0 and l["gmac_per_s"] > 0 and l["read_limit_gb_per_s"] > 0 and l["share"] > 0, lambda: repr(l))
        check(l["tokens_per_s"] > 0 and l["min"] <= l["tokens_per_s"] <= l["max"], lambda: repr(l))
        check(l["model_bytes"] > 0 and l["peak_bytes"] > l["model_bytes"], lambda: repr(l))
    expect(run_plimsoll("bench", "--pp", "0", "--tg", "4", "-r", "1", rc=0).out.decode().splitlines()[1].split()[0], "tg4")
    check("pp" in run_plimsoll("bench", "--pp", "8", "--tg", "0", "-r", "1", rc=0).out.decode(), "pp alone")
    lines = [json.loads(l) for l in run_plimsoll("bench", "--json", "--pp", "0", "--tg", "4", "-r", "1", "--depth", "0,40", "--streams", "1,3", rc=0).out.splitlines()]
    expect([l["test"] for l in lines], ["load", "tg4@0", "tg4@40", "tg4x1", "tg4x3"])


# ---- the queue ----

@test
def a_full_queue_says_when_to_come_back():
    with Server(*LONG, "--max-queue", "2") as s:
        held = [s.open_request(PROMPT, max_tokens=10000, ignore_end=True, stream=True)]
        wait_until(lambda: s.health()["active_jobs"] == 1, "the first to run")
        held += [s.open_request(PROMPT, max_tokens=10000, ignore_end=True, stream=True) for _ in range(2)]
        wait_until(lambda: s.health()["queued_jobs"] == 2, "two to wait")
        for _ in range(20):
            r = s.post(PROMPT, max_tokens=5)
            expect(r.status, 429, "status with a full queue")
            check(1 <= int(r.headers["Retry-After"]) <= 59, "Retry-After: " + r.headers["Retry-After"])
            check(r.headers["X-Memory-Status"] in ("safe", "caution", "warning", "critical", "emergency"), "X-Memory-Status")
            check(int(r.headers["X-Memory-Available-Bytes"]) > 0, "X-Memory-Available-Bytes")
            check(r.json()["error"]["message"], "no reason")
        h = s.health()
        expect((h["active_jobs"], h["queued_jobs"]), (1, 2))
        for c in held:
            c.close()
        until_quiet(s)
        expect(s.post(PROMPT, max_tokens=5).status, 200, "a request when the queue is empty again")


@test
def no_queue_at_all():
    with Server(*LONG, "--max-queue", "0") as s:
        held = s.open_request(PROMPT, max_tokens=10000, ignore_end=True, stream=True)
        wait_until(lambda: s.health()["active_jobs"] == 1, "the first to run")
        expect(s.post(PROMPT, max_tokens=1).status, 429)
        held.close()
        until_quiet(s)
        for _ in range(20):
            expect(s.post(PROMPT, max_tokens=1).status, 200, "one after another with --max-queue 0")


@test
def queue_timeout_is_told():
    with Server(*LONG, "--queue-timeout", "1") as s:
        held = s.open_request(PROMPT, max_tokens=15000, ignore_end=True, stream=True)
        wait_until(lambda: s.health()["active_jobs"] == 1, "the first to run")
        r = s.post(PROMPT, max_tokens=5)
        expect(r.status, 429, "status after a second in the queue")
        check(1 <= int(r.headers["Retry-After"]) <= 59 and r.reason(), "no Retry-After or reason")
        expect(s.health()["active_jobs"], 1, "the running job")
        held.close()
        until_quiet(s)


@test
def strictly_first_in_first_out():
    for flags in (("--max-concurrent", "1", "-np", "4"), ("-np", "1")):
        with Server("-c", "8192", *flags) as s:
            first = s.open_request(PROMPT, max_tokens=6000, ignore_end=True, stream=True)
            wait_until(lambda: s.health()["active_jobs"] == 1, "the first to run")
            waiting = []
            for i in range(12):
                # The longest first: shortest-first, or fairness by length, would turn the order round.
                waiting.append(s.open_request(PROMPT, max_tokens=6000 - 400 * i, ignore_end=True, stream=True))
                wait_until(lambda: s.health()["queued_jobs"] == i + 1, "request %d to wait" % i)
            said = [b""] * 12
            running = lambda: [i for i, text in enumerate(said) if b'"token"' in text]

            def read():
                for i in range(12):
                    while waiting[i].fileno() >= 0 and select.select([waiting[i]], [], [], 0)[0] and (piece := waiting[i].recv(4096)):
                        said[i] += piece
                        if b'"token"' in said[i]:
                            break
            before = first
            for i in range(12):  # whoever runs says something, until it is ended: then the next one may
                before.close()
                wait_until(lambda: read() or len(running()) > i, "one of those that wait to run")
                expect(running(), list(range(i + 1)), "who has run")
                check(s.health()["active_jobs"] <= 1, "more than one job at once")
                before = waiting[i]
            while b'"done":true' not in said[11]:
                piece = waiting[11].recv(65536)
                check(piece, lambda: "the last one's stream ends with %r" % said[11][-200:])
                said[11] += piece
            check(float(re.search(rb'"queue_ms":([0-9.]+)', said[11])[1]) > 0, "a queue_ms of 0")


@test
def several_run_at_once():
    with Server("-c", "8192", "-np", "4") as s:
        held = [s.open_request(PROMPT, max_tokens=8000, ignore_end=True, stream=True) for _ in range(6)]
        wait_until(lambda: (s.health()["active_jobs"], s.health()["queued_jobs"]) == (4, 2), "four to run and two to wait")
        for c in held:
            c.close()
        until_quiet(s)


@test
def large_bodies_when_asked_for():
    with Server("--body-limit", "20M") as s:
        body = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
        expect(s.request("POST", "/generate", body + b" " * ((20 << 20) - len(body))).status, 200, "a body of 20 MiB")
        check(s.memory()["books"]["balanced"], "the books are not balanced")


main()
