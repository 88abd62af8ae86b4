"""What takes long, or never comes back: others are served, it is named, and SIGTERM ends the process all the same."""
import concurrent.futures

from harness import *

HANG = {"PLIMSOLL_TESTS": "1"}
KILLERS = [
    {"json_schema": {"type": "string", "pattern": "^((){2,}|}c3d)*\n", "maxLength": 73}},
    {"json_schema": {"type": "string", "pattern": "^((a?|b?){0,100000}){0,100000}$"}},
    {"json_schema": {"type": "string", "pattern": "^(" + "(|a?)" * 40 + ")+$"}},
    {"json_schema": {"type": "array", "items": {"pattern": "^(((((a|){3,})*|b)+){2,9})*$"}}},
    {"grammar": "root ::= ((\"\" | \"a\"?){2,}){2,} \"b\""},
    {"grammar": "root ::= ((\"a\"{0,100000}){0,100000}){0,100000}"},
    {"grammar": "root ::= (x | y)*\nx ::= (y | \"\"){0,3}\ny ::= (\"a\"? | z){2,}\nz ::= \"\""},
    {"grammar": "root ::= x*\nx ::= y | root\ny ::= \"a\"?"},
    {"grammar": "root ::= ((\"a\" | \"aa\"){1,2000}){1,2000}"},
    {"grammar": "root ::= (([ab] | [ab] [ab]){1,1000} | [a-c]{2,9}){1,1000}"},
]


def longest_gap(server, n, meanwhile=None):
    """Of a stream of n tokens, in seconds; meanwhile is run beside it, from its first tokens on."""
    beside, longest, last, count = None, 0.0, None, 0
    for e in server.stream("Once upon a time", max_tokens=n, ignore_end=True, temperature=0):
        now = time.monotonic()
        longest = max(longest, now - last) if last else 0.0
        last, count = now, count + 1
        if count == 5 and meanwhile:
            beside = threading.Thread(target=meanwhile)
            beside.start()
    if beside:
        beside.join()
    return longest


def killers_stop_a_neighbour():
    with Server("-c", "4096", "-np", "4") as s:
        quiet = max(longest_gap(s, 600) for _ in range(2))
        took = []

        def ask_all():
            for body in KILLERS:
                start = time.monotonic()
                r = s.post("x", max_tokens=60, temperature=1, seed=3, **body)
                took.append(time.monotonic() - start)
                check(r.status in (200, 400), lambda: "%d for %r: %s" % (r.status, body, r.body[:200]))

        gap = longest_gap(s, 3000, ask_all)
        expect(len(took), len(KILLERS), "requests answered or refused")
        note("longest gap of a stream: %.0f ms quiet, %.0f ms beside; the slowest of %d took %.2f s" % (
            quiet * 1e3, gap * 1e3, len(took), max(took)))
        check(max(took) < 20, "one took %.1f s" % max(took))
        expect(s.get("/livez").status, 200)
        expect(s.health()["status"], "ok")
        return gap if gap >= 20 * quiet + 0.5 else 0


@test(timeout=120)
def no_request_kills():
    """What stops the neighbour is the server if it does so again, in a new one that knows none of the grammars: a machine's
    stall is none of its doing."""
    gaps = []
    while len(gaps) < 3:
        gap = killers_stop_a_neighbour()
        if not gap:
            return
        gaps.append(gap)
    check(False, "a neighbour waited %s s each time" % ", ".join("%.2f" % gap for gap in gaps))


