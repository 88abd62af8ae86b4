"""OpenAI's and Anthropic's dialects on the wire: what real clients rely on, and what is refused in each one's own words.
(Real clients drive the same in tests/clients.)"""
import random

import re

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
def a_stream_that_cannot_begin_is_refused_before_its_head():
    """What a grammar lets come first is looked for when the model is asked: until then there is no status."""
    rules = "".join('r%d ::= r%d r%d | "a"\n' % (i, i + 1, i + 1) for i in range(3000))
    ambiguous = {"grammar": "root ::= r0\n" + rules + 'r3000 ::= "a"'}
    with Server("--parallel", "1", "--keep-alive", "1", "-c", "32768") as s:
        for path, body in (("/generate", {"prompt": "x"}), ("/v1/completions", {"prompt": "x"}), ("/v1/chat/completions", {"messages": USER}),
                           ("/v1/messages", {"model": "plimsoll-tiny", "messages": USER}), ("/v1/responses", {"input": "x"})):
            for stream in (False, True):
                r = ask(s, path, 400, max_tokens=20, stream=stream, **body, **ambiguous)
                expect(r.headers["Content-Type"], "application/json", path)
                said = r.json()["error"]
                check(said["message"].startswith("'grammar': the grammar is too ambiguous"), lambda: said["message"])
                if path != "/v1/messages":
                    expect(said["param"], "grammar", path)
        # One that waits for its turn is a stream all the same: it says that it is alive.
        held = s.open_request("Once", max_tokens=32000, ignore_end=True)
        wait_until(lambda: s.health()["active_jobs"] == 1, "one in work")
        body = json.dumps({"messages": USER, "max_tokens": 4, "stream": True, "grammar": 'root ::= "ab"'}).encode()
        with s.connect() as c:
            c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            c.settimeout(SOCKET_TIMEOUT_S)
            got = b""
            while b": keep-alive" not in got:
                piece = c.recv(4096)
                check(piece, lambda: "the stream ended: %r" % got[-200:])
                got += piece
            check(got.startswith(b"HTTP/1.1 200"), lambda: repr(got[:60]))
            held.close()
            while b"[DONE]" not in got:
                piece = c.recv(4096)
                check(piece, lambda: "the stream ended: %r" % got[-200:])
                got += piece
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
        nothing = [chat(s, messages=talk[:2] + [{**talk[2], "content": said}], tools=[TOOL])["usage"]["prompt_tokens"] for said in ("", None, [])]
        check(len(set(nothing)) == 1 and nothing[0] < ours["usage"]["prompt_tokens"], "results that say nothing: %r" % nothing)


@test
def the_input_of_a_custom_tool_is_held_to_a_regular_expression():
    def tool(syntax, definition):
        return {"type": "custom", "custom": {"name": "order", "format": {"type": "grammar", "grammar": {"syntax": syntax, "definition": definition}}}}

    with Server() as s:
        for seed in range(4):
            body = {"messages": [{"role": "user", "content": "Hi"}], "tools": [tool("regex", "[a-c]{2,5}-[0-9]+\n|\"x\\\\y\"")], "tool_choice": "required", "max_tokens": 200, "temperature": 1, "seed": seed}
            r = ask(s, "/v1/chat/completions", **body)
            x = r.json()["choices"][0]
            if x["finish_reason"] == "tool_calls":
                text = x["message"]["tool_calls"][0]["custom"]["input"]
                check(re.fullmatch(body["tools"][0]["custom"]["format"]["grammar"]["definition"], text), repr(text))
            check("x-plimsoll-ignored" not in r.headers, "it is kept to")
        for syntax, definition in (("lark", "start: /x+/"), ("regex", "(")):
            expect(ask(s, "/v1/chat/completions", **{**body, "tools": [tool(syntax, definition)], "max_tokens": 30}).headers["x-plimsoll-ignored"], "tools.format." + syntax, definition)


