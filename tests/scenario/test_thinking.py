"""Budgets of thinking: so many tokens, then the thought's end, by every name and in every dialect; and the same text in any company."""
import threading

from harness import *

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
THINKS = TURNS + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
USER = [{"role": "user", "content": "Once upon a time"}]
CHAT, ANTHROPIC, RESPONSES, OLLAMA = "/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat"
GREEDY = {"temperature": 0}
ROUTES = {
    CHAT: {"messages": USER, "max_tokens": 60, **GREEDY},
    RESPONSES: {"input": "Once upon a time", "max_output_tokens": 60, **GREEDY},
    ANTHROPIC: {"model": "plimsoll-tiny", "messages": USER, "max_tokens": 60, "thinking": {"type": "enabled"}, **GREEDY},
    OLLAMA: {"model": "plimsoll-tiny", "messages": USER, "stream": False, "options": {"num_predict": 60, **GREEDY}},
}


def serve(*more, template=THINKS):
    path = temp_path("thinks.jinja")
    with open(path, "w") as f:
        f.write(template)
    return Server("--chat-template", path, *more)


def ask(s, path, status=200, **more):
    r = s.request("POST", path, json.dumps({**ROUTES[path], **more}), {"Content-Type": "application/json"})
    expect(r.status, status, "status of %s with %s (%s)" % (path, json.dumps(more)[:100], r.body[:300].decode(errors="replace")))
    return r


def parts(path, r):
    """What was thought, and what was said."""
    x = r.json()
    if path == CHAT:
        m = x["choices"][0]["message"]
        return m.get("reasoning_content") or "", m.get("content") or ""
    if path == OLLAMA:
        return x["message"].get("thinking", ""), x["message"]["content"]
    if path == ANTHROPIC:
        return tuple("".join(b.get(k, "") for b in x["content"]) for k in ("thinking", "text"))
    return tuple("".join(p["text"] for i in x["output"] if i["type"] == t for p in i["content"]) for t in ("reasoning", "message"))


@test
def in_every_dialect_by_every_name():
    names = ["thinking_budget_tokens", "thinking_token_budget", "thinking_budget", "reasoning_budget", "reasoning_budget_tokens"]
    with serve() as s:
        endless, nothing = parts(CHAT, ask(s, CHAT))
        expect(nothing, "", "what is said within 60 tokens without a bound")
        first = None
        for path in ROUTES:
            for name in names if path == CHAT else names[:1]:
                thought, said = parts(path, ask(s, path, **{name: 10}))
                first = first or (thought, said)
                expect((thought, said), first, "%s with %s" % (path, name))
            expect(parts(path, ask(s, path, thinking_budget_tokens=-1))[1], "", path + ": -1 is no bound")
            none, said = parts(path, ask(s, path, thinking_budget_tokens=0))
            check(none == "" and said, "%s: a budget of nothing thinks %r" % (path, none))
        check(0 < len(first[0]) < len(endless) and endless.startswith(first[0].rstrip("\n")) and first[1], "%r of %r" % (first, endless))
        expect(parts(ANTHROPIC, ask(s, ANTHROPIC, thinking={"type": "enabled", "budget_tokens": 10})), first, "Anthropic's own")
        for name in ("thinking", "reasoning"):
            key = "budget_tokens" if name == "thinking" else "max_tokens"
            expect(parts(CHAT, ask(s, CHAT, **{name: {key: 10}})), first, name + " in OpenAI's dialect")
        usage = ask(s, CHAT, thinking_budget_tokens=10).json()["usage"]
        check(10 <= usage["completion_tokens_details"]["reasoning_tokens"] <= 20, usage)
        said = parts(CHAT, ask(s, CHAT, thinking_budget_tokens=10, reasoning_budget_message="\nThat will do."))
        check(said[0].endswith("That will do.") and said[1], said)
        text = parts(CHAT, ask(s, CHAT, thinking_budget_tokens=10, reasoning_budget_message="</think>" * 3))
        check(text[1], text)
        check("'reasoning_budget_message'" in ask(s, CHAT, 400, thinking_budget_tokens=10, reasoning_budget_message="x y " * 500).json()["error"]["message"], "a long message")
        hidden = parts(CHAT, ask(s, CHAT, thinking_budget_tokens=10, include_reasoning=False))
        expect(hidden, ("", first[1]), "include_reasoning")
        expect(parts(CHAT, ask(s, CHAT, thinking_budget_tokens=10, reasoning_format="hidden")), hidden, "reasoning_format")
        check("'reasoning_format'" in ask(s, CHAT, 400, reasoning_format="none").json()["error"]["message"], "thoughts within the text")
        r = s.request("POST", "/v1/completions", json.dumps({"prompt": "x", "thinking_budget_tokens": 5}), {"Content-Type": "application/json"})
        check(r.status == 400 and "'thinking_budget_tokens'" in r.json()["error"]["message"], "a route without conversations")


