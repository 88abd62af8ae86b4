"""POST /generate, whole and streamed, and the server's own pages."""
import datetime
import math

from harness import *

PROMPT = "Once upon a time"
UNICODE = ["Grüße aus Köln", "日本語のテキスト", "emoji 😀 👩‍👩‍👧‍👦 🇩🇪", "Ω≈ç√∫˜µ≤", "\u202eright to left\u202c", "a\u0301\u0327", "\U0010ffff", "tab\tand\nnewline"]


def texts(events):
    return "".join(e["text"] for e in events if "text" in e)


def whole_of(stream):
    """Token events and the closing one."""
    events = list(stream)
    check(events and events[-1].get("done") is True, lambda: "the stream does not end with done: %r" % events[-1:])
    check(all("done" not in e for e in events[:-1]), "done came before the end")
    return events[:-1], events[-1]


def ids_of(text, *flags):
    return [int(i) for i in run_plimsoll("tokenize", "--ids", *flags, text, rc=0).out.split()]


@test
def answer_has_its_fields():
    with Server() as s:
        a = s.generate(PROMPT, max_tokens=5, seed=1)
        expect(set(a), {"model", "text", "finish_reason", "stop_index", "usage", "cache_stats", "timings", "memory"})
        expect(set(a["cache_stats"]), {"pages", "bytes", "shared_bytes", "hit_tokens", "kv_type", "reprocess_reason", "parked", "lossy"})
        expect(set(a["usage"]), {"prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"})
        expect(set(a["timings"]), {"queue_ms", "prefill_ms", "decode_ms", "total_ms", "prefill_tokens_per_s", "decode_tokens_per_s",
                                 "drafted_tokens", "accepted_tokens"})
        expect(set(a["memory"]), {"peak_bytes", "level"})
        check(a["text"], "no text")
        check(a["memory"]["peak_bytes"] > 0, "peak_bytes is 0")
        t = a["timings"]
        check(all(v >= 0 for v in t.values()), lambda: "a negative timing: %r" % t)
        parts = t["queue_ms"] + t["prefill_ms"] + t["decode_ms"]
        check(abs(parts - t["total_ms"]) <= 0.01, lambda: "queue + prefill + decode is not total: %r" % t)
        check(a["timings"]["decode_tokens_per_s"] > 0, "no decode speed")


@test
def same_seed_same_text():
    with Server() as s:
        ask = lambda seed: s.generate(PROMPT, max_tokens=40, seed=seed, temperature=1.0)["text"]
        first = ask(7)
        expect(ask(7), first, "the second answer of seed 7")
        check(len({ask(seed) for seed in range(8)}) > 1, "eight seeds, one text")
        unseeded = {s.generate(PROMPT, max_tokens=40, temperature=1.0)["text"] for _ in range(6)}
        check(len(unseeded) > 1, "without a seed every answer is the same")
        greedy = {s.generate(PROMPT, max_tokens=40, seed=seed, temperature=0)["text"] for seed in range(4)}
        expect(len(greedy), 1, "different texts at temperature 0")


@test
def stream_says_what_whole_says():
    with Server() as s:
        for fields in ({"temperature": 0}, {"seed": 3}, {"seed": 9, "temperature": 1.5, "top_k": 0, "top_p": 1, "min_p": 0}):
            fields["cache"] = False
            whole = s.generate(PROMPT, max_tokens=60, **fields)
            tokens, end = whole_of(s.stream(PROMPT, max_tokens=60, **fields))
            expect(texts(tokens), whole["text"], "streamed text for %r" % fields)
            expect(len(tokens), whole["usage"]["completion_tokens"], "chunks")
            expect(end["usage"], whole["usage"], "usage")
            expect(end["finish_reason"], whole["finish_reason"], "finish_reason")
            expect(set(end), {"done", "finish_reason", "stop_index", "usage", "cache_stats", "timings", "memory"})


