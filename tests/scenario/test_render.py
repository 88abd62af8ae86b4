"""plimsoll render: a chat template from outside."""
import json
import os
import tempfile

from harness import *  # noqa: F403

TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "templates")
HI = [{"role": "user", "content": "hi"}]


def render(given, *flags, rc=0):
    return run_plimsoll("render", *flags, stdin=json.dumps(given).encode(), rc=rc)


@test
def the_models_own_template():
    own = json.loads(run_plimsoll("inspect", "--json", rc=0).out)["metadata"]["tokenizer.chat_template"]
    expect(own, open(os.path.join(TEMPLATES, "plimsoll-tiny.jinja"), encoding="utf-8").read(), "what was recorded (else record again)")
    expect(render(HI).out, b"<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    expect(render({"messages": HI, "add_generation_prompt": False}).out, b"<|im_start|>user\nhi<|im_end|>\n")
    check(b'"name": "f"' in render({"messages": HI, "tools": [{"function": {"name": "f"}}]}).out, "the tool is named")


@test
def a_template_from_a_file():
    with tempfile.TemporaryDirectory() as folder:
        template, messages = os.path.join(folder, "t.jinja"), os.path.join(folder, "m.json")
        with open(template, "w", encoding="utf-8") as f:
            f.write("{{ bos_token }}|{{ eos_token }}|{{ messages|length }}|{{ add_generation_prompt }}|{{ x }}")
        with open(messages, "w", encoding="utf-8") as f:
            json.dump({"messages": HI, "x": "é", "eos_token": "E"}, f)
        expect(run_plimsoll("render", "--template", template, "--messages", messages, rc=0).out.decode(), "|E|1|True|é")
        with_model = render(HI, "--template", template, "-m", os.path.join(TEMPLATES, "../../../models/plimsoll-tiny.gguf"))
        check(with_model.out.decode().split("|")[1] != "", "the model's end token: %r" % with_model.out)
        with open(template, "w", encoding="utf-8") as f:
            f.write("line\n{% if x %}{{ raise_exception('no ' ~ x) }}{% endif %}\n{{ y() }}")
        check("line 3, column" in render([], "--template", template, rc=2).err, "the place of the error")
        expect(render({"x": "way"}, "--template", template, rc=2).err, "plimsoll: no way\n")


@test
def what_is_wrong_is_said():
    for given, reason in ((b"", "--messages"), (b"5", "a JSON list or object"), (b"[1", "--messages"), (b"{\"a\": 1} x", "--messages")):
        got = run_plimsoll("render", stdin=given, rc=2)
        check(reason in got.err, "%r: %r" % (given, got.err))
    run_plimsoll("render", "--template", "/does/not/exist", rc=2, stdin=b"[]")
    run_plimsoll("render", "--messages", "/does/not/exist", rc=2)


GROWING = {
    "twice as long": "{% set ns = namespace(l=[1]) %}{% for i in range(1000) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
    "one longer": "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [i] %}{% endfor %}",
    "a text": "{% set ns = namespace(s='x') %}{% for i in range(100000) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "loops": "{% for i in range(100000) %}{% for j in range(100000) %}{{ j }}{% endfor %}{% endfor %}",
}


def write_template(name, source):
    path = temp_path(name.replace(" ", "_") + ".jinja")
    with open(path, "w", encoding="utf-8") as f:
        f.write(source)
    return path


@test(timeout=120)
def a_template_that_grows_is_bounded():
    for name, source in GROWING.items():
        path = write_template(name, source + "{{ messages[0].content }}")
        got = run_plimsoll("render", "--template", path, stdin=json.dumps(HI).encode())
        check(got.rc == 0 or "template takes more than" in got.err or "larger than" in got.err, "%s: %r" % (name, got.err))
        check(got.peak_rss_bytes < 64 * MIB, "%s: %d bytes" % (name, got.peak_rss_bytes))
        with Server("--chat-template", path) as s:  # what it can do is tried out before the server is ready
            check(s.post(path="/v1/chat/completions", messages=HI, max_tokens=1).status in (200, 400), name)
            expect(s.get("/livez").status, 200, name)


# Each goes on until its steps are out.
BUSY = {
    "characters": "{% set ns = namespace(s='é') %}{% for i in range(100000) %}{% set ns.s = ns.s ~ 'aé' %}{% if ns.s[-1] == 'x' %}{% endif %}{% endfor %}",
    "lengths": "{% set ns = namespace(s='') %}{% for i in range(100000) %}{% set ns.s = ns.s ~ 'é' %}{% if 'zz' in ns.s %}{% endif %}{% set n = ns.s|length %}{% endfor %}",
    "letters": "{% set ns = namespace(s='') %}{% for i in range(100000) %}{% set ns.s = ns.s ~ 'aé' %}{% if ns.s|upper == 'x' %}{% endif %}{% if ns.s.split('z') %}{% endif %}{% endfor %}",
    "sums": "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + [i] %}{% set x = ns.l|sum %}{% set x = ns.l|max %}{% set y = ns.l|string|length %}{% endfor %}",
    "floats": "{% for i in range(100000) %}{% for j in range(1000) %}{% set y = ((i * 1000 + j) / 7)|string %}{% endfor %}{% endfor %}",
    "rounded": "{% for i in range(100000) %}{% for j in range(1000) %}{% set y = (1 / (j + 1))|round(12) %}{% set z = 1e300|round(300) %}{% endfor %}{% endfor %}",
}


@test(timeout=120)
def a_step_is_a_step_whatever_it_does():
    """In the processor's time, beside one of an empty loop: what grows, is counted, cased or printed."""
    def seconds(name, source):
        path, times = write_template(name, source), []
        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            got = run_plimsoll("render", "--template", path, stdin=json.dumps(HI).encode())
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            check("takes more than" in got.err, "%s: %r" % (name, got.err))
            times.append(after.ru_utime - before.ru_utime)
        return min(times)
    loop = seconds("loop", "{% for i in range(100000) %}{% for j in range(100000) %}{{ j }}{% endfor %}{% endfor %}")
    for name, source in BUSY.items():
        took = seconds(name, source)
        note("%s: %.2f s, %.1f of a loop" % (name, took, took / loop))
        check(took <= 5 * max(loop, 0.05), "%s takes %.2f s, a loop of as many steps %.2f" % (name, took, loop))


@test
def a_template_without_tools_says_so_once():
    words = "no place for tools"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    with Server("--chat-template", write_template("plain", "{% for m in messages %}{{ m.content }} {% endfor %}")) as s:
        for _ in range(3):
            expect(s.post(path="/v1/chat/completions", messages=HI, tools=tools, max_tokens=1).status, 200)
        expect(s.log().count(words), 1, s.log())
    with Server() as s:
        expect(s.log().count(words), 0, "the built-in model's template takes tools")


main()
