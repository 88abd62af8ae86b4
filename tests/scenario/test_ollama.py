"""The Ollama dialect: every route, streamed and whole, and what is refused."""
import datetime
import math

from harness import *

PROMPT = "Once upon a time"
GREEDY = {"temperature": 0}
COUNTS = {"total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"}
OWN = {"cache_stats", "timings", "memory"}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}}}


class Ollama:
    def __init__(self, server, model="m"):
        self.server, self.model = server, model

    def post(self, path, **fields):
        return self.server.request("POST", "/api/" + path, json.dumps({"model": self.model, **fields}))

    def ask(self, path, **fields):
        """A whole answer."""
        r = self.post(path, **{"stream": False, **fields})
        expect(r.status, 200, "status of %s (%s)" % (path, r.body[:300]))
        expect(r.headers["content-type"].split(";")[0], "application/json")
        return r.json()

    def lines(self, path, **fields):
        """A streamed answer, which is what nobody has to ask for."""
        r = self.post(path, **fields)
        expect(r.status, 200, "status of %s (%s)" % (path, r.body[:300]))
        expect(r.headers["content-type"].split(";")[0], "application/x-ndjson")
        check(r.body.endswith(b"\n") and b"\n\n" not in r.body, "not a line for each record")
        lines = [json.loads(line) for line in r.body.decode("utf-8").splitlines()]
        check(all(line["done"] is False for line in lines[:-1]) and lines[-1]["done"] is True, "done is not where the end is")
        return lines

    def refused(self, path, status, part, **fields):
        r = self.post(path, **fields)
        expect(r.status, status, "status of %s %r (%s)" % (path, fields, r.body[:200]))
        error = r.json()["error"]
        check(isinstance(error, str), "the error is no string: %r" % error)
        check(part in error, "%r does not say %r (%r)" % (error, part, fields))


class server:
    def __init__(self, *flags):
        self.flags = flags

    def __enter__(self):
        self.s = Server("--alias", "m", *self.flags).__enter__()
        return Ollama(self.s)

    def __exit__(self, *e):
        return self.s.__exit__(*e)


def chat(text):
    return [{"role": "user", "content": text}]