@test
def stream_is_a_chunk_per_token_and_not_buffered():
    with Server("-c", "32768", "-np", "1") as s:
        for n in (1, 2, 100):
            tokens, _ = whole_of(s.stream(PROMPT, max_tokens=n, ignore_end=True))
            expect(len(tokens), n, "chunks")
        stream = s.stream(PROMPT, max_tokens=20000, ignore_end=True)
        expect(stream.response.getheader("content-type").split(";")[0], "text/event-stream")
        events = iter(stream)
        first = next(events)
        # The first chunk is here, while the job, by the server's own word, is still running.
        expect(s.health()["active_jobs"], 1, "active jobs after the first chunk")
        check("text" in first, "the first event is no token")
        for _ in range(50):
            next(events)
        expect(s.health()["active_jobs"], 1, "active jobs after 51 chunks")
        stream.close()
        until_quiet(s)
        # Order of moments: the first chunk comes while most of the generation is still ahead. We may be late ourselves, but not each time.
        seen = []
        for _ in range(5):
            stream = s.stream(PROMPT, max_tokens=1500, ignore_end=True)
            tokens, end = whole_of(stream)
            seen.append((1000 * (stream.times[-1] - stream.times[0]), end["timings"]["decode_ms"]))
            if seen[-1][0] > 0.5 * seen[-1][1]:
                return
        check(False, "1,500 chunks arrived within ms of a decode of ms: %r" % seen)


@test
def guesses_change_nothing():
    """Prompts that repeat themselves: the same answer, with and without, whole, streamed and several at once."""
    prompt = "The cat sat on the mat. The dog sat on the log. " * 6
    always = {"PLIMSOLL_TESTS": "1", "PLIMSOLL_DEBUG_SPECULATE": "always"}  # on a busy machine it may not seem worth it
    with Server("-np", "8", env=always) as s, Server("--speculate", "off") as off:
        jobs = s.memory()["jobs"]
        expect((jobs["drafted_tokens"], jobs["accepted_tokens"]), (0, 0))
        for fields in ({"temperature": 0, "ignore_end": True}, {"seed": 5, "temperature": 1.2, "logprobs": True, "top_logprobs": 3},
                       {"temperature": 0, "stop": ["log. The"]}, {"seed": 2, "n": 4}, {"temperature": 0, "window": 64, "keep": 4}):
            answers = [(server.generate(prompt, max_tokens=80, speculate=speculate, **fields), server, speculate)
                       for server, speculate in ((s, True), (s, False), (off, True))]
            first = answers[0][0]
            for a, server, speculate in answers:
                for name in ("text", "finish_reason", "stop_index", "logprobs", "choices"):
                    expect(a.get(name), first.get(name), "%s of %r" % (name, fields))
                expect(a["usage"]["completion_tokens"], first["usage"]["completion_tokens"])
                if server is off or not speculate:
                    expect(a["timings"]["drafted_tokens"], 0)
                check(a["timings"]["accepted_tokens"] <= a["timings"]["drafted_tokens"], "more right than guessed")
            if "n" not in fields:
                tokens, _ = whole_of(s.stream(prompt, max_tokens=80, **fields))
                expect(texts(tokens), first["text"], "streamed text of %r" % fields)
        jobs = s.memory()["jobs"]
        note("%d guessed, %d right" % (jobs["drafted_tokens"], jobs["accepted_tokens"]))
        check(0 < jobs["accepted_tokens"] <= jobs["drafted_tokens"], lambda: "nothing was guessed right: %r" % jobs)


@test
def max_tokens_and_finish_reason():
    with Server("-n", "17") as s:
        for n in (1, 2, 33):
            a = s.generate(PROMPT, max_tokens=n, ignore_end=True)
            expect((a["usage"]["completion_tokens"], a["finish_reason"]), (n, "length"))
        expect(s.generate(PROMPT, ignore_end=True)["usage"]["completion_tokens"], 17, "tokens without max_tokens (-n 17)")
    with Server("-c", "64", "-np", "1") as s:
        a = s.generate(PROMPT, max_tokens=100000, ignore_end=True)
        expect((a["usage"]["total_tokens"], a["finish_reason"]), (64, "length"), "the context's end")


