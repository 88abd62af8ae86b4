"""From where the server may be used, and what it says to what it cannot read."""
from harness import *

JSON = "application/json"


def ask(s, method, path, headers, body=""):
    """A request with just these headers, and Content-Length where there is a body."""
    lines = ["%s %s HTTP/1.1" % (method, path), "Connection: close"] + headers
    if body:
        lines.append("Content-Length: %d" % len(body))
    return s.raw(("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"))


def expect_error(r, status, about, code=None):
    expect(r.status, status, about)
    expect(r.headers["Content-Type"], JSON, "content type for " + about)
    check(r.json().get("error"), lambda: "no error in %r for %s" % (r.body, about))
    if code:
        expect(r.json()["error"]["code"], code, "code for " + about)


GENERATE = '{"prompt": "Once", "max_tokens": 1}'
LOCAL = ["localhost", "localhost:8080", "LocalHost:1", "localhost.", "127.0.0.1", "127.0.0.1:9", "127.9.8.7", "[::1]", "[::1]:8080",
         "10.0.0.5:80", "[fe80::1%25eth0]:1", "app.localhost:3", "", socket.gethostname()]
FOREIGN = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "evil-localhost", "1.2.3.4.5", "x",
           "localhost.evil.example.", "chat.example.com.evil.example", "127.1x"]
MALFORMED = ["evil@localhost", "localhost:80:80", "localhost:x", "[::1", "a b", "http://localhost", "localhost/x", "[]", "::1", "localhost:123456"]


@test
def names_that_are_taken():
    with Server("--allowed-host", "chat.example.com,*.inner.example") as s:
        for host in LOCAL + ["chat.example.com", "CHAT.example.com:8080", "a.inner.example", "a.b.inner.example"]:
            expect(ask(s, "GET", "/health", ["Host: " + host]).status, 200, host)
            expect(ask(s, "POST", "/generate", ["Host: " + host], GENERATE).status, 200, host)
        for host in FOREIGN + ["inner.example", "evilinner.example", "example.com"]:
            for path in ("/health", "/", "/v1/models"):
                expect_error(ask(s, "GET", path, ["Host: " + host]), 403, host, "host_not_allowed")
            r = ask(s, "POST", "/generate", ["Host: " + host], GENERATE)
            expect_error(r, 403, host, "host_not_allowed")
            check("--allowed-host" in r.reason(), r.reason())
        for host in MALFORMED:
            expect_error(ask(s, "GET", "/health", ["Host: " + host]), 400, host)
        # the target's own host counts, not the header's
        expect(ask(s, "GET", "http://localhost:1/health", ["Host: evil.example"]).status, 200, "absolute target")
        expect(ask(s, "GET", "http://127.0.0.1", ["Host: localhost"]).status, 200, "absolute target without a path")
        expect_error(ask(s, "GET", "http://evil.example/health", ["Host: localhost"]), 403, "a foreign absolute target")
        r = ask(s, "POST", "/v1/messages", ["Host: evil.example"], "{}")
        expect(r.json()["error"]["type"], "permission_error", "Anthropic's words")
        check(isinstance(ask(s, "POST", "/api/chat", ["Host: evil.example"], "{}").json()["error"], str), "Ollama's words")
        expect(s.raw(b"GET /health HTTP/1.0\r\n\r\n").status, 200, "HTTP/1.0 without a Host")


@test
def any_name():
    with Server("--allowed-host", "*") as s:
        for host in FOREIGN:
            expect(ask(s, "GET", "/health", ["Host: " + host]).status, 200, host)