@test
def pages():
    with server() as o:
        s = o.server
        for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Accept": "*/*"})):
            r = s.request(method, "/", headers=headers or {"Accept": "application/json"})
            expect(r.status, 200)
            if method == "GET":
                expect(r.body.decode().strip(), "Ollama is running")
        check(b"/v1/embeddings" in s.get("/help").body, "the page of routes")
        check(b"Ollama is running" not in s.request("GET", "/", headers={"Accept": "text/html,*/*;q=0.8"}).body, "a browser sees it, too")
        version = s.get("/api/version").json()["version"]
        check(re.fullmatch(r"\d+\.\d+\.\d+", version), version)
        for path in ("/api/tags", "/api/ps"):
            models = s.get(path).json()["models"]
            expect(len(models), 1)
            m = models[0]
            expect((m["name"], m["model"]), ("m", "m"))
            check(m["size"] > 1 << 20 and re.fullmatch("[0-9a-f]{32}", m["digest"]), m)
            expect(set(m["details"]), {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"})
            expect(m["details"]["format"], "gguf")
            moment = m["expires_at"] if path == "/api/ps" else m["modified_at"]
            datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
        check({"size_vram", "context_length"} <= set(models[0]), "ps: %r" % models[0])
        for named in ({"model": "m"}, {"name": "m"}, {"model": "m:latest"}):
            shown = s.request("POST", "/api/show", json.dumps(named)).json()
            check({"details", "model_info", "capabilities", "template", "parameters", "modified_at"} <= set(shown), shown)
            family = shown["model_info"]["general.architecture"]
            check(shown["model_info"][family + ".embedding_length"] > 0, shown["model_info"])
            check("completion" in shown["capabilities"], shown["capabilities"])
        Ollama(s, "nope").refused("show", 404, "nope")
        expect(s.request("POST", "/api/show", "{}").status, 400)


@test
def whole_and_streamed_say_the_same():
    with server() as o:
        for options in (GREEDY, {"seed": 3}, {"seed": 9, "temperature": 1.5, "top_k": 0, "top_p": 1, "min_p": 0}):
            options = {**options, "num_predict": 40}
            for path, fields in (("generate", {"prompt": PROMPT}), ("generate", {"prompt": PROMPT, "raw": True}),
                                 ("generate", {"prompt": PROMPT, "system": "You tell stories."}), ("chat", {"messages": chat(PROMPT)})):
                said = (lambda a: a["response"]) if path == "generate" else (lambda a: a["message"]["content"])
                whole = o.ask(path, options=options, **fields)
                lines = o.lines(path, options=options, **fields)
                expect("".join(said(line) for line in lines), said(whole), "streamed text of %s %r" % (path, options))
                end = lines[-1]
                for name in ("model", "done_reason", "prompt_eval_count", "eval_count", "context"):
                    expect(end.get(name), whole.get(name), name)
                wanted = {"model", "created_at", "done", "done_reason"} | COUNTS | OWN
                wanted |= {"response", "context"} if path == "generate" else {"message"}
                expect(set(whole), wanted, "fields of %s" % path)
                expect(set(end), wanted, "fields of the last line of %s" % path)
                expect(set(lines[0]), {"model", "created_at", "done", "response" if path == "generate" else "message"})
                check(all(isinstance(end[name], int) and end[name] >= 0 for name in COUNTS), end)
                check(end["total_duration"] > 0 and end["eval_count"] > 0, end)
                if path == "chat":
                    check(all(line["message"]["role"] == "assistant" for line in lines), "a role")
                datetime.datetime.fromisoformat(whole["created_at"].replace("Z", "+00:00"))


@test
def options_mean_what_they_say():
    with server() as o:
        ask = lambda path="generate", **options: o.ask(path, prompt=PROMPT, raw=True, options=options)
        a = ask(num_predict=7, ignore_end=True)
        expect((a["eval_count"], a["done_reason"]), (7, "length"))
        long = ask(temperature=0, num_predict=60)["response"]
        word = long.split()[6]
        stopped = ask(temperature=0, num_predict=60, stop=[word])
        expect(stopped["done_reason"], "stop")
        expect(stopped["response"], long[:long.index(word)], "up to the stop")
        expect(ask(temperature=0, num_predict=60, stop=word)["response"], stopped["response"], "a stop that is no array")
        check(len({ask(temperature=1, num_predict=30, seed=n)["response"] for n in range(6)}) > 1, "six seeds, one text")
        expect(ask(temperature=1, num_predict=30, seed=5)["response"], ask(temperature=1, num_predict=30, seed=5)["response"])
        check(len({ask(temperature=1, num_predict=30, seed=-1)["response"] for n in range(6)}) > 1, "seed −1 is always the same")
        expect(ask(num_ctx=20, ignore_end=True)["eval_count"], 20 - a["prompt_eval_count"], "tokens that num_ctx leaves")
        o.refused("generate", 400, "options.num_ctx", prompt="word " * 60, raw=True, options={"num_ctx": 20})
        expect(ask(num_predict=3, num_gpu=99, use_mmap=True, numa=False, low_vram=True, num_batch=8, num_keep=4)["eval_count"], 3)
        # What other clients put beside the options.
        expect(o.ask("chat", messages=chat(PROMPT), max_output_tokens=5, temperature=0, options={"ignore_end": True})["eval_count"], 5)


@test
def a_context_brings_back_what_was_said():
    with server() as o:
        first = o.ask("generate", prompt=PROMPT, raw=True, options={**GREEDY, "num_predict": 12, "ignore_end": True})
        expect(len(first["context"]), first["prompt_eval_count"] + first["eval_count"])
        more = " and then"
        second = o.ask("generate", prompt=more, raw=True, context=first["context"], options={**GREEDY, "num_predict": 12})
        expect(second["context"][:len(first["context"])], first["context"])
        check(second["cache_stats"]["hit_tokens"] > 0, "nothing of it was remembered")
        o.refused("generate", 400, "context", prompt="x", context=["a"])
        o.refused("generate", 400, "context", prompt="x", context=[1 << 40])
        o.refused("generate", 400, "context", prompt="x", context=5)


@test
def formats():
    with server() as o:
        schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"],
                  "additionalProperties": False}
        for seed in range(4):
            options = {"num_predict": 200, "seed": seed, "temperature": 1}
            value = json.loads(o.ask("chat", messages=chat("Answer."), format=schema, options=options)["message"]["content"])
            check(isinstance(value["a"], int) and value["b"] in ("x", "y") and len(value) == 2, value)
            value = json.loads("".join(line["response"] for line in o.lines("generate", prompt="Answer.", format=schema, options=options)))
            check(isinstance(value["a"], int), value)
        a = o.ask("chat", messages=chat("Answer."), format="json", options={"num_predict": 400, "temperature": 0})
        if a["done_reason"] == "stop":
            check(isinstance(json.loads(a["message"]["content"]), dict), a)
        check(a["message"]["content"].lstrip().startswith("{"), a)
        expect(o.ask("chat", messages=chat(PROMPT), format="", options={"num_predict": 3})["done"], True)
        for wrong in ("xml", 5, True, []):
            o.refused("chat", 400, "format", messages=chat("x"), format=wrong)
        o.refused("chat", 400, "format", messages=chat("x"), format={"type": "object", "unevaluatedItems": {"not": {}}})


@test
def tools_are_called():
    with server() as o:
        for seed in range(3):
            options = {"num_predict": 300, "seed": seed, "temperature": 1}
            fields = {"messages": chat("Call f."), "tools": [TOOL], "tool_choice": "required", "options": options}
            whole = o.ask("chat", **fields)["message"]["tool_calls"]
            streamed = [call for line in o.lines("chat", **fields) for call in line["message"].get("tool_calls", [])]
            check(whole, "no call")
            same = lambda calls: [(c["function"]["name"], c["function"]["arguments"]) for c in calls]
            expect(same(streamed), same(whole), "streamed calls")
            for call in whole:
                expect(call["function"]["name"], "f")
                check(isinstance(call["function"]["arguments"]["a"], int), call)
        # The conversation goes on: results by order, by name, by id.
        call = {"function": {"name": "f", "arguments": {"a": 1}}}
        for result in ({}, {"tool_name": "f"}, {"tool_call_id": "abc"}):
            a = o.ask("chat", messages=chat("Call f.") + [{"role": "assistant", "content": "", "tool_calls": [{**call, "id": "abc"}]},
                                                          {"role": "tool", "content": "17", **result}], tools=[TOOL], options={"num_predict": 4})
            expect(a["done"], True)
        message = lambda **m: {"messages": [{"role": "assistant", "content": "", **m}]}
        for wrong in (5, [5], [{}], [{"function": {}}], [{"function": {"name": "f", "arguments": "text"}}], [{"function": {"name": 5}}]):
            o.refused("chat", 400, "messages[0].tool_calls", **message(tool_calls=wrong))
        for wrong in (5, [5], [{"type": "function"}], [{"type": "function", "function": {}}]):
            o.refused("chat", 400, "tools", messages=chat("x"), tools=wrong)


@test
def logprobs():
    with server() as o:
        fields = {"prompt": PROMPT, "raw": True, "logprobs": True, "top_logprobs": 2, "options": {**GREEDY, "num_predict": 8}}
        whole = o.ask("generate", **fields)
        streamed = [p for line in o.lines("generate", **fields) for p in line.get("logprobs", [])]
        expect(len(whole["logprobs"]), whole["eval_count"])
        expect(streamed, whole["logprobs"])
        for p in whole["logprobs"]:
            expect(set(p), {"token", "logprob", "bytes", "top_logprobs"})
            check(p["logprob"] <= 0 and len(p["top_logprobs"]) == 2, p)
            check(bytes(p["bytes"]).decode("utf-8", "replace") == p["token"] or "\ufffd" in p["token"], p)
        messages = o.ask("chat", messages=chat(PROMPT), logprobs=True, options={"num_predict": 4})
        expect(len(messages["logprobs"]), messages["eval_count"])
        o.refused("chat", 400, "top_logprobs", messages=chat("x"), top_logprobs=2)


@test
def how_long_it_is_remembered():
    with server() as o:
        entries = lambda: o.server.get("/cache").json()["entries"]
        text = "A long enough beginning of a story, so that a page of it is worth remembering. " * 2

        def ttl_after(**fields):
            o.server.request("DELETE", "/cache")
            o.ask("generate", prompt=text, raw=True, options={"num_predict": 4}, **fields)
            left = entries()
            return left[0]["ttl_s"] if left else None
        kept = {"5m": 300, "1h30m": 5400, 60: 60, "90s": 90, "1.5m": 90, 0.5: 0.5, "500ms": 0.5}
        for value, seconds in kept.items():
            got = next((left for left in (ttl_after(keep_alive=value) for _ in range(20)) if left is not None), None)  # half a second may be over before we look
            check(got is not None and abs(got - seconds) <= 1, "keep_alive %r leaves %r s" % (value, got))
        for value in (-1, "-1m", "-1s"):
            check(ttl_after(keep_alive=value) in (None, 0) and entries(), "keep_alive %r: %r" % (value, entries()))
        for value in (0, "0", "0s"):
            expect(ttl_after(keep_alive=value), None, "keep_alive %r" % value)
            expect(entries(), [])
        for wrong in ("", "5", "m", "5x", "1h 30m", "..5s", True, [], {}, "1" * 80 + "s"):
            o.refused("generate", 400, "keep_alive", prompt="x", keep_alive=wrong)


@test
def nothing_asked_loads():
    with server() as o:
        expect(o.ask("generate", prompt="")["done_reason"], "load")
        expect(o.ask("generate")["done_reason"], "load")
        expect(o.ask("chat", messages=[])["message"], {"role": "assistant", "content": ""})
        expect(o.lines("generate")[0]["done_reason"], "load")
        o.refused("generate", 400, "keep_alive", keep_alive=0)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))