@test
def what_is_said_of_thinking_together():
    """To the token; the bare name is stronger than the object, and what asks for nothing is refused nowhere."""
    with serve() as s:
        ten = parts(CHAT, ask(s, CHAT, thinking_budget_tokens=10))
        expect(ten[0].rstrip("\n"), parts(CHAT, ask(s, CHAT, max_tokens=10))[0].rstrip("\n"), "ten tokens of thought are the first ten")
        expect(parts(CHAT, ask(s, CHAT, thinking_budget_tokens=10, thinking={"budget_tokens": 3})), ten, "a bare name beside an object")
        off = ask(s, CHAT, enable_thinking=False)
        for about, more in (("a budget of nothing", {"thinking_budget_tokens": 0}), ("thinking.enabled", {"thinking": {"enabled": False}}), ("reasoning.enabled", {"reasoning": {"enabled": False}}),
                            ("thinking.type", {"thinking": {"type": "disabled"}}), ("reasoning.effort", {"reasoning": {"effort": "none"}})):
            r = ask(s, CHAT, **more)
            expect((parts(CHAT, r), r.json()["usage"]["prompt_tokens"]), (parts(CHAT, off), off.json()["usage"]["prompt_tokens"]), about)
        for more in ({"thinking": {"enabled": True, "budget_tokens": 10}}, {"reasoning": {"enabled": True, "max_tokens": 10}}):
            expect(parts(CHAT, ask(s, CHAT, **more)), ten, json.dumps(more))
        expect(parts(CHAT, ask(s, CHAT, reasoning={"exclude": True, "max_tokens": 10})), ("", ten[1]), "reasoning.exclude")
        r = s.request("POST", "/v1/completions", json.dumps({"prompt": "x", "max_tokens": 1, "thinking_budget_tokens": -1}), {"Content-Type": "application/json"})
        expect(r.status, 200, "no bound where nothing is thought")
    with Server() as s:
        for n in (1, 2):
            check("'reasoning_budget'" in ask(s, CHAT, 400, reasoning_budget=n).json()["error"]["message"], "it does not think")


@test
def with_grammars():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}}}
    with serve(template=THINKS + "{% if false %}<tool_call>{% endif %}") as s:
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": tool["function"]["parameters"]}}
        for budget in (1, 7):
            thought, said = parts(CHAT, ask(s, CHAT, thinking_budget_tokens=budget, response_format=schema))
            check(thought and isinstance(json.loads(said)["a"], bool), lambda: "%r, %r" % (thought, said))
            m = ask(s, CHAT, thinking_budget_tokens=budget, tools=[tool], tool_choice="required").json()["choices"][0]["message"]
            check(m["reasoning_content"] and "a" in json.loads(m["tool_calls"][0]["function"]["arguments"]), m)


@test
def the_same_in_any_company():
    with serve("--parallel", "4", "--speculate", "lookup") as s:
        alone = parts(CHAT, ask(s, CHAT, thinking_budget_tokens=12, speculate=False))
        expect(parts(CHAT, ask(s, CHAT, thinking_budget_tokens=12)), alone, "with guesses")
        got = [None] * 4

        def one(i):
            got[i] = parts(CHAT, ask(s, CHAT, thinking_budget_tokens=12, cache=i % 2 == 0, priority=i))

        threads = [threading.Thread(target=one, args=(i,)) for i in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        expect(got, [alone] * 4, "four at once")


@test
def models_that_begin_a_thought_themselves_and_those_that_do_not_think():
    opens = "<think>\\n" + "a" * 200
    with serve(template=TURNS + "{% if false %}<think>{% endif %}") as s:
        thought, said = parts(CHAT, ask(s, CHAT, grammar='root ::= "<think>\\n" [a-z ]* "\\n</think>\\n\\n" [a-z ]*', thinking_budget_tokens=5))
        check(thought and said, "%r, %r" % (thought, said))
        never = parts(CHAT, ask(s, CHAT, grammar='root ::= "%s"' % opens, thinking_budget_tokens=5))
        expect(never, ("a" * len(never[0]), ""), "a grammar that has no end of thoughts")
    with Server() as s:
        check("'thinking_budget'" in ask(s, CHAT, 400, thinking_budget=5).json()["error"]["message"], "it does not think")
        ask(s, CHAT, thinking_budget=0)
        r = ask(s, ANTHROPIC, thinking={"type": "enabled", "budget_tokens": 1024})
        expect(r.headers.get("X-Plimsoll-Ignored"), "thinking.budget_tokens", "what Anthropic's clients send with every request")


main()
