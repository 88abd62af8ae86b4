"""What scenario tests stand on: real servers, real sockets, and a runner of one line a test.

A test file says what it needs, decorates functions with @test, and ends with `main()`:

    from harness import *

    @test
    def answers():
        with Server() as s:
            expect(s.generate("Once")["usage"]["completion_tokens"], 256)

    main()

The program under test is $PLIMSOLL, or build/plimsoll. Each test has a timeout (@test(timeout=60), times PATIENCE); servers it
started are killed at its end, and their logs shown when it failed. Behaviour is asserted, times are printed.
A test that cannot run here says so with skip("reason"), and the reason is printed.
"""
import fnmatch
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PLIMSOLL = os.path.abspath(os.environ.get("PLIMSOLL", os.path.join(ROOT, "build", "plimsoll")))
FORGE = os.path.abspath(os.environ.get("FORGE", os.path.join(ROOT, "build", "forge")))
PATIENCE = 4  # limits are for what hangs: on a machine with other work all takes several times as long
SOCKET_TIMEOUT_S = 60 * PATIENCE
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DAMAGE = re.compile(r"bytes are still in account|Sanitizer|runtime error|CHECK failed|check failed|assert", re.I)

__all__ = ["test", "main", "skip", "check", "expect", "note", "wait_until", "until_read", "until_quiet", "temp_path", "forge", "run_plimsoll",
           "plan_of", "Server", "Reply", "Stream", "PLIMSOLL", "FORGE", "ROOT", "PATIENCE", "SOCKET_TIMEOUT_S", "KIB", "MIB", "GIB", "json", "os", "re", "resource",
           "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "http"]


# ---- asserting ----

class Failure(Exception):
    pass


class Skip(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failure(message() if callable(message) else message)


def expect(got, wanted, about=""):
    if got != wanted:
        raise Failure("%s%s, not %s" % (about + ": " if about else "", short(got), short(wanted)))


def skip(reason):
    raise Skip(reason)


def short(value, limit=300):
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "… (%d characters)" % len(text)


def note(text):
    """A figure worth reading beside the result."""
    print("     · " + text)


def wait_until(condition, what, timeout_s=20.0, pause_s=0.002):
    """Polls until condition() is true; returns how long it took. timeout_s: far more than it takes on a quiet machine."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout_s * PATIENCE:
            raise Failure("waited %g s for: %s" % (timeout_s * PATIENCE, what() if callable(what) else what))
        time.sleep(pause_s)
    return time.monotonic() - start


def until_read(server):
    """What was sent before, on any connection, has been read: one thread reads all of them in turn, and it has answered twice since."""
    for _ in range(2):
        expect(server.get("/livez").status, 200, "status of /livez")


def until_quiet(server, timeout_s=20.0):
    """No job, no page: returns how long that took."""
    return wait_until(lambda: server.is_quiet(), "no job and no KV page in use", timeout_s)


# ---- files and commands ----

temporary = tempfile.TemporaryDirectory(prefix="plimsoll-scenario-")


def temp_path(name):
    return os.path.join(temporary.name, name)


def forge(*arguments):
    """Path of a synthetic model, made once."""
    path = temp_path("forged" + "".join(arguments).replace("/", "_") + ".gguf")
    if not os.path.exists(path):
        check(os.access(FORGE, os.X_OK), "no forge at " + FORGE)
        made = subprocess.run([FORGE, *arguments, "-o", path], stdin=subprocess.DEVNULL, capture_output=True, timeout=120 * PATIENCE)
        expect(made.returncode, 0, "forge " + " ".join(arguments) + ": " + made.stderr.decode(errors="replace"))
    return path


def clean_environment(extra=None):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PLIMSOLL")}
    kept.update(extra or {})
    return kept


class Finished:
    def __init__(self, rc, out, err, seconds, usage):
        self.rc, self.out, self.err, self.seconds = rc, out, err, seconds
        self.cpu_seconds, self.peak_rss_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def run_plimsoll(*arguments, stdin=b"", env=None, timeout_s=60, rc=None, cwd=None):
    """Runs a command to its end; its own peak memory comes with it (wait4)."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(stdin)
        given.seek(0)
        start = time.monotonic()
        p = subprocess.Popen([PLIMSOLL, *arguments], stdin=given, stdout=out, stderr=errors, env=clean_environment(env), cwd=cwd)
        killer = threading.Timer(timeout_s * PATIENCE, p.kill)
        killer.start()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        killer.cancel()
        seconds = time.monotonic() - start
        out.seek(0)
        errors.seek(0)
        done = Finished(p.returncode, out.read(), errors.read().decode(errors="replace"), seconds, usage)
    if rc is not None:
        expect(done.rc, rc, "exit status of plimsoll %s (stderr: %s)" % (" ".join(arguments)[:200], done.err[-500:]))
    return done


def plan_of(*flags):
    return json.loads(run_plimsoll("plan", "--json", *flags, rc=0).out)


# ---- a server ----

class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def reason(self):
        return self.json()["error"]["message"]


def parse_reply(raw):
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = http.client.HTTPMessage()
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name] = value.strip()
    return Reply(int(lines[0].split(" ")[1]), headers, body)


class Stream:
    """The events of a streamed answer, each with the moment it arrived."""

    def __init__(self, server, body):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SOCKET_TIMEOUT_S)
        self.connection.request("POST", "/generate", body, {"Content-Type": "application/json"})
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.raw, self.times = [], []

    def __iter__(self):
        lines = []
        while True:
            line = self.response.readline()
            if line == b"":
                check(not lines, "the stream ends inside an event: %r" % lines)
                return
            if line != b"\n":
                lines.append(line)
                continue
            if lines and lines[0].startswith(b":"):  # a comment: the stream was silent for a while
                lines = []
                continue
            check(len(lines) == 1 and lines[0].startswith(b"data: "), "not one 'data: ' line to an event: %r" % lines)
            data = lines[0][6:].rstrip(b"\n")
            self.raw.append(data)
            self.times.append(time.monotonic())
            lines = []
            yield json.loads(data.decode("utf-8"))  # strict: half a character would raise

    def close(self):
        self.response.close()
        self.connection.close()


