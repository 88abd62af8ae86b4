"""Memory cgroups for tests: servers inside of one with a limit, beside a process that takes memory there."""
import random

import harness
from harness import *

__all__ = ["Taker", "Group", "own_group", "BusyLoops", "least_plan", "storm_in"]

TAKER = """
import mmap, sys
held = []
for line in sys.stdin:
    wanted = int(line) >> 20
    while len(held) > wanted:
        held.pop().close()
    while len(held) < wanted:
        held.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        held[-1].write(b"x" * (1 << 20))
    print("done", flush=True)
"""


class Taker:
    """A process that holds as much memory as it is told to. started_by: a command that starts it."""

    def __init__(self, *started_by):
        self.process = subprocess.Popen([*started_by, sys.executable, "-c", TAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.taken = 0

    def take(self, size):
        self.taken = max(0, size)
        self.process.stdin.write("%d\n" % self.taken)
        self.process.stdin.flush()
        expect(self.process.stdout.readline(), "done\n", "the process that takes memory")

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def own_group():
    """(version, directory) of the memory cgroup that this process is in."""
    lines = [line.strip().split(":", 2) for line in open("/proc/self/cgroup")]
    mounts = [line.split(" - ") for line in open("/proc/self/mountinfo")]

    def mounted(kind, controller):
        for left, right in mounts:
            fields, options = left.split(), right.split()
            if options[0] == kind and (not controller or controller in options[2].strip().split(",")):
                return fields[4], fields[3]
        return None, None
    for _, controllers, path in lines:
        if "memory" in controllers.split(","):
            at, root = mounted("cgroup", "memory")
            return 1, at + (path[len(root):] if root != "/" and path.startswith(root) else path).rstrip("/")
    for _, controllers, path in lines:
        if controllers == "":
            at, root = mounted("cgroup2", None)
            if at:
                return 2, at + (path[len(root):] if root != "/" and path.startswith(root) else path).rstrip("/")
    return 0, None


class Group:
    """A memory cgroup with a limit; the servers of a `with` start in it, beside a process that takes memory there."""

    def __init__(self, limit_bytes, taker=True):
        self.taker = None
        self.with_taker = taker
        try:
            self.version, parent = own_group()
            if not self.version:
                skip("no memory cgroup here")
            self.path = "%s/plimsoll-test-%d" % (parent, os.getpid())
            os.mkdir(self.path)
        except OSError as e:
            skip("no cgroup can be made here: %s" % e)
        try:
            self.set_limit(limit_bytes)
            self.program = temp_path("in-group.sh")
            with open(self.program, "w") as f:
                f.write("#!/bin/sh\necho $$ > %s/cgroup.procs || exit 9\nexec \"$@\"\n" % self.path)
            os.chmod(self.program, 0o755)
            self.server_program = temp_path("server-in-group.sh")
            with open(self.server_program, "w") as f:
                f.write("#!/bin/sh\nexec %s %s \"$@\"\n" % (self.program, PLIMSOLL))
            os.chmod(self.server_program, 0o755)
        except OSError as e:
            os.rmdir(self.path)
            skip("no memory limit can be set here: %s" % e)

    def write(self, name, value):
        with open(os.path.join(self.path, name), "w") as f:
            f.write(str(value))

    def set_limit(self, limit_bytes):
        self.write("memory.max" if self.version == 2 else "memory.limit_in_bytes", limit_bytes)
        self.limit = limit_bytes

    def kills(self):
        return int((re.search(r"^oom_kill (\d+)$", self.read("memory.events" if self.version == 2 else "memory.oom_control"), re.M) or [0, 0])[1])

    def read(self, name):
        with open(os.path.join(self.path, name)) as f:
            return f.read()

    def __enter__(self):
        self.was = harness.PLIMSOLL
        harness.PLIMSOLL = self.server_program
        if self.with_taker:
            self.taker = Taker(self.program)
            self.take = self.taker.take
            self.take(0)
        return self

    def __exit__(self, *_):
        harness.PLIMSOLL = self.was
        if self.taker:
            self.taker.end()
        for s in Server.running:
            s.kill()
        for _ in range(100):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.05)

    def room(self):
        """As the server must see it: files that can be dropped are not used."""
        used = int(self.read("memory.current" if self.version == 2 else "memory.usage_in_bytes"))
        key = "inactive_file" if self.version == 2 else "total_inactive_file"
        return self.limit - used + int(re.search(r"^%s (\d+)$" % key, self.read("memory.stat"), re.M).group(1))

    def leave(self, room):
        self.take(self.taker.taken + self.room() - room)


class BusyLoops:
    """Two programs that do nothing, on whatever cores there are."""

    def __enter__(self):
        self.loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2)]
        return self

    def __exit__(self, *_):
        for p in self.loops:
            p.kill()
            p.wait()