PATCH = {"type": "custom", "name": "apply_patch", "description": "changes files", "format": {"type": "grammar", "syntax": "lark", "definition": "start: HUNK+"}}
GIT = {"type": "namespace", "name": "mcp__git", "description": "of git", "tools": [
    {"type": "function", "name": "log", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}}, {"type": "nothing_known"}]}
HOSTED = [{"type": t} for t in ("web_search", "local_shell", "image_generation", "file_search", "code_interpreter")] + [{"type": "tool_search", "execution": "client", "parameters": {}}, {"type": "mcp", "server_label": "x", "server_url": "https://x.invalid"}]


def says(*calls):
    """A grammar that makes the model say so."""
    text = "\n".join("<tool_call>\n%s\n</tool_call>" % json.dumps({"name": n, "arguments": a}) for n, a in calls)
    return "root ::= " + json.dumps(text, ensure_ascii=False)


def response_events(s, **body):
    r = ask(s, "/v1/responses", **{"input": "Hi", "max_output_tokens": 300, "stream": True, **body})
    return [json.loads(x.split("data: ")[1]) for x in r.body.decode().split("\n\n") if "data: " in x]


@test
def minus_one_is_no_limit():
    with Server("-c", "64") as s:
        for path, field, body in (("/v1/chat/completions", "max_tokens", {"messages": USER}), ("/v1/chat/completions", "max_completion_tokens", {"messages": USER}),
                                  ("/v1/completions", "max_tokens", {"prompt": "Once"}), ("/v1/responses", "max_output_tokens", {"input": "Hi"})):
            usage = ask(s, path, **{field: -1, "ignore_end": True, **body}).json()["usage"]
            expect(usage["total_tokens"], 64, "tokens of " + field)  # up to the context's end
            for wrong in (0, -2):
                check(field in ask(s, path, 400, **{field: wrong, **body}).json()["error"]["message"], field)


@test
def tools_of_responses_that_are_no_functions():
    grammar = says(("apply_patch", {"input": "*** Begin \u00e9\U0001f6a2 \"x\"\n\\d\t"}), ("mcp__git__log", {"n": 3}), ("apply_patch", {"other": "Hm"}))
    wanted = [("custom_tool_call", "apply_patch", None, "*** Begin \u00e9\U0001f6a2 \"x\"\n\\d\t"), ("function_call", "log", "mcp__git", '{"n": 3}'), ("custom_tool_call", "apply_patch", None, "Hm")]
    short = lambda i: (i["type"], i["name"], i.get("namespace"), i.get("input", i.get("arguments")))
    with Server() as s:
        tools = [PATCH, GIT, *HOSTED]
        r = ask(s, "/v1/responses", input="Hi", tools=tools, grammar=grammar, max_output_tokens=300)
        expect([short(i) for i in r.json()["output"]], wanted)
        for t in HOSTED[:4]:
            check("tools." + t["type"] in r.headers["x-plimsoll-ignored"], r.headers["x-plimsoll-ignored"])
        found = response_events(s, tools=tools, grammar=grammar)
        expect([short(e["item"]) for e in found if e["type"] == "response.output_item.done"], wanted)
        expect("".join(e["delta"] for e in found if e["type"] == "response.custom_tool_call_input.delta"), wanted[0][3] + "Hm")
        expect([e["input"] for e in found if e["type"] == "response.custom_tool_call_input.done"], [wanted[0][3], "Hm"])
        expect([short(i) for i in found[-1]["response"]["output"]], wanted)
        check("of it is left out" not in s.log() and s.log().count("tools.web_search") == 1, "one line in the log")
        # the model is told of what it can call, and of nothing else
        n = lambda t: ask(s, "/v1/responses", input="Hi", tools=t, max_output_tokens=1).json()["usage"]["input_tokens"]
        expect(n(HOSTED), n([]))
        check(n([PATCH]) > n([]) + 30 and n([GIT]) > n([]) + 30, "told of")
        # which of them
        for choice in ({"type": "custom", "name": "apply_patch"}, {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "apply_patch"}]}):
            out = ask(s, "/v1/responses", input="Hi", tools=tools, tool_choice=choice, max_output_tokens=60).json()["output"]
            expect(out[-1]["name"], "apply_patch")
        out = ask(s, "/v1/responses", input="Hi", tools=tools, tool_choice={"type": "function", "name": "log", "namespace": "mcp__git"}, max_output_tokens=60).json()["output"]
        expect((out[-1]["name"], out[-1]["namespace"]), ("log", "mcp__git"))
        ask(s, "/v1/responses", 400, input="Hi", tools=tools, tool_choice={"type": "web_search"})
        ask(s, "/v1/responses", 400, input="Hi", tools=HOSTED, tool_choice="required")
        ask(s, "/v1/responses", 400, input="Hi", tools=[{"type": "functoin", "name": "f"}])
        # cut off within the input
        half = json.dumps("<tool_call>\n" + json.dumps({"name": "apply_patch", "arguments": {"input": "*** Begin"}})[:-4])
        r = ask(s, "/v1/responses", input="Hi", tools=tools, grammar="root ::= " + half, max_output_tokens=300).json()
        expect((r["status"], r["output"][-1]["status"], r["output"][-1]["input"]), ("incomplete", "incomplete", "*** Begi"))


