"""plimsoll guard: budgets, leaks, lists and reports, with commands whose memory is known.

Control groups are left out of it here (--cgroup none) but for those that cannot be used; with PLIMSOLL_TEST_CGROUP=1, on a
machine that lets us make groups below our own, one test asks for a real one."""
import xml.dom.minidom

from harness import *

PYTHON = sys.executable
EAT = """
import sys, time
held = bytearray(b"x") * (int(sys.argv[1]) << 20)
time.sleep(float(sys.argv[2]))
"""
GROW = """
import os, time
time.sleep(4)
held = bytearray(b"x") * (60 << 20)
time.sleep(2)
os._exit(0)
"""

START = """
import time
held = []
for i in range(60):
    held.append(bytearray(b"x") * (1 << 20))
    time.sleep(0.03)
time.sleep(%s)
"""


def script(name, text):
    path = temp_path(name)
    with open(path, "w") as f:
        f.write(text)
    return path


def eat(mib, seconds=0.5):
    return [os.path.realpath(PYTHON), script("eat.py", EAT), str(mib), str(seconds)]


def guard(*arguments, rc=None, env=None, cgroup="none"):
    return run_plimsoll("guard", "--cgroup", cgroup, "--interval", "20", *arguments, rc=rc, env=env)


def report(*arguments, **options):
    path = temp_path("guard.json")
    done = guard("--json", path, *arguments, **options)
    with open(path) as f:
        return done, json.load(f)