@test
def origins():
    with Server() as s:
        own = "http://127.0.0.1:%d" % s.port
        host = "Host: 127.0.0.1:%d" % s.port
        for origin in (own, "http://localhost:3000", "https://localhost", "http://[::1]:5", "http://app.localhost", "HTTP://LOCALHOST"[0:0] + "http://LOCALHOST"):
            r = ask(s, "POST", "/generate", [host, "Origin: " + origin], GENERATE)
            expect(r.status, 200, origin)
            expect(r.headers["Access-Control-Allow-Origin"], origin, "who may read")
            expect(r.headers["Vary"], "Origin")
            check("X-Memory-Status" in r.headers["Access-Control-Expose-Headers"], "what may be read")
        for origin in ("http://evil.example", "https://evil.example:8080", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example",
                       "http://localhost@evil.example", "file://", "chrome-extension://abc", "x", "http://", "http://evil.example#http://localhost"):
            for method, path in (("POST", "/generate"), ("POST", "/v1/chat/completions"), ("DELETE", "/cache"), ("POST", "/cleanup-memory"), ("PUT", "/nothing")):
                r = ask(s, method, path, [host, "Origin: " + origin], "{}")
                expect_error(r, 403, "%s %s from %s" % (method, path, origin), "origin_not_allowed")
                expect(r.headers["Access-Control-Allow-Origin"], None, origin)
            r = ask(s, "GET", "/health", [host, "Origin: " + origin])
            expect((r.status, r.headers["Access-Control-Allow-Origin"]), (200, None), "reading from " + origin)
            expect_error(ask(s, "OPTIONS", "/generate", [host, "Origin: " + origin, "Access-Control-Request-Method: POST"]), 403, "preflight from " + origin)
        expect_error(ask(s, "POST", "/generate", [host, "Sec-Fetch-Site: cross-site"], GENERATE), 403, "a form of another site")
        for site in ("same-origin", "same-site", "none"):
            expect(ask(s, "POST", "/generate", [host, "Sec-Fetch-Site: " + site], GENERATE).status, 200, site)
        expect(ask(s, "GET", "/health", [host, "Sec-Fetch-Site: cross-site"]).status, 200, "a link")


@test
def cors():
    with Server("--cors-origin", "https://chat.example.com,https://*.apps.example,chrome-extension://abcdef", "--api-key", "k1") as s:
        names = ["authorization", "content-type"] + ["x-stainless-%s" % ("n" * (5 + i)) for i in range(20)]
        for origin in ("https://chat.example.com", "https://a.apps.example", "chrome-extension://abcdef"):
            r = ask(s, "OPTIONS", "/v1/chat/completions", ["Host: localhost", "Origin: " + origin, "Access-Control-Request-Method: POST",
                    "Access-Control-Request-Headers: " + ",".join(names), "Access-Control-Request-Private-Network: true"])
            expect((r.status, r.body), (204, b""), "preflight of " + origin)
            expect(r.headers["Access-Control-Allow-Origin"], origin)
            expect(r.headers["Access-Control-Allow-Private-Network"], "true")
            check("POST" in r.headers["Access-Control-Allow-Methods"], "methods: %r" % r.headers["Access-Control-Allow-Methods"])
            check(int(r.headers["Access-Control-Max-Age"]) >= 600, "max age")
            expect(r.headers["Vary"], "Origin")
            got = [n.strip() for line in r.headers.get_all("Access-Control-Allow-Headers") for n in line.split(",")]
            expect(got, names, "headers that may be sent")
        plain = ask(s, "OPTIONS", "/cache", ["Host: localhost", "Origin: https://chat.example.com", "Access-Control-Request-Method: DELETE"])
        check("DELETE" in plain.headers["Access-Control-Allow-Methods"], "DELETE of /cache")
        expect((plain.headers["Access-Control-Allow-Private-Network"], plain.headers["Access-Control-Allow-Headers"]), (None, None), "what was not asked")
        me = ["Host: localhost", "Origin: https://chat.example.com"]
        key = ["Authorization: Bearer k1"]
        for what, r, status in (("an answer", ask(s, "POST", "/generate", me + key, GENERATE), 200), ("no key", ask(s, "POST", "/generate", me, GENERATE), 401),
                                ("no JSON", ask(s, "POST", "/generate", me + key, "nonsense"), 400), ("nothing there", ask(s, "GET", "/v1/nothing", me + key), 404),
                                ("405", ask(s, "GET", "/generate", me + key), 405), ("too large", ask(s, "POST", "/generate", me + key + ["Content-Length: 99999999"]), 413),
                                ("compressed", ask(s, "POST", "/generate", me + key + ["Content-Encoding: gzip"], "{}"), 415),
                                ("a stream", ask(s, "POST", "/generate", me + key, '{"prompt": "a", "max_tokens": 2, "stream": true}'), 200)):
            expect((r.status, r.headers["Access-Control-Allow-Origin"]), (status, "https://chat.example.com"), what)
            check(r.headers["Access-Control-Expose-Headers"], "exposed headers of " + what)
        for origin in ("http://chat.example.com", "https://chat.example.com:444", "https://apps.example", "https://evil.example/.apps.example", "https://chat.example.com.evil"):
            expect(ask(s, "POST", "/generate", ["Host: localhost", "Origin: " + origin] + key, GENERATE).status, 403, origin)
        expect(ask(s, "GET", "/health", ["Host: localhost"]).headers["Vary"], "Origin", "caches must know")
    with Server("--cors-origin", "*") as s:
        r = ask(s, "POST", "/generate", ["Host: localhost", "Origin: https://any.example", "Sec-Fetch-Site: cross-site"], GENERATE)
        expect((r.status, r.headers["Access-Control-Allow-Origin"]), (200, "*"), "every origin")
        expect(ask(s, "POST", "/generate", ["Host: localhost", "Sec-Fetch-Site: cross-site"], GENERATE).status, 200, "and none")
        expect(ask(s, "OPTIONS", "/generate", ["Host: evil.example", "Origin: https://any.example", "Access-Control-Request-Method: POST"]).status, 403, "names count all the same")


