"""What commands do with what is given to them, and with an output that takes nothing more."""
from harness import *

TOY = "plimsoll-tiny"


def with_full_stdout(*arguments, timeout_s=30):
    """Exit status and stderr."""
    with open("/dev/full", "wb") as full:
        p = subprocess.run([PLIMSOLL, *arguments], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=timeout_s)
    return p.returncode, p.stderr.decode(errors="replace")


@test
def a_full_output_is_no_success():
    messages = temp_path("messages.json")
    with open(messages, "w") as f:
        f.write('[{"role": "user", "content": "a"}]')
    template = temp_path("t.jinja")
    with open(template, "w") as f:
        f.write("{{ messages[0].content }}")
    with Server("--engine", "echo") as s:
        for arguments in (["plan"], ["plan", "--json"], ["inspect"], ["inspect", "--json"], ["tokenize", "a"], ["tokenize", "--json", "a"], ["tokenize", "--ids", "a"],
                          ["run", "-n", "3", "a"], ["run", "-n", "-1", "--window", "64", "a"], ["run", "--no-echo", "-n", "3", "a"], ["--version"], ["help"],
                          ["serve", "--help"], ["serve", "--print-config"], ["render", "--template", template, "--messages", messages],
                          ["top", "--once", str(s.port)], ["load", "--requests", "2", "--concurrency", "1", "--payload", "200", str(s.port)], ["guard", "--", "true"]):
            status, words = with_full_stdout(*arguments)
            if arguments[0] == "guard" and status == 0:
                continue  # its report is on stderr
            check(status == 1, lambda: "%s: %d, %s" % (arguments, status, words))
            check("standard output" in words or "cannot be written" in words, lambda: "%s says %r" % (arguments, words))


@test
def a_bare_file_is_the_model():
    path = forge("--shape", "golden", "--type", "F16")
    name = run_plimsoll("plan", "--json", "-m", path, rc=0)
    name = json.loads(name.out)["model"]
    check(name != TOY, "the forge's model has a name of its own")
    for command in ("plan", "inspect"):
        expect(run_plimsoll(command, "--json", path, rc=0).out.count(name.encode()) > 0, True, command)
    expect(run_plimsoll("tokenize", "--ids", path, "a", rc=0).out, run_plimsoll("tokenize", "--ids", "-m", path, "a", rc=0).out, "tokenize")
    flags = ("--temp", "0", "-n", "4")
    expect(run_plimsoll("run", *flags, path, "Once", rc=0).out, run_plimsoll("run", *flags, "-m", path, "Once", rc=0).out, "run")
    with Server(path) as s:
        expect(s.get("/v1/models").json()["data"][0]["id"], name, "what is served")
        check(path in s.log(), "the log does not say which file")
    with Server(path, env={"PLIMSOLL_MODEL": "/nowhere.gguf"}) as s:
        expect(s.health()["model"], name, "what is given is stronger than the environment")
    with Server() as s:
        check("built-in" in s.log(), "the log does not say that it is the built-in model")
    # by what it holds, too, where it is not named so
    other = temp_path("model.bin")
    os.link(path, other)
    expect(run_plimsoll("run", *flags, other, "Once", rc=0).out, run_plimsoll("run", *flags, path, "Once", rc=0).out, "without the suffix")


@test
def what_is_no_model_is_refused():
    path = forge("--shape", "golden", "--type", "F16")
    for arguments, words in ((["serve", "nosuch.gguf"], "no file 'nosuch.gguf'"), (["serve", "llama3"], "no file 'llama3'"), (["serve", path, "b"], "unexpected argument 'b'"),
                             (["serve", "-m", path, "b.gguf"], "unexpected argument 'b.gguf'"), (["plan", "x"], "no file"), (["bench", "x"], "no file"),
                             (["render", "--messages", "x", "y"], "no file"), (["inspect", "x"], "no file"), (["inspect", path, path], "unexpected"),
                             (["run", "nosuch.gguf", "a"], "no file"), (["tokenize", "nosuch.gguf", "a"], "no file"), (["serve", ROOT], "directory"),
                             (["serve", os.path.join(ROOT, "README.md")], "not a GGUF file"), (["serve", ""], "no file")):
        r = run_plimsoll(*arguments)
        check(r.rc in (1, 2) and words in r.err, lambda: "%s: %d, %s" % (arguments, r.rc, r.err))
    expect(run_plimsoll("run", "-n", "1", "--temp", "0", "-m", path, "nosuch.gguf", rc=0).out[:11], b"nosuch.gguf", "with -m all is text")
    for command in ("serve", "plan", "bench", "inspect", "run", "tokenize", "render"):
        check(b"[FILE]" in run_plimsoll(command, "--help", rc=0).out, command + " --help does not name FILE")


main()
