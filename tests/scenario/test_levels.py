"""Levels on command: somebody else takes memory step by step, the server acts on it, and forgets it when it has passed.

The server and whoever takes the memory run in a memory cgroup of their own (v1 or v2, a child of ours): what else the
machine does is no part of the test. Where such a group cannot be made, the tests that need it are skipped.
"""
import harness
from groups import *
from harness import *

PROMPT = "Once upon a time"
NAMES = ["safe", "caution", "warning", "critical", "emergency"]
# The levels by flags, and a room well inside of each.
FLAGS = ("--memory", "260M", "-np", "2", "-c", "2048", "--level-caution", "160M", "--level-warning", "120M", "--level-critical", "80M",
         "--level-emergency", "40M")
ROOM = {"safe": 230 * MIB, "caution": 148 * MIB, "warning": 101 * MIB, "critical": 60 * MIB, "emergency": 20 * MIB}
LIMIT = 600 * MIB


def level_of(s):
    return s.health()["memory"]["level"]


def reach(s, group, name, timeout_s=5):
    group.leave(ROOM[name])
    return wait_until(lambda: level_of(s) == name, "level %s with %d MiB left" % (name, group.room() // MIB), timeout_s, 0.02)


def expect_refused(s, group, level):
    """The room that a refusal names is of the watch's last look, as its level is: that may have been while the memory was
    still being taken. The next look, a tenth of a second later, must see what is left."""
    figures = []

    def of_what_is_left():
        before = group.room()
        r = s.post(PROMPT, max_tokens=4)
        after = group.room()
        expect(r.status, 429, "status at " + level)
        expect(r.headers["X-Memory-Status"], level, "X-Memory-Status")
        check(1 <= int(r.headers["Retry-After"]) <= 59, "Retry-After is %s" % r.headers["Retry-After"])
        available, required = int(r.headers["X-Memory-Available-Bytes"]), int(r.headers["X-Memory-Required-Bytes"])
        check(0 < required < MIB, "X-Memory-Required-Bytes is %d" % required)
        check(level in r.reason(), "the reason does not name the level: " + r.reason())
        figures[:] = available, before, after
        return min(before, after) - 16 * MIB < available < max(before, after) + 16 * MIB
    wait_until(of_what_is_left, lambda: "X-Memory-Available-Bytes is %d, %d and %d are left" % tuple(figures), 5, 0.02)


def until_admitted(s, timeout_s):
    return wait_until(lambda: s.post(PROMPT, max_tokens=2).status == 200, "to be admitted again", timeout_s, 0.02)


@test(timeout=120)
def through_all_levels_and_back():
    with Group(LIMIT) as group, Server(*FLAGS) as s:
        expect(level_of(s), "safe", "level at the start")
        shown = s.memory()["books"]["cgroup"]
        expect(shown["limit_bytes"], LIMIT, "the limit that /memory shows")
        changes = 0
        for name in NAMES[1:]:
            took = reach(s, group, name)
            changes += 1
            note("%s after %.0f ms, %d MiB left" % (name, took * 1000, group.room() // MIB))
            time.sleep(0.5)
            expect(level_of(s), name, "level half a second later")
            levels = s.memory()["books"]["levels"]
            expect((levels["changes"], levels["bound"]), (changes, "cgroup"), "changes, and the bound")
            if name in ("critical", "emergency"):
                expect_refused(s, group, name)
                expect(s.post(PROMPT, max_tokens=4, path="/fit").json()["now"], False, "fits now")
            else:
                expect(s.post(PROMPT, max_tokens=4).status, 200, "status at " + name)
        for name in reversed(NAMES[:-1]):
            took = reach(s, group, name)
            changes += 1
            time.sleep(0.7)
            expect(level_of(s), name, "level half a second later, on the way back")
            expect(s.memory()["books"]["levels"]["changes"], changes, "changes on the way back to " + name)
            expect(s.post(PROMPT, max_tokens=4).status, 429 if name == "critical" else 200, "status at %s, on the way back" % name)
        line = s.memory()["books"]["line_bytes"]
        before = min(group.room(), line - s.resident_bytes())
        available = s.health()["memory"]["available_bytes"]
        after = min(group.room(), line - s.resident_bytes())
        check(min(before, after) - 8 * MIB <= available <= max(before, after) + 8 * MIB, "available is %d, not %d to %d" % (available, before, after))


@test(timeout=60)
def it_admits_again_at_once():
    with Group(LIMIT) as group, Server(*FLAGS) as s:
        for name in ("critical", "emergency"):
            reach(s, group, name)
            expect_refused(s, group, name)
            group.take(0)
            took = until_admitted(s, 2.0)
            note("%s: admitted %.0f ms after the memory was there again" % (name, took * 1000))


def expect_headers(r, status, required, about):
    expect(r.status, status, about)
    check(1 <= int(r.headers["Retry-After"]) <= 59, "%s: Retry-After is %s" % (about, r.headers["Retry-After"]))
    check(r.headers["X-Memory-Status"] in NAMES, "%s: X-Memory-Status is %s" % (about, r.headers["X-Memory-Status"]))
    check(int(r.headers["X-Memory-Available-Bytes"]) > MIB, "%s: available %s" % (about, r.headers["X-Memory-Available-Bytes"]))
    needed = int(r.headers["X-Memory-Required-Bytes"])
    check(required <= needed < required + MIB, "%s: required are %d, not %d" % (about, needed, required))


@test(timeout=60)
def every_refusal_says_how_memory_stands():
    """Whoever refuses: the front end (no slot, no buffer), the queue (full, waited in vain), a server that is leaving."""
    flags = ("-np", "1", "-c", "16384", "--max-queue", "1", "--queue-timeout", "2", "--max-active", "8", "--body-limit", "1M", "--body-pool", "1M")
    with Server(*flags) as s:
        running = s.open_request(PROMPT, max_tokens=15000, ignore_end=True, stream=True)
        wait_until(lambda: s.health()["active_jobs"] == 1, "one to run")
        needed = s.post(PROMPT, max_tokens=1000, path="/fit").json()["required_bytes"]
        expect_headers(s.post(PROMPT, max_tokens=1000), 429, needed, "after two seconds in the queue")
        waiting = s.open_request(PROMPT, max_tokens=1000)
        wait_until(lambda: s.health()["queued_jobs"] == 1, "one to wait")
        expect_headers(s.post(PROMPT, max_tokens=1000), 429, needed, "the queue is full")
        big = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        held = [s.connect() for _ in range(6)]
        held[0].sendall(big % 900000)
        for c in held[1:3]:
            c.sendall(big % 100)
        until_read(s)
        expect_headers(s.raw(big % 600000 + b"{"), 429, 600000, "two seconds without a buffer")
        for c in held[3:]:
            c.sendall(big % 100)
        until_read(s)
        expect_headers(s.raw(big % 1000 + b"{"), 429, 1000, "two seconds without a slot")
        for c in held:
            c.close()
        s.signal()
        wait_until(lambda: "draining" in s.log(), "the log to say draining")
        expect_headers(s.get("/readyz"), 503, 0, "/readyz")
        expect_headers(s.get("/health"), 503, 0, "/health")
        expect_headers(s.post(PROMPT, max_tokens=10), 503, needed // 1000, "draining")
        running.close()
        waiting.close()
        expect(s.wait(), 0, "exit status")


def health_beside(s, kernel_room, taker, most):
    """Reads /health and the kernel's figures again and again while somebody takes memory and lets it go."""
    start, worst, seen, enough = time.monotonic(), 0, [], threading.Event()
    def come_and_go():
        while not enough.is_set():
            for size in (most // 3, most, 0):
                taker.take(size)
                time.sleep(0.03)
    other = threading.Thread(target=come_and_go, daemon=True)
    other.start()
    while not enough.is_set():
        before = kernel_room()
        said = s.health()["memory"]["available_bytes"]
        after = kernel_room()
        low, high = min(before, after), max(before, after)
        off = max(low - said, said - high, 0) / high
        check(off < 0.01, "/health says %d, the kernel said %d before and %d after" % (said, before, after))
        worst = max(worst, off)
        seen.append(said)
        lasted = time.monotonic() - start # longer on a busy machine, where the taker comes late
        if (lasted > 2.5 and len(seen) > 50 and max(seen) - min(seen) > most // 2) or lasted > 30:
            enough.set()
    other.join()
    note("%d readings from %.1f to %.1f MiB, off by at most %.2f %%" % (len(seen), min(seen) / MIB, max(seen) / MIB, worst * 100))
    check(len(seen) > 50 and max(seen) - min(seen) > most // 2, "nothing was seen of the process that takes memory")


def machine_room():
    with open("/proc/meminfo") as f:
        return int(re.search(r"^MemAvailable: *(\d+) kB", f.read(), re.M).group(1)) * KIB


@test(timeout=60)
def health_says_what_the_kernel_says():
    """Available is the least of what the machine, the group and the line leave: at one moment, not at the last look."""
    most = 256 * MIB if machine_room() > 4 * GIB else 128 * MIB
    with Server("--memory", "100%", "-np", "1", "-c", "1024") as s:
        taker = Taker()
        shown = s.memory()["books"]["cgroup"]
        if shown["limit_bytes"] and shown["limit_bytes"] - shown["used_bytes"] < machine_room():
            note("our own control group leaves less than the machine has: not the machine's figure")
        else:
            health_beside(s, machine_room, taker, most)
        taker.end()
    with Group(LIMIT) as group, Server(*FLAGS[:6], "--memory", str(LIMIT)) as s:
        line = s.memory()["books"]["line_bytes"]  # below the limit by what the group holds beside the server
        check(0.95 * LIMIT < line < LIMIT, "a line of %d" % line)
        health_beside(s, lambda: min(group.room(), line - s.resident_bytes()), group.taker, 256 * MIB)
    with Server(*FLAGS, "--max-connections", "64") as s:  # connections are held, in use or not
        said, line = s.health()["memory"]["available_bytes"], 260 * MIB
        expect(abs(said - (line - s.resident_bytes())) < line // 100, True, "under the line: %d, resident %d" % (said, s.resident_bytes()))


@test(timeout=60)
def the_front_end_alone_keeps_the_levels():
    with Group(LIMIT) as group, Server(*FLAGS, "--engine", "echo") as s:
        expect(level_of(s), "safe", "level at the start")
        for name in NAMES[1:]:
            took = reach(s, group, name)
            note("%s after %.0f ms" % (name, took * 1000))
            if name in ("critical", "emergency"):
                expect_refused(s, group, name)
            else:
                expect(s.post(PROMPT).json()["text"], PROMPT, "the answer at " + name)
        expect(s.memory()["books"]["levels"]["changes"], 4, "changes of level")
        group.take(0)
        until_admitted(s, 2.0)
        expect(s.post(PROMPT, max_tokens=2).json()["text"], PROMPT, "the answer when it has passed")


@test(timeout=60)
def noise_at_a_threshold_does_not_make_it_flap():
    with Group(LIMIT) as group, Server(*FLAGS) as s:
        reach(s, group, "critical")
        before = s.memory()["books"]["levels"]["changes"]
        for i in range(40):  # around 80M, within its margin of an eighth
            group.leave((77 if i % 2 else 86) * MIB)
            time.sleep(0.08)
        expect(s.memory()["books"]["levels"]["changes"], before, "changes after 40 crossings")
        group.take(0)
        until_admitted(s, 2.0)


@test(timeout=60)
def the_cache_makes_way():
    with Group(LIMIT) as group, Server(*FLAGS) as s:
        def remember(n, first):
            for i in range(n):
                expect(s.post([first + i] * 700, max_tokens=1).status, 200)

        def cached():
            return s.memory()["kv_pool"]["evictable_bytes"]
        remember(6, 10)
        safe = cached()
        check(safe > 8 * MIB, "only %d bytes are remembered" % safe)
        reach(s, group, "caution")
        held = cached()
        remember(6, 20)
        check(cached() <= held, "the cache grew from %d to %d in caution" % (held, cached()))
        note("remembered: %.1f MiB when safe, %.1f in caution" % (safe / MIB, cached() / MIB))
        # 15 MiB below the threshold: more than what is remembered
        reach(s, group, "warning")
        wait_until(lambda: cached() < held // 2, "the cache to shrink in warning", 5, 0.05)
        check("the prompt cache gave back" in s.log(), "no log line says what was given back")
        expect(s.post(PROMPT, max_tokens=4).status, 200, "status in warning")
        wait_until(lambda: s.memory()["kv_pool"]["committed_bytes"] == 0, "no page held in warning", 5, 0.05)
        group.take(0)
        wait_until(lambda: level_of(s) == "safe", "safe again", 3, 0.02)
        remember(6, 30)
        check(cached() > safe // 2, "nothing is remembered after the pressure has passed")


def read_stream(c):
    """The text of a whole stream of a request that was only sent."""
    with c:
        reply = http.client.HTTPResponse(c)
        reply.begin()
        body = reply.read()
    expect(reply.status, 200, "status of one that was accepted")
    records = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]  # others: a stream's keep-alive
    check("done" in records[-1] and not [r for r in records if "error" in r], lambda: "the stream ends with %r" % records[-1])
    return "".join(r.get("text", "") for r in records)


@test(timeout=90)
def the_accepted_finish():
    """Nobody reads what they say until memory is gone, so however busy the machine is, they are in work by then."""
    asked = [dict(prompt=PROMPT, seed=i, max_tokens=900, ignore_end=True, speculate=False) for i in range(3)]
    with Group(LIMIT) as group, Server(*FLAGS) as s:
        group.leave(ROOM["caution"])
        unread = [s.open_request(**a, stream=True, logprobs=True, top_logprobs=20) for a in asked]
        wait_until(lambda: (s.health()["active_jobs"], s.health()["queued_jobs"]) == (2, 1), "two to be running, one to be waiting")
        reach(s, group, "emergency")
        expect_refused(s, group, "emergency")
        wait_until(lambda: s.memory()["kv_pool"]["parkings"] > 0, "one to be parked", 20, 0.02)
        got = [None] * len(asked)

        def read(i):
            got[i] = read_stream(unread[i])
        threads = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(len(asked))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(level_of(s), "emergency", "level when all had finished")
        note("parked %d times" % s.memory()["kv_pool"]["parkings"])
        group.take(0)
        until_admitted(s, 2.0)
        for a, text in zip(asked, got):
            expect(text, text_of(s.post(**a)), "the answer under pressure")


def text_of(reply):
    j = reply.json()
    j = j.get("choices", [j])[0]
    return j.get("text", j.get("content", j.get("response")))


@test(timeout=90)
def its_own_cache_is_no_distress():
    """A group that the server's own cache would fill: what is lent is given back in time, and everyone is admitted."""
    flags = ("--memory", "180M", "-np", "2", "-c", "2048", "--level-caution", "64M", "--level-warning", "48M", "--level-critical", "32M",
             "--level-emergency", "16M")
    with Group(170 * MIB) as group, Server(*flags) as s:
        for i in range(60):
            r = s.post([10 + i] * 900, max_tokens=1)
            expect(r.status, 200, "status of request %d (%s)" % (i, r.body[:200]))
        check(level_of(s) in ("safe", "caution"), "level is " + level_of(s))
        check(s.memory()["cache"]["evicted_pages"] > 0, "the cache never had to make way: the test means nothing")
        note("%d MiB left of %d, %.1f MiB remembered" % (group.room() // MIB, group.limit // MIB, s.memory()["cache"]["bytes"] / MIB))


@test(timeout=120)
def a_group_smaller_than_the_line():
    """More is asked for than there is: nobody is killed, and the accepted finish."""
    import random
    size, line = 90 * MIB, 140 * MIB
    with Group(size) as group, Server("--memory", "140M", "-np", "8", "-c", "4096") as s:
        check("above what the control group can give" in s.log(), "the log does not say that the line is cut")
        until, statuses, wrong = time.monotonic() + 6, {}, []

        def client(seed):
            r = random.Random(seed)
            while time.monotonic() < until:
                prompt = [r.randrange(3, 300)] * r.randrange(1000, 3000)
                reply = s.post(prompt, max_tokens=r.randrange(1, 100), ignore_end=True, seed=seed)
                statuses[reply.status] = statuses.get(reply.status, 0) + 1
                if reply.status == 429:
                    missing = [h for h in ("Retry-After", "X-Memory-Status", "X-Memory-Available-Bytes") if not reply.headers[h]]
                    wrong.extend(missing)
                    time.sleep(0.05)
                elif reply.status != 200:
                    wrong.append((reply.status, reply.body[:200]))
        threads = [threading.Thread(target=client, args=(i,), daemon=True) for i in range(10)]
        for t in threads:
            t.start()
        least = size
        while any(t.is_alive() for t in threads):
            least = min(least, group.room())
            check(s.resident_bytes() <= line, "over the line")
            time.sleep(0.02)
        check(s.process.poll() is None, "the server was killed")
        check(not wrong, lambda: "wrong answers: %r" % wrong[:3])
        note("statuses %r; at least %.1f MiB were left; %d changes of level" %
             (statuses, least / MIB, s.memory()["books"]["levels"]["changes"]))
        check(statuses.get(200, 0) > 3, "too few answers to mean anything: %r" % statuses)
        until_admitted(s, 2.0)


@test
def an_unreadable_group_is_told_and_left_out():
    """Another file in the place of the group's limit, in a mount namespace of the server's own."""
    version, path = own_group()
    limit = "%s/%s" % (path, "memory.max" if version == 2 else "memory.limit_in_bytes")
    if not version or not os.path.exists(limit):
        skip("this process's group has no limit that could be unreadable")
    garbled = temp_path("garbled")
    with open(garbled, "w") as f:
        f.write("garbled\n")
    program = temp_path("unreadable.sh")
    with open(program, "w") as f:
        f.write("#!/bin/sh\nexec unshare -m sh -c 'mount --bind %s %s && exec \"$@\"' - %s \"$@\"\n" % (garbled, limit, PLIMSOLL))
    os.chmod(program, 0o755)
    if subprocess.run([program, "--version"], capture_output=True).returncode:
        skip("no file can be mounted here")
    was, harness.PLIMSOLL = harness.PLIMSOLL, program
    try:
        with Server("-np", "1", "-c", "1024", "--memory", "200M") as s:
            told = [line for line in s.log().splitlines() if "warn" in line]
            check(len(told) == 1 and "limit cannot be read" in told[0], "told: %r" % told)
            expect(s.post(PROMPT, max_tokens=4).status, 200, "a request")
            books = s.memory()["books"]
            expect((books["level"], books["cgroup"]["limit_bytes"]), ("safe", None))
    finally:
        harness.PLIMSOLL = was


@test
def cleanup_gives_back_at_once():
    with Server("-np", "2", "-c", "2048") as s:
        for i in range(4):
            s.post([10 + i] * 700, max_tokens=1)
        before = s.resident_bytes()
        r = s.request("POST", "/cleanup-memory")
        expect(r.status, 200)
        j = r.json()
        expect(j["status"], "success", "status")
        for key in ("message", "freed_bytes", "before", "after", "gpu_memory_allocated_mb", "gpu_memory_reserved_mb"):
            check(key in j, "no %s in %r" % (key, j))
        check(j["freed_bytes"] > 6 * MIB, "freed %d bytes" % j["freed_bytes"])
        fell = before - s.resident_bytes()
        check(abs(fell - j["freed_bytes"]) < 2 * MIB, "it says %d, the kernel %d" % (j["freed_bytes"], fell))
        expect(j["after"]["kv_bytes"], 0, "pages held after it")
        expect(s.request("POST", "/cleanup-memory", b"{}").json()["freed_bytes"] < MIB, True, "a second one finds nothing")
        expect(s.request("GET", "/cleanup-memory").status, 405, "GET")
        stream = s.stream(PROMPT, max_tokens=400, ignore_end=True, seed=1)
        events = iter(stream)
        next(events)
        expect(s.request("POST", "/cleanup-memory").status, 200, "beside a running request")
        check(len(list(events)) >= 300, "the running request did not go on")


@test
def cleanup_after_each_request():
    with Server("-np", "2", "-c", "2048", "--cleanup-after-request") as s:
        for i in range(3):
            s.post([10] * 700, max_tokens=1)
            pool = s.memory()["kv_pool"]
            expect((pool["committed_bytes"], s.memory()["cache"]["entries"]), (0, 0), "pages and entries after request %d" % i)


@test
def a_tight_line_admits():
    """What the plan leaves is little, and no distress: with the least line there is, everyone gets an answer."""
    flags = ("-np", "2", "-c", "1024")
    least = plan_of(*flags, "--no-prompt-cache")["plan"]["total_bytes"]
    with Server(*flags, "--memory", "%dK" % (least // KIB + 256)) as s:
        statuses = []
        threads = [threading.Thread(target=lambda i=i: statuses.append(s.post([5 + i] * 700, max_tokens=200, ignore_end=True).status),
                                    daemon=True) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(statuses, [200] * 8, "statuses")
        expect(s.memory()["books"]["levels"]["changes"], 0, "changes of level")


@test
def wrong_thresholds_are_told():
    for flags, words in ((("--level-caution", "9P"), "--level-caution"),
                         (("--memory", "200M", "--level-caution", "300M"), "must be below the line of 200 MiB"),
                         (("--memory", "200M", "--level-caution", "150M", "--level-warning", "100M", "--level-critical", "100M"), "must be below --level-warning, which is 100 MiB"),
                         (("--memory", "200M", "--level-caution", "199M", "--level-warning", "198M", "--level-critical", "197M"), "nothing would be admitted"),
                         (("--level-danger", "1G"), "unknown option --level-danger"),
                         (("--level-critical", "much"), "takes a size"),
                         (("--memory", "900T"), "--memory is 900 TiB; this machine has"),
                         (("--engine", "echo", "--memory", "200M", "--level-caution", "300M"), "must be below the line of 200 MiB"),
                         (("--memory", "10"), "--memory is '10'; it must be a size of at least 1M")):
        done = run_plimsoll("serve", "--port", "0", "-np", "1", "-c", "1024", *flags, rc=2)
        told = [line for line in done.err.splitlines() if "info serve: model:" not in line]  # which model it is, is said first
        check(len(told) == 1 and words in told[0], lambda: "stderr: " + done.err)


main()
