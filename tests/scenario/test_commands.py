"""What commands do with what is given to them, and with an output that takes nothing more."""
from harness import *

TOY = "plimsoll-tiny"


def with_full_stdout(*arguments, timeout_s=30):
    """Exit status and stderr."""
    with open("/dev/full", "wb") as full:
        p = subprocess.run([PLIMSOLL, *arguments], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, timeout=timeout_s * PATIENCE)
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


@test
def help_is_asked_for_in_both_ways():
    for command in ("serve", "run", "plan", "bench", "top", "load", "guard", "inspect", "tokenize", "render"):
        expect(run_plimsoll("help", command, rc=0).out, run_plimsoll(command, "--help", rc=0).out, "help " + command)
    expect(run_plimsoll("help", rc=0).out, run_plimsoll("--help", rc=0).out, "help")
    for arguments in (["help", "sevre"], ["sevre"], ["Serve", "x"]):
        r = run_plimsoll(*arguments, rc=2)
        check("unknown command" in r.err and "did you mean 'serve'?" in r.err, lambda: "%s: %s" % (arguments, r.err))
    check("usage:" in run_plimsoll("frobnicate", rc=2).err, "what is no command at all gets the list")


@test
def plan_tries_the_line_of_serve():
    line = ["--memory", "300M", "-c", "512", "-np", "2", "--host", "::1", "--port", "8081", "--alias", "a,b", "--any-model", "--allowed-host", "x.example.com",
            "--cors-origin", "https://a.example.com", "--queue-timeout", "3", "--drain-timeout", "2", "--keep-alive", "5", "--prompt-cache-ttl", "60",
            "--level-emergency", "5M", "-n", "9", "--cleanup-after-request", "--api-key", "k"]
    run_plimsoll("plan", *line, rc=0)
    for more, words in ((["--level-critical", "290M"], "--level-critical is 290 MiB"), (["--level-caution", "400M"], "below the line"), (["--cors-origin", "#"], "--cors-origin holds"), (["--allowed-host", "http://x"], "--allowed-host holds"),
                        (["--engine", "echo"], "nothing to plan"), (["--window", "1024"], "--window is 1024"), (["--port", "x"], "--port takes")):
        r = run_plimsoll("plan", *line, *more, rc=2)
        check(words in r.err, lambda: "%s: %s" % (more, r.err))


@test
def plan_says_which_context_fits():
    """Whatever was asked for; and what it says can be served, to the token."""
    for asked in ("50000", "10000000", "1073741824"):
        r = run_plimsoll("plan", "--memory", "150M", "-c", asked, rc=2)
        words = re.search(r"a context of %s tokens needs .* and the line is 150 MiB: with -c (\d+) it would fit" % asked, r.err)
        check(words and 512 <= int(words[1]) < int(asked), lambda: r.err)
        plan = json.loads(run_plimsoll("plan", "--json", "--memory", "150M", "-c", words[1], rc=0).out)
        expect(plan["context"], int(words[1]), "the context that fits")
        run_plimsoll("plan", "--memory", "150M", "-c", str(int(words[1]) + 2048), rc=2)
    with Server("--memory", "150M", "-c", words[1]) as s:
        check("context %s tokens" % words[1] in s.log(), "and is served")


@test
def mistyped_variables_are_said():
    with Server(env={"PLIMSOLL_CTX_SZIE": "9", "PLIMSOLL_SERVICE_HOST": "10.0.0.1", "PLIMSOLL_PORT_80_TCP": "tcp://10.0.0.1:80"}) as s:
        check("PLIMSOLL_CTX_SZIE is ignored: did you mean PLIMSOLL_CTX_SIZE?" in s.log(), s.log())
        expect(s.log().count("is ignored"), 1, "what Kubernetes sets is not mistyped")


main()