@test
def large_lists_of_values_are_served():
    def schema(n):
        return {"type": "object", "properties": {"a": {"enum": ["value number %d of the list" % i for i in range(n)]}},
                "required": ["a"]}

    def ask(s, n):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema(n)}}
        return s.request("POST", "/v1/chat/completions", json.dumps(
            {"messages": [{"role": "user", "content": "x"}], "max_tokens": 60, "seed": 1, "response_format": form}))

    with Server("-c", "4096", "-np", "4") as s:
        live = []

        def ask_all():
            for n in (12000, 20000):
                r = ask(s, n)
                expect(r.status, 200, "%d values" % n)
                answer = json.loads(r.json()["choices"][0]["message"]["content"])
                check(answer["a"] in ("value number %d of the list" % i for i in range(n)), lambda: repr(answer))
                start = time.monotonic()
                expect(s.get("/livez").status, 200)
                live.append(time.monotonic() - start)

        gap = longest_gap(s, 2000, ask_all)
        expect(len(live), 2, "answers")
        note("longest gap of a stream beside: %.0f ms" % (gap * 1e3))
        r = ask(s, 60000)  # never: and not because of a prompt, nor to be tried again
        check(r.status in (400, 413), lambda: "%d: %s" % (r.status, r.body[:200]))
        check(r.json()["error"]["code"] != "context_length_exceeded", lambda: repr(r.body[:300]))
        r = ask(s, 30000)
        check(r.status in (200, 400, 413), lambda: "%d: %s" % (r.status, r.body[:200]))


def side_by_side(one, cases):
    """Each takes seconds until it is named, and waits: all at once. The first failure is raised."""
    pool = concurrent.futures.ThreadPoolExecutor(len(cases))
    try:
        list(pool.map(one, cases))
    finally:
        pool.shutdown(wait=False)  # one that hangs is ended with its server


def hung(what, body=None):
    """A server in which that hangs, with the request's id; the client's connection stays open."""
    s = Server("--drain-timeout", "1", env=dict(HANG, PLIMSOLL_DEBUG_HANG=what))
    client = s.open_request("x", max_tokens=5, stream=True, **(body or {}))
    wait_until(lambda: s.health()["status"] == "stuck", "/health to say so", 60, 0.05)
    return s, client


def ends_in_time(s, number=signal.SIGTERM):
    start = time.monotonic()
    s.signal(number)
    check(s.wait(30) != 0, "exit status 0 though a request was cut")
    note("ended %.2f s after the signal" % (time.monotonic() - start))


def one_hung_step(what):
    s, client = hung(what)
    stuck = s.health()["stuck"]
    expect(stuck["in"], what)
    check(stuck["request"].startswith("req_"), lambda: repr(stuck))
    wait_until(lambda: "the %s of request %s" % (what, stuck["request"]) in s.log(), "the log to name it")
    expect((s.get("/livez").status, s.get("/readyz").status, s.get("/health").status), (200, 503, 503))
    expect(s.get("/memory").status, 200)
    s.signal(signal.SIGHUP)
    ends_in_time(s)
    client.close()


@test
def a_hung_step_is_named_and_ends():
    side_by_side(one_hung_step, ("step", "sampling"))


@test
def a_hung_mask_is_named_and_ends():
    s, client = hung("mask", {"grammar": "root ::= [a-z]+"})
    expect(s.health()["stuck"]["in"], "mask")
    expect(s.get("/livez").status, 200)
    client.close()  # nobody waits any longer: it goes on hanging, and is named
    time.sleep(0.3)
    expect(s.health()["status"], "stuck")
    s.signal()
    time.sleep(0.2)
    ends_in_time(s)  # the second one