@test
def vectors():
    with server() as o:
        texts = ["The boat came home.", "A boat came back home.", "Nine hundred and two", "x"] * 20
        made = o.ask("embed", input=texts)
        expect(len(made["embeddings"]), len(texts))
        check(made["prompt_eval_count"] > len(texts) and made["total_duration"] > 0, made.keys())
        for v in made["embeddings"]:
            check(abs(math.sqrt(sum(x * x for x in v)) - 1) < 1e-5, "a length")
        expect(made["embeddings"][:4], made["embeddings"][4:8], "the same texts")
        one = o.ask("embed", input=texts[0])["embeddings"]
        expect(one, made["embeddings"][:1], "a text alone")
        check(cosine(made["embeddings"][0], made["embeddings"][1]) > cosine(made["embeddings"][0], made["embeddings"][2]), "likeness")
        older = o.ask("embeddings", prompt=texts[0])["embedding"]
        check(abs(cosine(older, one[0]) - 1) < 1e-6, "the older route's vector")
        check(abs(math.sqrt(sum(x * x for x in older)) - 1) > 1e-3, "the older route's vector has length 1")
        short = o.ask("embed", input=texts[0], dimensions=16)["embeddings"][0]
        check(len(short) == 16 and abs(math.sqrt(sum(x * x for x in short)) - 1) < 1e-5, short)
        check(abs(cosine(short, one[0][:16]) - 1) < 1e-6, "its direction")
        expect(o.ask("embed", input=[])["embeddings"], [])
        until_quiet(o.server)
        expect(o.server.kv_in_use(), 0)
        for field, wrong in (("input", 5), ("input", None), ("input", ""), ("input", ["a", ""]), ("input", [True]), ("input", {}),
                             ("input", [[]]), ("input", [1 << 40]), ("dimensions", 0), ("dimensions", 1 << 20), ("truncate", 1), ("keep_alive", "x"), ("options", 5)):
            o.refused("embed", 400, field, **{"input": "x", field: wrong})
        for wrong in (5, None, "", ["a"]):
            o.refused("embeddings", 400, "prompt", prompt=wrong)
        Ollama(o.server, "nope").refused("embed", 404, "nope", input="x")


