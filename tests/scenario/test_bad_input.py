"""What is wrong is refused with a 4xx and its reason, whatever it is; the server goes on and holds no more than before."""
from harness import *

HUGE = 10 ** 40
TYPES = {"null": None, "bool": True, "int": 3, "number": 1.5, "string": "x", "array": [1], "object": {"a": 1}}
# field: (JSON types it takes besides null, numbers that are out of its range)
FIELDS = {
    "max_tokens": (("int",), [0, -1, -100000, 1 << 32, 1 << 63, 1 << 64, -(1 << 63), HUGE, -HUGE, 0.5]),
    "temperature": (("int", "number"), [-0.1, -1, 101, 1e30, -1e300, HUGE]),
    "top_k": (("int",), [-2, 1 << 31, HUGE, 1.5]),
    "top_p": (("number",), [-0.01, 1.01, 5, HUGE]),
    "min_p": (("number",), [-0.01, 1.01, -HUGE]),
    "typical_p": (("number",), [-1, 1.5, 1e300]),
    "repeat_penalty": (("int", "number"), [0, -1, 101, 1e-9, HUGE]),
    "repeat_last_n": (("int",), [-2, -100000, 4097, 1 << 31, 2.5, HUGE]),
    "frequency_penalty": (("number",), [-2.1, 2.1, 100]),
    "presence_penalty": (("number",), [-2.1, 2.1, -HUGE]),
    "seed": (("int",), [-1, (1 << 53) + 2, 1 << 64, 0.5, HUGE]),
    "top_logprobs": (("int",), [-1, 21, 1 << 32, 0.1, HUGE]),
    "stop": (("string",), []),
    "stream": (("bool",), []),
    "logprobs": (("bool",), []),
    "ignore_end": (("bool",), []),
    "logit_bias": ((), []),
}
IN_RANGE = {"top_p": 0.5, "min_p": 0.5, "typical_p": 0.5}  # where 1.5 would be refused for its size


def refused(s, body, status=400, about=None, length_limit=600):
    r = s.request("POST", "/generate", body if isinstance(body, bytes) else body.encode())
    shown = about or body[:80]
    expect(r.status, status, "status of %r (%s)" % (shown, r.body[:200]))
    error = r.json()
    expect(set(error), {"error"}, "answer to %r" % shown)
    expect(set(error["error"]), {"message", "type", "param", "code"}, "error for %r" % shown)
    message = error["error"]["message"]
    check(message and len(message) < length_limit and "\n" not in message, lambda: "reason for %r: %r" % (shown, message))
    return error["error"]


def with_field(name, text):
    """A body in which one field's value is given as JSON text."""
    return '{"prompt": "a", "max_tokens": 1, "%s": %s}' % (name, text) if name != "max_tokens" else '{"prompt": "a", "max_tokens": %s}' % text


@test
def wrong_types_of_every_field():
    with Server() as s:
        for name, (taken, _) in FIELDS.items():
            for kind, value in TYPES.items():
                value = IN_RANGE.get(name, value) if kind == "number" else value
                if name in IN_RANGE and kind == "int":
                    continue  # 3 is a number, and out of range: below
                body = with_field(name, json.dumps(value))
                if kind == "null" or kind in taken or (kind == "int" and "number" in taken):
                    if name in ("frequency_penalty", "presence_penalty") and kind == "int":
                        body = with_field(name, "1")
                    r = s.request("POST", "/generate", body)
                    expect(r.status, 200, "status of %s (%s)" % (body, r.body[:200]))
                else:
                    error = refused(s, body)
                    check(name in error["message"], lambda: "%s: the reason does not name the field: %s" % (body, error["message"]))
                    expect(error["param"], name, "param for " + body)


@test
def numbers_out_of_range():
    with Server() as s:
        for name, (_, numbers) in FIELDS.items():
            for number in numbers:
                text = str(number) if isinstance(number, int) else repr(number)
                error = refused(s, with_field(name, text))
                check(name in error["message"] or abs(number) > 1 << 62, lambda: "%s = %s: %s" % (name, text, error["message"]))
        for name in ("max_tokens", "temperature", "top_k", "top_p", "seed", "repeat_last_n", "frequency_penalty"):
            for text in ("NaN", "nan", "-NaN", "Infinity", "-Infinity", "inf", "1e999", "-1e999", "0x10", "+1", "01", "1.", ".5", "1e", "--1",
                         "1_000", "\u0661", "9" * 500, "-" + "9" * 500, "1" + "0" * 400 + ".5"):
                refused(s, with_field(name, text))