def body_of(prompt, fields):
    return json.dumps({**({} if prompt is None else {"prompt": prompt}), **fields})


class Server:
    """`plimsoll serve` on a free port; ready when the constructor returns (unless wait=False)."""

    running = []

    def __init__(self, *flags, env=None, wait=True, on_start=None):
        self.log_file = tempfile.TemporaryFile()
        self.port = None
        self.process = subprocess.Popen([PLIMSOLL, "serve", "--port", "0", *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log_file, env=clean_environment(env))
        self.pid = self.process.pid
        Server.running.append(self)
        if on_start:
            on_start(self)
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s=60):
        def ready():
            found = re.search(r"ready: .* on http://[^ ]*:(\d+)\b", self.log())
            if found:
                self.port = int(found.group(1))
            elif self.process.poll() is not None:
                raise Failure("the server ended with %d before it was ready" % self.process.returncode)
            return found
        wait_until(ready, "the server to be ready", timeout_s)

    def log(self):
        size = os.fstat(self.log_file.fileno()).st_size
        return os.pread(self.log_file.fileno(), size, 0).decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and self.process.poll() is None:
            self.stop()
        else:
            self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def signal(self, number=signal.SIGTERM):
        os.kill(self.pid, number)

    def wait(self, timeout_s=60):
        try:
            return self.process.wait(timeout_s * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure("the server did not end within %g s" % (timeout_s * PATIENCE))

    def stop(self):
        """SIGTERM, and everything that a clean end must show."""
        self.signal()
        expect(self.wait(), 0, "exit status after SIGTERM")
        log = self.log()
        check(re.search(r"serve: stopped$", log, re.M), "the log does not say that it stopped")
        damage = DAMAGE.search(log)
        check(not damage, lambda: "the log says: " + log[damage.start():damage.start() + 200])

    # -- talking to it --

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), SOCKET_TIMEOUT_S)

    def raw(self, data):
        """Sends bytes as they are, reads until the server closes or a whole answer is there."""
        with self.connect() as c:
            try:
                c.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent: the answer may still be there
            got = b""
            while True:
                try:
                    piece = c.recv(65536)
                except ConnectionResetError:
                    break
                if not piece:
                    break
                got += piece
                head, gap, rest = got.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.I)
                if gap and length and len(rest) >= int(length.group(1)):
                    break
        check(got.startswith(b"HTTP/1.1 "), lambda: "no HTTP answer: %r" % got[:100])
        return parse_reply(got)

    def request(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOCKET_TIMEOUT_S)
        try:
            c.request(method, path, body, headers or ({"Content-Type": "application/json"} if body is not None else {}))
            r = c.getresponse()
            return Reply(r.status, r.headers, r.read())
        finally:
            c.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, prompt=None, path="/generate", **fields):
        return self.request("POST", path, body_of(prompt, fields))

    def generate(self, prompt, **fields):
        r = self.post(prompt, **fields)
        expect(r.status, 200, "status (%s)" % r.body[:300].decode(errors="replace"))
        return r.json()

    def stream(self, prompt, **fields):
        s = Stream(self, body_of(prompt, {**fields, "stream": True}))
        expect(s.status, 200, "status of the stream")
        return s

    def open_request(self, prompt, **fields):
        """A socket on which a whole request was sent and nothing was read yet."""
        body = body_of(prompt, fields).encode()
        c = self.connect()
        c.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return c

    def memory(self):
        r = self.get("/memory")
        expect(r.status, 200, "status of /memory")
        return r.json()

    def health(self):
        return self.get("/health").json()

    def accounts(self):
        return {name: row["now_bytes"] for name, row in self.memory()["books"]["accounts"].items()}

    def is_quiet(self):
        h = self.health()
        return h["active_jobs"] == 0 and h["queued_jobs"] == 0 and self.kv_in_use() == 0

    def kv_in_use(self):
        """Bytes of KV pages that requests hold: what is only remembered does not count."""
        pool = self.memory()["kv_pool"]
        return pool["used_bytes"] - pool["evictable_bytes"]

    # -- what the kernel says of it --

    def status(self):
        """Figures of /proc/PID/status, in bytes; {} when it has ended."""
        try:
            with open("/proc/%d/status" % self.pid) as f:
                return {k: int(v) * 1024 for k, v in re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M)}
        except (FileNotFoundError, ProcessLookupError):
            return {}

    def cpu_seconds(self):
        """What the server has worked so far, on all cores together."""
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        s = self.status()
        return sum(s.get(k, 0) for k in ("RssAnon", "RssFile", "RssShmem", "VmSwap"))