@test
def vectors_of_long_texts():
    with server("-c", "256") as o:
        text = "word " * 2000
        o.refused("embed", 400, "256", input=text, truncate=False)
        expect(len(o.ask("embed", input=text)["embeddings"]), 1)  # as Ollama has it, unless it is asked not to be cut
        expect(o.ask("embed", input=text, truncate=True)["prompt_eval_count"], 256)
        # of a conversation's options its context counts here, too; what nobody knows is named
        expect(o.ask("embed", input=text, truncate=True, options={"num_ctx": 20, "num_thread": 2, "temperature": 0})["prompt_eval_count"], 20)
        expect(o.ask("embed", input=text, truncate=True, options={"num_ctx": 100000})["prompt_eval_count"], 256)
        o.refused("embed", 400, "20", input=text, truncate=False, options={"num_ctx": 20})
        for options, words in (({"num_ctx": 0}, "options.num_ctx"), ({"num_ctx": "8"}, "options.num_ctx"), ({"temperature": "hot"}, "options.temperature"), ({"numa": 3}, "options.numa")):
            o.refused("embed", 400, words, input="x", options=options)
            o.refused("embeddings", 400, words, prompt="x", options=options)
        expect(o.post("embed", input="x", options={"num_contxt": 9}).headers.get("X-Plimsoll-Ignored"), "options.num_contxt", "what nobody knows")