@test
def what_crashed_others():
    with Server() as s:
        for body in ('{"prompt": [-1, -5]}', '{"prompt": [999999999]}', '{"prompt": "a", "stop": [1, 2]}', '{"prompt": "a", "repeat_last_n": -100000}',
                     '{"prompt": "a", "json_schema": 5}', '{"prompt": "a", "n_predict": "x"}', '{"prompt": "a", "id_slot": "99"}',
                     '{"prompt": "a", "seed": "x"}', '{"prompt": "a", "grammar": 5}'):
            refused(s, body)
            expect(s.get("/livez").status, 200, "livez after " + body)


@test
def prompts():
    with Server() as s:
        for prompt in ("", [], [[1]], [1, "a"], [1.5], [None], [True], [{}], [-1], [1 << 31], [1 << 32], [1 << 63], [1 << 64], [HUGE], 5, 1.5, True, {}, {"a": 1}):
            error = refused(s, json.dumps({"prompt": prompt, "max_tokens": 1}))
            check("prompt" in error["message"] or "number" in error["message"], lambda: "%r: %s" % (prompt, error["message"]))
        for body in ("{}", '{"prompt": null}', '{"max_tokens": 5}'):
            check("prompt" in refused(s, body)["message"], body)
        first = 0
        r = s.request("POST", "/generate", json.dumps({"prompt": [first], "max_tokens": 1}))
        expect(r.status, 200, "status of the one-token prompt [0]")


@test
def bad_json():
    bodies = ["", " ", "\n", "{", "}", "[", "]", "[]", "5", '"text"', "null", "true", "{]", '{"prompt"}', '{"prompt":}', '{"prompt":"a"', '{"prompt":"a",}',
              '{"prompt":"a"}}', '{"prompt":"a"} x', '{"prompt":"a"}{"prompt":"b"}', "{'prompt':'a'}", '{prompt:"a"}', '{"prompt":"a" "max_tokens":1}',
              '{"prompt":"a",,"max_tokens":1}', '{"prompt":"\x01"}', '{"prompt":"a\nb"}', '{"prompt":"\\x41"}', '{"prompt":"\\u12"}', '{"prompt":"\\uZZZZ"}',
              '/* c */{"prompt":"a"}', '{"prompt":"a"}//', "undefined", "<xml/>", "prompt=a&max_tokens=1", '{"prompt":tru}', '{"prompt":nul}', "{\"prompt\":\"a\"}\x00",
              '{"prompt":"a","max_tokens":1,"max_tokens":2}', '{"prompt":"a","prompt":"b"}', '{"prompt":"a","promt":"b"}', '{"":1,"prompt":"a"}',
              "{" + '"prompt":"a",' * 1000 + '"max_tokens":1}']
    raw = [b"\xff", b"\xef\xbb\xbf", b'{"prompt":"\xe6\x97"}', b'{"prompt":"\xe6\x97', b'{"prompt":"\xc0\x80"}', b'{"prompt":"\xed\xa0\x80"}', b'{"prompt":"\xf5\x80\x80\x80"}',
           b'{"prompt":"\x80"}', b'{"pr\xc3ompt":"a"}', b'{"prompt":"a","stop":"\xf0\x9f\x98"}', b"\x1f\x8b\x08" + b"\x00" * 50, "{\"prompt\":\"a\"}".encode("utf-16"),
           bytes(range(256)), b"\x00" * 1000]
    with Server() as s:
        for body in [b.encode() for b in bodies] + raw:
            refused(s, body)
        expect(s.post("a", max_tokens=1).status, 200, "a good request afterwards")


@test
def surrogates_and_nul():
    """A lone surrogate is no character; a NUL is one."""
    with Server() as s:
        for text in (r"\ud800", r"\udc00", r"\ud83d", r"a\ud83db", r"\ud83d\u0041", r"\ude00\ud83d"):
            check("surrogate" in refused(s, '{"prompt": "%s", "max_tokens": 1}' % text)["message"], text)
            refused(s, '{"prompt": "a", "stop": "%s"}' % text)
        for text in (r"\u0000", r"a\u0000b", r"\u0000" * 50, r"\ud83d\ude00"):
            r = s.request("POST", "/generate", '{"prompt": "%s", "max_tokens": 2}' % text)
            expect(r.status, 200, "status of %s (%s)" % (text, r.body[:100]))
        r = s.request("POST", "/generate", r'{"prompt": "a", "max_tokens": 2, "stop": "\u0000"}')
        expect(r.status, 200, "status of a NUL as stop string")
        refused(s, r'{"prompt": "a", "\u0000": 1}')
        refused(s, r'{"prompt": "a", "prompt\u0000": 1}')


