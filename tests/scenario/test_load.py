#!/usr/bin/env python3
"""plimsoll load and the echo engine: the front end without a model, and its memory under load."""
import http.server

from harness import *

SMALL = ("--max-active", "112", "--body-limit", "256K", "--body-pool", "26M", "--memory", "128M")


class Echo:
    """A server with --engine echo, stopped at the end, which must be clean."""

    def __init__(self, *flags):
        self.log = open(temp_path("echo.log"), "w+")
        self.process = subprocess.Popen([PLIMSOLL, "serve", "--engine", "echo", "--port", "0", *(flags or SMALL)], stderr=self.log)
        wait_until(lambda: self.process.poll() is not None or "ready: " in self.text(), "the echo server is ready")
        check(self.process.poll() is None, lambda: "the echo server ended: " + self.text())
        self.port = int(re.search(r"ready: echo on http://127.0.0.1:(\d+)", self.text()).group(1))

    def text(self):
        return open(self.log.name).read()

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOCKET_TIMEOUT_S)
        c.request(method, path, body)
        answer = c.getresponse()
        data = answer.read().decode()
        c.close()
        return answer.status, data

    def generate(self, **fields):
        return self.ask("POST", "/generate", json.dumps(fields))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        try:
            rc = self.process.wait(15 * PATIENCE)
        finally:
            self.process.kill()
            self.log.close()
        if kind is None:
            expect(rc, 0, "exit status of the echo server")


@test
def echo_gives_the_prompt_back():
    with Echo() as s:
        text = "plain, \"quoted\"\n\tand é 日本 😀 \u0001" * 50
        status, body = s.generate(prompt=text, max_tokens=3)
        expect(status, 200)
        answer = json.loads(body)
        expect(answer["text"], text, "text")
        expect(answer["usage"], {"unit": "bytes", "prompt_bytes": len(text.encode()), "completion_bytes": len(text.encode())}, "usage")
        status, body = s.generate(prompt=text * 20, stream=True)
        events = [json.loads(line[6:]) for line in body.split("\n\n") if line]
        expect("".join(e["text"] for e in events[:-1]), text * 20, "text of the stream")
        check(len(events) > 3 and events[-1]["done"], lambda: "events: %d, %s" % (len(events), body[-200:]))


@test
def echo_refuses_what_is_wrong_and_serves_on():
    with Echo() as s:
        expect(s.generate(prompt=5)[0], 400, "a number as prompt")
        expect(s.generate(promt="x")[0], 400, "no prompt")
        expect(s.ask("POST", "/generate", '{"prompt": "')[0], 400, "no JSON")
        expect(s.ask("GET", "/generate")[0], 405, "GET /generate")
        expect(s.ask("GET", "/nothing")[0], 404, "another path")
        expect(s.generate(prompt="x" * 300 * KIB)[0], 413, "a body over the limit")
        status, body = s.generate(prompt="\u0001" * (40 * KIB))  # six bytes each as JSON: as large as it came
        expect((status, json.loads(body)["text"]), (200, "\u0001" * (40 * KIB)), "escapes all through")
        expect(s.ask("GET", "/readyz")[0], 200)
        books = json.loads(s.ask("GET", "/memory")[1])
        expect(books["pid"], s.process.pid, "pid")
        check(books["books"]["balanced"], "the books are not balanced")


@test
def echo_needs_its_line():
    done = run_plimsoll("serve", "--engine", "echo", "--port", "0", "--memory", "16M", rc=2)
    check("raise --memory" in done.err, lambda: done.err)


def load(*arguments, rc=0):
    return run_plimsoll("load", *arguments, timeout_s=50, rc=rc)