@test
def clients_that_leave_take_nothing_along():
    with server("-np", "2") as o:
        body = json.dumps({"model": "m", "input": ["A text of some length, number %d. " % i * 20 for i in range(300)]}).encode()
        for pause in (0, 0.01, 0.05, 0.1):
            with o.server.connect() as c:
                c.sendall(b"POST /api/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                time.sleep(pause)
        until_quiet(o.server)
        expect(o.ask("embed", input="x")["prompt_eval_count"] > 0, True)
        body = json.dumps({"model": "m", "prompt": PROMPT, "options": {"num_predict": 100000, "ignore_end": True}}).encode()
        with o.server.connect() as c:
            c.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            check(c.recv(1000), "nothing came")
        until_quiet(o.server)


@test
def what_cannot_be_done_is_said():
    with server() as o:
        for path, method in (("create", "POST"), ("copy", "POST"), ("push", "POST"), ("delete", "DELETE")):
            r = o.server.request(method, "/api/" + path, json.dumps({"model": "m", "source": "m", "destination": "n"}),
                                 {"Content-Type": "application/json"})
            expect(r.status, 400, path)
            check("one model" in r.json()["error"], r.body)
        Ollama(o.server, "llama3").refused("pull", 400, "llama3")
        expect(o.ask("pull"), {"status": "success"})
        r = o.post("pull")
        expect(json.loads(r.body), {"status": "success"})
        expect(r.headers["content-type"].split(";")[0], "application/x-ndjson")
        r = o.server.get("/api/generate")
        expect((r.status, r.headers["allow"]), (405, "POST, OPTIONS"))
        check(isinstance(r.json()["error"], str), r.body)
        r = o.server.get("/api/nothing")
        expect(r.status, 404)
        check(isinstance(r.json()["error"], str), r.body)


@test(timeout=120)
def bad_input_is_refused_by_name():
    wrongs = {"string": (5, True, [], {}), "bool": (5, "x", [], {}), "int": ("x", True, [], {}, 1.5, 10**30, -10**30),
              "number": ("x", True, [], {}), "object": (5, "x", True, []), "array": (5, "x", True, {})}
    both = {"model": "string", "stream": "bool", "options": "object", "logprobs": "bool", "top_logprobs": "int", "priority": "int", "window": "int",
            "cache": "bool", "pin": "bool", "cache_ttl": "int"}
    of_path = {"generate": {"prompt": "string", "system": "string", "suffix": "string", "template": "string", "raw": "bool", "images": "array",
                            "context": "array"}, "chat": {"messages": "array", "tools": "array"}}
    options = {"num_predict": "int", "num_ctx": "int", "temperature": "number", "top_k": "int", "top_p": "number", "min_p": "number",
               "repeat_penalty": "number", "repeat_last_n": "int", "presence_penalty": "number", "frequency_penalty": "number", "seed": "int",
               "num_keep": "int", "num_gpu": "int", "numa": "bool", "use_mmap": "bool", "tfs_z": "number"}
    with server() as o:
        for path, own in of_path.items():
            base = {"prompt": "x"} if path == "generate" else {"messages": chat("x")}
            for name, kind in {**both, **own}.items():
                for wrong in wrongs[kind]:
                    o.refused(path, 400, name, **{**base, name: wrong})
            for name, kind in options.items():
                for wrong in wrongs[kind]:
                    o.refused(path, 400, "options." + name, **base, options={name: wrong})
            for name, wrong in (("temperature", -1), ("top_p", 2), ("top_k", -2), ("num_ctx", 0), ("num_predict", -3), ("repeat_penalty", 0), ("stop", 5),
                                ("stop", [5]), ("stop", [""]), ("stop", "x" * 300), ("stop", ["x"] * 17), ("mirostat", 3)):
                o.refused(path, 400, "options." + name, **base, options={name: wrong})
            for wrong in (5, "x", [], {}, "lowest"):
                o.refused(path, 400, "think", **base, think=wrong)
            everything = {name: None for name in {**both, **own} if name not in ("model", "prompt", "messages")}
            r = o.ask(path, **{**base, **everything, "stream": False, "options": {name: None for name in options} | {"num_predict": 2}})
            expect(r["done"], True)
            o.refused(path, 400, "model", **{**base, "model": None})
            Ollama(o.server, "nope").refused(path, 404, "model 'nope' not found", **base)
        for body in ("", "{", "[]", "5", '{"model":"m"', "null"):
            r = o.server.request("POST", "/api/chat", body)
            expect(r.status, 400, body)
            check(isinstance(r.json()["error"], str), r.body)
        for message in (5, "x", [], {}, {"role": "user"}, {"content": "x"}, {"role": "robot", "content": "x"}, {"role": "user", "content": 5},
                        {"role": "user", "content": None}, {"role": "user", "content": ["x"]}, {"role": "user", "content": "x", "images": 5},
                        {"role": "user", "content": "x", "images": ["QUJD"]}):
            o.refused("chat", 400, "messages[0]", messages=[message])
        for name in ("suffix", "template", "images"):
            o.refused("generate", 400, name, prompt="x", **{name: ["QUJD"] if name == "images" else "x"})
        until_quiet(o.server)


@test
def a_conversation_is_the_same_in_every_dialect():
    """Six turns, every other one a call, its result, and what is said to it."""
    parameters = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"], "additionalProperties": False}
    tool = {"name": "weather", "description": "Weather of a city"}
    with server() as o:
        openai, ollama, anthropic = [], [], []
        for turn in range(6):
            said = {"role": "user", "content": "Turn %d: how is the weather, captain?" % turn}
            for talk in (openai, ollama, anthropic):
                talk.append(said)
            call = turn % 2 == 1
            tools = [{"type": "function", "function": {**tool, "parameters": parameters}}]
            post = lambda path, body: o.server.request("POST", path, json.dumps({"model": "m", "max_tokens": 60, "temperature": 0, **body})).json()
            a = post("/v1/chat/completions", {"messages": openai, "tools": tools, "tool_choice": "required" if call else "auto"})
            b_fields = {"messages": ollama, "tools": tools, "tool_choice": "required" if call else "auto", "options": {"temperature": 0, "num_predict": 60}}
            b, lines = o.ask("chat", **b_fields), o.lines("chat", **b_fields)
            c = post("/v1/messages", {"messages": anthropic, "tools": [{**tool, "input_schema": parameters}], "tool_choice": {"type": "any" if call else "auto"}})
            m, n = a["choices"][0]["message"], b["message"]
            text = m["content"] or ""
            expect(n["content"], text, "Ollama's text")
            expect("".join(line["message"]["content"] for line in lines), text, "Ollama's text, streamed")
            expect("".join(x["text"] for x in c["content"] if x["type"] == "text"), text, "Anthropic's text")
            calls = [json.loads(x["function"]["arguments"]) for x in m.get("tool_calls") or []]
            expect(len(calls) > 0, call, "a call")
            expect([x["function"]["arguments"] for x in n.get("tool_calls", [])], calls, "Ollama's calls")
            expect([x["function"]["arguments"] for line in lines for x in line["message"].get("tool_calls", [])], calls, "Ollama's calls, streamed")
            expect([x["input"] for x in c["content"] if x["type"] == "tool_use"], calls, "Anthropic's calls")
            expect(b["prompt_eval_count"], a["usage"]["prompt_tokens"], "tokens of the prompt")
            openai.append(m)
            ollama.append(n)
            anthropic.append({"role": "assistant", "content": c["content"]})
            openai += [{"role": "tool", "tool_call_id": x["id"], "content": "Sunny"} for x in m.get("tool_calls") or []]
            ollama += [{"role": "tool", "tool_name": "weather", "content": "Sunny"} for _ in calls]
            if calls:
                anthropic.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": x["id"], "content": "Sunny"}
                                                              for x in c["content"] if x["type"] == "tool_use"]})