@test
def usage_adds_up():
    with Server() as s:
        for prompt, n in (("a", 1), (PROMPT, 9), ("one two three four five. " * 40, 20)):
            u = s.generate(prompt, max_tokens=n, ignore_end=True)["usage"]
            expect(u["prompt_tokens"], len(ids_of(prompt)), "prompt tokens of %r" % prompt[:20])
            expect(u["completion_tokens"], n)
            expect(u["total_tokens"], u["prompt_tokens"] + u["completion_tokens"])


def cut_at(text, stops):
    found = [(text.find(x), i) for i, x in enumerate(stops) if x in text]
    if not found:
        return text, None
    at, index = min(found)
    return text[:at], index


@test
def stop_strings():
    with Server() as s:
        fields = {"temperature": 0, "max_tokens": 60, "ignore_end": True}
        full, _ = whole_of(s.stream(PROMPT, **fields))
        text, pieces = texts(full), [e["text"] for e in full]
        check(len(text) > 80, "too short a text to test with")
        border = len("".join(pieces[:12]))
        across = text[border - 2:border + 3]      # begins in one token, ends in another
        many = text[border - 9:border + 12]       # over several
        cases = [[across], [many], [text[30:34]], [text[0]], ["not in there"], [text[50:55], text[20:24]], [text[20:24], text[50:55]],
                 [text[20:40], text[20:23]], ["\u00e9\u00e9", across], [text[40:48] + "?", text[60:63]]]
        for stops in cases:
            wanted, index = cut_at(text, stops)
            stopped = index is not None
            a = s.generate(PROMPT, stop=stops, **fields)
            expect(a["text"], wanted, "text with stop %r" % stops)
            expect(a["finish_reason"], "stop" if stopped else "length", "finish_reason with stop %r" % stops)
            check((a["stop_index"] is not None) == stopped, "stop_index with %r is %r" % (stops, a["stop_index"]))
            if stopped:
                check(text.startswith(stops[a["stop_index"]], len(wanted)), "stop_index %d of %r" % (a["stop_index"], stops))
            tokens, end = whole_of(s.stream(PROMPT, stop=stops, **fields))
            expect(texts(tokens), wanted, "streamed text with stop %r" % stops)
            expect(end["finish_reason"], a["finish_reason"])
        expect(s.generate(PROMPT, stop=across, **fields)["text"], cut_at(text, [across])[0], "a single string as stop")
        expect(s.generate(PROMPT, stop=[], **fields)["text"], text, "an empty array as stop")


@test
def stopped_early_is_fewer_tokens():
    with Server() as s:
        fields = {"temperature": 0, "max_tokens": 200, "ignore_end": True}
        text = s.generate(PROMPT, **fields)["text"]
        a = s.generate(PROMPT, stop=text[20:26], **fields)
        check(a["usage"]["completion_tokens"] < 60, "the generation went on after its stop string: %r" % a["usage"])


