"""Fields of other servers, in every dialect: they work, or are refused by name; nobody's are let pass and named."""
from harness import *

USER = [{"role": "user", "content": "Once upon a time"}]
ROUTES = {  # path: a request that is answered, and where a number of tokens goes
    "/v1/chat/completions": {"messages": USER, "max_tokens": 4, "temperature": 0},
    "/v1/completions": {"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0},
    "/v1/responses": {"input": "Once upon a time", "max_output_tokens": 4, "temperature": 0},
    "/v1/messages": {"model": "plimsoll-tiny", "messages": USER, "max_tokens": 4, "temperature": 0},
    "/api/chat": {"model": "plimsoll-tiny", "messages": USER, "stream": False, "options": {"num_predict": 4, "temperature": 0}},
    "/api/generate": {"model": "plimsoll-tiny", "prompt": "Once upon a time", "stream": False, "options": {"num_predict": 4, "temperature": 0}},
    "/generate": {"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0},
}
CHATS = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat")


def ask(s, path, status=200, **more):
    r = s.request("POST", path, json.dumps({**ROUTES[path], **more}), {"Content-Type": "application/json"})
    expect(r.status, status, "status of %s with %s (%s)" % (path, json.dumps(more)[:100], r.body[:300].decode(errors="replace")))
    return r


def said(r):
    """The text of an answer, whatever its dialect."""
    x = r.json()
    if "choices" in x:
        return x["choices"][0].get("text") or x["choices"][0].get("message", {}).get("content")
    if "content" in x:
        return "".join(b.get("text", "") for b in x["content"])
    if "output" in x:
        return "".join(p.get("text", "") for i in x["output"] for p in i.get("content", []))
    return x.get("text") or x.get("response") or x.get("message", {}).get("content")


def refusal(r):
    error = r.json()["error"]
    return error["message"] if isinstance(error, dict) else error


@test
def what_cannot_be_had_is_refused_by_name_in_every_dialect():
    wrong = {"use_beam_search": True, "best_of": 2, "length_penalty": 0.8, "prompt_logprobs": 0, "logits_processors": ["x"], "lora": [{"id": 0}],
             "modalities": ["text", "audio"], "audio": {"voice": "v"}, "background": True, "structural_tag": {"a": 1}, "chat_template": "{{ x }}",
             "post_sampling_probs": True, "functions": [{"name": "f"}], "return_token_ids": True}
    with Server() as s:
        for path in ROUTES:
            for name, value in wrong.items():
                text = refusal(ask(s, path, 400, **{name: value}))
                check("'%s'" % name in text, "%s does not name %s: %s" % (path, name, text))
        check("'prompt'" in refusal(ask(s, "/v1/responses", 400, prompt={"id": "pmpt_1"})), "a prompt that is kept elsewhere")
        ask(s, "/v1/responses", prompt=None)


@test
def what_asks_for_nothing_passes():
    nothing = {"use_beam_search": False, "best_of": 1, "length_penalty": 1.0, "prompt_logprobs": None, "logits_processors": [], "lora": [],
               "modalities": ["text"], "audio": None, "background": False, "guided_json": None, "min_tokens": 0, "mirostat": 0, "bad_words": [],
               "xtc_probability": 0.0, "dry_multiplier": 0, "top_n_sigma": -1, "dynatemp_range": 0, "stop_token_ids": [], "structured_outputs": None}
    with Server() as s:
        for path in ROUTES:
            plain = said(ask(s, path))
            r = ask(s, path, **nothing)
            expect(said(r), plain, path)
            expect(r.headers.get("x-plimsoll-ignored"), None, path)


@test
def fields_of_no_consequence_have_their_type():
    right = {"store": True, "metadata": {"a": "b"}, "user": "u", "service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k",
             "spaces_between_special_tokens": True, "request_id": "r", "id_slot": -1}
    with Server() as s:
        for path in ROUTES:
            r = ask(s, path, **right)
            expect(r.headers.get("x-plimsoll-ignored"), None, path)
            for name in right:
                wrong = 5 if not isinstance(right[name], int) or isinstance(right[name], bool) else "five"
                check("'%s'" % name in refusal(ask(s, path, 400, **{name: wrong})), "%s of a wrong type at %s" % (name, path))


@test
def what_is_known_and_not_done_is_named():
    with Server() as s:
        for path in ROUTES:
            for more in ({"web_search_options": {}}, {"web_search_options": {"search_context_size": "low"}}, {"verbosity": "low"}):
                expect(ask(s, path, **more).headers.get("x-plimsoll-ignored"), list(more)[0], path)
            expect(ask(s, path, web_search_options=None, verbosity=None).headers.get("x-plimsoll-ignored"), None, path)
            check("'verbosity'" in refusal(ask(s, path, 400, verbosity="x")), "a word that is none at " + path)
            check("'web_search_options'" in refusal(ask(s, path, 400, web_search_options=5)), "of a wrong type at " + path)
        expect(ask(s, "/v1/responses", text={"verbosity": "high"}).headers.get("x-plimsoll-ignored"), "text.verbosity")
        log = s.log()
        expect([log.count(t) for t in ("'verbosity', which has no effect", "'web_search_options', which nobody here can run", "'text.verbosity', which has no effect")], [1, 1, 1])


@test
def what_nobody_knows_is_named_in_the_header_and_once_in_the_log():
    with Server() as s:
        for path in ROUTES:
            if path == "/generate":  # all its fields are ours
                check("'zq_unknown'" in refusal(ask(s, path, 400, zq_unknown=1)), "native")
                continue
            for _ in range(3):
                expect(ask(s, path, zq_unknown={"a": [1]}, **{"zq\r\nX-Evil: 1": 2}).headers["x-plimsoll-ignored"], "zq_unknown, zq??X-Evil:?1", path)
        r = ask(s, "/api/chat", options={"num_predict": 2, "zq_option": 1})
        expect(r.headers["x-plimsoll-ignored"], "options.zq_option")
        streamed = ask(s, "/v1/chat/completions", stream=True, zq_unknown=1)
        expect(streamed.headers["x-plimsoll-ignored"], "zq_unknown")
        many = ask(s, "/v1/chat/completions", **{"zq_%040d" % i: i for i in range(300)})
        check(many.headers["x-plimsoll-ignored"].endswith(", ..."), "a header of bounded length")
        log = s.log()
        expect(log.count("'zq_unknown'"), 1, "lines about one field")
        check(log.count("let pass") <= 128, "lines about unknown fields: %d" % log.count("let pass"))


@test
def other_names_of_what_there_is():
    with Server() as s:
        for path in ROUTES:
            five = {k: v for k, v in ROUTES[path].items() if k not in ("max_tokens", "max_output_tokens")}
            if path == "/v1/messages" or "options" in five:
                continue
            for name in ("n_predict", "max_new_tokens"):
                r = s.request("POST", path, json.dumps({**five, name: 5}), {"Content-Type": "application/json"}).json()
                u = r["usage"]
                expect(u.get("completion_tokens", u.get("output_tokens")), 5, path + " " + name)
        expect(said(ask(s, "/generate", repetition_penalty=1.5, max_tokens=60)),
               said(ask(s, "/generate", repeat_penalty=1.5, repeat_last_n=4096, max_tokens=60)))
        expect(len(ask(s, "/v1/chat/completions", n_probs=3).json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]), 3)
        expect(len(ask(s, "/v1/completions", n_probs=3).json()["choices"][0]["logprobs"]["top_logprobs"][0]), 3)
        check("'n_probs'" in refusal(ask(s, "/v1/messages", 400, n_probs=3)), "no log probabilities there")
        ask(s, "/generate", prompt="A text that nobody has said before, to be remembered.")
        expect(ask(s, "/generate", prompt="A text that nobody has said before, to be remembered.", cache_prompt=False).json()["usage"]["cached_tokens"], 0)
        text = "One two three. Once upon a time"
        n = ask(s, "/generate", prompt="Once upon a time").json()["usage"]["prompt_tokens"] - 1
        cut = ask(s, "/v1/completions", prompt=text, truncate_prompt_tokens=n).json()
        expect(cut["usage"]["prompt_tokens"], n)


@test
def a_salt_keeps_what_is_remembered_apart():
    text = " ".join("The %d. boat sails." % i for i in range(30))
    with Server() as s:
        cached = lambda **more: ask(s, "/generate", prompt=text, **more).json()["usage"]["cached_tokens"]
        expect(cached(), 0)
        check(cached() > 0, "remembered")
        expect(cached(cache_salt="a"), 0)
        check(cached(cache_salt="a") > 0, "remembered, with its salt")
        expect(cached(cache_salt="b"), 0)


@test
def a_last_message_of_the_assistants_is_continued_where_somebody_says_so():
    begun = USER + [{"role": "assistant", "content": "there was"}]
    path = "/v1/chat/completions"
    with Server() as s:
        wanted = said(ask(s, "/v1/messages", messages=begun, max_tokens=12))  # Anthropic's dialect always does
        for more in ({"continue_final_message": True}, {"continue_final_message": True, "add_generation_prompt": False}, {"prefill": True}):
            expect(said(ask(s, path, messages=begun, max_tokens=12, **more)), wanted, str(more))
        for word in ("prefix", "prefill", "partial"):
            expect(said(ask(s, path, messages=USER + [{**begun[1], word: True}], max_tokens=12)), wanted, word)
        expect(said(ask(s, path, prefill="there was", max_tokens=12)), wanted)
        for wrong, name in (({"continue_final_message": True}, "continue_final_message"), ({"prefill": 5}, "prefill"), ({"prefill": True}, "prefill"),
                            ({"messages": begun, "continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt"),
                            ({"messages": begun[1:], "continue_final_message": True}, "continue_final_message"),
                            ({"messages": [{**begun[1], "prefix": True}] + USER}, "messages[1]")):
            check("'%s'" % name in refusal(ask(s, path, 400, **wrong)), "%s does not name %s" % (wrong, name))
        with_prompt = ask(s, path).json()["usage"]["prompt_tokens"]
        check(ask(s, path, add_generation_prompt=False).json()["usage"]["prompt_tokens"] < with_prompt, "a prompt without the assistant's beginning")
        for path in ("/v1/completions", "/generate"):
            check("'continue_final_message'" in refusal(ask(s, path, 400, continue_final_message=True)), path)


@test
def a_fingerprint_is_of_what_decides_the_answer():
    def prints(*flags):
        with Server(*flags) as s:
            whole = ask(s, "/v1/chat/completions").json()["system_fingerprint"]
            expect(ask(s, "/v1/completions").json()["system_fingerprint"], whole)
            stream = ask(s, "/v1/chat/completions", stream=True).body.decode()
            expect(stream.count('"system_fingerprint":"%s"' % whole), stream.count("data: {"), "chunks with the fingerprint")
            return whole
    first = prints()
    check(re.fullmatch("fp_[0-9a-f]{10}", first), first)
    expect(prints("--threads", "1"), first, "threads change no bits")
    check(prints("--kv", "q8") != first, "--kv does")


SAMPLINGS = [{"mirostat": 2, "mirostat_tau": 3.0}, {"mirostat": 1}, {"xtc_probability": 0.6, "xtc_threshold": 0.02}, {"dry_multiplier": 2.0, "dry_allowed_length": 1},
             {"top_n_sigma": 1.0}, {"dynatemp_range": 0.7}, {"bad_words": ["the", "was"]}, {"min_tokens": 30},
             {"dry_multiplier": 1.0, "xtc_probability": 0.5, "xtc_threshold": 0.05, "dynatemp_range": 0.3, "top_n_sigma": 2.0, "bad_words": [" a"]}]


@test
def samplers_of_other_servers_say_the_same_in_every_dialect_and_with_guesses():
    prompt = "The cat sat. The cat sat. The cat sat. The"
    with Server() as s:
        for more in SAMPLINGS:
            body = {"prompt": prompt, "temperature": 1.2, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 7, "max_tokens": 48, "ignore_eos": True, **more}
            alone = said(ask(s, "/generate", **body, speculate=False))
            expect(said(ask(s, "/generate", **body)), alone, "with guesses: %s" % more)
            expect(said(ask(s, "/v1/completions", **body)), alone, "OpenAI's dialect: %s" % more)
            options = {k: v for k, v in body.items() if k not in ("prompt", "max_tokens")}
            expect(said(ask(s, "/api/generate", prompt=prompt, raw=True, options={**options, "num_predict": 48, "repeat_penalty": 1})), alone, "Ollama's: %s" % more)
        plain = said(ask(s, "/generate", prompt=prompt, temperature=1.2, seed=7, max_tokens=48))
        check(sum(said(ask(s, "/generate", prompt=prompt, temperature=1.2, seed=7, max_tokens=48, **m)) != plain for m in SAMPLINGS) >= 5, "they change nothing")


@test
def what_may_come_and_when_it_ends():
    with Server() as s:
        for path in ROUTES:
            if path in ("/api/chat", "/api/generate"):
                continue
            n = {"max_output_tokens" if "output" in str(ROUTES[path]) else "max_tokens": 24}
            text = said(ask(s, path, **n))
            word = text.split()[1]
            check(word not in said(ask(s, path, bad_words=[word], **n)), "a banned word at " + path)
            if path in ("/generate", "/v1/completions", "/v1/chat/completions"):
                shown = said(ask(s, path, stop=[word], include_stop_str_in_output=True, **n))
                expect(shown, text[:text.index(word) + len(word)], path)
                expect(said(ask(s, path, stop=[word], min_tokens=23, **n))[:12], text[:12], path)
        text = said(ask(s, "/generate", max_tokens=40, stop=["."]))
        longer = ask(s, "/generate", max_tokens=40, stop=["."], min_tokens=39).json()
        check(longer["usage"]["completion_tokens"] >= 39 and longer["text"].startswith(text + "."), longer)
        token = ask(s, "/generate", logprobs=True, max_tokens=3).json()["logprobs"][2]["token"]
        stopped = ask(s, "/generate", stop_token_ids=[token], max_tokens=9).json()
        expect((stopped["finish_reason"], stopped["usage"]["completion_tokens"]), ("stop", 3))
        few = ask(s, "/generate", allowed_token_ids=[token, 300], max_tokens=9, logprobs=True, temperature=3).json()
        check({x["token"] for x in few["logprobs"]} <= {token, 300}, "tokens that are not allowed")
        for wrong, name in (({"samplers": ["top_p", "top_k"]}, "samplers"), ({"samplers": "tk"}, "samplers"), ({"samplers": ["nothing"]}, "samplers"),
                            ({"stop_token_ids": [-1]}, "stop_token_ids"), ({"stop_token_ids": ["a"]}, "stop_token_ids"), ({"bad_words": [""]}, "bad_words"),
                            ({"bad_words": ["x"] * 400}, "bad_words"), ({"allowed_token_ids": [1 << 40]}, "allowed_token_ids"), ({"detokenize": False}, "detokenize"),
                            ({"dry_sequence_breakers": [5]}, "dry_sequence_breakers"), ({"mirostat": 3}, "mirostat"), ({"xtc_threshold": 2}, "xtc_threshold")):
            for path in ("/generate", "/v1/chat/completions", "/v1/messages"):
                check("'%s'" % name in refusal(ask(s, path, 400, **wrong)), "%s does not name %s" % (wrong, name))
        hot = {"temperature": 2.0, "seed": 5, "max_tokens": 30}
        expect(said(ask(s, "/generate", samplers=["top_k", "temperature"], top_k=3, top_p=0.1, min_p=0.5, **hot)),
               said(ask(s, "/generate", top_k=3, top_p=1, min_p=0, **hot)))
        expect(said(ask(s, "/generate", samplers="kt", top_k=3, top_p=0.1, **hot)), said(ask(s, "/generate", top_k=3, top_p=1, min_p=0, **hot)))


@test
def forms_of_other_servers():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9, "minimum": 0}}, "required": ["n"], "additionalProperties": False}
    forms = [({"guided_json": schema}, r'\{"n": ?\d\}'), ({"guided_json": json.dumps(schema)}, r'\{"n": ?\d\}'), ({"guided_regex": r"[ab]{3}-\d\."}, r"[ab]{3}-\d\."),
             ({"guided_choice": ['a "b"', "c\\d\n"]}, r'a "b"|c\\d\n'), ({"guided_grammar": 'root ::= "x" [0-9]'}, "x[0-9]"), ({"regex": "^(no|yes)$"}, "no|yes"),
             ({"choice": ["one", "two"]}, "one|two"), ({"ebnf": 'root ::= "y" "z"'}, "yz"), ({"structured_outputs": {"choice": ["p", "q"]}}, "p|q"),
             ({"structured_outputs": {"regex": "k+l"}, "max_tokens": 300}, "k+l?"), ({"structured_outputs": {"json": schema}}, r'\{"n": ?\d\}')]
    with Server() as s:
        for path in ROUTES:
            size = {"options": {"num_predict": 40}} if "options" in ROUTES[path] else {"max_output_tokens" if path == "/v1/responses" else "max_tokens": 40}
            for form, pattern in forms:
                text = said(ask(s, path, **{**size, **{k: v for k, v in form.items() if k != "max_tokens"}}))
                check(re.fullmatch(pattern, text), "%s with %s: %r" % (path, form, text))
            for wrong, name in (({"guided_regex": "a("}, "guided_regex"), ({"guided_json": 5}, "guided_json"), ({"guided_choice": []}, "guided_choice"),
                                ({"choice": [5]}, "choice"), ({"regex": "a", "choice": ["b"]}, "choice"), ({"guided_regex": "a", "grammar": 'root ::= "x"'}, "guided_regex"),
                                ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"), ({"structured_outputs": 5}, "structured_outputs")):
                check("'%s'" % name in refusal(ask(s, path, 400, **wrong)), "%s does not name %s" % (wrong, name))


@test
def one_of_thousands_of_texts():
    """As fast as an enum of as many, by every name, while each step's mask stays cheap."""
    texts = ["item %d-%s" % (i, "%08x" % (i * 2654435761 % 2 ** 32)) for i in range(20000)]
    with Server() as s:
        for form in ({"guided_choice": texts}, {"choice": texts}, {"structured_outputs": {"choice": texts}}, {"guided_regex": "(%s)" % "|".join(texts)},
                     {"ebnf": "root ::= " + " | ".join('"%s"' % t for t in texts)}):
            for path in ("/v1/chat/completions", "/v1/completions"):
                text = said(ask(s, path, **{"temperature": 1, "max_tokens": 60, **form}))
                check(text in texts, "%s %s: %r" % (path, list(form), text))


@test
def unknown_fields_of_forms_are_named():
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    format = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "description": "d", "schema": schema}}
    with Server() as s:
        named = lambda path, **body: ask(s, path, **body).headers.get("X-Plimsoll-Ignored")
        for path in ROUTES:
            expect(named(path, structured_outputs={"choice": ["a", "b"], "zq": 1}), "structured_outputs.zq", path)
            expect(named(path, response_format=format), None, path)
            wrong = {**format, "zq": 1, "json_schema": {**format["json_schema"], "scheme": {}}}
            expect(named(path, response_format=wrong), "response_format.zq, response_format.json_schema.scheme", path)
        expect(named("/v1/responses", text={"format": {"type": "text", "zq": 1}, "zq": 1}), "text.zq, text.format.zq", "responses")
        expect(named("/v1/messages", output_config={"format": {"type": "json_schema", "schema": schema, "zq": 1}}), "output_config.format.zq", "messages")