@test
def options_and_methods():
    with Server() as s:
        host = ["Host: localhost"]
        for path, allow in (("/health", "GET, HEAD, OPTIONS"), ("/v1/chat/completions", "POST, OPTIONS"), ("/cache", "GET, HEAD, DELETE, OPTIONS")):
            r = ask(s, "OPTIONS", path, host)
            expect((r.status, r.headers["Allow"], r.body), (204, allow, b""), "OPTIONS of " + path)
            r = ask(s, "PATCH", path, host)
            expect_error(r, 405, "PATCH of " + path)
            expect(r.headers["Allow"], allow)
        expect(ask(s, "OPTIONS", "*", host).status, 204, "OPTIONS *")
        expect_error(ask(s, "OPTIONS", "/nothing", host), 404, "OPTIONS of nothing")
        head = ask(s, "HEAD", "/health", host)
        expect((head.status, head.body), (200, b""), "HEAD")
        head = ask(s, "HEAD", "/v1/chat/completions", host)
        expect((head.status, head.headers["Allow"]), (405, "POST, OPTIONS"), "HEAD of what takes POST")


@test
def paths():
    with Server() as s:
        for method, path in (("GET", "/v1/nothing"), ("POST", "/v1/nothing"), ("POST", "/v1/chat"), ("GET", "/v1"), ("GET", "/nothing"), ("POST", "/v1/audio/speech")):
            r = ask(s, method, path, ["Host: localhost"], "{}" if method == "POST" else "")
            expect(r.status, 404, path)
            expect((r.json()["error"]["type"], r.json()["error"]["code"]), ("not_found", None), path)
        expect(s.get("/v1/models/nothing").json()["error"]["code"], "model_not_found", "a model that is not there")
        expect(ask(s, "GET", "/v1/messages/x/y", ["Host: localhost", "anthropic-version: 2023-06-01"]).json()["error"]["type"], "not_found_error")
        for path in ("/health/", "/v1/models/", "//v1/models", "/v1/models//", "/health///"):
            expect(s.get(path).status, 200, path)
        model = s.get("/v1/models").json()["data"][0]["id"]
        expect(s.get("/v1/models/%s/" % model).status, 200, "a model's own page")
        body = json.dumps({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1})
        expect(ask(s, "POST", "/v1/chat/completions/", ["Host: localhost"], body).status, 200, "a slash behind a POST's path")
        for path in ("/%00", "/health%00", "/v1/models/a%00b", "/health%0d%0aX: y", "/%7f"):
            expect_error(ask(s, "GET", path, ["Host: localhost"]), 400, path)
        expect(s.get("/he%61lth").status, 200, "an escaped letter")