@test
def deep_and_large_json():
    with Server() as s:
        for body in (b"[" * (1 << 20), b"{" * (1 << 20), b'{"a":' * 200000, b'{"prompt":' + b"[" * (1 << 20), b'{"model":' + b"[" * 500000 + b"]" * 500000 + b"}",
                     b'{"logit_bias":' + b'{"1":' * 10000 + b"1" + b"}" * 10000 + b"}", b'{"prompt": ' + b"[" * 100 + b"1" + b"]" * 100 + b"}",
                     b'"' + b"a" * (1 << 20), b'{"' + b"k" * (1 << 20) + b'":1}', b"1" * (1 << 20), b" " * (1 << 20)):
            refused(s, body)
        entries = {str(i): 1 for i in range(301)}
        check("logit_bias" in refused(s, json.dumps({"prompt": "a", "logit_bias": entries}))["message"], "301 biases")
        check("stop" in refused(s, json.dumps({"prompt": "a", "stop": ["x"] * 17}))["message"], "17 stops")


@test
def stops_and_biases():
    with Server() as s:
        for stop in ([1, 2], [""], "", ["a", ""], ["x" * 257], "x" * 257, [["a"]], [None], [True], {"a": "b"}, 5, True):
            check("stop" in refused(s, json.dumps({"prompt": "a", "stop": stop}))["message"], repr(stop))
        for bias in ({"a": 1}, {"": 1}, {"-1": 1}, {"1.5": 1}, {"99999999999999999999": 1}, {"4194303": 1}, {"1": "x"}, {"1": None}, {"1": [1]}, {"1": {}},
                     {"1": True}, {"1": 1e30}, {"1": -101}, {"1": 101}, {" 1": 1}, {"+1": 1}, {"0x1": 1}, {"1 ": 1}, {"1\x00": 1}, {"0" * 14 + "12": 1}, [1], [[1]], [[1, 1, 1]], [[-1, 1]], [[1, "x"]], [["", 1]], [[1, 101]], "x", 5, True):
            check("logit_bias" in refused(s, json.dumps({"prompt": "a", "logit_bias": bias}))["message"], repr(bias))
        for ok in ({"stop": ["x" * 256] * 16}, {"logit_bias": {str(i): 1 for i in range(300)}}, {"logit_bias": {"1": -100, "2": 100}}, {"logit_bias": [[1, -100], [2, 100]]}):
            expect(s.post("a", max_tokens=1, **ok).status, 200)


@test
def longer_than_the_context():
    with Server("-c", "128", "-np", "1") as s:
        for prompt in (list(range(3, 3 + 128)), [5] * 129, [5] * 5000, "word " * 2000, "a" * 100000):
            error = refused(s, json.dumps({"prompt": prompt}), 413)
            check(re.search(r"\b12[78]\b", error["message"]), lambda: "no figure in: " + error["message"])
        error = refused(s, json.dumps({"prompt": [5] * 128}), 413)
        check("128" in error["message"] and "127" in error["message"], error["message"])
        expect(s.post([5] * 127, max_tokens=50, ignore_end=True).json()["usage"], {"prompt_tokens": 127, "completion_tokens": 1, "total_tokens": 128, "cached_tokens": 0})


@test
def larger_than_the_body_limit():
    with Server("--body-limit", "100K") as s:
        whole = '{"prompt": "a", "max_tokens": 1}'
        expect(s.request("POST", "/generate", whole + " " * (102400 - len(whole))).status, 200, "a body of exactly the limit")
        for size in (102401, 1 << 20, 30 << 20):
            r = s.raw(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size + b" " * min(size, 4 << 20))
            expect(r.status, 413, "status of %d bytes" % size)
            check(r.json()["error"]["message"], "no reason")
        for claimed in (1 << 62, (1 << 64) - 1, 10 ** 30):
            expect(s.raw(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % claimed).status, 413, "a claim of %d" % claimed)
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        expect(s.raw(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 4 + b"0\r\n\r\n").status, 413, "chunks beyond the limit")
        expect(s.post("a", max_tokens=1).status, 200, "a good request afterwards")


