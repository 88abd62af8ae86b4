"""What memory did: the timeline, its picture, the doctor, and leaks that are found by name."""
import xml.etree.ElementTree

from harness import *


def timeline(s, query=""):
    r = s.get("/memory/timeline" + query)
    expect(r.status, 200, "status of the timeline")
    return r.json()


def doctor(s):
    r = s.get("/memory/doctor")
    expect(r.status, 200, "status of the doctor")
    return r.json()


def codes(s):
    return [(f["code"], f["account"]) for f in doctor(s)["findings"]]


def picture(s, query=""):
    r = s.get("/memory/timeline.svg" + query)
    expect(r.status, 200, "status of the picture")
    expect(r.headers["content-type"], "image/svg+xml", "its type")
    return r.body, xml.etree.ElementTree.fromstring(r.body)


def words_of(tree):
    return [t.strip() for t in tree.itertext() if t.strip()]


# ---- the timeline ----

@test
def samples_agree_with_the_books():
    with Server("--memory", "400M") as s:
        wait_until(lambda: len(timeline(s)["samples"]) >= 3, "three samples", pause_s=0.2)
        for _ in range(5):
            s.generate("Once upon a time", max_tokens=20)
        before = timeline(s)["now_ms"]
        wait_until(lambda: timeline(s)["samples"][-1]["time_ms"] > before + 1200, "a sample after that", pause_s=0.2)
        t, books = timeline(s), s.memory()["books"]
        last = t["samples"][-1]
        expect(t["accounts"], list(books["accounts"]), "the accounts")
        expect(t["line_bytes"], 400 * MIB, "the line")
        now = dict(zip(t["accounts"], last["accounts"]))
        for name in ("weights", "workspace", "tokenizer", "prompt_index"):
            expect(now[name], books["accounts"][name]["now_bytes"], name)
        expect(sum(last["accounts"]), last["ledger_bytes"], "the sum of the accounts")
        expect(last["requests"], 5, "requests so far")
        expect(last["tokens"], 100, "tokens so far")
        expect((last["active"], last["queued"]), (0, 0), "requests now")
        kernel = lambda: (timeline(s)["samples"][-1]["kernel_bytes"], s.memory()["books"]["kernel_bytes"])
        wait_until(lambda: abs(int.__sub__(*kernel())) < MIB, lambda: "the kernel's figure to be the same: %d, %d" % kernel(), pause_s=0.2)
        gaps = [b["time_ms"] - a["time_ms"] for a, b in zip(t["samples"], t["samples"][1:])]
        check(all(g >= 800 for g in gaps), lambda: "less than a second apart: %r" % gaps)

        def in_time():
            """Three in a row a second apart, the last just now: on a busy machine one comes late now and then."""
            times = [x["time_ms"] for x in timeline(s)["samples"][-3:]] + [time.time() * 1000 + 800]
            return all(800 <= b - a <= 3000 for a, b in zip(times, times[1:]))
        wait_until(in_time, lambda: "samples a second apart; they are of %r" % [x["time_ms"] for x in timeline(s)["samples"]], pause_s=0.2)
        check(t["baselines"] >= 5, "an idle moment after each request: %d" % t["baselines"])
        expect(t["leaks"], [], "leaks")
        check(1 <= len(timeline(s, "?last=2")["samples"]) <= 3, "the last two seconds")
        expect(timeline(s, "?last=0")["samples"], [], "the last 0 seconds")


@test
def what_is_asked_wrongly_is_refused():
    with Server() as s:
        for path in ("/memory/timeline", "/memory/timeline.svg"):
            for bad in ("x", "-1", "1e3", "9" * 30, "1 "):
                r = s.get(path + "?last=" + bad.replace(" ", "%20"))
                expect(r.status, 400, "%s?last=%s" % (path, bad))
                check("number of seconds" in r.reason(), r.reason())
        for path in ("/memory/timeline", "/memory/timeline.svg", "/memory/doctor"):
            expect(s.request("POST", path, "{}").status, 405, "POST " + path)
        expect(s.get("/memory/timeline.png").status, 404, "another picture")


@test
def pages_about_memory_are_behind_the_key():
    with Server("--api-key", "secret") as s:
        for path in ("/memory/timeline", "/memory/timeline.svg", "/memory/doctor"):
            expect(s.get(path).status, 401, path)
            expect(s.request("GET", path, headers={"Authorization": "Bearer secret"}).status, 200, path + " with the key")


# ---- the picture ----

