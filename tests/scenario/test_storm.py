"""The line under attack: everything that clients can do at once, for STORM_SECONDS (45), and the line holds.

All the while the kernel's figure is read every 50 ms and the books as often as /memory answers; every answer is
judged. What was admitted and not cancelled must come whole, what was refused must say so with its headers.
"""
import collections
import random

import harness
from harness import *

SECONDS = float(os.environ.get("STORM_SECONDS", "45"))
CONTEXT, BODY_LIMIT, CLIENTS = 1024, 256 * KIB, 10
harness.SOCKET_TIMEOUT_S = (SECONDS + 60) * PATIENCE  # a request of low priority may wait for the end of the storm; it must be answered then
WORDS = "Once upon a time there was a small rabbit who lived in the wood and had never seen the sea".split()


# ---- a cgroup with the line as its limit ----

def own_group():
    """(file of the limit, directory) of the memory cgroup of this process; v1 or v2."""
    mounts = [line.split(" - ") for line in open("/proc/self/mountinfo")]
    for line in open("/proc/self/cgroup"):
        _, controllers, path = line.strip().split(":", 2)
        for left, right in mounts:
            fields, options = left.split(), right.split()
            v1 = options[0] == "cgroup" and "memory" in controllers.split(",") and "memory" in options[2].split(",")
            v2 = options[0] == "cgroup2" and not controllers and os.path.exists(fields[4] + "/cgroup.subtree_control") and \
                "memory" in open(fields[4] + "/cgroup.subtree_control").read().split()
            if v1 or v2:
                root = fields[3].rstrip("/")
                below = path[len(root):] if path.startswith(root) else path
                return "memory.limit_in_bytes" if v1 else "memory.max", fields[4] + below.rstrip("/")
    raise OSError("no memory cgroup here")


class Group:
    """Servers of a `with` start in a cgroup of that limit; `why` says why not where none can be made."""

    def __init__(self, limit_bytes):
        self.path, self.why, self.was = None, None, harness.PLIMSOLL
        try:
            name, parent = own_group()
            path = "%s/plimsoll-storm-%d" % (parent, os.getpid())
            os.mkdir(path)
            self.path = path
            with open(os.path.join(path, name), "w") as f:
                f.write(str(limit_bytes))
            program = temp_path("storm-in-group.sh")
            with open(program, "w") as f:
                f.write("#!/bin/sh\necho $$ > %s/cgroup.procs || exit 9\nexec %s \"$@\"\n" % (path, PLIMSOLL))
            os.chmod(program, 0o755)
            harness.PLIMSOLL = program
        except OSError as e:
            self.why = str(e)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        harness.PLIMSOLL = self.was
        for s in Server.running:
            s.kill()
        for _ in range(100 if self.path else 0):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.05)


# ---- what is watched ----

class Watch:
    """The kernel's figure every 50 ms; the books, each time that /memory has answered."""

    def __init__(self, server, line):
        self.server, self.line = server, line
        self.samples, self.readings, self.most, self.unexplained = 0, 0, 0, 0
        self.levels, self.wrong, self.going = collections.Counter(), [], True
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.kernel, self.books)]
        for t in self.threads:
            t.start()

    def kernel(self):
        while self.going:
            now = self.server.resident_bytes()
            self.samples += 1
            self.most = max(self.most, now)
            if now > self.line:
                self.wrong.append("%d resident bytes are %d over the line" % (now, now - self.line))
            time.sleep(0.05)

    def books(self):
        while self.going:
            try:
                r = self.server.get("/memory")
                if r.status == 200:
                    self.read(r.json()["books"])
                else:
                    self.wrong.append("/memory answers %d" % r.status)
            except Exception as e:
                self.wrong.append("/memory: %r" % e)
            time.sleep(0.1)

    def read(self, b):
        self.readings += 1
        self.levels[b["levels"]["level"] if "level" in b["levels"] else b.get("level", "?")] += 1
        self.unexplained = max(self.unexplained, abs(b["unexplained_bytes"]))
        if not b["balanced"] or abs(b["unexplained_bytes"]) > b["tolerance_bytes"]:
            self.wrong.append("unbalanced: %d unexplained, tolerance %d" % (b["unexplained_bytes"], b["tolerance_bytes"]))
        if b["ledger_bytes"] > self.line:
            self.wrong.append("the ledger's %d are over the line" % b["ledger_bytes"])

    def stop(self):
        self.going = False
        for t in self.threads:
            t.join()