PREPARED = [("/generate", {"prompt": "x", "max_tokens": 2}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
            ("/v1/messages", {"max_tokens": 2, "messages": [{"role": "user", "content": "x"}]}),
            ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": "x"}]}),
            ("/v1/responses", {"input": "x"}), ("/v1/completions", {"prompt": "x"}), ("/v1/embeddings", {"input": "x"}),
            ("/api/chat", {"model": "x", "messages": []}), ("/api/generate", {"model": "x"}),
            ("/api/embed", {"model": "x", "input": "x"}), ("/fit", {"prompt": "x"}), ("/api/show", {"model": "x"})]


@test
def a_hung_preparation_is_named_and_ends():
    s = Server("--drain-timeout", "1", env=dict(HANG, PLIMSOLL_DEBUG_HANG="prepare"))
    client = s.open_request("x", max_tokens=5, stream=True)
    slowest, until = 0.0, time.monotonic() + 60
    while s.health()["status"] != "stuck":  # it is named after a while; all that time the server lives
        start = time.monotonic()
        expect(s.get("/livez").status, 200)
        slowest = max(slowest, time.monotonic() - start)
        check(time.monotonic() < until, "/health never says so")
        time.sleep(0.05)
    note("/livez took %.0f ms at most" % (slowest * 1e3))
    stuck = s.health()["stuck"]
    expect(stuck["in"], "prepare")
    wait_until(lambda: "the prepare of request %s" % stuck["request"] in s.log(), "the log to name it")
    expect((s.get("/health").status, s.get("/readyz").status, s.get("/memory").status), (503, 503, 200))
    for path, body in PREPARED:  # nobody waits behind it for ever
        r = s.request("POST", path, json.dumps(body))
        check(r.status in (404, 503, 529), lambda: "%s: %d %s" % (path, r.status, r.body[:200]))
    client.close()
    time.sleep(0.2)
    expect(s.health()["status"], "stuck")
    ends_in_time(s)


WORDED = [("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "n": 16, "max_tokens": 20, "logprobs": True,
                                    "top_logprobs": 20}),
          ("/v1/embeddings", {"input": ["one", "two", "three"]}),
          ("/v1/responses", {"input": "x", "stream": True, "max_output_tokens": 2500, "ignore_eos": True})]


def read_all(client):
    try:
        while client.recv(65536):
            pass
    except OSError:
        pass  # closed by us


def one_hung_wording(case):
    path, body = case
    s = Server("--drain-timeout", "1", "-c", "8192", "-np", "20", env=dict(HANG, PLIMSOLL_DEBUG_HANG="wording"))
    neighbour = iter(s.stream("Once", max_tokens=100000, ignore_end=True, window=512, keep=16))
    next(neighbour)
    data = json.dumps(body).encode()
    client = s.connect()
    client.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(data)) + data)
    threading.Thread(target=read_all, args=[client], daemon=True).start()
    said = 0
    while s.health()["status"] != "stuck":
        next(neighbour)
        said += 1
    check(said > 5, "%s: the neighbour was stopped after %d tokens" % (path, said))
    for _ in range(300):
        next(neighbour)
    stuck = s.health()["stuck"]
    expect(stuck["in"], "wording", path)
    check(stuck["request"].startswith("req_"), lambda: repr(stuck))
    expect((s.get("/livez").status, s.get("/readyz").status, s.get("/health").status), (200, 503, 503))
    refused = s.post("x", max_tokens=2)  # nobody waits behind it for ever
    expect(refused.status, 503, refused.body[:200])
    client.close()
    ends_in_time(s)


@test(timeout=180)
def a_hung_wording_is_named_and_ends():
    """Answers are worded where neither steps nor streams wait for it."""
    side_by_side(one_hung_wording, WORDED)


@test
def who_leaves_while_answers_are_worded():
    """Clients that go at any moment around the end of their answers: nothing is lost, and the others have theirs."""
    answer = json.dumps({"input": ["text %d" % i for i in range(60)]})
    with Server("-np", "8") as s:
        whole = s.request("POST", "/v1/embeddings", answer).json()["data"]
        start = time.monotonic()
        s.request("POST", "/v1/embeddings", answer)
        took = time.monotonic() - start
        for k in range(30):
            c = s.connect()
            c.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer.encode())
            time.sleep(took * (k % 12) / 8)
            c.close()
            expect(s.generate("Once", max_tokens=3)["usage"]["completion_tokens"], 3)
        expect(s.request("POST", "/v1/embeddings", answer).json()["data"], whole)
        until_quiet(s)


@test
def hup_does_nothing():
    with Server() as s:
        s.signal(signal.SIGHUP)
        expect(s.generate("Once", max_tokens=4)["usage"]["completion_tokens"], 4)
        check(s.process.poll() is None, "it ended")


@test
def hanging_is_for_tests():
    done = run_plimsoll("serve", "--port", "0", env={"PLIMSOLL_DEBUG_HANG": "step"})
    check(done.rc != 0 and "PLIMSOLL_TESTS=1" in done.err, lambda: "%d: %s" % (done.rc, done.err))


main()
