"""What a server says of how it was started: templates that are missing or given, contexts that are not the model's own."""
from harness import *

CHAT = [{"role": "system", "content": "Sys"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}, {"role": "user", "content": "V"}]
GOLDEN = ("--shape", "golden", "--type", "Q8_0")


def without_template(path):
    other = temp_path("bare.gguf")
    with open(path, "rb") as f, open(other, "wb") as to:
        to.write(f.read().replace(b"tokenizer.chat_template", b"tokenizer.chat_templatX"))
    return other


def rendered(path, template):
    name, messages = temp_path("t.jinja"), temp_path("m.json")
    with open(name, "w") as f:
        f.write(template)
    with open(messages, "w") as f:
        json.dump(CHAT, f)
    return run_plimsoll("render", "-m", path, "--template", name, "--messages", messages, rc=0).out.decode()


def prompt_tokens(s, messages=CHAT):
    r = s.request("POST", "/v1/chat/completions", json.dumps({"messages": messages, "max_tokens": 1}))
    expect(r.status, 200, r.body)
    return r.json()["usage"]["prompt_tokens"]


@test
def without_a_template():
    path = without_template(forge(*GOLDEN))
    with Server(path) as s:
        check(any("no chat template" in w for w in s.health()["warnings"]), lambda: "/health says %r" % s.health()["warnings"])
        expect(s.log().count("no chat template"), 1, "how often the log says so")
        plain = prompt_tokens(s)
    with Server(path, "--chat-template", "chatml") as s:
        expect(s.health()["warnings"], [], "with a template")
        expect(prompt_tokens(s), plain, "ChatML's is what is used without one")
    with Server() as s:
        expect(s.health()["warnings"], [], "the built-in model's")


@test
def templates_by_name_and_file():
    path = forge(*GOLDEN)
    bos, eos = rendered(path, "{{ bos_token }}\n{{ eos_token }}").split("\n")
    wanted = {
        "chatml": "<|im_start|>system\nSys<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
        "llama3": bos + "".join("<|start_header_id|>%s<|end_header_id|>\n\n%s<|eot_id|>" % (m["role"], m["content"]) for m in CHAT) + "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "llama2": "%s[INST] <<SYS>>\nSys\n<</SYS>>\n\nU [/INST] A %s%s[INST] V [/INST]" % (bos, eos, bos),
        "mistral": "%s[INST] Sys\n\nU[/INST] A%s[INST] V[/INST]" % (bos, eos),
        "gemma": bos + "<start_of_turn>user\nSys\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nV<end_of_turn>\n<start_of_turn>model\n",
        "phi3": "<|system|>\nSys<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n",
        "zephyr": "<|system|>\nSys{0}\n<|user|>\nU{0}\n<|assistant|>\nA{0}\n<|user|>\nV{0}\n<|assistant|>\n".format(eos),
        "vicuna": "Sys USER: U ASSISTANT: A%sUSER: V ASSISTANT:" % eos,
        "plain": "Sys\n\nU\n\nA\n\nV",
    }
    help_text = run_plimsoll("serve", "--help", rc=0).out.decode()
    for name, text in wanted.items():
        check(name in help_text, name + " is not in --help")
        with Server(path, "--chat-template", name) as s:
            template = s.request("POST", "/api/show", '{"model": "golden"}').json()["template"]
            expect(rendered(path, template), text, name)
            check(prompt_tokens(s) > 4, "a prompt of " + name)
    tool = {"type": "function", "function": {"name": "zqtool", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    called = [{"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "zqtool", "arguments": '{"a": 1}'}}]},
              {"role": "tool", "content": "zqresult"}]
    for name in wanted:  # a template without tools: they are told in words, and called in the plain form
        with Server("--chat-template", name) as s:
            ask = {"messages": CHAT + called, "tools": [tool], "max_tokens": 100, "temperature": 0}
            r = s.request("POST", "/v1/chat/completions", json.dumps(ask))
            check(r.status == 200 and r.json()["usage"]["prompt_tokens"] > prompt_tokens(s) + 20, lambda: "%s, tools: %s" % (name, r.body))
            r = s.request("POST", "/v1/chat/completions", json.dumps(dict(ask, tool_choice="required")))
            expect([c["function"]["name"] for c in r.json()["choices"][0]["message"]["tool_calls"]], ["zqtool"], "a forced call with " + name)
    own = temp_path("own.jinja")
    with open(own, "w") as f:
        f.write("{% for m in messages %}[{{ m.content }}]{% endfor %}")
    with Server(path, "--chat-template", own) as s:
        expect(rendered(path, s.request("POST", "/api/show", '{"model": "golden"}').json()["template"]), "[Sys][U][A][V]", "a file's")
    bad, empty = temp_path("bad.jinja"), temp_path("empty.jinja")
    with open(bad, "w") as f:
        f.write("{% for m in messages %}")
    open(empty, "w").close()
    for given, words in ((bad, "--chat-template"), (empty, "is empty"), ("llama4711", "chatml, llama3"), (ROOT, "--chat-template"), ("", "chatml")):
        for command in ("serve", "plan"):
            r = run_plimsoll(command, path, "--chat-template", given)
            check(r.rc != 0 and words in r.err, lambda: "%s with %r: %d, %s" % (command, given, r.rc, r.err))


@test
def contexts():
    trained = plan_of()["context"]
    check(b"trained on %d" % trained in run_plimsoll("plan", "-c", str(2 * trained), rc=0).out, "plan does not say so")
    check(b"warning: the model" not in run_plimsoll("plan", rc=0).out, "nothing to say")
    check("trained on %d" % trained in plan_of("-c", str(2 * trained))["warnings"][0], "plan --json")
    expect([w for w in plan_of()["warnings"] if "context" in w or "trained" in w], [], "warnings of plan --json")
    check("trained on %d" % trained in run_plimsoll("run", "-c", str(2 * trained), "-n", "1", "x", rc=0).err, "run does not say so")
    check("trained on" not in run_plimsoll("run", "-n", "1", "x", rc=0).err, "run says more than there is to say")
    with Server("-c", str(4 * trained)) as s:
        check(any("trained on %d" % trained in w and str(4 * trained) in w for w in s.health()["warnings"]), lambda: "/health says %r" % s.health()["warnings"])
        check("warn" in s.log() and "trained on" in s.log(), "the log does not say so")
    with Server("-c", str(trained // 2)) as s:
        expect(s.health()["warnings"], [], "a smaller context that was asked for")
    fitting = []
    for mib in range(50, 80):
        plan = run_plimsoll("plan", "--json", "--memory", "%dM" % mib, "-np", "1")
        if plan.rc == 0 and json.loads(plan.out)["context"] < trained:
            fitting.append(mib)
    check(len(fitting) >= 2, "no line gives less than the whole context")
    with Server("--memory", "%dM" % fitting[len(fitting) // 2], "-np", "1") as s:
        context = s.memory()["kv_pool"]["context"]
        check(context < trained and any("%d of the model's %d" % (context, trained) in w for w in s.health()["warnings"]), lambda: "/health says %r" % s.health()["warnings"])
        check("more does not fit" in s.log(), "the log does not say so")


main()