@test
def keys_are_asked_for_in_its_words():
    with server("--api-key", "secret") as o:
        o.refused("chat", 401, "key", messages=chat("x"))
        expect(o.server.request("GET", "/api/tags", headers={"Authorization": "Bearer secret"}).status, 200)
        expect(o.server.get("/").status, 200)


@test
def a_full_queue_says_when_to_come_back():
    with server("-np", "1", "--max-queue", "1") as o:
        blockers = [o.server.open_request("Once", max_tokens=1500, ignore_end=True) for _ in range(2)]
        wait_until(lambda: o.server.health()["queued_jobs"] == 1, "the queue to be full")
        for path, fields in (("chat", {"messages": chat("x")}), ("generate", {"prompt": "x"}), ("embed", {"input": "x"})):
            r = o.post(path, **fields)
            expect(r.status, 429, path)
            check(isinstance(r.json()["error"], str) and int(r.headers["retry-after"]) >= 1, r.body)
        for c in blockers:
            c.close()
        until_quiet(o.server)


@test
def our_own_fields():
    with server() as o:
        a = o.ask("generate", prompt=PROMPT, raw=True, kv_type="q8", window=64, keep=4, priority=5, cache=False, options={"num_predict": 4})
        expect(a["cache_stats"]["kv_type"], "q8")
        expect(a["cache_stats"]["reprocess_reason"], "disabled")
        o.refused("generate", 400, "kv_type", prompt="x", kv_type="q3")


main()