# ---- a storm in a group ----

def least_plan(*flags):
    """Bytes of the smallest plan with these flags: one context, nothing remembered."""
    plan = plan_of(*flags, "--memory", "8G", "--no-prompt-cache")
    one = -(-plan["context"] // 32) * plan["kv_page_bytes"]
    return plan["plan"]["total_bytes"] - plan["plan"]["accounts"]["kv"] + one


class StormClient:
    """Asks for whatever takes memory, one thing after another, and counts what it was told."""

    def __init__(self, server, seed, until, context, said, wrong):
        self.s, self.r, self.until, self.context, self.said, self.wrong = server, random.Random(seed), until, context, said, wrong

    def run(self):
        doings = [self.whole] * 8 + [self.streamed] * 3 + [self.cancelled] * 2 + [self.chat] * 2 + [self.embeddings, self.body, self.pages]
        while time.monotonic() < self.until and self.s.process.poll() is None:
            try:
                self.r.choice(doings)()
            except OSError as e:
                self.wrong.append("%s: %s" % (type(e).__name__, e))

    def count(self, what):
        self.said[what] = self.said.get(what, 0) + 1

    def judge(self, reply):
        self.count(reply.status)
        if reply.status == 429:
            self.wrong.extend("429 without " + h for h in ("Retry-After", "X-Memory-Status") if not reply.headers[h])
            time.sleep(0.02)
        elif reply.status not in (200, 413):
            self.wrong.append((reply.status, reply.body[:200]))

    def fields(self):
        r = self.r
        return dict(prompt=[r.randrange(3, 300)] * r.randrange(1, self.context - 120), max_tokens=r.randrange(1, 100), ignore_end=True,
                    kv_type=r.choice(("f16", "f16", "q8", "q4")), n=r.choice((1, 1, 2)))

    def whole(self):
        self.judge(self.s.post(**self.fields()))

    def send(self, c, body):
        c.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def streamed(self):
        with self.s.connect() as c:
            self.send(c, json.dumps({**self.fields(), "stream": True}).encode())
            self.judge(harness.parse_reply(b"".join(iter(lambda: c.recv(65536), b""))))

    def cancelled(self):
        with self.s.connect() as c:
            self.send(c, json.dumps(self.fields()).encode())
            time.sleep(self.r.random() * 0.2)
        self.count("cancelled")

    def chat(self):
        schema = {"type": "object", "properties": {"k%d" % i: {"type": "string"} for i in range(self.r.randrange(1, 60))}}
        messages = [{"role": "user", "content": "word " * self.r.randrange(1, 60)} for _ in range(self.r.randrange(1, 4))]
        self.judge(self.s.request("POST", "/v1/chat/completions", json.dumps({
            "messages": messages, "max_tokens": 20, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})))

    def embeddings(self):
        texts = ["some words " * self.r.randrange(1, 40)] * self.r.randrange(1, 12)
        self.judge(self.s.request("POST", "/v1/embeddings", json.dumps({"input": texts})))

    def body(self):
        self.judge(self.s.request("POST", "/generate", b'{"prompt": "' + b"a wolf " * 18000 + b'"}'))

    def pages(self):
        for path in ("/memory", "/cache", "/memory/timeline", "/memory/timeline.svg"):
            self.judge(self.s.get(path))


def storm_in(group, s, seconds, seed, context, clients=10, beside=None):
    """What so many clients were told, and the least room that was left in the group. beside(): called all the while."""
    said, wrong, least, until = {}, [], group.room(), time.monotonic() + seconds
    threads = [threading.Thread(target=StormClient(s, seed * 1000 + i, until, context, said, wrong).run, daemon=True) for i in range(clients)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        least = min(least, group.room())
        if beside:
            beside()
        time.sleep(0.005)
    check(s.process.poll() is None and group.kills() == 0, lambda: "the server was killed with %.1f MiB as its group's limit: exit %s, told %r" %
          (group.limit / MIB, s.process.poll(), said))
    check(not wrong, lambda: "%d wrong answers: %r" % (len(wrong), wrong[:3]))
    return said, least
