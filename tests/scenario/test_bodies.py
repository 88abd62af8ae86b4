"""Bodies of every make: what they may hold of memory, prompts that are too long, and the names a model answers to."""
from harness import *

USER = [{"role": "user", "content": "x"}]
MODEL = "plimsoll-tiny"
COUNT = "/v1/messages/count_tokens"


def ask(s, path, status=200, **body):
    r = s.request("POST", path, json.dumps(body, separators=(",", ":")))
    expect(r.status, status, "status of %s (%s)" % (path, r.body[:300].decode(errors="replace")))
    return r.json()


# ---- prompts that are too long ----

LONG = [{"role": "user", "content": "word " * 3000}]


@test
def a_prompt_over_the_context_is_refused_in_each_dialects_words():
    with Server("-c", "512") as s:
        n = ask(s, COUNT, model=MODEL, messages=LONG)["input_tokens"]
        check(n > 3000, "%d tokens counted of 3,000 words" % n)
        e = ask(s, "/v1/messages", 400, model=MODEL, messages=LONG, max_tokens=1)["error"]
        expect((e["type"], e["message"]), ("invalid_request_error", "prompt is too long: %d tokens > 512 maximum" % n))
        for path, body in (("/v1/chat/completions", {"messages": LONG}), ("/v1/responses", {"input": LONG}),
                           ("/v1/completions", {"prompt": LONG[0]["content"]}), ("/v1/completions", {"prompt": [5] * 600})):
            e = ask(s, path, 400, **body)["error"]
            expect(e["code"], "context_length_exceeded", path)
            figures = re.match(r"This model's maximum context length is (\d+) tokens. However, your messages resulted in (\d+) tokens", e["message"])
            check(figures and int(figures[1]) == 512 and int(figures[2]) > 512, e["message"])
        e = ask(s, "/api/chat", 400, model=MODEL, messages=LONG)["error"]
        check("exceeds the context length" in e and str(n) in e and "512" in e, e)
        e = ask(s, "/generate", 413, prompt=LONG[0]["content"])["error"]
        check(re.match(r"prompt is too long: \d+ tokens > 512 maximum", e["message"]), e["message"])
        fit = ask(s, "/fit", prompt=LONG[0]["content"])
        check(not fit["fits"] and fit["prompt_tokens"] > 3000, fit)
        whole = ask(s, "/generate", 413, prompt=[5] * 512)["error"]["message"]  # one must be left to answer with
        expect(whole, "prompt is too long: 512 tokens > 511 maximum")


@test
def a_prompt_over_the_context_is_not_cut_from_what_was_never_kept():
    with Server("-c", "512") as s:
        for n in (100, 511, 600, -1):
            e = ask(s, "/v1/completions", 400, prompt=[5] * 1000, truncate_prompt_tokens=n, max_tokens=1)["error"]
            expect(e["code"], "context_length_exceeded")
        u = ask(s, "/v1/completions", prompt=[5] * 400, truncate_prompt_tokens=100, max_tokens=1)["usage"]
        expect(u["prompt_tokens"], 100)
        for n in (-1, 400, 511, 512, 513, 1 << 31):  # nothing to cut, and no more than there is
            expect(ask(s, "/v1/completions", prompt=[5] * 400, truncate_prompt_tokens=n, max_tokens=1)["usage"]["prompt_tokens"], 400, str(n))
        for n in (0, -2):
            expect(ask(s, "/v1/completions", 400, prompt=[5] * 400, truncate_prompt_tokens=n, max_tokens=1)["error"]["param"], "truncate_prompt_tokens")


@test
def a_schema_too_large_is_no_matter_of_the_context():
    schema = {"enum": ["value-%05d" % i for i in range(40000)]}
    with Server() as s:
        e = ask(s, "/v1/chat/completions", 400, messages=[{"role": "user", "content": "x"}], max_tokens=1,
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})["error"]
        expect(e["code"], None)
        check("grammar" in e["message"] or "schema" in e["message"], e["message"])


@test
def tokens_are_counted_the_same_whatever_the_context():
    talk = [{"role": ("user", "assistant")[i % 2], "content": "Line %d\nof a long talk, ünïcode too." % i} for i in range(400)]
    counts = []
    for context in ("512", "16384"):
        with Server("-c", context) as s:
            counts.append(ask(s, COUNT, model=MODEL, messages=talk)["input_tokens"])
    check(counts[0] == counts[1] > 512, "counted %s" % counts)


# ---- many at once ----

def ask_at_once(s, n, path, body):
    """n clients, each on a connection of its own: how often which status came, and what was wrong."""
    statuses, failures, lock = {}, [], threading.Lock()

    def client():
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOCKET_TIMEOUT_S)
        try:
            c.request("POST", path, body, {"Content-Type": "application/json"})
            r = c.getresponse()
            said = r.read()
        except OSError as e:
            failures.append(repr(e))
            return
        with lock:
            statuses[r.status] = statuses.get(r.status, 0) + 1
            if r.status == 429:
                failures.append(said[:200].decode(errors="replace"))
        c.close()

    threads = [threading.Thread(target=client) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return statuses, failures


@test
def bodies_wait_for_a_buffer():
    with Server("-c", "512") as s:
        body = json.dumps({"model": MODEL, "max_tokens": 1, "messages": [{"role": "user", "content": "word " * 40000}]})
        check(200000 < len(body) < 201000, "%d bytes" % len(body))
        for path, status in ((COUNT, 200), ("/v1/chat/completions", 400)):
            statuses, failures = ask_at_once(s, 96, path, body)
            expect((statuses, failures), ({status: 96}, []), path)


# ---- names ----

@test
def a_model_answers_to_its_name_its_file_and_its_aliases():
    path = temp_path("Some-Model.Q8_0.gguf")
    os.symlink(forge("--shape", "tiny", "--type", "Q8_0"), path)
    with Server("-m", path, "--alias", "first,second/name", "-n", "1") as s:
        own = s.get("/v1/models").json()["data"][0]["id"]
        expect(own, "first", "the name that is shown")
        for name in ("first", "second/name", "Some-Model.Q8_0", "Some-Model.Q8_0:latest"):
            ask(s, "/v1/chat/completions", model=name, messages=USER, max_tokens=1)
            ask(s, "/v1/messages", model=name, messages=USER, max_tokens=1)
            ask(s, "/api/chat", model=name, messages=USER, stream=False)
            expect(s.get("/v1/models/" + name).status, 200, name)
        for path, body in (("/v1/chat/completions", {"messages": USER}), ("/v1/messages", {"messages": USER, "max_tokens": 1}),
                           ("/v1/responses", {"input": "x"}), ("/api/chat", {"messages": USER}), ("/v1/embeddings", {"input": "x"})):
            said = json.dumps(ask(s, path, 404, model="gpt-4o", **body)["error"])
            check(all(n in said for n in ("gpt-4o", "first", "second/name", "Some-Model.Q8_0")), said)


@test
def any_model_takes_every_name():
    with Server("--any-model", "-n", "1") as s:
        for name in ("gpt-4o", "claude-sonnet-4-5", MODEL):
            expect(ask(s, "/v1/chat/completions", model=name, messages=USER, max_tokens=1)["model"], MODEL)
            ask(s, "/v1/messages", model=name, messages=USER, max_tokens=1)
            ask(s, "/api/generate", model=name, prompt="x", stream=False)
            ask(s, "/v1/embeddings", model=name, input="x")
            expect(s.get("/v1/models/" + name).status, 200, name)


main()
