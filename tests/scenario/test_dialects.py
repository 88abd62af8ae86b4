"""OpenAI's and Anthropic's dialects on the wire: what real clients rely on, and what is refused in each one's own words.
(Real clients drive the same in tests/clients.)"""
import random

from harness import *

USER = [{"role": "user", "content": "Once upon a time"}]
TOOL = {"type": "function", "function": {"name": "look_up", "description": "finds a word",
                                         "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}}}


def ask(s, path, status=200, headers=None, **body):
    r = s.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
    expect(r.status, status, "status of %s (%s)" % (path, r.body[:300].decode(errors="replace")))
    return r


def chat(s, **body):
    return ask(s, "/v1/chat/completions", **{"messages": USER, "max_tokens": 8, "temperature": 0, **body}).json()


def message(s, **body):
    return ask(s, "/v1/messages", **{"model": "plimsoll-tiny", "messages": USER, "max_tokens": 8, "temperature": 0, **body}).json()


def chunks(s, **body):
    """The data of a stream's records, without [DONE], which must be the last."""
    r = ask(s, "/v1/chat/completions", **{"messages": USER, "max_tokens": 8, "temperature": 0, "stream": True, **body})
    check(r.headers["content-type"].startswith("text/event-stream"), "content type of a stream")
    records = [x for x in r.body.decode().split("\n\n") if x and not x.startswith(":")]
    check(all(x.startswith("data: ") for x in records), "a record that is no data")
    expect(records[-1], "data: [DONE]")
    return [json.loads(x[6:]) for x in records[:-1]]


def events(s, **body):
    r = ask(s, "/v1/messages", **{"model": "plimsoll-tiny", "messages": USER, "max_tokens": 8, "temperature": 0, "stream": True, **body})
    found = []
    for record in r.body.decode().split("\n\n"):
        if record:
            name, data = re.fullmatch(r"event: (\S+)\ndata: (.*)", record).groups()
            found.append(json.loads(data))
            expect(found[-1]["type"], name, "an event's name")
    return [e for e in found if e["type"] != "ping"]


@test
def one_text_in_both_dialects_streamed_and_whole():
    with Server() as s:
        whole = chat(s)
        text = whole["choices"][0]["message"]["content"]
        check(len(text) > 4, "no text")
        stream = chunks(s)
        expect("".join(c["choices"][0]["delta"].get("content", "") for c in stream if c["choices"]), text)
        expect(message(s)["content"], [{"type": "text", "text": text}])
        expect("".join(e["delta"]["text"] for e in events(s) if e["type"] == "content_block_delta"), text)
        r = ask(s, "/v1/responses", input="Once upon a time", max_output_tokens=8, temperature=0).json()
        expect(r["output"][0]["content"][0]["text"], text)


@test
def shape_of_an_openai_stream():
    with Server("--alias", "m,other") as s:
        got = chunks(s, n=2, stream_options={"include_usage": True})
        expect(len({c["id"] for c in got}), 1, "ids")
        expect({c["model"] for c in got}, {"m"})
        for i in (0, 1):
            mine = [c["choices"][0] for c in got if c["choices"] and c["choices"][0]["index"] == i]
            expect(mine[0]["delta"]["role"], "assistant")
            expect([c["finish_reason"] for c in mine if c["finish_reason"]], ["length"])
        expect([c["usage"] for c in got[:-1]], [None] * (len(got) - 1))
        last = got[-1]
        expect(last["choices"], [])
        expect(last["usage"]["completion_tokens"], 16)
        expect(last["usage"]["total_tokens"], last["usage"]["prompt_tokens"] + 16)
        check("cache_stats" in last and "peak_bytes" in last["memory"], "our own fields")
        expect(ask(s, "/v1/chat/completions", model="other", messages=USER, max_tokens=1).json()["model"], "m")


@test
def logprobs_come_with_every_token():
    with Server() as s:
        whole = chat(s, logprobs=True, top_logprobs=3)["choices"][0]["logprobs"]["content"]
        expect(len(whole), 8)
        for entry in whole:
            expect(len(entry["top_logprobs"]), 3)
            expect(bytes(entry["bytes"]).decode(errors="replace"), entry["token"])
        streamed = [t for c in chunks(s, logprobs=True, top_logprobs=3) for t in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
        expect(streamed, whole)


@test
def shape_of_an_anthropic_stream():
    with Server() as s:
        got = events(s)
        expect([e["type"] for e in got if e["type"] != "content_block_delta"],
               ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"])
        expect(got[0]["message"]["content"], [])
        expect(got[-2]["delta"], {"stop_reason": "max_tokens", "stop_sequence": None})
        expect(got[-2]["usage"]["output_tokens"], 8)


@test
def cached_tokens_count_as_each_dialect_counts():
    text = " ".join("The %d. boat sails." % i for i in range(60))
    with Server() as s:
        first = chat(s, messages=[{"role": "user", "content": text}])["usage"]
        expect(first["prompt_tokens_details"]["cached_tokens"], 0)
        again = chat(s, messages=[{"role": "user", "content": text}])["usage"]
        expect(again["prompt_tokens"], first["prompt_tokens"])
        cached = again["prompt_tokens_details"]["cached_tokens"]
        check(cached > 0.9 * first["prompt_tokens"], "cached: %d of %d" % (cached, first["prompt_tokens"]))
        theirs = message(s, messages=[{"role": "user", "content": text}])["usage"]
        expect(theirs["input_tokens"] + theirs["cache_read_input_tokens"], first["prompt_tokens"])
        expect(theirs["cache_read_input_tokens"], cached)
        counted = ask(s, "/v1/messages/count_tokens", model="plimsoll-tiny", messages=[{"role": "user", "content": text}]).json()
        expect(counted, {"input_tokens": first["prompt_tokens"]})


@test
def stops():
    with Server() as s:
        text = chat(s, max_tokens=32)["choices"][0]["message"]["content"]
        word = text.split()[2]
        stopped = chat(s, max_tokens=32, stop=[word, "zzz"])["choices"][0]
        expect(stopped["message"]["content"], text[:text.index(word)])
        expect(stopped["finish_reason"], "stop")
        theirs = message(s, max_tokens=32, stop_sequences=["zzz", word])
        expect((theirs["stop_reason"], theirs["stop_sequence"]), ("stop_sequence", word))
        expect(theirs["content"][0]["text"], text[:text.index(word)])
        streamed = events(s, max_tokens=32, stop_sequences=["zzz", word])[-2]
        expect(streamed["delta"], {"stop_reason": "stop_sequence", "stop_sequence": word})


@test
def completions_of_several_prompts():
    with Server() as s:
        alone = [ask(s, "/v1/completions", prompt=p, max_tokens=6, temperature=0).json()["choices"][0]["text"] for p in ("Once", "The sea")]
        r = ask(s, "/v1/completions", prompt=["Once", "The sea"], max_tokens=6, temperature=0, logprobs=2).json()
        expect([c["text"] for c in r["choices"]], alone)
        expect([c["index"] for c in r["choices"]], [0, 1])
        lists = r["choices"][1]["logprobs"]
        expect({k: len(v) for k, v in lists.items()}, {"tokens": 6, "token_logprobs": 6, "top_logprobs": 6, "text_offset": 6})
        expect("".join(lists["tokens"]), alone[1])
        expect(lists["text_offset"], [len("".join(lists["tokens"][:i])) for i in range(6)])
        echoed = ask(s, "/v1/completions", prompt="Once", max_tokens=6, temperature=0, echo=True).json()
        expect(echoed["choices"][0]["text"], "Once" + alone[0])
        tokens = [int(t) for t in run_plimsoll("tokenize", "--ids", "Once", rc=0).out.split()]
        as_ids = ask(s, "/v1/completions", prompt=[tokens, tokens], max_tokens=6, temperature=0).json()
        expect([c["text"] for c in as_ids["choices"]], [alone[0]] * 2)


@test
def models():
    with Server("--alias", "harbour/boat:8b") as s:
        expect(s.get("/v1/models").json()["data"][0]["id"], "harbour/boat:8b")
        expect(s.get("/v1/models/harbour/boat:8b").json()["object"], "model")
        theirs = s.request("GET", "/v1/models", headers={"anthropic-version": "2023-06-01"}).json()
        expect((theirs["data"][0]["type"], theirs["first_id"], theirs["has_more"]), ("model", "harbour/boat:8b", False))
        gone = s.get("/v1/models/nope")
        expect((gone.status, gone.json()["error"]["code"]), (404, "model_not_found"))


def openai_error(r, status):
    expect(r.status, status)
    error = r.json()
    expect(set(error), {"error"})
    expect(set(error["error"]), {"message", "type", "param", "code"})
    return error["error"]


def anthropic_error(r, status, kind):
    expect(r.status, status)
    error = r.json()
    expect((error["type"], error["error"]["type"]), ("error", kind))
    check(error["request_id"].startswith("req_"), "request_id")
    return error["error"]["message"]


@test
def refusals_in_each_ones_words():
    with Server("--api-key", "sesame") as s:
        key = {"Authorization": "Bearer sesame"}
        openai_error(s.request("POST", "/v1/chat/completions", "{}"), 401)
        anthropic_error(s.request("POST", "/v1/messages", "{}"), 401, "authentication_error")
        error = openai_error(s.request("POST", "/v1/chat/completions", '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', key), 400)
        expect(error["param"], "messages[0].content[0].type")
        openai_error(s.request("POST", "/v1/chat/completions", "{bad", key), 400)
        anthropic_error(s.request("POST", "/v1/messages", "{bad", key), 400, "invalid_request_error")
        said = anthropic_error(s.request("POST", "/v1/messages", json.dumps({"model": "plimsoll-tiny", "messages": USER}), key), 400, "invalid_request_error")
        check("max_tokens" in said, said)
        anthropic_error(s.request("POST", "/v1/messages", json.dumps({"model": "nope", "max_tokens": 1, "messages": USER}), key), 404, "not_found_error")
        long = json.dumps({"model": "plimsoll-tiny", "max_tokens": 4, "messages": [{"role": "user", "content": "word " * 5000}]})
        anthropic_error(s.request("POST", "/v1/messages", long, key), 400, "invalid_request_error")
        expect(openai_error(s.request("POST", "/v1/chat/completions", long, key), 400)["code"], "context_length_exceeded")
        openai_error(s.request("GET", "/v1/chat/completions", headers=key), 405)
        openai_error(s.request("GET", "/v1/nothing", headers=key), 404)


@test
def shed_load_says_when_to_come_back():
    with Server("--max-queue", "1", "--parallel", "1") as s:
        held = [s.open_request("Once", max_tokens=2000, ignore_end=True) for _ in range(2)]
        wait_until(lambda: s.health()["active_jobs"] == 1 and s.health()["queued_jobs"] == 1, "one in work and one waiting")
        theirs = s.request("POST", "/v1/messages", json.dumps({"model": "plimsoll-tiny", "max_tokens": 4, "messages": USER}))
        anthropic_error(theirs, 529, "overloaded_error")
        ours = s.request("POST", "/v1/chat/completions", json.dumps({"messages": USER}))
        openai_error(ours, 429)
        for r in (theirs, ours):
            check(1 <= int(r.headers["retry-after"]) <= 59, "Retry-After")
            check(int(r.headers["x-memory-required-bytes"]) > 0, "X-Memory-Required-Bytes")
        for c in held:
            c.close()
        until_quiet(s)


@test
def whole_answers_of_any_length_run_beside_each_other():
    with Server("-c", "32768", "--parallel", "4") as s:
        got = []
        def one(i):
            got.append(s.request("POST", "/v1/chat/completions", json.dumps({"messages": USER, "seed": i, "stop": ["."], "temperature": 1})).status)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(5)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        expect(got, [200] * 5)


@test
def a_silent_stream_says_that_it_is_alive():
    with Server("--parallel", "1", "--keep-alive", "1", "-c", "32768") as s:
        held = s.open_request("Once", max_tokens=32000, ignore_end=True)
        wait_until(lambda: s.health()["active_jobs"] == 1, "one in work")
        for path, wanted in (("/v1/chat/completions", b": keep-alive\n\n"), ("/v1/messages", b'event: ping\ndata: {"type":"ping"}\n\n')):
            body = json.dumps({"model": "plimsoll-tiny", "max_tokens": 4, "messages": USER, "stream": True}).encode()
            with s.connect() as c:
                c.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body)
                c.settimeout(20)
                got = b""
                while wanted not in got:
                    piece = c.recv(4096)
                    check(piece, lambda: "the stream ended: %r" % got[-200:])
                    got += piece
                check(got.startswith(b"HTTP/1.1 200"), "headers come first")
        held.close()
        until_quiet(s)


@test
def our_own_fields_pass_through():
    with Server() as s:
        expect(chat(s, kv_type="q8")["cache_stats"]["kv_type"], "q8")
        expect(message(s, kv_type="q4")["cache_stats"]["kv_type"], "q4")
        chat(s, pin=True, messages=[{"role": "user", "content": "word " * 100}])
        check(any(e["pinned"] for e in s.get("/cache").json()["entries"]), "nothing is pinned")
        r = s.request("POST", "/v1/chat/completions", json.dumps({"messages": USER, "adapter": "x"}))
        expect(openai_error(r, 400)["param"], "adapter")


@test
def a_conversation_goes_on_from_the_cache():
    talk = [{"role": "system", "content": "You tell stories about the sea. " * 20}, {"role": "user", "content": "Tell me a story."}]
    with Server() as s:
        first = chat(s, messages=talk, max_tokens=24)
        talk += [first["choices"][0]["message"], {"role": "user", "content": "And then?"}]
        for m in talk:
            m.pop("refusal", None)
        second = chat(s, messages=talk, max_tokens=8)["usage"]
        known = first["usage"]["prompt_tokens"]
        check(second["prompt_tokens_details"]["cached_tokens"] >= 0.95 * known, lambda: "%s of %d" % (second, known))


@test
def tools_are_told_to_the_model_and_results_find_their_call():
    talk = [{"role": "user", "content": "What is a keel?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "keel"}'}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "the backbone of a ship"}]
    theirs = [{"role": "user", "content": "What is a keel?"},
              {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"word": "keel"}}]},
              {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "the backbone of a ship"}]}]}]
    tool = {"name": "look_up", "description": "finds a word", "input_schema": TOOL["function"]["parameters"]}
    items = [{"role": "user", "content": "What is a keel?"},
             {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": '{"word": "keel"}'},
             {"type": "function_call_output", "call_id": "call_1", "output": "the backbone of a ship"}]
    with Server() as s:
        ours = chat(s, messages=talk, tools=[TOOL])
        a = message(s, messages=theirs, tools=[tool])
        r = ask(s, "/v1/responses", input=items, tools=[{"type": "function", **TOOL["function"]}], max_output_tokens=8, temperature=0).json()
        plain = chat(s, messages=talk[:1])
        check(ours["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"] + 30, "the tools are not in the prompt")
        expect(a["usage"]["input_tokens"] + a["usage"]["cache_read_input_tokens"], ours["usage"]["prompt_tokens"], "the same prompt")
        expect(r["usage"]["input_tokens"], ours["usage"]["prompt_tokens"], "the same prompt")
        expect(a["content"][0].get("text"), ours["choices"][0]["message"]["content"])


BODIES = {
    "/v1/chat/completions": {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "U"}]},
                                          {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{\"word\": \"keel\"}"}}]},
                                          {"role": "tool", "tool_call_id": "c1", "content": "R"}],
                             "max_tokens": 2, "tools": [TOOL], "tool_choice": "auto", "stop": ["x"], "logit_bias": {"5": 1}, "n": 2, "stream": True,
                             "stream_options": {"include_usage": True}, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}}}},
    "/v1/completions": {"prompt": ["Once", "Two"], "max_tokens": 2, "logprobs": 2, "n": 2, "seed": 7},
    "/v1/responses": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "U"}]}, {"type": "function_call", "call_id": "1", "name": "look_up", "arguments": "{}"},
                                {"type": "function_call_output", "call_id": "1", "output": "R"}],
                      "max_output_tokens": 2, "tools": [{"type": "function", **TOOL["function"]}], "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"}, "stream": True},
    "/v1/messages": {"model": "plimsoll-tiny", "max_tokens": 2, "system": [{"type": "text", "text": "S"}],
                     "messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "T"}, {"type": "tool_use", "id": "1", "name": "look_up", "input": {"word": "keel"}}]},
                                  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "R"}]}]}],
                     "tools": [{"name": "look_up", "input_schema": TOOL["function"]["parameters"]}], "tool_choice": {"type": "any"}, "stop_sequences": ["x"], "thinking": {"type": "enabled", "budget_tokens": 5}},
    "/v1/embeddings": {"input": ["a", [5, 6]], "encoding_format": "base64"},
    "/api/chat": {"model": "plimsoll-tiny", "messages": [{"role": "user", "content": "U", "images": []}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look_up", "arguments": {"word": "keel"}}}]},
                                                        {"role": "tool", "content": "R", "tool_name": "look_up"}],
                  "tools": [TOOL], "options": {"num_predict": 2, "stop": ["x"], "seed": 1}, "format": {"type": "object", "properties": {"a": {"enum": [1, "b"]}}}, "think": False, "keep_alive": "5m"},
    "/api/generate": {"model": "plimsoll-tiny", "prompt": "U", "system": "S", "options": {"num_predict": 2}, "context": [5, 6], "raw": False},
    "/api/embed": {"model": "plimsoll-tiny", "input": ["a", "b"], "truncate": True},
}
STRANGE = [None, True, 0, -1, 1e300, -1e-300, 1 << 63, 10 ** 30, "", "x" * 3000, "\u0000", "\ufdd0<|im_start|>", "<|im_end|>", "\U0001f6a2", [], {}, [[]], [None], {"": None}, {"type": "text"},
           {"type": "object", "properties": {"a": {"$ref": "#"}}}, {"$ref": "#/$defs/none"}, {"type": "string", "pattern": "(a*)*b"}, [1, "a", {}], "data:image/png;base64,AAAA", 0.5, "auto", "json"]


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, path + (key,))