@test
def bodies_and_heads():
    """Each in JSON; the library's own parser refuses some of them."""
    with Server() as s:
        local = b"Host: localhost\r\n"
        for about, status, raw in (
                ("a long path", 414, b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\n" + local + b"\r\n"),
                ("a very long path", 414, b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n" + local + b"\r\n"),
                ("a long query", 414, b"GET /health?" + b"a" * 20000 + b" HTTP/1.1\r\n" + local + b"\r\n"),
                ("large headers", 431, b"GET /health HTTP/1.1\r\n" + local + b"X: " + b"a" * 13000 + b"\r\n\r\n"),
                ("very large headers", 431, b"GET /health HTTP/1.1\r\n" + local + b"X: " + b"a" * 30000 + b"\r\n\r\n"),
                ("many headers", 431, b"GET /health HTTP/1.1\r\n" + local + b"X: aaaaaaaa\r\n" * 2000 + b"\r\n"),
                ("HTTP/2.0", 505, b"GET /health HTTP/2.0\r\n" + local + b"\r\n"), ("HTTP/9.9", 505, b"GET /health HTTP/9.9\r\n" + local + b"\r\n"),
                ("the preface of HTTP/2", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
                ("two lengths", 400, b"POST /generate HTTP/1.1\r\n" + local + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
                ("two other lengths", 400, b"POST /generate HTTP/1.1\r\n" + local + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
                ("a negative length", 400, b"POST /generate HTTP/1.1\r\n" + local + b"Content-Length: -2\r\n\r\n{}"),
                ("another encoding", 400, b"POST /generate HTTP/1.1\r\n" + local + b"Transfer-Encoding: xchunked\r\n\r\n"),
                ("two encodings", 400, b"POST /generate HTTP/1.1\r\n" + local + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
                ("no chunk", 400, b"POST /generate HTTP/1.1\r\n" + local + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
                ("a huge chunk", 413, b"POST /generate HTTP/1.1\r\n" + local + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n"),
                ("no Host", 400, b"GET /health HTTP/1.1\r\n\r\n"), ("two Hosts", 400, b"GET /health HTTP/1.1\r\n" + local + local + b"\r\n"),
                ("a blank in a name", 400, b"GET /health HTTP/1.1\r\n" + local + b"X Y: z\r\n\r\n"), ("a blank behind a name", 400, b"GET /health HTTP/1.1\r\n" + local + b"X : z\r\n\r\n"),
                ("gzip", 415, b"POST /generate HTTP/1.1\r\n" + local + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b"),
                ("zstd in chunks", 415, b"POST /generate HTTP/1.1\r\n" + local + b"Content-Encoding: zstd\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
                ("authority as target", 400, b"CONNECT localhost:80 HTTP/1.1\r\n" + local + b"\r\n")):
            expect_error(s.raw(raw), status, about)
        expect(ask(s, "POST", "/generate", ["Host: localhost", "Content-Encoding: identity"], GENERATE).status, 200, "identity")
        check("identity" in ask(s, "POST", "/generate", ["Host: localhost", "Content-Encoding: gzip"], "{}").headers["Accept-Encoding"], "what is read")
        r = s.raw(b"POST /v1/messages HTTP/1.1\r\n" + local + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        expect((r.status, r.json()["type"]), (400, "error"), "Anthropic's words")
        expect(s.get("/health").status, 200, "and on it goes")


@test
def refusals_of_the_library_are_the_paths_own():
    """Where the path is known its dialect words them; an Origin that came before is told that it may read them."""
    with Server("--cors-origin", "https://a.example.com") as s:
        local, large = b"Origin: https://a.example.com\r\nHost: localhost\r\n", b"X: " + b"a" * 30000 + b"\r\n\r\n"
        bad_chunk = b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
        for path, key in ((b"/v1/chat/completions", "error"), (b"/v1/messages", "type"), (b"/api/chat", "error"), (b"/generate", "error"), (b"/nowhere", "error")):
            for about, status, rest in (("large headers", 431, local + large), ("no chunk", 400, local + bad_chunk), ("two lengths", 400, local + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
                                        ("gzip", 415, local + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"), ("a body too large", 413, local + b"Content-Length: 99999999\r\n\r\n"),
                                        ("a huge chunk", 413, local + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n")):
                r = s.raw(b"POST " + path + b" HTTP/1.1\r\n" + rest)
                expect(r.status, status, "%s, %s" % (path, about))
                expect(r.headers["Content-Type"], "application/json", "%s, %s" % (path, about))
                expect(r.headers.get("Access-Control-Allow-Origin"), "https://a.example.com", "%s, %s" % (path, about))
                words = r.json()
                check(key in words, lambda: "%s, %s: %s" % (path, about, words))
                expect(isinstance(words["error"], str), path.startswith(b"/api/"), "Ollama's errors are texts: %s, %s" % (path, about))
                expect(words.get("type"), "error" if path == b"/v1/messages" else None, about)
            r = s.raw(b"POST " + path + b" HTTP/1.1\r\nOrigin: https://b.example.com\r\nHost: localhost\r\n" + large)
            expect((r.status, r.headers.get("Access-Control-Allow-Origin")), (431, None), "a page that may not read it")
        r = s.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /v1/messages HTTP/1.1\r\n" + large)
        expect(r.status, 200, "the first of two")
        for raw, status in ((b"GET /" + b"a" * 20000, 414), (b"POST /v1/messages HTTP/7.0\r\n", 505)):
            r = s.raw(raw + b" HTTP/1.1\r\n" + local + b"\r\n")  # of these there is no more than that
            expect((r.status, r.headers["Content-Type"]), (status, "application/json"), raw[:30])
            check("message" in r.json()["error"], raw[:30])
        expect(s.get("/health").status, 200, "and on it goes")


def ask_v6(s, raw):
    with socket.create_connection(("::1", s.port), SOCKET_TIMEOUT_S) as c:
        c.sendall(raw)
        return c.recv(4096)


@test
def where_to_listen():
    with Server("--host", "localhost") as s:
        expect(s.get("/health").status, 200)
    for flag in ("::1", "[::1]"):
        try:
            socket.socket(socket.AF_INET6).bind(("::1", 0))
        except OSError:
            skip("no IPv6 here")
        with Server("--host", flag, "--engine", "echo") as s:
            expect(ask_v6(s, b"OPTIONS /generate HTTP/1.1\r\nHost: [::1]\r\n\r\n")[:12], b"HTTP/1.1 204", "OPTIONS of the echo engine")
            check("http://[::1]:%d" % s.port in s.log(), "the log's URL has no brackets")
            url = "http://[::1]:%d" % s.port
            check(b"plimsoll" in run_plimsoll("top", "--once", url, rc=0).out.lower(), "top of " + url)
            expect(run_plimsoll("load", "--requests", "3", "--concurrency", "1", "--payload", "200", url).rc, 0, "load of " + url)
    for bad in ("[::1", "http://localhost", "127.0.0.1:80", ""):
        r = run_plimsoll("serve", "--port", "0", "--host", bad)
        check(r.rc != 0 and "host" in r.err, lambda: "--host %r: %d, %s" % (bad, r.rc, r.err))
    for flag, bad in (("--allowed-host", "http://x"), ("--allowed-host", "x:80"), ("--allowed-host", "a,,b"), ("--cors-origin", "example.com"),
                      ("--cors-origin", "https://a.example/path"), ("--cors-origin", "https://")):
        r = run_plimsoll("serve", "--port", "0", flag, bad)
        check(r.rc == 2 and flag in r.err, lambda: "%s %r: %d, %s" % (flag, bad, r.rc, r.err))


main()