@test
def logprobs():
    with Server() as s:
        plain = s.generate(PROMPT, max_tokens=20, temperature=0, ignore_end=True)
        check("logprobs" not in plain, "logprobs without being asked")
        a = s.generate(PROMPT, max_tokens=20, temperature=0, ignore_end=True, logprobs=True, top_logprobs=20)
        expect(a["text"], plain["text"], "text with logprobs")
        expect(len(a["logprobs"]), 20, "entries")
        for entry in a["logprobs"]:
            expect(len(entry["top"]), 20, "alternatives")
            values = [t["logprob"] for t in entry["top"]]
            expect(values, sorted(values, reverse=True), "order of alternatives")
            total = sum(math.exp(v) for v in values)
            check(total <= 1 + 1e-4, "alternatives hold %.6f together" % total)
            check(all(v <= 1e-5 for v in values), "a logprob above 0")
            expect(len({t["token"] for t in entry["top"]}), 20, "different alternatives")
            expect((entry["token"], entry["logprob"]), (entry["top"][0]["token"], values[0]), "the greedy choice and the likeliest")
        expect(s.generate(PROMPT, max_tokens=2, top_logprobs=3)["logprobs"][0]["top"].__len__(), 3, "top_logprobs alone")
        expect(s.generate(PROMPT, max_tokens=2, logprobs=True)["logprobs"][0]["top"], [], "logprobs alone")
        tokens, _ = whole_of(s.stream(PROMPT, max_tokens=20, temperature=0, ignore_end=True, logprobs=True, top_logprobs=20))
        expect([t["logprobs"] for t in tokens], a["logprobs"], "logprobs of the stream")
        expect([t["token"] for t in tokens], [t["logprobs"]["token"] for t in tokens])
        # The model's own distribution: temperature and bias do not touch it.
        hot = s.generate(PROMPT, max_tokens=1, temperature=2, seed=1, top_logprobs=20, logit_bias={str(a["logprobs"][0]["token"]): -100})
        expect(hot["logprobs"][0]["top"], a["logprobs"][0]["top"], "alternatives under temperature and bias")


@test
def logit_bias_bans_and_forces():
    with Server() as s:
        tokens = lambda **f: [e["token"] for e in whole_of(s.stream(PROMPT, max_tokens=30, temperature=0, ignore_end=True, **f))[0]]
        plain = tokens()
        banned = plain[0]
        check(banned not in tokens(logit_bias={str(banned): -100}), "a banned token came")
        forced = plain[5]
        expect(set(tokens(logit_bias={str(forced): 100})), {forced}, "tokens with one forced")
        expect(tokens(logit_bias={}), plain, "an empty bias")
        expect(tokens(logit_bias={str(banned): 0}), plain, "a bias of 0")


@test
def ignore_end_goes_on():
    with Server() as s:
        ends = [s.generate(PROMPT, max_tokens=450, seed=i) for i in range(8)]
        check(any(a["finish_reason"] == "stop" for a in ends), "no text of 450 tokens came to an end by itself")
        for i in range(8):
            a = s.generate(PROMPT, max_tokens=450, seed=i, ignore_end=True)
            expect((a["finish_reason"], a["usage"]["completion_tokens"]), ("length", 450))


@test
def sampling_fields_do_something():
    with Server() as s:
        # Long enough that a penalty of 2 changes something even for a model that is sure of its templates.
        text = lambda **f: s.generate(PROMPT, max_tokens=400, seed=5, ignore_end=True, **f)["text"]
        greedy = text(temperature=0)
        wild = {"temperature": 3, "top_k": 0, "top_p": 1, "min_p": 0}
        check(text(**wild) != greedy, "temperature 3 is greedy")
        for calm in ({"top_k": 1}, {"top_p": 0}, {"min_p": 1}):
            expect(text(**{**wild, **calm}), greedy, "text with %r" % calm)
        check(text(temperature=0, repeat_penalty=5.0, repeat_last_n=512) != greedy, "repeat_penalty does nothing")
        check(text(temperature=0, frequency_penalty=2) != greedy, "frequency_penalty does nothing")
        check(text(temperature=0, presence_penalty=2, repeat_last_n=512) != greedy, "presence_penalty does nothing")
        expect(text(temperature=0, repeat_penalty=5.0, repeat_last_n=0), greedy, "a penalty that looks back at nothing")


@test
def null_is_absent():
    with Server() as s:
        fields = ["max_tokens", "temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n",
                  "frequency_penalty", "presence_penalty", "logit_bias", "stop", "stream", "logprobs", "top_logprobs", "ignore_end", "model"]
        plain = s.generate(PROMPT, seed=2)["text"]
        expect(s.generate(PROMPT, seed=2, **{f: None for f in fields})["text"], plain, "text with every field null")
        expect(s.post(PROMPT, seed=None, max_tokens=2).status, 200, "a null seed")


