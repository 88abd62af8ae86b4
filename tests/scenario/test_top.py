"""plimsoll top: what it shows is what the server says; it leaves a terminal as it found it; nothing a server says or does harms it."""
import fcntl
import pty
import select
import struct
import termios
from harness import *

LINE = "300M"
UTF8 = {"LC_ALL": "C.UTF-8", "TERM": "xterm"}
TAKEN, GIVEN = b"\x1b[?1049h", b"\x1b[?1049l"


def environment(extra):
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LC_ALL", "LC_CTYPE", "LANG", "TERM")}
    return {**kept, **extra}


def once(port, env=UTF8, rc=0, timeout_s=30):
    done = subprocess.run([PLIMSOLL, "top", "--once", "http://127.0.0.1:%d" % port], env=environment(env), stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=timeout_s * PATIENCE)
    if rc is None:
        check(done.returncode in (1, 2), "exit status %d" % done.returncode)
    else:
        expect(done.returncode, rc, "exit status (%s)" % done.stderr.decode()[-300:])
    return done.stdout, done.stderr.decode()


class Terminal:
    """top on a terminal of its own."""

    def __init__(self, port, columns=80, rows=24, env=UTF8, interval_ms=100):
        self.ours, self.theirs = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen([PLIMSOLL, "top", "--interval", str(interval_ms), "127.0.0.1:%d" % port], env=environment(env),
                                        stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True)
        self.shown = b""

    def resize(self, columns, rows):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.ours], [], [], 0)[0]:
            piece = os.read(self.ours, 65536)
            if not piece:
                break
            self.shown += piece

    def until(self, text, timeout_s=20):
        def there():
            self.read()
            return text in self.shown
        wait_until(there, "top to show %r; the end of what it showed: %r" % (text, self.shown[-300:]), timeout_s, 0.01)

    def frame(self):
        """A whole frame drawn after now, as lines without colours."""
        self.read()
        self.shown = b""
        wait_until(lambda: self.read() or self.shown.count(b"\x1b[J") >= 2, "a new frame", 20, 0.01)
        body = self.shown.split(b"\x1b[J")[-2].rpartition(b"\x1b[H")[2]
        return [re.sub(rb"\x1b\[[0-9;]*[mK]", b"", line).decode("utf-8") for line in body.split(b"\r\n")]

    def press(self, key):
        os.write(self.ours, key)

    def ends(self, rc=0):
        deadline = time.monotonic() + 20 * PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
            time.sleep(0.01)
        expect(self.process.poll(), rc, "exit status of top")
        self.read()
        check(self.shown.rstrip().endswith(GIVEN), lambda: "the screen is not given back: %r" % self.shown[-60:])
        check(b"\x1b[?25h" in self.shown, "the cursor stays hidden")
        expect(termios.tcgetattr(self.theirs), self.before, "the terminal's settings")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


class Stranger:
    """Answers every connection with the same bytes, whatever was asked."""

    def __init__(self, answer, hold=False):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answer, self.hold, self.held = answer, hold, []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            try:
                c.recv(65536)
                c.sendall(self.answer)
            except OSError:
                pass
            self.held.append(c)
            if not self.hold:
                c.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def http_answer(body, status=200):
    return b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


@test
def one_frame_says_what_the_server_says():
    with Server("--memory", LINE) as s:
        s.generate("Once upon a time", max_tokens=40)
        out, _ = once(s.port)
        check(b"\x1b" not in out, "controls in what is no terminal")
        text = out.decode("utf-8")
        jobs, pool = s.memory()["jobs"], s.memory()["kv_pool"]
        expect(jobs["finished"], 1, "requests finished")
        for wanted in ("of 300 MiB", "safe", "1 finished, 0 cancelled", "0 active, 0 queued, 0 parked", pool["type"], "⊖"):
            check(wanted in text, lambda: "no %r in:\n%s" % (wanted, text))
        for name, row in s.memory()["books"]["accounts"].items():
            expect(bool(re.search(r"^%s " % name, text, re.M)) or "others" in text, row["peak_bytes"] > 0 or "others" in text, name)
        check(max(len(line) for line in text.splitlines()) <= 80, "lines over 80 columns")


@test
def frames_suit_the_locale_and_the_columns():
    with Server("--memory", LINE) as s:
        once(s.port, {"LC_ALL": "C"})[0].decode("ascii")
        once(s.port, {})[0].decode("ascii")
        for columns in (40, 60, 120):
            text = once(s.port, {**UTF8, "COLUMNS": str(columns)})[0].decode("utf-8")
            check(max(len(line) for line in text.splitlines()) <= columns, "lines over %d columns" % columns)


