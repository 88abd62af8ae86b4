"""The line inside of a control group: clamped to what the group gives, following its limit, and never a kill."""
from groups import *
from harness import *

FLAGS = ("-np", "8", "-c", "1024", "--max-active", "32", "--max-connections", "48", "--body-limit", "128K", "--body-pool", "1M", "--memory", "512M")  # far above every group here
SECONDS = float(os.environ.get("GROUP_STORM_SECONDS", "3"))


def line_of(s):
    """What /memory says of the line, which /health must say too. The line may move between two readings: they are taken again until they agree."""
    def told(memory):
        return tuple(memory[key] for key in ("line_bytes", "line_asked_bytes", "line_bound"))
    for _ in range(50):
        before, books, after = told(s.health()["memory"]), told(s.memory()["books"]), told(s.health()["memory"])
        if books in (before, after):
            return books[0], books[2]
        time.sleep(0.02)
    expect((before, after), (books, books), "the line of /health before and after that of /memory, again and again")


@test(timeout=60)
def the_line_is_clamped_and_it_is_said():
    least = least_plan(*FLAGS)
    with Group(least + 24 * MIB, taker=False) as group:
        planned = subprocess.run([group.server_program, "plan", "--json", *FLAGS], capture_output=True, text=True)
        expect(planned.returncode, 0, "exit status of plan")
        plan = json.loads(planned.stdout)["plan"]
        check(least <= plan["line_bytes"] < group.limit, "the plan's line is %d" % plan["line_bytes"])
        expect((plan["line_asked_bytes"], plan["line_bound"]), (512 * MIB, "cgroup"), "what the plan says of the line")
        with Server(*FLAGS) as s:
            line, bound = line_of(s)
            expect(bound, "cgroup", "bound of the line")
            check(least <= line < group.limit, "the line is %d in a group of %d" % (line, group.limit))
            said = [l for l in s.log().splitlines() if "above what the control group can give" in l]
            check(len(said) == 1 and "512 MiB" in said[0], "the log does not say that the line was cut: " + s.log())
            check("asked were 512 MiB, the control group gives no more" in s.log(), "the plan that serve prints does not say it")
            note("a group of %.1f MiB: a line of %.1f MiB" % (group.limit / MIB, line / MIB))
    with Group(GIB, taker=False) as group, Server(*FLAGS) as s:
        expect(line_of(s), (512 * MIB, "asked"), "the line in a group that has more")
        check("above what" not in s.log(), "the log says that something was cut")


@test(timeout=60)
def the_line_follows_a_limit():
    with Group(400 * MIB, taker=False) as group, Server("-np", "2", "-c", "1024", "--memory", "300M") as s:
        expect(line_of(s), (300 * MIB, "asked"), "the line at the start")
        lines = []
        for limit in (250, 150, 200):
            group.set_limit(limit * MIB)
            wait_until(lambda: line_of(s)[1] == "cgroup" and limit * 0.9 * MIB < line_of(s)[0] < limit * MIB, "the line to follow %d MiB" % limit, 5, 0.05)
            lines.append(line_of(s)[0])
            expect(s.post([9] * 600, max_tokens=4).status, 200, "a request under the lower line")
            before, pool, after = line_of(s)[0], s.memory()["kv_pool"], line_of(s)[0]  # the line moves with what the group holds
            check(pool["budget_bytes"] <= max(before, after), "a pool of %d bytes" % pool["budget_bytes"])
        check(lines[1] < lines[2] < lines[0], "lines %r" % lines)
        group.set_limit(400 * MIB)
        wait_until(lambda: line_of(s) == (300 * MIB, "asked"), "the line as it was asked for", 5, 0.05)
        check(s.log().count("the line is") == 4, "the log does not say where the line went: " + s.log())
        wait_until(lambda: s.health()["memory"]["level"] == "safe", "safe when it has passed", 5, 0.05)


@test(timeout=60)
def a_group_without_room_for_the_plan_is_refused():
    with Group(least_plan(*FLAGS) - 4 * MIB, taker=False) as group:
        done = subprocess.run([group.server_program, "serve", "--port", "0", *FLAGS], capture_output=True, text=True, timeout=30 * PATIENCE)
        expect(done.returncode, 2, "exit status")
        check("the control group can give" in done.stderr and "it would fit" in done.stderr or "raise --memory" in done.stderr, done.stderr)
        expect(group.kills(), 0, "kills")


@test(timeout=180)
def no_load_gets_it_killed():
    """From the smallest group in which it starts upward, with two loops that take the cores away."""
    least = least_plan(*FLAGS)
    with BusyLoops():
        for i, more in enumerate((3, 5, 12, 32)):
            with Group(least + more * MIB, taker=False) as group:
                try:
                    s = Server(*FLAGS)
                except Exception:
                    expect(group.kills(), 0, "kills at the start")
                    note("a group of the plan and %d MiB: it does not fit" % more)
                    continue
                with s:
                    said, room = storm_in(group, s, SECONDS, i, 1024)
                    note("a group of the plan and %d MiB: %r, at least %.1f MiB left" % (more, said, room / MIB))
                    check(said.get(200, 0) > 0, "nobody was served: %r" % said)


@test(timeout=120)
def beside_somebody_who_takes_what_is_left():
    """Another process of the group takes all but a little, again and again, while the server is busy."""
    with Group(least_plan(*FLAGS) + 90 * MIB) as group, BusyLoops(), Server(*FLAGS) as s:
        def come_and_go():
            group.take(0 if group.taker.taken else max(0, group.room() - 9 * MIB) // MIB * MIB)
            time.sleep(0.05)
        said, room = storm_in(group, s, 2 * SECONDS, 7, 1024, beside=come_and_go)
        note("%r, at least %.1f MiB left" % (said, room / MIB))
        group.take(0)
        wait_until(lambda: s.post("Once", max_tokens=2).status == 200, "to be admitted again", 5, 0.02)


@test(timeout=60)
def with_nothing_left_it_answers():
    """Connections are no question of memory: probes get their 200, requests a reason."""
    with Group(300 * MIB) as group, Server("--memory", "280M", "-c", "4096", "-np", "4") as s:
        for left in (5, 3, 2):
            group.leave(left * MIB)
            wait_until(lambda: s.health()["memory"]["level"] == "emergency", "the shortage to be seen", 5, 0.05)
            for path in ("/livez", "/health", "/memory") * 5:
                expect(s.get(path).status, 200, path + " with %d MiB left" % left)
            refused = s.post("Once", max_tokens=2)
            expect((refused.status, refused.json()["error"]["type"]), (429, "memory"), "a request with %d MiB left" % left)
            check(int(refused.headers["Retry-After"]) > 0, "when to try again: %r" % refused.headers)
        group.take(0)
        wait_until(lambda: s.post("Once", max_tokens=2).status == 200, "to be admitted again", 5, 0.02)


main()