@test
def a_reply_cut_between_two_calls_has_no_content():
    call = '{"name": "now", "arguments": {}}'
    families = {"[TOOL_CALLS]": "[TOOL_CALLS][%s, %s]" % (call, call), "<tool_call>": "<tool_call>\n%s\n</tool_call>\n<tool_call>\n%s\n</tool_call>" % (call, call)}
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
    for words, says in families.items():
        path = temp_path("family.jinja")
        with open(path, "w") as f:
            f.write("{%% if false %%}%s{%% endif %%}{%% for t in tools %%}{{ t | tojson }}{%% endfor %%}{%% for m in messages %%}{{ m.content }}{%% endfor %%}" % words)
        with Server("--chat-template", path) as s:
            seen, most = set(), 16
            while True:
                body = {"messages": [{"role": "user", "content": "Hi"}], "tools": tools, "grammar": "root ::= " + json.dumps(says), "max_tokens": most, "temperature": 0}
                choice = ask(s, "/v1/chat/completions", **body).json()["choices"][0]
                streamed = chunks(s, **body)
                calls = choice["message"].get("tool_calls") or []
                heard = "".join(c["choices"][0]["delta"].get("content") or "" for c in streamed if c.get("choices"))
                if calls:
                    expect((choice["message"]["content"] or "", heard), ("", ""), "%s after %d tokens" % (words, most))
                seen.add((len(calls), choice["finish_reason"]))
                if choice["finish_reason"] != "length":
                    break
                most += 1
            check({(1, "length"), (2, "tool_calls")} <= seen, "%s: %s" % (words, seen))