@test
def unicode_prompts():
    with Server() as s:
        for prompt in UNICODE:
            for escaped in (True, False):
                body = json.dumps({"prompt": prompt, "max_tokens": 20, "seed": 1}, ensure_ascii=escaped).encode()
                r = s.request("POST", "/generate", body)
                expect(r.status, 200, "status for %r (%s)" % (prompt, r.body[:200]))
                r.body.decode("utf-8")  # strict
            expect(r.json()["text"], s.generate(prompt, max_tokens=20, seed=1)["text"], "the same prompt, escaped or not")


@test
def half_characters_are_never_sent():
    with Server() as s:
        # Byte tokens, forced in any order: some make characters, some do not.
        byte_of = {}
        for c in "é日😀":
            encoded = c.encode()
            byte_of.update(zip(ids_of(c)[-len(encoded):], encoded))
        check(len(byte_of) >= 7, lambda: "these characters have tokens of their own: %r" % byte_of)
        characters = 0
        for seed in range(12):
            fields = {"max_tokens": 80, "seed": seed, "temperature": 5, "top_k": 0, "top_p": 1, "min_p": 0, "ignore_end": True,
                      "logit_bias": {str(t): 100 for t in byte_of}, "logprobs": True}
            tokens, _ = whole_of(s.stream(PROMPT, **fields))  # Stream decodes each event strictly
            raw = b"".join(bytes([byte_of[e["token"]]]) if e["token"] in byte_of else e["logprobs"]["text"].encode() for e in tokens)
            text = texts(tokens)
            expect(text.replace("\ufffd", ""), raw.decode("utf-8", errors="ignore"), "whole characters of %r" % raw)
            characters += sum(ord(c) > 127 for c in text.replace("\ufffd", ""))
            expect(s.generate(PROMPT, **fields)["text"], text, "the whole answer and the streamed one")
        check(characters > 5, "only %d characters came of all those bytes" % characters)


@test
def array_of_ids_is_the_text():
    with Server() as s:
        for prompt in (PROMPT, "one two three. " * 20):
            ids = ids_of(prompt)
            a, b = (s.generate(p, temperature=0, max_tokens=30, cache=False) for p in (prompt, ids))
            expect((b["text"], b["usage"]), (a["text"], a["usage"]), "answer to the ids of %r" % prompt[:20])


@test
def generate_lite_is_an_alias():
    with Server() as s:
        a = s.post(PROMPT, seed=4, max_tokens=20)
        b = s.post(PROMPT, path="/generate-lite", seed=4, max_tokens=20)
        expect((b.status, b.json()["text"], set(b.json())), (200, a.json()["text"], set(a.json())))


@test
def content_types_and_request_ids():
    with Server() as s:
        seen = set()
        for r in (s.get("/health"), s.get("/memory"), s.post(PROMPT, max_tokens=1), s.get("/nothing"), s.post(PROMPT, max_tokens=-1)):
            expect(r.headers.get("content-type").split(";")[0], "application/json")
            r.json()
            seen.add(r.headers.get("x-request-id"))
        check(None not in seen and len(seen) == 5, lambda: "request ids: %r" % seen)


@test
def health_live_ready():
    before = time.time()
    with Server("--alias", "a-name", "-c", "16384", "-np", "1") as s:
        h = s.health()
        expect(set(h), {"status", "timestamp", "active_jobs", "queued_jobs", "model", "memory", "gpu_available", "gpu_memory", "warnings", "stuck"})
        expect(set(h["memory"]), {"level", "available_bytes", "reclaimable_bytes", "used_bytes", "line_bytes", "line_asked_bytes", "line_bound"})
        expect((h["status"], h["active_jobs"], h["queued_jobs"], h["model"]), ("ok", 0, 0, "a-name"))
        expect((h["gpu_available"], h["gpu_memory"]), (False, None))
        at = datetime.datetime.fromisoformat(h["timestamp"].replace("Z", "+00:00")).timestamp()
        check(before - 5 <= at <= time.time() + 5, "timestamp " + h["timestamp"])
        check(h["memory"]["level"] in ("safe", "caution", "warning", "critical", "emergency"), "level " + h["memory"]["level"])
        check(0 < h["memory"]["used_bytes"] < h["memory"]["line_bytes"], lambda: repr(h["memory"]))
        expect(s.get("/livez").status, 200)
        expect(s.get("/readyz").status, 200)
        expect(s.get("/").status, 200)
        stream = s.stream(PROMPT, max_tokens=16000, ignore_end=True)
        next(iter(stream))
        expect(s.health()["active_jobs"], 1, "active jobs while streaming")
        stream.close()
        expect(s.generate(PROMPT, max_tokens=1)["model"], "a-name")