# ---- the runner ----

tests = []


def test(function=None, timeout=60):
    def add(f):
        tests.append((f, timeout))
        return f
    return add(function) if function else add


class TimedOut(Exception):
    pass


def on_alarm(*_):
    raise TimedOut()


def end_servers(show_logs):
    for s in Server.running:
        ended = s.process.poll()
        s.kill()
        if show_logs:
            how = "was still running" if ended is None else "had ended with %d" % ended
            print("     server %d %s; the end of its log:" % (s.pid, how))
            for line in s.log().splitlines()[-25:]:
                print("     | " + line)
        s.log_file.close()
    Server.running.clear()


def run_one(function, timeout):
    signal.alarm(timeout * PATIENCE)
    try:
        function()
        return None
    except Skip:
        raise
    except TimedOut:
        frames = traceback.extract_tb(sys.exc_info()[2])
        mine = [f for f in frames if f.filename == sys.argv[0] or f.name == function.__name__]
        return "not done after %d s, at line %s" % (timeout * PATIENCE, mine[-1].lineno if mine else "?")
    except Failure as e:
        where = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename != __file__]
        return "line %s: %s" % (where[-1] if where else "?", e)
    except Exception as e:  # a bug of the test, or a socket that broke: a failure either way
        where = ", ".join("%s:%d" % (os.path.basename(f.filename), f.lineno) for f in traceback.extract_tb(e.__traceback__)[-4:])
        return "%s: %s (%s)" % (type(e).__name__, e, where)
    finally:
        signal.alarm(0)


def main():
    """Runs the tests of a file; arguments are names or patterns of those wanted."""
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGALRM, on_alarm)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if not os.access(PLIMSOLL, os.X_OK):
        print("FAIL %s: there is no program at %s (build it, or set PLIMSOLL)" % (os.path.basename(sys.argv[0]), PLIMSOLL))
        print("0 passed, 1 failed")
        sys.exit(1)
    for function, timeout in tests:
        if sys.argv[1:] and not any(fnmatch.fnmatch(function.__name__, p) for p in sys.argv[1:]):
            continue
        start = time.monotonic()
        try:
            failure = run_one(function, timeout)
        except Skip as e:
            print("skip %s: %s" % (function.__name__, e))
            counts["skipped"] += 1
            end_servers(False)
            continue
        if failure:
            print("FAIL %s: %s" % (function.__name__, failure))
            counts["failed"] += 1
        else:
            print("ok %s (%.1f s)" % (function.__name__, time.monotonic() - start))
            counts["passed"] += 1
        end_servers(failure is not None)
    skipped = ", %d skipped" % counts["skipped"] if counts["skipped"] else ""
    print("%d passed, %d failed%s" % (counts["passed"], counts["failed"], skipped))
    temporary.cleanup()
    os._exit(1 if counts["failed"] or counts["passed"] + counts["skipped"] == 0 else 0)