def alive(marker):
    """Processes with this word among their arguments."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/cmdline" % name, "rb") as f:
                if name.isdigit() and marker.encode() in f.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            pass
    return found


@test
def within_its_budget():
    done, j = report("--memory", "300M", "--", *eat(60), rc=0)
    run, = j["runs"]
    expect((run["verdict"], run["exit_status"], run["signal"], run["budget_bytes"]), ("within", 0, 0, 300 * MIB))
    check(60 * MIB < run["peak_bytes"] < 110 * MIB, "peak %d" % run["peak_bytes"])
    check("within the budget" in done.err and "of 300 MiB" in done.err, lambda: done.err)
    samples = j["samples"]
    expect(len({len(v) for v in samples.values()}), 1, "columns of one length")
    sums = [sum(parts) for parts in zip(*(samples[k] for k in samples if k != "seconds"))]
    check(len(sums) > 5 and max(sums) <= run["peak_bytes"], "%d samples, the highest %d" % (len(sums), max(sums)))
    expect(samples["seconds"], sorted(samples["seconds"]))


@test
def over_its_budget_is_ended():
    done, j = report("--memory", "60M", "--", *eat(200, 200), rc=124)
    run, = j["runs"]
    expect((run["verdict"], run["signal"], run["status"]), ("over", signal.SIGKILL, 124))
    check(run["peak_bytes"] > 60 * MIB and done.seconds < 100, "peak %d after %.1f s" % (run["peak_bytes"], done.seconds))
    check("OVER THE BUDGET" in done.err and "of 60.0 MiB" in done.err, lambda: done.err)


@test
def the_command_keeps_its_streams_and_status():
    done = guard("--", "sh", "-c", "echo out; echo err >&2; cat; exit 7", rc=7)
    expect(done.out, b"out\n")
    check("err\n" in done.err and "exit status 7" in done.err, lambda: done.err)
    done = run_plimsoll("guard", "--cgroup", "none", "--", "cat", stdin=b"through", rc=0)
    expect(done.out, b"through")
    done = guard("--", "sh", "-c", "kill -SEGV $$", rc=128 + signal.SIGSEGV)
    check("signal 11" in done.err, lambda: done.err)


@test
def what_cannot_be_run():
    for command, status, words in (("/no/such/command", 127, "No such file"), ("no-such-command-at-all", 127, "No such file"),
                                   (script("plain.txt", "words"), 126, "Permission denied")):
        done = guard("--memory", "50M", "--", command, rc=status)
        lines = done.err.splitlines()
        check(len(lines) == 1 and command in lines[0] and words in lines[0], lambda: done.err)
    for arguments in ([], ["--list", "/no/such/list"], ["--list", script("empty.list", "# none\n")], ["--memory", "10", "--", "true"],
                      ["--leak", "much", "--", "true"], ["--interval", "1", "--", "true"], ["--chart", "/no/such/dir/c.svg", "--", "true"],
                      ["--list", script("one.list", "a 10M true\n"), "--", "true"], ["--list", script("one.list", "a 10M true\n"), "--memory", "1G"]):
        done = guard(*arguments)
        check(done.rc in (1, 2) and len(done.err.splitlines()) == 1, lambda: "%r: %d, %r" % (arguments, done.rc, done.err))


@test
def a_machine_that_cannot_give_it():
    touched = temp_path("touched")
    done = guard("--memory", "900T", "--", "touch", touched, rc=125)
    check("not run: its budget is 900 TiB and the machine can give" in done.err, lambda: done.err)
    check(not os.path.exists(touched), "it was run all the same")
    done = guard("--memory", "900T", "--wait", "1", "--", "touch", touched, rc=125)
    check("waiting for 900 TiB" in done.err and "after waiting 1 s" in done.err and done.seconds >= 1, lambda: done.err)
    check(not os.path.exists(touched), "it was run all the same")


@test
def growth_is_warned_of():
    done, j = report("--leak", "40M", "--", PYTHON, "-c", GROW, rc=0)
    run, = j["runs"]
    check(55 * MIB < run["growth_bytes"] < 70 * MIB and run["leak"], "growth %d, leak %r" % (run["growth_bytes"], run["leak"]))
    check("warning: it grew by" in done.err, lambda: done.err)
    done, j = report("--", PYTHON, "-c", GROW, rc=0)
    check(not j["runs"][0]["leak"] and "warning" not in done.err, lambda: "under the default of 100M: " + done.err)
    done, j = report("--leak", "40M", "--", *eat(90, 1), rc=0)
    check(not j["runs"][0]["leak"], "what stays the same is no leak")
    done, j = report("--leak", "20M", "--", PYTHON, "-c", START % 3, rc=0)
    check(not j["runs"][0]["leak"] and "warning" not in done.err, lambda: "a start of two seconds: %r" % j["runs"][0])


@test
def children_count_and_none_is_left():
    two = "%s & %s & wait" % (" ".join(eat(50, 20)), " ".join(eat(50, 20)))
    done, j = report("--memory", "90M", "--", "sh", "-c", two, rc=124)
    check(j["runs"][0]["processes"] >= 3, "processes: %d" % j["runs"][0]["processes"])
    expect(alive(temp_path("eat.py")), [], "left of the killed group")
    marker = "7654.321"
    done, j = report("--", "sh", "-c", "setsid sleep %s >/dev/null 2>&1 & sleep 0.3" % marker, rc=0)
    expect(alive(marker), [], "the process in a session of its own")
    expect(j["runs"][0]["left_processes"], 1)
    check("left 1 process" in done.err, lambda: done.err)


@test
def shared_pages_count_once():
    """Eight processes over the same 60 MiB are not 480: a budget of 200 holds them."""
    forked = "import os, time\nheld = bytearray(b'x') * (60 << 20)\nfor i in range(7):\n    if os.fork() == 0:\n        time.sleep(2)\n        os._exit(0)\nfor i in range(7):\n    os.wait()\n"
    if not os.path.exists("/proc/self/smaps_rollup"):
        skip("this kernel has no smaps_rollup")
    done, j = report("--memory", "200M", "--", os.path.realpath(PYTHON), "-c", forked, rc=0)
    check(j["runs"][0]["processes"] == 8 and j["runs"][0]["peak_bytes"] < 200 * MIB, lambda: str(j["runs"][0]))


@test
def a_signal_goes_on_to_the_command():
    for command, status in (("trap 'exit 9' TERM; echo up; sleep 60 & wait", 9), ("trap '' TERM; echo up; sleep 60", 128 + signal.SIGKILL)):
        p = subprocess.Popen([PLIMSOLL, "guard", "--cgroup", "none", "--", "sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        expect(p.stdout.readline(), b"up\n")
        p.send_signal(signal.SIGTERM)
        out, errors = p.communicate(timeout=20 * PATIENCE)
        expect(p.returncode, status, errors.decode())
        check(b"stopped" in errors, lambda: errors.decode())


@test
def a_list_begins_with_the_least_hungry():
    path = script("runs.list", "# a comment\n\nbig 400M %s\nplain - true\n  small 90M %s\nnever 900000G true\nover 64M %s\nfails 80M exit 3\n"
                  % (" ".join(eat(100, 0.3)), " ".join(eat(10, 0.3)), " ".join(eat(200, 20))))
    svg = temp_path("runs.svg")
    done, j = report("--list", path, "--chart", svg, rc=1)
    got = [(r["name"], r["verdict"], r["status"]) for r in j["runs"]]
    expect(got, [("over", "over", 124), ("fails", "within", 3), ("small", "within", 0), ("big", "within", 0), ("never", "skipped", 125), ("plain", "within", 0)])
    ran = [r for r in j["runs"] if r["verdict"] != "skipped"]
    check(all(a["to_s"] <= b["from_s"] for a, b in zip(ran, ran[1:])), "one after another")
    small = j["runs"][2]
    check(small["peak_bytes"] < 60 * MIB, "small is judged by itself: %d" % small["peak_bytes"])
    texts = [t.firstChild.data for t in xml.dom.minidom.parse(svg).getElementsByTagName("text") if t.firstChild]
    for word in ("anonymous", "files", "big"):
        check(word in texts, "no %r in the picture: %r" % (word, texts))
    done = guard("--list", script("skipped.list", "a 900T true\nb 10M true\n"), rc=125)
    check("b: within" in done.err and "a: not run" in done.err, lambda: done.err)
    for line, words in (("a", "expected a name"), ("a 10M", "expected a name"), ("a 10 true", "'10' is no budget"), ("a lots true", "'lots' is no budget")):
        done = guard("--list", script("bad.list", "ok 10M true\n" + line + "\n"), rc=2)
        check(":2: " in done.err and words in done.err and len(done.err.splitlines()) == 1, lambda: done.err)


@test
def the_picture_holds_the_budget():
    svg = temp_path("one.svg")
    guard("--memory", "120M", "--chart", svg, "--", *(eat(60) + ["<&>\"'"]), rc=0)
    document = xml.dom.minidom.parse(svg)
    texts = [t.firstChild.data for t in document.getElementsByTagName("text") if t.firstChild]
    check("budget 120 MiB" in texts and any("eat.py" in t for t in texts), "texts: %r" % texts)
    check(not document.getElementsByTagName("script"), "a script in it")
    expect([p.getAttribute("class") for p in document.getElementsByTagName("path")].count("area"), 4)


@test
def a_report_that_cannot_be_written():
    """The command has run; that its report is missing is still said, and shows in the status."""
    for flag in ("--json", "--chart"):
        done = guard(flag, "/dev/full", "--", "true", rc=125)
        check("within" in done.err or "no budget" in done.err, lambda: done.err)
        check("cannot write the report: No space left" in done.err, lambda: done.err)


@test
def a_control_group_that_cannot_be_used():
    """It says why in its report, and watches instead."""
    plain = temp_path("plain-folder")
    os.mkdir(plain)
    for parent in ("/no/such/group", plain):
        done, j = report("--memory", "300M", "--", *eat(20), cgroup=parent, rc=0)
        run, = j["runs"]
        expect(run["held_by"], "watching")
        check(parent in run["no_cgroup"] and parent in done.err, lambda: done.err)
        expect(report("--memory", "60M", "--", *eat(200, 30), cgroup=parent, rc=124)[1]["runs"][0]["verdict"], "over")
    expect(os.listdir(plain), [], "left behind in it")


@test
def a_control_group_holds_it():
    if os.environ.get("PLIMSOLL_TEST_CGROUP") != "1":
        skip("asks for control groups below our own: PLIMSOLL_TEST_CGROUP=1")
    done, j = report("--memory", "100M", "--", *eat(40), cgroup="auto", rc=0)
    if j["runs"][0]["held_by"] == "watching":
        skip(j["runs"][0]["no_cgroup"])
    note(j["runs"][0]["held_by"])
    expect(report("--memory", "60M", "--", *eat(200, 30), cgroup="auto", rc=124)[1]["runs"][0]["verdict"], "over")


@test(timeout=120)
def a_server_under_guard():
    """Our own memory tests run under it: the built-in model's server, its line as its budget, through requests and an end.
    Its first requests take KV pages, 2 to 3 MiB (more where a sanitizer keeps what was freed)."""
    line, marker = 256, "127.0.0.1"
    path, log = temp_path("server.json"), temp_path("server.log")
    start = time.monotonic()
    with open(log, "wb") as errors:
        p = subprocess.Popen([PLIMSOLL, "guard", "--cgroup", "none", "--interval", "20", "--memory", "%dM" % line, "--leak", "8M", "--json", path, "--",
                              PLIMSOLL, "serve", "--port", "0", "-np", "2", "-c", "2048", "--memory", "%dM" % line], stdout=subprocess.PIPE, stderr=errors)
    try:
        def port():
            with open(log) as f:
                found = re.search(marker + r":(\d+)", f.read())
            return int(found.group(1)) if found else 0
        wait_until(port, "the server's port in its log", 30)
        def ask(method, where, body=None):
            c = http.client.HTTPConnection(marker, port(), timeout=SOCKET_TIMEOUT_S)
            c.request(method, where, body)
            r = c.getresponse()
            text = r.read()
            c.close()
            return r.status, text
        wait_until(lambda: ask("GET", "/readyz")[0] == 200, "ready", 30)
        ready_s = time.monotonic() - start  # of the guard's time, or a little more
        time.sleep(max(1.5, 2 * ready_s))  # half of its time and more at rest, so that the end of its start is found
        for i in range(30):
            status, text = ask("POST", "/generate", json.dumps({"prompt": "Once upon a time", "max_tokens": 20, "seed": i}))
            expect(status, 200, text[:200])
        p.send_signal(signal.SIGTERM)
        expect(p.wait(timeout=60 * PATIENCE), 0, "exit status of the guard")
    finally:
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
            p.wait(timeout=20 * PATIENCE)
        p.stdout.close()
    with open(path) as f:
        said = json.load(f)
    run, = said["runs"]
    note("peak %.1f MiB, growth %.2f MiB, ready after %.1f s" % (run["peak_bytes"] / MIB, run["growth_bytes"] / MIB, ready_s))
    expect((run["verdict"], run["left_processes"]), ("stopped", 0))
    check(0 < run["peak_bytes"] <= line * MIB, lambda: str(run))
    check(not run["leak"], lambda: "growth of a server that was ready after %.1f s: %r" % (ready_s, run))


def blames(runs):
    """What is wrong with the runs of a list: over the budget, failed, grown, processes left behind. What the storm grows by
    after its first second is the whole of it on a busy machine; it looks itself whether all is given back."""
    return ["%s: %s, status %d, leak %r, %d left" % (r["name"], r["verdict"], r["status"], r["leak"], r["left_processes"])
            for r in runs if (r["verdict"], r["status"], r["leak"] and r["name"] != "storm", r["left_processes"]) != ("within", 0, False, 0)]


@test(timeout=240)
def our_own_memory_tests():
    """tests/memory/guard.list, in control groups where they can be made."""
    build = os.path.dirname(PLIMSOLL)
    with open(os.path.join(ROOT, "tests/memory/guard.list")) as f:
        text = f.read()
    missing = [name for name in re.findall(r"build}/(\w+)", text) if not os.access(os.path.join(build, name), os.X_OK)]
    if missing:
        skip("not built: " + " ".join(missing))
    path = temp_path("own.json")
    done = run_plimsoll("guard", "--leak", "32M", "--wait", "30", "--json", path, "--list", os.path.join(ROOT, "tests/memory/guard.list"),
                        env={"BUILD": build}, cwd=ROOT, timeout_s=200)
    with open(path) as f:
        runs = json.load(f)["runs"]
    for r in runs:
        note("%-14s %5.1f MiB of %3d, grew by %4.1f, %4.1f s, %s" %
             (r["name"], r["peak_bytes"] / MIB, r["budget_bytes"] / MIB, r["growth_bytes"] / MIB, r["to_s"] - r["from_s"], r["held_by"]))
    if all(r["verdict"] == "skipped" for r in runs):
        skip(runs[0]["reason"])
    check(not blames(runs), lambda: "wrong: %r; the end of what they said:\n%s" % (blames(runs), done.out.decode(errors="replace")[-3000:] + done.err[-3000:]))
    expect((len(runs), done.rc), (len(re.findall(r"^\w", text, re.M)), 0), "runs, and the guard's status")
    budgets = [r["budget_bytes"] for r in runs]
    expect(budgets, sorted(budgets), "the least hungry first")


@test
def a_list_with_faults_is_blamed():
    """The judgement above can fail: one over, one that grows, one that fails, one that leaves somebody behind."""
    path = script("faults.list", "over 60M %s\ngrows 150M %s -c '%s'\nfails 50M exit 3\nleaves 70M (setsid sleep 54.321 >/dev/null 2>&1 &) ; sleep 0.3\nfine 55M true\n"
                  % (" ".join(eat(200, 20)), os.path.realpath(PYTHON), GROW.strip().replace("\n", ";")))
    done, j = report("--leak", "16M", "--list", path, rc=1)
    found = blames(j["runs"])
    expect([b.split(":")[0] for b in found], ["fails", "over", "leaves", "grows"], "blamed: %r" % found)


main()