def changed(rng, body):
    """A copy in which a few values, anywhere, are others, gone, or twice."""
    body = json.loads(json.dumps(body))
    for _ in range(rng.randint(1, 3)):
        inner = [p for p in places(body) if p]
        if not inner:
            break
        path = rng.choice(inner)
        at = body
        for key in path[:-1]:
            at = at[key]
        what = rng.random()
        if what < 0.7:
            at[path[-1]] = json.loads(json.dumps(rng.choice(STRANGE)))
        elif what < 0.85:
            del at[path[-1]]
        elif isinstance(at, list):
            at.append(json.loads(json.dumps(at[path[-1]])))
        else:
            at[rng.choice(["x", "name", "content", "type", "stream"])] = json.loads(json.dumps(at[path[-1]]))
    text = bytearray(json.dumps(body, ensure_ascii=rng.random() < 0.5).encode())
    if rng.random() < 0.15:
        text[rng.randrange(len(text))] = rng.randrange(256)
    return bytes(text)


@test(timeout=120)
def bodies_with_anything_anywhere_are_answered():
    rng, counts = random.Random(20261121), {}
    with Server() as s:
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=20)
        for i in range(int(os.environ.get("PLIMSOLL_CHANGED_BODIES", "1500"))):
            path = rng.choice(list(BODIES))
            body = changed(rng, BODIES[path])
            c.request("POST", path, body, {"Content-Type": "application/json"})
            r = c.getresponse()
            text = r.read()
            counts[r.status] = counts.get(r.status, 0) + 1
            check(r.status in (200, 400, 404, 413), lambda: "%s %r: %d %r" % (path, body[:600], r.status, text[:300]))
            if r.status != 200:
                error = json.loads(text)["error"]
                check(error if isinstance(error, str) else error["message"], "a reason")
        c.close()
        until_quiet(s)
    note("answers by status: %s" % dict(sorted(counts.items())))
    check(counts.get(200, 0) > 50 and counts.get(400, 0) > 500, "bodies of both kinds")


main()