@test
def paths_and_methods():
    with Server() as s:
        for path in ("/nothing", "/Generate", "/%2e%2e/etc/passwd", "/health/x", "/" + "a" * 2000, "/é".encode("utf-8").decode("latin-1"),
                     "/generat", "/generate-", "/%67enerate2", "/memory.json"):
            for method in ("GET", "POST"):
                r = s.raw(("%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % (method, path)).encode("latin-1"))
                expect(r.status, 404, "%s %s" % (method, path[:40]))
                check(r.json()["error"]["message"], "no reason")
        for path, allow in (("/generate", "POST"), ("/generate-lite", "POST"), ("/health", "GET"), ("/memory", "GET"), ("/livez", "GET"), ("/readyz", "GET"), ("/", "GET")):
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
                if method == allow:
                    continue
                r = s.request(method, path, b"{}" if method in ("POST", "PUT", "PATCH") else None)
                expect(r.status, 405, method + " " + path)
                check(allow in r.headers["Allow"], lambda: "Allow: %r for %s %s" % (r.headers["Allow"], method, path))
                check(r.json()["error"]["message"], "no reason")
        expect(s.raw(b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 414, "a path of 4,001 bytes")
        expect(s.get("/health?x=1&y").status, 200, "a query on /health")


@test
def bad_http():
    with Server() as s:
        for raw in (b"POST /generate HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
                    b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}", b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n{}",
                    b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", b"POST /generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{}"):
            r = s.raw(raw)
            expect(r.status, 400, "status of %r" % raw[:60])
        for raw in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n", b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", b"\r\n" * 1000):
            with s.connect() as c:
                c.settimeout(20 * PATIENCE)  # the library may miss an end that comes with the bytes: then the header's 10 s end it
                c.sendall(raw)
                c.shutdown(socket.SHUT_WR)
                try:
                    while c.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
            expect(s.get("/livez").status, 200, "livez after %r" % raw[:30])


BAD_BODIES = [b'{"prompt": 5}', b"[" * 50000, b"{", b"", b'{"prompt":"\xe6\x97"}', b'{"prompt":[-1,-5]}', b'{"prompt":[999999999]}', b'{"prompt":"a","stop":[1,2]}',
              b'{"prompt":"a","temperature":"x"}', b'{"prompt":"a","max_tokens":-1}', b'{"prompt":"' + b"word " * 20000 + b'"}', b'{"prompt":[' + b"5," * 3000 + b"5]}",
              b'{"prompt":"a","logit_bias":{"x":1}}', b'{"a":' * 1000, b"\x00" * 3000, b'{"prompt":"a","prompt":"b"}', b'{"prompt":"' + b"x" * 500000, b'{"prompt":"\\ud800"']


@test(timeout=90)
def two_thousand_bad_requests_leave_nothing():
    with Server() as s:
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOCKET_TIMEOUT_S)

        def bad(n):
            for i in range(n):
                c.request("POST", "/generate", BAD_BODIES[i % len(BAD_BODIES)])
                r = c.getresponse()
                r.read()
                check(400 <= r.status < 500 and r.status != 429, "status %d for %r" % (r.status, BAD_BODIES[i % len(BAD_BODIES)][:60]))

        bad(10 * len(BAD_BODIES))  # each kind of answer has been given once
        s.generate("a", max_tokens=5)
        until_quiet(s)
        time.sleep(1.2)  # the idle trim
        accounts, before = s.accounts(), s.status()["RssAnon"]
        bad(2000)
        s.generate("a", max_tokens=5)
        until_quiet(s)

        def held():
            accounts = s.accounts()
            accounts.pop("runtime")  # measured: pages of the program's own file come in as they are run
            return accounts
        accounts.pop("runtime")
        wait_until(lambda: held() == accounts, lambda: "the accounts of before 2,000 bad requests, %r; they are %r" % (accounts, held()), pause_s=0.05)
        grown = lambda: s.status()["RssAnon"] - before
        wait_until(lambda: grown() <= MIB, lambda: "RssAnon of before 2,000 bad requests; it grew by %d KiB" % (grown() // KIB), pause_s=0.05)
        note("RssAnon grew by %d KiB over 2,000 bad requests" % (grown() // KIB))
        m = s.memory()
        check(m["books"]["balanced"], lambda: "books not balanced: %r" % m["books"])
        expect(s.generate("Once upon a time", max_tokens=5, temperature=0, ignore_end=True)["usage"]["completion_tokens"], 5)


main()
