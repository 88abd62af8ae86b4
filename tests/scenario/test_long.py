"""Long agent sessions and long chats: what fits the context is served, however many messages it is made of."""
from harness import *


def rounds(n):
    """n rounds of a call and its result, as agents send them."""
    m = [{"role": "user", "content": "x"}]
    for i in range(n):
        m += [{"role": "assistant", "content": [{"type": "text", "text": "I read."}, {"type": "tool_use", "id": "toolu_%09d" % i, "name": "Read", "input": {"path": "a"}}]},
              {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_%09d" % i, "content": [{"type": "text", "text": "ok"}]}]}]
    return m


def ask(s, path, **body):
    r = s.request("POST", path, json.dumps({"model": "plimsoll-tiny", "max_tokens": 1, **body}, separators=(",", ":")))
    expect(r.status, 200, "%s: %s" % (path, r.body[:300].decode(errors="replace")))
    return r.json()


@test
def many_rounds_of_tools_and_many_messages_are_served():
    with Server("-m", forge("--shape", "tiny", "--type", "Q8_0"), "-c", "65536", "--memory", "4G", "--any-model") as s:
        talk = [{"role": ("user", "assistant")[i % 2], "content": "m"} for i in range(2318)]
        parts = [{"role": "user", "content": [{"type": "text", "text": "w "}] * 1175}]
        u = ask(s, "/v1/messages", messages=rounds(407))["usage"]
        check(u["input_tokens"] > 10000, u)
        check(ask(s, "/v1/messages/count_tokens", messages=talk)["input_tokens"] > 2 * 2318, "all are counted")
        ask(s, "/v1/chat/completions", messages=parts)


@test
def results_in_reverse_order_find_their_calls():
    n = 16
    calls = [{"id": "c%08d" % i, "type": "function", "function": {"name": "f%d" % i, "arguments": "{}"}} for i in range(n)]
    results = [{"role": "tool", "tool_call_id": c["id"], "content": "r" + c["id"]} for c in calls]
    named = [{"role": "tool", "tool_name": "f%d" % i, "content": "rc%08d" % i} for i in range(n)]
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    bare = [said[0], {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": c["function"]["name"]}} for c in calls]}]
    with Server("-c", "16384") as s:
        for order in (results, results[::-1]):
            ask(s, "/v1/chat/completions", messages=said + order)
        for order in (named, named[::-1]):
            ask(s, "/api/chat", messages=bare + order, stream=False, options={"num_predict": 1})


main()