@test
def lines_where_there_is_no_terminal():
    with Server("--memory", LINE) as s:
        p = subprocess.Popen([PLIMSOLL, "top", "--interval", "60", "127.0.0.1:%d" % s.port], env=environment(UTF8),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        lines = [p.stdout.readline().decode("ascii") for _ in range(4)]
        p.terminate()
        expect(p.wait(20 * PATIENCE), 0, "exit status after SIGTERM")
        for line in lines:
            check(re.match(r"\d\d:\d\d:\d\d  ok safe  used .* of 300 MiB  available .*  active 0 queued 0 parked 0", line), line)
        reader = subprocess.Popen([PLIMSOLL, "top", "--interval", "60", "127.0.0.1:%d" % s.port], env=environment(UTF8),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        reader.stdout.readline()
        reader.stdout.close()  # as `top | head -1`
        wait_until(lambda: reader.poll() is not None, "top to end when nobody reads")


@test
def a_dumb_terminal_gets_lines():
    with Server("--memory", LINE) as s, Terminal(s.port, env={"TERM": "dumb"}) as t:
        t.until(b"ok safe  used")
        check(b"\x1b" not in t.shown, "controls on a dumb terminal")
        t.process.terminate()
        expect(t.process.wait(20 * PATIENCE), 0, "exit status")


@test
def the_terminal_is_given_back_however_it_ends():
    with Server("--memory", LINE) as s:
        with Terminal(s.port) as t:
            t.until(b"of 300 MiB")
            check(t.shown.startswith(TAKEN), "the screen is not taken")
            check(termios.tcgetattr(t.theirs) != t.before, "keys are not read one by one")
            t.press(b"x")
            t.press(b"q")
            t.ends()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with Terminal(s.port) as t:
                t.until(b"of 300 MiB")
                os.kill(t.process.pid, number)
                t.ends()
        for number in (signal.SIGSEGV, signal.SIGABRT):
            with Terminal(s.port) as t:
                t.until(b"of 300 MiB")
                os.kill(t.process.pid, number)
                t.ends(-number)


@test
def it_stops_and_goes_on_with_the_shell():
    with Server("--memory", LINE) as s, Terminal(s.port) as t:
        t.until(b"of 300 MiB")
        os.kill(t.process.pid, signal.SIGTSTP)
        t.until(GIVEN)
        with_state = "/proc/%d/stat" % t.process.pid
        wait_until(lambda: open(with_state).read().rpartition(")")[2].split()[0] == "T", "top to be stopped")
        expect(termios.tcgetattr(t.theirs), t.before, "the terminal's settings while stopped")
        t.read()
        t.shown = b""
        os.kill(t.process.pid, signal.SIGCONT)
        t.until(TAKEN)
        t.until(b"of 300 MiB")
        t.press(b"q")
        t.ends()


@test
def it_follows_the_size_of_its_window():
    with Server("--memory", LINE) as s, Terminal(s.port) as t:
        for columns, rows in ((80, 24), (132, 43), (40, 12), (20, 3), (250, 60), (80, 24)):
            t.resize(columns, rows)
            os.kill(t.process.pid, signal.SIGWINCH)
            t.frame()
            lines = t.frame()
            check(len(lines) <= rows, "%d lines in %d rows" % (len(lines), rows))
            check(max(map(len, lines)) <= columns, "%d columns in %d" % (max(map(len, lines)), columns))
            check("Plimsoll" in lines[0], lines[0])
        t.press(b"q")
        t.ends()


@test
def no_color_means_none():
    with Server("--memory", LINE) as s, Terminal(s.port, env={**UTF8, "NO_COLOR": "1"}) as t:
        t.until(b"of 300 MiB")
        t.frame()
        check(not re.search(rb"\x1b\[[0-9;]+m", t.shown), "colours in spite of NO_COLOR")
        t.press(b"q")
        t.ends()


@test
def a_server_that_asks_for_a_key():
    with Server("--memory", LINE, env={"PLIMSOLL_API_KEY": "one,two"}) as s:
        without = once(s.port)[0].decode()
        check("of 300 MiB" in without and "asks for an API key" in without and "weights" not in without, without)
        check("weights" in once(s.port, {**UTF8, "PLIMSOLL_API_KEY": "two"})[0].decode(), "the key is not shown to the server")
        check("weights" in once(s.port, {**UTF8, "PLIMSOLL_API_KEY": "one,two"})[0].decode(), "the first of two keys is not taken")
        check("weights" not in once(s.port, {**UTF8, "PLIMSOLL_API_KEY": "three"})[0].decode(), "a wrong key opens")


@test(timeout=90)
def the_doctors_finding_and_the_timeline_are_shown():
    with Server("--memory", LINE, env={"PLIMSOLL_TESTS": "1", "PLIMSOLL_DEBUG_LEAK": "http"}) as s:
        for i in range(60):
            s.generate("Once %d" % i, max_tokens=2)
        wait_until(lambda: not s.get("/memory/doctor").json()["well"], "the doctor to find the leak", 30, 0.2)
        words = s.get("/memory/doctor").json()["findings"][0]["words"]
        text = once(s.port)[0].decode("utf-8")
        check(" ".join(words.split()[:3]) in text, lambda: "no %r in:\n%s" % (words, text))
        check("doctor" in text, text)
        wait_until(lambda: len(s.get("/memory/timeline").json()["samples"]) >= 4, "four samples", 30, 0.2)
        with Terminal(s.port, 132, 40, interval_ms=600000) as t:
            t.until(b"\x1b[J")  # its first frame, from its only reading
            row = re.sub(rb"\x1b\[[0-9;]*[mK]", b"", t.shown.split(b"\r\n")[9]).decode("utf-8")
            check(len(row[82:].strip()) >= 5, "the history does not begin with the timeline: %r" % row)
            t.press(b"q")
            t.ends()
        s.kill()  # at a clean end it would tell of what it lost


@test
def a_key_gives_memory_back():
    with Server("--memory", LINE) as s, Terminal(s.port) as t:
        s.generate("Once upon a time", max_tokens=100)
        check(s.memory()["kv_pool"]["evictable_bytes"] > 0, "nothing is remembered")
        t.until(b"of 300 MiB")
        t.press(b"c")
        t.until(b"cleanup: ")
        expect(s.memory()["kv_pool"]["evictable_bytes"], 0, "remembered after the cleanup")
        t.press(b"q")
        t.ends()


@test(timeout=90)
def a_server_may_go_and_come_back():
    with Server("--memory", LINE) as s:
        s.generate("Once upon a time", max_tokens=20)
        with Terminal(s.port) as t:
            t.until(b"of 300 MiB")
            s.stop()
            t.until("trying again".encode())
            check("when last seen" in "\n".join(t.frame()), "old figures look like new ones")
            with Server("--memory", LINE, "--port", str(s.port)):
                t.until(b"the server is back")
                check("when last seen" not in "\n".join(t.frame()), "new figures look like old ones")
                t.press(b"q")
                t.ends()


@test
def strangers_do_no_harm():
    deep = b'{"a":' * 5000
    wild = json.dumps({"status": "ok\x1b[2J\x07", "model": "\u202e\x9b" * 99, "active_jobs": 1e300, "queued_jobs": -4,
                       "memory": {"level": "\x1b]0;x\x07", "used_bytes": 2 ** 64, "line_bytes": 0, "available_bytes": None}})
    wild = wild.encode()
    answers = [b"", b"\x00" * 1000, b"HTTP/1.1 200 OK\r\n\r\n", http_answer(b"{}" * 2), http_answer(deep), http_answer(b"[]" * 9),
               http_answer(b"<html>", 404), http_answer(b"x" * (5 << 20)), b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"]
    for answer in answers:
        with Stranger(answer) as stranger:
            out, said = once(stranger.port, rc=None)
            check(said.startswith("plimsoll: ") and said.count("\n") == 1, "not one line: %r" % said[:300])
    with Stranger(http_answer(wild)) as stranger:
        out, _ = once(stranger.port)
        check(not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae", out), "controls of a stranger: %r" % out[:200])
        with Terminal(stranger.port) as t:
            t.until(b"\x1b[J")
            check(b"\x1b[2J" not in t.shown and b"\x1b]0" not in t.shown, "a stranger drives the terminal")
            t.press(b"q")
            t.ends()
    with Stranger(b"", hold=True) as silent, Terminal(silent.port) as t:
        t.until("trying again".encode())
        t.press(b"q")
        t.ends()


@test
def what_cannot_be_is_one_line():
    with socket.socket() as held:  # nobody listens there, and nobody else can
        held.bind(("127.0.0.1", 0))
        _, said = once(held.getsockname()[1], rc=None)
    check(said.startswith("plimsoll: ") and said.count("\n") == 1, said)
    for arguments in (["ftp://x"], ["https://x"], ["127.0.0.1:99999"], ["a", "b"], ["--interval", "0"], ["--once=maybe"], ["-m", "x"]):
        done = run_plimsoll("top", *arguments, rc=2)
        check(done.err.startswith("plimsoll: ") and done.err.count("\n") == 1, done.err)


main()