# ---- what clients do ----

class Client:
    def __init__(self, server, seed, until):
        self.s, self.r, self.until = server, random.Random(seed), until
        self.counts, self.wrong, self.longest = collections.Counter(), [], (0, "nothing")

    def run(self):
        self.priority = 0  # of the last request
        doings = [self.whole] * 6 + [self.streamed] * 4 + [self.cancelled] * 4 + [self.slow] * 2 + [self.huge] * 2 + \
            [self.fit, self.wrong_json, self.half_open, self.clear, self.cleanup, self.pages]
        while time.monotonic() < self.until:
            do, start = self.r.choice(doings), time.monotonic()
            try:
                do()
                self.longest = max(self.longest, (time.monotonic() - start, "%s, priority %s" % (do.__name__, self.priority)))
            except Exception as e:
                self.wrong.append("%s, priority %s: %s: %s" % (do.__name__, self.priority, type(e).__name__, e))

    def judge(self, r, *allowed):
        """Counts an answer; True for a 200. Refusals must carry their headers, nothing else may be refused so."""
        self.counts[r.status] += 1
        check(r.status in (200, 413, 429) + allowed, lambda: "status %d: %r" % (r.status, r.body[:200]))
        if r.status == 429:
            check(1 <= int(r.headers["Retry-After"] or 0) <= 59, "429 with Retry-After %s" % r.headers["Retry-After"])
        of_memory = r.status == 429 or r.status == 413 and (r.headers["X-Memory-Required-Bytes"] or r.json()["error"]["type"] == "memory")
        for name in ("X-Memory-Status", "X-Memory-Available-Bytes", "X-Memory-Required-Bytes") * bool(of_memory):
            check(r.headers[name], lambda: "%d without %s: %r" % (r.status, name, r.body[:200]))
        if r.status == 429:
            time.sleep(self.r.uniform(0.02, 0.2))
        return r.status == 200

    def fields(self, most):
        """A random request that fits the context: its prompt, how many tokens must come, the rest."""
        r = self.r
        tokens = r.choice((3, 20, 200, CONTEXT - 150))
        prompt = [r.randrange(3, 300)] * tokens if r.random() < 0.7 else " ".join(r.choice(WORDS) for _ in range(tokens // 3))
        fields = {"prompt": prompt, "max_tokens": r.randrange(1, most), "ignore_end": True, "seed": r.randrange(1000)}
        for name, odds, value in (("kv_type", 0.5, r.choice(("f16", "q8", "q4"))), ("window", 0.15, 256), ("pin", 0.1, True), ("n", 0.2, r.randrange(2, 4)),
                                  ("priority", 0.2, r.randrange(-3, 4)), ("logprobs", 0.2, True), ("cache_ttl", 0.1, 1)):
            if r.random() < odds:
                fields[name] = value
        self.priority = fields.get("priority", 0)
        return fields

    def whole(self):
        f = self.fields(40)
        r = self.s.request("POST", "/generate", json.dumps(f))
        if self.judge(r):
            j = r.json()
            choices = j.get("choices", [j])
            expect(len(choices), f.get("n", 1), "choices")
            expect({c["finish_reason"] for c in choices}, {"length"}, "finish reasons")
            expect(j["usage"]["completion_tokens"], f["max_tokens"] * f.get("n", 1), "tokens of a whole answer")
            self.counts["whole"] += 1

    def streamed(self, pause=None):
        f = {**self.fields(60), "stream": True}
        c = self.s.connect()
        try:
            if pause:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            self.send(c, json.dumps(f).encode())
            got = b""
            slow_until = time.monotonic() + 3
            while True:
                piece = c.recv(256 if pause else 65536)
                got += piece
                if not piece or got.endswith(b"0\r\n\r\n"):
                    break
                head, gap, rest = got.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.I)
                if gap and length and len(rest) >= int(length.group(1)):
                    break
                if pause and time.monotonic() < slow_until:
                    time.sleep(pause)
        finally:
            c.close()
        r = harness.parse_reply(got)
        if self.judge(r):
            records = [json.loads(x) for x in re.findall(rb"^data: (\{.*\})\s*$", r.body, re.M)]
            check(not [x for x in records if "error" in x], lambda: "an error within a stream: %r" % [x for x in records if "error" in x])
            expect(sum("done" in x for x in records), f.get("n", 1), "ends of a stream")
            expect(sum("token" in x for x in records), f["max_tokens"] * f.get("n", 1), "tokens of a stream")
            self.counts["slow" if pause else "streams"] += 1

    def slow(self):
        self.streamed(pause=0.05)

    def send(self, c, body, length=None):
        c.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (length or len(body)) + body)

    def cancelled(self):
        f = {**self.fields(CONTEXT // 8), "stream": self.r.random() < 0.5}
        with self.s.connect() as c:
            self.send(c, json.dumps(f).encode())
            time.sleep(self.r.choice((0, 0.01, 0.1, 0.5)) * self.r.random())
            if self.r.random() < 0.5:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.counts["cancelled"] += 1

    def huge(self):
        size = self.r.choice((BODY_LIMIT // 2, BODY_LIMIT - 100, BODY_LIMIT + 1, 4 * BODY_LIMIT))
        body = b'{"prompt": "' + b"a wolf " * (size // 7) + b'", "max_tokens": 1}'
        with self.s.connect() as c:
            try:
                self.send(c, body)
                got = b"".join(iter(lambda: c.recv(65536), b""))
            except (BrokenPipeError, ConnectionResetError):
                got = b""  # refused before all of it was sent
        if got:
            r = harness.parse_reply(got)
            check(not self.judge(r), "a prompt longer than the context was taken")
        self.counts["huge"] += 1

    def fit(self):
        f = self.fields(60)
        expect(self.s.request("POST", "/fit", json.dumps(f)).status, 200, "status of /fit")

    def wrong_json(self):
        body = self.r.choice((b"{", b"[]", b'{"prompt": 5}', b'{"prompt": "x", "max_tokens": -1}', b'{"prompt": "x", "nonsense": 1}', b"\xff\xfe", b"[" * 5000))
        self.judge(self.s.request("POST", "/generate", body), 400)

    def half_open(self):
        with self.s.connect() as c:
            if self.r.random() < 0.5:
                c.sendall(b"POST /generate HTTP/1.1\r\nHo")
            else:
                self.send(c, b'{"prompt": "', 5000)
            time.sleep(self.r.uniform(0, 1))

    def clear(self):
        if self.r.random() < 0.3:
            expect(self.s.request("DELETE", "/cache").status, 200, "status of DELETE /cache")

    def cleanup(self):
        if self.r.random() < 0.3:
            expect(self.s.request("POST", "/cleanup-memory").status, 200, "status of /cleanup-memory")

    def pages(self):
        for path in ("/cache", "/health", "/memory/timeline", "/memory/doctor"):
            expect(self.s.get(path).status, 200, "status of " + path)


# ---- the storm ----

def held_bytes(s):
    """Pages that requests hold: neither what is remembered nor what is pinned."""
    m = s.memory()
    return m["kv_pool"]["used_bytes"] - m["kv_pool"]["evictable_bytes"] - m["cache"]["pinned_bytes"]


def until_nothing_runs(s, timeout_s):
    """As until_quiet, but for pages that are pinned."""
    start = time.monotonic()
    while True:
        h, held = s.health(), held_bytes(s)
        if (h["active_jobs"], h["queued_jobs"], held) == (0, 0, 0):
            return time.monotonic() - start
        check(time.monotonic() - start < timeout_s * PATIENCE, "%g s after the last client: %d jobs in work, %d waiting, %d bytes of pages held" %
              (timeout_s * PATIENCE, h["active_jobs"], h["queued_jobs"], held))
        time.sleep(0.02)


def quiet_level(s):
    """The kernel's figure with nothing running and nothing remembered."""
    until_nothing_runs(s, 5)
    expect(s.request("DELETE", "/cache").status, 200, "status of DELETE /cache")
    expect(s.request("POST", "/cleanup-memory").status, 200, "status of /cleanup-memory")
    return s.resident_bytes()


def storm(s, line, seconds, seed):
    for i in range(2):
        s.post([7] * (CONTEXT - 150), max_tokens=4)
    before = quiet_level(s)
    watch = Watch(s, line)
    until = time.monotonic() + seconds
    clients = [Client(s, seed * 1000 + i, until) for i in range(CLIENTS)]
    threads = [threading.Thread(target=c.run, daemon=True) for c in clients]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    counts, wrong = sum((c.counts for c in clients), collections.Counter()), sum((c.wrong for c in clients), [])
    check(s.process.poll() is None, "the server ended with %s" % s.process.poll())
    after_s = until_nothing_runs(s, 5)
    remembered = lambda: s.memory()["kv_pool"]["evictable_bytes"] + s.memory()["cache"]["pinned_bytes"]
    after_s += back(s, before, remembered)
    watch.stop()
    note("%s" % ", ".join("%s: %d" % (k, counts[k]) for k in sorted(counts, key=str)))
    note("line %.2f MiB, most resident %.2f MiB in %d samples; unexplained at most %.2f MiB in %d readings; levels %s" %
         (line / MIB, watch.most / MIB, watch.samples, watch.unexplained / MIB, watch.readings, dict(watch.levels)))
    note("the longest answer took %.1f s: %s" % max(c.longest for c in clients))
    check(not watch.wrong, lambda: "%d times: %s" % (len(watch.wrong), "; ".join(watch.wrong[:3])))
    check(not wrong, lambda: "%d wrong: %s" % (len(wrong), "; ".join(wrong[:4])))
    check(watch.samples > 50 and watch.readings > 10, "too few samples to mean anything")
    check(min(counts["whole"], counts["streams"], counts["slow"], counts["cancelled"]) > 0, "a part of the storm did not happen: %r" % counts)
    after = quiet_level(s)
    note("at baseline %.1f s after the storm; %.2f MiB before, %.2f MiB with nothing remembered" % (after_s, before / MIB, after / MIB))
    check(after <= before + MIB, "%d bytes above the baseline with nothing remembered" % (after - before))
    expect(s.generate("Once upon a time", max_tokens=4, ignore_end=True)["usage"]["completion_tokens"], 4, "an answer afterwards")


def back(s, before, remembered):
    start = time.monotonic()
    while s.resident_bytes() > before + remembered() + MIB:
        check(time.monotonic() - start < 5 * PATIENCE, lambda: "20 s after the storm %.2f MiB are resident: %.2f MiB before it, and %.2f MiB remembered" %
              (s.resident_bytes() / MIB, before / MIB, remembered() / MIB))
        time.sleep(0.05)
    return time.monotonic() - start


def flags_of(line, *more):
    return ("-np", "4", "-c", str(CONTEXT), "--memory", "%dK" % (line // KIB), "--body-limit", "%dK" % (BODY_LIMIT // KIB), "--max-queue", "8", *more)


@test(timeout=int(SECONDS) + 120)
def forged_model_in_a_group_of_that_limit():
    """Weights + 256 MiB, with a spill file; in a cgroup of that same limit where one can be made."""
    model = forge("--shape", "llama-1b", "--layers", "2", "--type", "Q4_0")
    line = plan_of("-m", model, "-c", str(CONTEXT))["plan"]["accounts"]["weights"] // KIB * KIB + 256 * MIB
    flags = flags_of(line, "-m", model, "--spill-file", temp_path("storm.spill"), "--spill-bytes", "32M")
    with Group(line) as group:
        note("in a cgroup of that limit" if not group.why else "without a cgroup: " + group.why)
        with Server(*flags) as s:
            storm(s, line, SECONDS * 0.6, 1)


@test(timeout=int(SECONDS) + 120)
def built_in_model_just_above_its_plan():
    """A line that leaves little room for pages: requests wait, are parked, are refused."""
    least = plan_of(*flags_of(GIB), "--no-prompt-cache")["plan"]
    line = (least["total_bytes"] - least["accounts"]["kv"]) // KIB * KIB + 20 * MIB
    with Server(*flags_of(line)) as s:
        storm(s, line, SECONDS * 0.4, 2)


main()