@test
def items_that_other_servers_leave_in_a_conversation():
    items = [{"role": "user", "content": "Hi"}, {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"}, {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"type": "search", "query": "x"}},
             {"type": "item_reference", "id": "msg_1"}, {"type": "local_shell_call", "id": "l", "call_id": "c0", "status": "completed", "action": {"type": "exec", "command": ["ls"], "env": {}}},
             {"type": "local_shell_call_output", "call_id": "c0", "output": "x"}, {"type": "tool_search_call", "call_id": "t", "arguments": {"query": "x"}}, {"type": "tool_search_output", "call_id": "t", "tools": []},
             {"type": "image_generation_call", "id": "i", "result": "AAAA"}, {"type": "compaction", "encrypted_content": "x"},
             {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "x \"y\""}, {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
             {"type": "function_call", "call_id": "c2", "name": "log", "namespace": "mcp__git", "arguments": "{\"n\": 1}"},
             {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}, {"role": "user", "content": "Go on"}]
    with Server() as s:
        r = ask(s, "/v1/responses", input=items, tools=[PATCH, GIT], max_output_tokens=4)
        for name in ("web_search_call", "item_reference", "local_shell_call"):
            check("input." + name in r.headers["x-plimsoll-ignored"], r.headers["x-plimsoll-ignored"])
        kept = [items[0]] + items[10:]
        expect(ask(s, "/v1/responses", input=kept, tools=[PATCH, GIT], max_output_tokens=4).json()["usage"]["input_tokens"], r.json()["usage"]["input_tokens"])
        r = ask(s, "/v1/responses", 400, input=[{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}])
        check("input_image" in r.json()["error"]["message"], r.body)
        # of types that nobody knows: what says nothing is left out, what says something is refused
        said = [{"role": "user", "content": "Hi"}]
        r = ask(s, "/v1/responses", input=said + [{"type": "ghost_snapshot", "ghost_commit": {"id": "a", "parent": None}}], max_output_tokens=1)
        expect(r.headers["x-plimsoll-ignored"], "input.ghost_snapshot")
        expect(r.json()["usage"]["input_tokens"], ask(s, "/v1/responses", input=said, max_output_tokens=1).json()["usage"]["input_tokens"])
        for item in ({"type": "mesage", "role": "user", "content": "x"}, {"type": "mesage", "content": "x"}, {"type": "functioncall", "name": "f", "call_id": "c", "arguments": "{}"},
                     {"type": "function_output", "call_id": "c", "output": "x"}, {"type": "input_text", "text": "x"}, {"type": "input_image", "image_url": "x"}, {"type": ""}):
            error = ask(s, "/v1/responses", 400, input=said + [item]).json()["error"]
            expect(error["param"], "input[1].type", json.dumps(item))
        check("is empty" in ask(s, "/v1/responses", 400, input=[{"type": "ghost_snapshot"}]).json()["error"]["message"], "nothing is left")


@test
def custom_tools_of_chats():
    tool = {"type": "custom", "custom": {"name": "apply_patch", "description": "d", "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "x+"}}}}
    grammar = says(("apply_patch", {"input": "a\n\u00e9" + "b" * 700}), ("look_up", {"word": "w"}))
    wanted = "a\n\u00e9" + "b" * 700
    talk = USER + [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "apply_patch", "input": "x"}}]},
                   {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "ok"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]}]
    with Server("-c", "4096") as s:
        body = {"messages": talk, "tools": [tool, TOOL, {"type": "web_search"}], "grammar": grammar, "max_tokens": 2000}
        calls = chat(s, **body)["choices"][0]["message"]["tool_calls"]
        expect(calls[0]["custom"], {"name": "apply_patch", "input": wanted})
        expect((calls[0]["type"], calls[1]["type"], calls[1]["function"]["arguments"]), ("custom", "function", '{"word": "w"}'))
        deltas = [d for c in chunks(s, **body) if c["choices"] for d in c["choices"][0]["delta"].get("tool_calls", [])]
        expect("".join(d["custom"]["input"] for d in deltas if d["index"] == 0), wanted)
        expect((deltas[0]["type"], deltas[0]["custom"]["name"]), ("custom", "apply_patch"))
        expect(ask(s, "/v1/chat/completions", **body).headers["x-plimsoll-ignored"], "tools.web_search")
        forced = chat(s, tools=[tool, TOOL], tool_choice={"type": "custom", "custom": {"name": "apply_patch"}}, max_tokens=200)
        expect(forced["choices"][0]["message"]["tool_calls"][0]["type"], "custom")
        only = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "look_up"}}]}}
        forced = chat(s, tools=[tool, TOOL], tool_choice=only, max_tokens=200)
        expect(forced["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "look_up")


@test
def anthropics_own_tools_and_blocks():
    cached = {"cache_control": {"type": "ephemeral"}}
    talk = [{"role": "user", "content": [{"type": "text", "text": "U", **cached}, {"type": "document", "title": "Notes", "source": {"type": "text", "media_type": "text/plain", "data": "the keel"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "T", "signature": "s"}, {"type": "redacted_thinking", "data": "x"}, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
                                              {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e"}]},
                                              {"type": "text", "text": "A", "citations": []}, {"type": "tool_use", "id": "1", "name": "bash", "input": {"command": "ls"}, **cached}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", **cached, "content": [
                {"type": "text", "text": "R", **cached}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}, {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}},
                {"type": "tool_reference", "tool_name": "other"}, {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}]}]}, {"type": "text", "text": "Go on"}]}]
    tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}, {"type": "code_execution_20250522", "name": "code_execution"}, {"type": "computer_20250124", "name": "computer", "display_width_px": 1, "display_height_px": 1},
             {"type": "mcp_toolset", "mcp_server_name": "x"}, {"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
             {"name": "other", "input_schema": TOOL["function"]["parameters"], "defer_loading": True, **cached}]
    body = {"model": "plimsoll-tiny", "max_tokens": 4, "messages": talk, "tools": tools, "system": [{"type": "text", "text": "x-anthropic-billing-header: a=1;"}, {"type": "text", "text": "S", **cached}],
            "metadata": {"user_id": "u"}}
    with Server() as s:
        r = ask(s, "/v1/messages", headers={"anthropic-beta": "mcp-client-2025-04-04,x"}, **body)
        for name in ("tools.web_search_20250305", "tools.code_execution_20250522", "tools.computer_20250124"):
            check(name in r.headers["x-plimsoll-ignored"], r.headers["x-plimsoll-ignored"])
        body.update(context_management={"edits": []}, mcp_servers=[{"type": "url", "url": "https://x.invalid", "name": "x"}], container="c", service_tier="auto")
        body["system"][0]["text"] = "x-anthropic-billing-header: a=2; more of it"
        again = ask(s, "/v1/messages", **body).json()["usage"]
        check(again["cache_read_input_tokens"] >= 0.95 * (again["cache_read_input_tokens"] + again["input_tokens"]), again)
        for name in ("bash", "str_replace_based_edit_tool"):
            use = ask(s, "/v1/messages", **{**body, "tool_choice": {"type": "tool", "name": name}, "max_tokens": 600}).json()["content"]
            check(all(b["name"] == name for b in use if b["type"] == "tool_use"), use)
        ask(s, "/v1/messages", 400, **{**body, "tool_choice": {"type": "tool", "name": "web_search"}})
        ask(s, "/v1/messages", 400, **{**body, "tools": [{"type": "costum", "name": "x", "input_schema": {"type": "object"}}]})
        r = ask(s, "/v1/messages", 400, **{**body, "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]}]})
        check("'image'" in r.json()["error"]["message"], r.body)


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
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=SOCKET_TIMEOUT_S)
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


def nested(depth, schema):
    x = {"type": "integer"} if schema else 1
    for _ in range(depth):
        x = {"type": "object", "properties": {"a": x}, "required": ["a"]} if schema else {"a": x}
    return x


@test
def values_in_values():
    """Schemas take two levels of JSON for each of theirs; what a model may have called is taken back."""
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": json.dumps(nested(200, False))}}
    with Server("-c", "16384") as s:
        f = {"name": "f", "parameters": nested(60, True)}
        for choice in ("auto", "required"):
            ask(s, "/v1/chat/completions", messages=USER, tools=[{"type": "function", "function": f}], tool_choice=choice, max_tokens=2)
        ask(s, "/v1/chat/completions", messages=USER, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": nested(60, True)}}, max_tokens=2)
        ask(s, "/v1/chat/completions", messages=USER + [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "t", "content": "ok"}],
            max_tokens=2)
        ask(s, "/v1/messages", model="plimsoll-tiny", max_tokens=2, messages=USER + [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": nested(200, False)}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "ok"}]}])
        ask(s, "/api/chat", model="plimsoll-tiny", stream=False, options={"num_predict": 2}, messages=USER + [
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": nested(200, False)}}]}, {"role": "tool", "content": "ok"}])
        r = ask(s, "/v1/messages", 400, model="plimsoll-tiny", max_tokens=2, messages=USER, metadata=nested(300, False))
        check("nested deeper than 256" in r.json()["error"]["message"], r.body)


main()