@test
def the_picture_shows_accounts_and_the_line():
    with Server("--memory", "400M") as s:
        picture(s)  # whatever is there already
        wait_until(lambda: len(timeline(s)["samples"]) >= 2, "two samples", pause_s=0.2)
        for _ in range(3):
            s.generate("Once upon a time", max_tokens=30)
        wait_until(lambda: timeline(s)["samples"][-1]["requests"] == 3, "a sample of that", pause_s=0.2)
        raw, tree = picture(s)
        words = words_of(tree)
        for name in ("weights", "kv", "runtime", "http", "the line: 400 MiB"):
            check(any(name in w for w in words), lambda: "no %r among %r" % (name, words))
        check(b"<script" not in raw and b"href" not in raw, "only a picture")
        check("spill" not in words, "no layer for what was never held")
        note("%d bytes for %d samples" % (len(raw), len(timeline(s)["samples"])))


@test
def a_server_without_a_sample_in_the_time_asked_for():
    with Server() as s:
        picture(s, "?last=0")


# ---- the doctor ----

@test
def the_doctor_in_words_and_figures():
    with Server() as s:
        d = doctor(s)
        for f in d["findings"]:
            check(f["words"] and f["advice"] and f["severity"] in ("note", "warning", "alarm"), lambda: str(f))
            check(all(isinstance(v, (int, float)) for v in f["figures"].values()), lambda: str(f))
        r = s.request("GET", "/memory/doctor", headers={"Accept": "text/plain"})
        expect(r.headers["content-type"], "text/plain; charset=utf-8", "its type")
        text = r.body.decode()
        check(text.startswith("All is well." if d["well"] else "Something needs attention."), text)
        check(all(f["words"] in text for f in d["findings"] if f["code"].startswith("huge")), text)


# ---- leaks ----

def leaky(account):
    return {"PLIMSOLL_DEBUG_LEAK": account, "PLIMSOLL_TESTS": "1"}


def planted(account):
    s = Server(env=leaky(account))
    try:
        for i in range(1, 51):
            s.generate("Once upon a time %d" % i, max_tokens=2)
            found = [(leak["account"], leak["requests"]) for leak in timeline(s, "?last=0")["leaks"]]
            if found:
                break
        check(found, "no leak found in 50 requests")
        expect([name for name, _ in found], [account], "the account, after %d requests" % i)
        check(("leak", account) in codes(s), lambda: str(codes(s)))
        expect(doctor(s)["well"], False, "well")
        wait_until(lambda: "a leak is suspected: %s grew" % account in s.log(), "a word in the log")
        note("%s: named after %d requests" % (account, i))
    finally:
        s.kill()  # what it dropped is not in its books at the end


@test
def a_lost_page_of_kv_is_named():
    planted("kv")


@test
def a_lost_block_of_the_queue_is_named():
    planted("queue")


@test
def a_lost_buffer_is_named():
    planted("http")


@test
def clients_that_stay_are_no_leak():
    """Each keeps its connection open after its answer: memory that grows with them, and goes with them."""
    with Server("--parallel", "1") as s:
        open_ones = []
        for i in range(60):
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOCKET_TIMEOUT_S)
            c.request("POST", "/generate", json.dumps({"prompt": "Once", "max_tokens": 1}), {"Content-Type": "application/json"})
            expect(c.getresponse().read()[:1], b"{", "an answer")
            open_ones.append(c)
            expect(timeline(s, "?last=0")["leaks"], [], "leaks with %d clients" % (i + 1))
        check(timeline(s)["baselines"] >= 50, "idle moments")
        for c in open_ones:
            c.close()


LONG = bool(os.environ.get("PLIMSOLL_LONG"))


@test(timeout=3600 if LONG else 200)
def without_a_leak_none_is_found():
    wanted, n = 5000 if LONG else 800, 0
    start = time.monotonic()
    with Server("--parallel", "2") as s:
        for i in range(wanted):
            if i >= 150 and not LONG and time.monotonic() - start > 90:
                break  # a build with sanitizers
            n = i + 1
            prompt = "Once upon a time there was a number %d " % (i % 97) * (1 + i % 13)
            r = s.post(prompt, max_tokens=1 + i % 7, stream=i % 3 == 0)
            expect(r.status, 200, "request %d" % i)
            if i % 20 == 0:
                t = timeline(s, "?last=0")
                expect(t["leaks"], [], "leaks after %d requests" % i)
        t = timeline(s)
        check(t["baselines"] > n * 0.7, "idle moments: %d" % t["baselines"])
        expect(t["leaks"], [], "leaks")
        check("leak" not in s.log(), "nothing in the log")
        note("%d requests, %d baselines" % (n, t["baselines"]))


@test
def the_switch_is_for_tests_alone():
    for env, words in (({"PLIMSOLL_DEBUG_LEAK": "kv"}, "PLIMSOLL_TESTS=1"),
                       ({"PLIMSOLL_DEBUG_LEAK": "weights", "PLIMSOLL_TESTS": "1"}, "is kv, queue or http")):
        done = run_plimsoll("serve", "--port", "0", env=env)
        expect(done.rc, 2, "exit status")
        last = done.err.strip().splitlines()[-1]
        check(last.startswith("plimsoll: ") and words in last, last)


main()