@test
def a_tool_that_is_refused_is_named():
    """With the place in its schema, the keyword, and what would work."""
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True, "items": {"type": "string"}}}}
    tools = [{"type": "function", "function": {"name": "fine", "parameters": {"type": "object", "properties": {"b": {"type": "null"}}}}},
             {"type": "function", "function": {"name": "odd_one", "parameters": schema}}]
    with Server() as s:
        for choice in ("required", {"type": "function", "function": {"name": "odd_one"}}):
            text = refusal(ask(s, "/v1/chat/completions", 400, tools=tools, tool_choice=choice))
            for word in ("'tools'", "'odd_one'", "at /properties/a", "'uniqueItems'", "enum"):
                check(word in text, "%s: %s" % (word, text))


@test
def response_formats_of_every_shape_and_route():
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    shapes = [{"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, {"type": "json_schema", "json_schema": {"schema": schema}},
              {"type": "json_schema", "schema": schema}, {"type": "json_object", "schema": schema}]
    long = {"/api/chat": {"options": {"num_predict": 30}}, "/api/generate": {"options": {"num_predict": 30}}, "/v1/responses": {"max_output_tokens": 30}}
    with Server() as s:
        for path in ROUTES:
            for shape in shapes:
                text = said(ask(s, path, response_format=shape, **long.get(path, {"max_tokens": 30})))
                check(json.loads(text)["a"] in (True, False), lambda: "%s with %s: %r" % (path, shape, text))
            ask(s, path, response_format={"type": "text"})
            for wrong, name in (({"type": "json_schema"}, "response_format"), ({"schema": schema}, "response_format.type"), ({"type": "xml"}, "response_format.type")):
                check("'%s" % name in refusal(ask(s, path, 400, response_format=wrong)), "%s with %s" % (path, wrong))


@test
def logit_bias_of_every_shape():
    with Server() as s:
        for path in ("/v1/chat/completions", "/v1/completions", "/generate"):
            plain = said(ask(s, path))
            some = s.request("POST", "/generate", json.dumps({"prompt": "x", "max_tokens": 1, "temperature": 0, "logit_bias": {"300": 100}, "stream": True}), {"Content-Type": "application/json"})
            check(b'"token":300' in some.body.replace(b" ", b""), some.body)
            same = [said(ask(s, path, logit_bias=b)) for b in ({"300": 100}, [[300, 100]], [[300, 100.0], [301, -1]])]
            check(same[0] != plain and same == same[:1] * 3, "%s: %r" % (path, same))
            expect(said(ask(s, path, logit_bias=[])), plain, "an empty one")
            banned = said(ask(s, path, logit_bias=[[300, False], ["zq", False]]))
            check(banned is not None, "bans")
            check("a" not in said(ask(s, path, logit_bias=[["a", False], [" a", -100]])).split(), "a text is banned")
            for wrong in ([[300]], [300, 1], [[300, 1, 2]], [["", 1]], [[1.5, 1]], [[300, True]], [[300, "1"]], [[[300], 1]], "x", 5, {"300": True}, {"a": 1}, [[-1, 1]], [["x" * 300, 1]], [{"300": 1}]):
                check("logit_bias" in refusal(ask(s, path, 400, logit_bias=wrong)), "%s with %s" % (path, wrong))
            for wrong in ("x", {"300": 1000}, {"300": -1000}, {"99999999": 1}, [[99999999, 1]], {"a": 1}, {str(i): 1 for i in range(1000)}):
                expect(ask(s, path, 400, logit_bias=wrong).json()["error"]["param"], "logit_bias", path)


@test
def what_is_json_and_cannot_be_read_names_its_field():
    deep = "[" * 400 + "]" * 400
    with Server() as s:
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses"):
            for text, param in (('{"metadata": {"a": %s}}' % deep, "metadata"), ('{"user": "x", "tools": %s}' % deep, "tools" if path != "/v1/completions" else None),
                                ('{"logit_bias": {"5": 1e999}}', "logit_bias"), ('{"max_tokens": 1, "seed": 1e999}', "seed"),
                                ('{"user": "x", "zq": %s}' % deep, None), ('{"user": "x", "seed": 1, ', None), ('{"metadata": {]', None)):
                r = s.request("POST", path, text, {"Content-Type": "application/json"})
                expect((r.status, r.json()["error"]["param"]), (400, param), path + " " + text[:40])


@test
def vectors_name_what_nobody_knows():
    with Server() as s:
        for path, body in (("/v1/embeddings", {"input": "x"}), ("/api/embed", {"model": "plimsoll-tiny", "input": "x"}), ("/api/embeddings", {"model": "plimsoll-tiny", "prompt": "x"})):
            r = s.request("POST", path, json.dumps({**body, "zq_field": 1}), {"Content-Type": "application/json"})
            expect((r.status, r.headers.get("X-Plimsoll-Ignored")), (200, "zq_field"), path)


@test
def the_table_of_fields_is_what_the_server_does():
    run = subprocess.run([os.path.join(ROOT, "tools/fields.py"), "--check"], capture_output=True, text=True)
    expect((run.returncode, run.stdout), (0, ""), "tools/fields.py --check")
    rows = [[c.strip(" `") for c in line.strip("|").split("|")] for line in open(os.path.join(ROOT, "docs/fields.md")) if line.startswith("| `")]
    check(len(rows) > 150, "%d fields" % len(rows))
    columns = {"/v1/chat/completions": 1, "/v1/completions": 2, "/v1/responses": 3, "/v1/messages": 4, "/api/chat": 5}
    with Server() as s:
        for path, column in columns.items():
            named = [r[0] for r in rows if r[column] == "named"]
            for at in range(0, len(named), 8):
                r = ask(s, path, **{name: {"zq": 1} for name in named[at:at + 8]})
                expect(sorted((r.headers.get("X-Plimsoll-Ignored") or "").split(", ")), sorted(named[at:at + 8]), path)
        for name in (r[0] for r in rows if r[7] == "refused"):
            check(name in refusal(ask(s, "/generate", 400, **{name: {"zq": 1}})), "/generate with " + name)


main()