@test
def front_end_stays_flat():
    """bench/memory in small: growth over connections and over requests."""
    path, picture = temp_path("load.json"), temp_path("load.svg")
    with Echo() as s:
        load("127.0.0.1:%d" % s.port, "--payload", "1K,200K", "--concurrency", "2,96", "--requests", "1500", "--requests-scan", "300,1500",
             "--json", path, "--chart", picture)
    rows = json.load(open(path))["rows"]
    expect(len(rows), 8, "rows")
    for r in rows:
        expect((r["answered"], r["refused"], r["failed"]), (r["requests"], 0, 0), "answered, refused, failed of %d x %d" % (r["concurrency"], r["payload_bytes"]))
        check(r["answer_bytes"] > r["requests"] * (r["payload_bytes"] - 50), "answers are shorter than prompts")
        check(r["memory"]["heap_free_bytes"] <= 3e6, "heap free but held: %d" % r["memory"]["heap_free_bytes"])
        note("%d x %d: %.1f MB, %.0f requests/s" % (r["concurrency"], r["payload_bytes"], r["peak_rss_bytes"] / 1e6, r["requests_per_second"]))
        if r["table"] == "concurrency":
            check(r["ratio"] <= 1.08, "from 2 to %d connections memory grew by %.3f" % (r["concurrency"], r["ratio"]))
            check(r["peak_rss_bytes"] <= 45e6, "peak %d" % r["peak_rss_bytes"])
        else:
            check(r["ratio"] <= 1.02, "over %d requests memory grew by %.3f" % (r["requests"], r["ratio"]))
    picture = open(picture).read()
    check(picture.startswith("<svg") or picture.startswith("<?xml"), "no picture")


@test
def refusals_are_counted():
    """While bodies that do not come hold every slot, whoever waits a second is refused; then all are answered."""
    path = temp_path("refused.json")
    with Echo("--max-active", "8", "--body-limit", "64K", "--body-pool", "1M", "--memory", "64M", "--queue-timeout", "1") as s:
        held = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(8)]
        for c in held:
            c.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n{")
        for answered, refused in ((0, 400), (400, 0)):
            load("%d" % s.port, "--payload", "40K", "--concurrency", "%d" % (200 if refused else 16), "--requests", "400", "--json", path)
            r = json.load(open(path))["rows"][0]
            expect((r["answered"], r["refused"], r["failed"]), (answered, refused, 0), "answered, refused, failed")
            for c in held:
                c.close()


class Strange(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = json.dumps({"pid": os.getpid(), "books": {"kernel_bytes": 5, "level": "\x1b[31m"}}).encode()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(0, len(body), 7):
            part = body[i:i + 7]
            self.wfile.write(b"%x;x=y\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\nTrailer: 1\r\n\r\n")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = True
        how = self.server.how
        if how == "close":
            body = b"HTTP/1.1 200 OK\r\n\r\nas long as it lasts"
        elif how == "chunked":
            body = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        elif how == "short":
            body = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
        else:
            body = b"SSH-2.0-not this\r\n"
        self.wfile.write(body)


@test
def answers_of_other_servers_are_read():
    for how, good in (("close", True), ("chunked", True), ("short", False), ("noise", False)):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Strange)
        server.how = how
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = temp_path("strange.json")
        done = load("127.0.0.1:%d" % server.server_address[1], "--payload", "100", "--concurrency", "2", "--requests", "100", "--json", path,
                    rc=0 if good else 1)
        if good:
            expect(json.load(open(path))["rows"][0]["answered"], 100, how)
            check(b"\x1b" not in done.out, "what a server says reaches the terminal")
        else:
            check("in a row ended without an answer" in done.err, lambda: how + ": " + done.err)
        server.shutdown()
        server.server_close()


@test
def mistakes_are_told():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = "127.0.0.1:%d" % s.getsockname()[1]
        for arguments, words, rc in (
                ((), "give the server's address", 2),
                (("http://10.1.2.3:80",), "loopback", 2),
                (("https://127.0.0.1",), "https", 2),
                (("http://127.0.0.1:99999",), "port", 2),
                (("http://127.0.0.1:80/generate",), "not the address", 2),
                ((closed,), "nobody answers", 1),
                ((closed, "--payload", "1"), "--payload", 2),
                ((closed, "--concurrency", "2,,4"), "--concurrency", 2),
                ((closed, "--concurrency", "0"), "--concurrency", 2),
                ((closed, "--json", "/nowhere/at/all"), "--json", 1)):
            done = load(*arguments, rc=rc)
            expect(len(done.err.splitlines()), 1, "lines of %r: %s" % (arguments, done.err))
            check(words in done.err, lambda: "%r: %s" % (arguments, done.err))


main()