@test
def memory_page():
    with Server() as s:
        m = s.memory()
        check(set(m) >= {"books", "kv_pool", "cache", "spill", "jobs", "engine"}, lambda: "members: " + str(sorted(m)))
        b = m["books"]
        check(set(b) >= {"line_bytes", "kernel_bytes", "ledger_bytes", "ledger_peak_bytes", "unexplained_bytes", "tolerance_bytes", "balanced",
                        "level", "available_bytes", "accounts", "kernel", "system", "cgroup", "heap"}, lambda: "books: " + str(sorted(b)))
        expect(set(b["accounts"]), {"weights", "kv", "workspace", "adapters", "tokenizer", "grammar", "http", "queue", "prompt_index",
                                    "spill", "runtime"})
        for name, row in b["accounts"].items():
            expect(set(row), {"now_bytes", "peak_bytes", "limit_bytes", "refused"}, name)
            check(row["peak_bytes"] >= row["now_bytes"], name + ": peak below now")
        expect(b["ledger_bytes"], sum(r["now_bytes"] for r in b["accounts"].values()), "the ledger's total")
        expect(b["unexplained_bytes"], b["kernel_bytes"] - b["ledger_bytes"])
        k = b["kernel"]
        expect(b["kernel_bytes"], k["rss_anon_bytes"] + k["rss_file_bytes"] + k["rss_shmem_bytes"] + k["swap_bytes"])
        check(set(m["kv_pool"]) >= {"budget_bytes", "used_bytes", "evictable_bytes", "committed_bytes", "page_tokens", "tokens_held", "waste",
                                    "parked_jobs", "parkings", "context"}, "kv_pool has " + str(sorted(m["kv_pool"])))
        expect(set(m["engine"]), {"kernels", "threads", "steps", "tokens", "mallocs_counted", "step_mallocs"})
        before = m["engine"]["tokens"]
        used = s.generate(PROMPT, max_tokens=10, ignore_end=True)["usage"]["total_tokens"]
        expect(s.memory()["engine"]["tokens"] - before, used - 1, "tokens stepped (the last one sampled is not fed)")


@test
def head_is_get_without_a_body():
    with Server() as s:
        for path, status in (("/health", 200), ("/memory", 200), ("/livez", 200), ("/", 200), ("/nothing", 404)):
            r = s.request("HEAD", path)
            expect((r.status, r.body), (status, b""), "HEAD " + path)
        with s.connect() as c:  # nothing of a body follows on the same connection
            c.sendall(b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            got = b""
            while piece := c.recv(65536):
                got += piece
        expect(got.count(b"HTTP/1.1 200"), 2, "answers")
        check(got.endswith(b"\r\n\r\nok\n") and got.count(b"ok\n") == 1, lambda: "two requests on one connection gave %r" % got)


@test
def keep_alive_carries_many():
    with Server() as s:
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOCKET_TIMEOUT_S)
        for i in range(20):
            c.request("POST", "/generate", json.dumps({"prompt": PROMPT, "max_tokens": 3, "seed": 1, "stream": i % 2 == 1}))
            socket_now = c.sock
            r = c.getresponse()
            body = r.read()
            expect(r.status, 200)
            check(body, "empty body")
        check(c.sock is socket_now or r.will_close, "the connection was not kept")
        c.close()


main()
