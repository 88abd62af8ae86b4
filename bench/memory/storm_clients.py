"""What a storm does to a server: kinds of clients that ask for whatever takes memory, as hard as they can.

A kind is the server's flags and what its clients do. A client is a loop over a random choice of these; it sends bytes over a socket of its own and looks
at the status alone, so that little of the machine goes into asking. `Storm` runs clients in processes of their own until a moment, and adds up what they were told.
"""
import collections
import json
import multiprocessing
import random
import socket
import threading
import time

CONTEXT, BODY_LIMIT = 1024, 256 << 10
COMMON = ("-np", "8", "-c", str(CONTEXT), "--max-active", "32", "--max-connections", "64", "--body-limit", "256K", "--body-pool", "2M", "--max-queue", "32")
WORDS = "the a little cat dog boat house river ran saw told why and so then happy old big tree said".split()


class Client:
    """Over one port, until a moment; `said` counts statuses, and what came of the rest."""

    def __init__(self, port, seed, until, doings):
        self.port, self.r, self.until, self.doings, self.said = port, random.Random(seed), until, doings, collections.Counter()

    def run(self):
        while time.time() < self.until:
            try:
                getattr(self, self.r.choice(self.doings))()
            except ConnectionRefusedError:
                return  # it has ended
            except OSError:
                self.said["broken"] += 1
                time.sleep(0.005)

    # ---- over the socket ----

    def connect(self, receive=None):
        c = socket.socket()
        c.settimeout(30)
        if receive:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        c.connect(("127.0.0.1", self.port))
        return c

    def send(self, c, path, body, method="POST", length=None):
        head = "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (method, path, length or len(body))
        try:
            c.sendall(head.encode() + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent

    def ask(self, path, fields, method="POST"):
        body = b"" if fields is None else fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        with self.connect() as c:
            self.send(c, path, body, method)
            self.judge(self.drain(c))

    def drain(self, c, pause=0.0, piece=65536):
        first = c.recv(piece)
        while first:
            if pause and time.time() < self.until:
                time.sleep(pause)
            if not c.recv(piece):
                break
        return first

    def judge(self, got):
        status = got[9:12].decode(errors="replace") or "closed"
        self.said[status] += 1
        if status in ("429", "529"):
            time.sleep(self.r.uniform(0.01, 0.1))

    # ---- requests ----

    def words(self, n):
        return " ".join(self.r.choice(WORDS) for _ in range(n))

    def fields(self, tokens, most):
        r = self.r
        return {"prompt": [r.randrange(3, 300) for _ in range(4)] * (tokens // 4 + 1), "max_tokens": r.randrange(1, most), "ignore_end": True, "seed": r.randrange(99),
                "kv_type": r.choice(("f16", "f16", "q8", "q4")), "n": r.choice((1, 1, 2, 4)), "stream": r.random() < 0.5}

    def generate(self):
        self.ask("/generate", self.fields(self.r.choice((8, 100, 300, CONTEXT - 130)), 100))

    def long_prompt(self):
        self.ask("/generate", self.fields(self.r.randrange(CONTEXT // 2, CONTEXT - 130), 20))

    def long_answer(self):
        self.ask("/generate", self.fields(8, CONTEXT - 100))

    def again(self):
        """Of a few conversations that many have."""
        f = self.fields(8, 30)
        which = self.r.randrange(40)
        self.ask("/generate", {**f, "prompt": [3 + which * 7 % 290, 5 + which] * self.r.choice((100, 200, 400)), "n": 1, "pin": self.r.random() < 0.05})

    def chat(self):
        messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": self.words(self.r.randrange(1, 30))} for i in range(2 * self.r.randrange(0, 3) + 1)]
        path = self.r.choice(("/v1/chat/completions", "/v1/messages", "/api/chat"))
        self.ask(path, {"model": "plimsoll-tiny", "messages": messages, "max_tokens": self.r.randrange(1, 40), "stream": self.r.random() < 0.5})

    def structured(self):
        schema = {"type": "object", "properties": {self.r.choice(WORDS) + str(i): {"type": "string", "maxLength": self.r.randrange(5, 500)}
                                                   for i in range(self.r.randrange(1, 80))}}
        schema["required"] = list(schema["properties"])
        self.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": "go"}], "max_tokens": 60,
                                          "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})

    # ---- large bodies ----

    def tools(self, key):
        parameters = {"type": "object", "properties": {"p%d" % i: {"type": "string", "description": self.words(6), "enum": ["v%d" % j for j in range(20)]}
                                                       for i in range(self.r.randrange(1, 8))}}
        return [{"name": "tool_%d" % i, "description": self.words(20), key: parameters} for i in range(self.r.choice((5, 50, 200)))]

    def body(self):
        """Of any dialect, to the limit of bodies and a little over it."""
        r, most = self.r, self.r.choice((8, 32, 64, 128, 200)) << 10
        small = [{"role": "user" if i % 2 == 0 else "assistant", "content": "k"} for i in range(most // 40 | 1)]
        parts = [{"role": "user", "content": [{"type": "text", "text": "x"} for _ in range(most // 30)]}]
        one = [{"role": "user", "content": self.words(10)}]
        path, fields = r.choice((
            ("/v1/chat/completions", {"messages": small}), ("/v1/messages", {"messages": parts, "max_tokens": 5}), ("/api/chat", {"messages": small}),
            ("/v1/chat/completions", {"messages": one, "max_tokens": 5, "tools": [{"type": "function", "function": t} for t in self.tools("parameters")]}),
            ("/v1/messages", {"messages": one, "max_tokens": 5, "tools": self.tools("input_schema")}),
            ("/v1/responses", {"input": small, "max_output_tokens": 5, "tools": [{"type": "function", **t} for t in self.tools("parameters")]}),
            ("/v1/chat/completions", {"messages": one, "max_tokens": 5, "response_format": {"type": "json_schema", "json_schema": {
                "name": "x", "schema": {"enum": ["value %d" % i for i in range(most // 16)]}}}}),
            ("/v1/completions", {"prompt": [self.words(30)] * r.randrange(1, 16), "max_tokens": 5}),
            ("/generate", {"prompt": "\U0001f40b\u00e9" * (most // 18)}), ("/tokenize", {"content": "a wolf " * (most // 7)}),
            ("/v1/messages/count_tokens", {"messages": parts}), ("/generate", b"[" * most), ("/generate", b'{"prompt": "' + b"a" * (BODY_LIMIT + 9) + b'"}')))
        self.ask(path, fields)

    # ---- clients that leave, or do not read ----

    def leaves(self):
        with self.connect() as c:
            if self.r.random() < 0.3:
                self.send(c, "/generate", b'{"prompt": "' + b"word " * self.r.randrange(1, 9000), length=50000)
            else:
                self.send(c, "/generate", json.dumps(self.fields(self.r.randrange(1, CONTEXT - 130), 400)).encode())
            time.sleep(self.r.choice((0, 0.003, 0.03, 0.3)) * self.r.random())
            if self.r.random() < 0.5:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.said["left"] += 1

    def idle(self):
        """A connection that says little for long, or nothing."""
        with self.connect() as c:
            if self.r.random() < 0.7:
                c.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"x" * self.r.randrange(0, 150000))
            time.sleep(self.r.random())
        self.said["left"] += 1

    def slow(self):
        """Reads a long answer with much beside each token, a few bytes at a time."""
        f = {**self.fields(20, CONTEXT - 200), "stream": self.r.random() < 0.8, "n": self.r.choice((1, 4)), "logprobs": True, "top_logprobs": 20}
        with self.connect(receive=2048) as c:
            self.send(c, "/generate", json.dumps(f).encode())
            self.judge(self.drain(c, 0.01, 2048))

    # ---- the rest ----

    def embeddings(self):
        texts = [self.words(self.r.choice((3, 50, 250))) for _ in range(self.r.choice((1, 16, 64)))]
        self.ask(self.r.choice(("/v1/embeddings", "/api/embed")), {"model": "plimsoll-tiny", "input": texts, "max_tokens": 1})

    def pages(self):
        method, path = self.r.choice((("GET", "/memory"), ("GET", "/cache"), ("GET", "/memory/timeline"), ("GET", "/memory/timeline.svg"), ("GET", "/metrics"),
                                      ("GET", "/memory/doctor"), ("GET", "/health"), ("DELETE", "/cache"), ("POST", "/cleanup-memory")))
        self.ask(path, None, method)


def clients(port, seed, until, doings, n, counted):
    all_of_them = [Client(port, seed * 1000 + i, until, doings) for i in range(n)]
    threads = [threading.Thread(target=c.run, daemon=True) for c in all_of_them]
    for t in threads:
        t.start()
    for t in threads:
        t.join(max(0.0, until + 0.3 - time.time()))  # whoever waits for longer leaves
    counted.put(sum((c.said for c in all_of_them), collections.Counter()))


class Storm:
    """n clients in a few processes, for so many seconds."""

    def __init__(self, port, seed, seconds, doings, n):
        self.counted, self.said, each = multiprocessing.Queue(), collections.Counter(), 12
        until = time.time() + seconds
        self.processes = [multiprocessing.Process(target=clients, args=(port, seed * 100 + i, until, doings, min(each, n - i * each), self.counted), daemon=True)
                          for i in range(-(-n // each))]
        for p in self.processes:
            p.start()
        self.waited_for = len(self.processes)

    def going(self):
        while self.waited_for and not self.counted.empty():
            self.said += self.counted.get()
            self.waited_for -= 1
        return self.waited_for > 0


MANY = ["generate"] * 3 + ["chat"] * 2 + ["long_prompt", "long_answer", "structured", "body", "leaves", "slow", "embeddings", "again", "pages"]

# name: what its clients do, how many there are, flags beside the common ones, and what happens beside it
KINDS = {
    "many short chats": (["chat"] * 4 + ["structured"], 48, (), None),
    "long prompts": (["long_prompt"] * 3 + ["long_answer"], 32, (), None),
    "large bodies, tools, schemas": (["body"], 32, (), None),
    "clients that leave": (["leaves"] * 3 + ["idle"], 56, (), None),
    "a spill file": (["again"] * 4 + ["long_prompt", "leaves"], 32, ("--spill-file", "{temp}/spill", "--spill-bytes", "32M"), None),
    "embeddings": (["embeddings"] * 3 + ["generate"], 32, (), None),
    "slow readers": (["slow"], 56, (), None),
    "a draft model": (["long_answer", "generate", "again"], 32, ("-m", "{tiny}", "--speculate", "draft", "--draft-model", "{tiny}"), None),
    "weights of 200 MB": (MANY, 40, ("-m", "{forged}"), None),
    "a limit that is lowered and raised": (MANY, 40, (), "limit"),
    "a neighbour who takes what is left": (MANY, 40, (), "neighbour"),
    "everything": (MANY, 60, ("--spill-file", "{temp}/spill", "--spill-bytes", "32M", "--grammar-cache", "8M"), None),
}
