"""What is remembered of prompts, over HTTP: hits, entries, pins, expiry, windows, types, the spill file."""
from harness import *

PAGE_TOKENS = 16
# With their short answers these end in the second half of a page: what is less is not remembered.
SHORT, LONG = 7 * PAGE_TOKENS + 10, 13 * PAGE_TOKENS + 10


def ids(n, start=300):
    return [start + (i * 7919) % 1500 for i in range(n)]


def entries(s):
    return s.get("/cache").json()["entries"]


@test
def a_prompt_is_known_the_second_time():
    with Server("-c", "1024") as s:
        expect(s.memory()["kv_pool"]["page_tokens"], PAGE_TOKENS)
        first = s.generate(ids(500), max_tokens=20, temperature=0)
        second = s.generate(ids(500), max_tokens=20, temperature=0)
        other = s.generate(ids(500), max_tokens=20, temperature=0, cache=False)
        expect(first["usage"]["cached_tokens"], 0)
        expect(first["cache_stats"]["reprocess_reason"], "nothing_cached")
        expect(second["usage"]["cached_tokens"], 499)
        expect(second["cache_stats"]["hit_tokens"], 499)
        expect(second["cache_stats"]["reprocess_reason"], None)
        check(second["cache_stats"]["shared_bytes"] > 0, "nothing is shared")
        expect(other["usage"]["cached_tokens"], 0)
        expect(other["cache_stats"]["reprocess_reason"], "disabled")
        for reply in (second, other):
            expect(reply["text"], first["text"])
        note("prefill %.1f ms, then %.1f ms" % (first["timings"]["prefill_ms"], second["timings"]["prefill_ms"]))


@test
def a_conversation_goes_on():
    """Each turn finds all that was said before, the answer included."""
    with Server("-c", "1024") as s:
        said = ids(115)
        for turn in range(4):
            r = s.generate(said, max_tokens=40, temperature=0, logprobs=True, ignore_end=True)
            if turn:
                check(r["usage"]["cached_tokens"] >= len(said) - 10 - PAGE_TOKENS // 2, "turn %d: %s of %d" % (turn, r["usage"], len(said)))
            said = said + [t["token"] for t in r["logprobs"]] + ids(10, 300 + turn)
        expect(len(entries(s)), 1, "one conversation, one entry")


@test
def another_branch_is_reused_too():
    with Server("-c", "1024") as s:
        trunk = ids(320)
        a = s.generate(trunk + ids(110, 301), max_tokens=5, temperature=0)
        b = s.generate(trunk + ids(110, 302), max_tokens=5, temperature=0)
        expect(a["usage"]["cached_tokens"], 0)
        check(b["usage"]["cached_tokens"] >= 320, str(b["usage"]))
        expect(b["cache_stats"]["reprocess_reason"], "diverged")
        again = s.generate(trunk + ids(110, 301), max_tokens=5, temperature=0)
        expect(again["usage"]["cached_tokens"], 429)
        expect(again["text"], a["text"])
        expect(len(entries(s)), 2)


@test
def entries_are_listed_and_removed():
    with Server("-c", "1024") as s:
        s.generate(ids(210), max_tokens=4)
        s.generate(ids(300, 400), temperature=0, max_tokens=4, pin=True)
        s.generate(ids(300, 400), temperature=0, max_tokens=4)
        listed = sorted(entries(s), key=lambda e: e["tokens"])
        check(len(listed) == 2 and all(set(e) >= {"id", "tokens", "bytes", "age_s", "idle_s", "hits", "pinned", "type", "ttl_s",
                                                  "spilled_bytes"} for e in listed), str(listed))
        expect([e["pinned"] for e in listed], [False, True])
        check(listed[1]["hits"] >= 1 and listed[0]["bytes"] > 0 and listed[0]["type"] == "f16", str(listed))
        r = s.request("DELETE", "/cache/%d" % listed[0]["id"])
        expect((r.status, r.json()["removed"]), (200, 1))
        check(r.json()["freed_bytes"] > 0, "nothing was freed")
        expect(s.request("DELETE", "/cache/%d" % listed[0]["id"]).status, 404)
        expect(s.request("DELETE", "/cache/x").status, 404)
        expect(s.request("DELETE", "/cache").json()["removed"], 1)
        expect(entries(s), [])
        expect(s.memory()["kv_pool"]["used_bytes"], 0)


@test
def entries_expire():
    with Server("-c", "1024", "--prompt-cache-ttl", "100") as s:
        s.generate(ids(LONG, 500), max_tokens=4, cache_ttl=90)
        s.generate(ids(LONG, 400), max_tokens=4)
        s.generate(ids(LONG), max_tokens=4, cache_ttl=1)
        wait_until(lambda: sorted(e["ttl_s"] for e in entries(s)) == [90, 100], "the entry of one second to expire", 10)
        expect(s.generate(ids(LONG), max_tokens=4)["usage"]["cached_tokens"], 0)
        check(s.generate(ids(LONG, 400), max_tokens=4)["usage"]["cached_tokens"] == LONG - 1, "the other is gone, too")


@test
def limits_hold():
    with Server("-c", "1024", "--prompt-cache-size", "3") as s:
        for i in range(6):
            s.generate(ids(SHORT, 300 + i), max_tokens=2)
        expect(len(entries(s)), 3)
        expect(s.generate(ids(SHORT, 305), max_tokens=2)["usage"]["cached_tokens"], SHORT - 1)
    with Server("-c", "1024", "--prompt-cache-bytes", "1M") as s:
        for i in range(6):
            s.generate(ids(LONG, 300 + i), max_tokens=2)
        pool = s.memory()["kv_pool"]
        check(0 < pool["evictable_bytes"] <= 1 << 20, str(pool))
    with Server("-c", "1024", "--no-prompt-cache") as s:
        for _ in range(2):
            expect(s.generate(ids(SHORT), max_tokens=2)["usage"]["cached_tokens"], 0)
        expect(s.memory()["kv_pool"]["used_bytes"], 0)


@test
def tenants_do_not_share():
    with Server("-c", "512", "--api-key", "red,blue") as s:
        def ask(key):
            headers = {"Content-Type": "application/json", **({"Authorization": "Bearer " + key} if key else {})}
            return s.request("POST", "/generate", json.dumps({"prompt": ids(LONG), "max_tokens": 2}), headers)
        expect(ask(None).status, 401)
        expect(ask("green").status, 401)
        expect([ask(k).json()["usage"]["cached_tokens"] for k in ("red", "blue", "red", "blue")], [0, 0, LONG - 1, LONG - 1])


@test
def several_answers_share_a_prompt():
    with Server("-c", "1024", "-np", "8", "--memory", "300M") as s:
        one = s.generate(ids(600), max_tokens=8, temperature=1, seed=5, cache=True)
        s.request("DELETE", "/cache")
        four = s.generate(ids(600), max_tokens=8, temperature=1, seed=5, n=4)
        expect(len(four["choices"]), 4)
        expect([c["index"] for c in four["choices"]], [0, 1, 2, 3])
        expect(four["choices"][0]["text"], one["text"])
        for i in range(1, 4):
            alone = s.generate(ids(600), max_tokens=8, temperature=1, seed=5 + i)
            expect(four["choices"][i]["text"], alone["text"], "answer %d" % i)
        expect(four["usage"]["prompt_tokens"], 600)
        expect(four["usage"]["completion_tokens"], 32)
        s.request("DELETE", "/cache")
        ends, texts = [], {}
        for event in s.stream(ids(600), max_tokens=8, temperature=1, seed=5, n=3):
            if event.get("done"):
                ends.append(event["index"])
            else:
                texts[event["index"]] = texts.get(event["index"], "") + event["text"]
        expect(sorted(ends), [0, 1, 2])
        expect([texts[i] for i in range(3)], [c["text"] for c in four["choices"][:3]])
        until_quiet(s)


@test
def a_window_keeps_memory_constant():
    with Server("-c", "512") as s:
        short = s.generate(ids(115), max_tokens=200, window=96, keep=4, ignore_end=True, temperature=0)
        long = s.generate(ids(115), max_tokens=1920, window=96, keep=4, ignore_end=True, temperature=0)
        expect(long["usage"]["completion_tokens"], 1920)
        expect(long["cache_stats"]["bytes"], short["cache_stats"]["bytes"], "KV bytes at the largest")
        check(long["text"].startswith(short["text"]), "the same beginning")
        expect(s.post(ids(10), window=2000).status, 400)
        expect(s.post(ids(10), window=50, keep=50).status, 400)


def sizes_of_types(prompt, *flags):
    with Server("-c", "512", *flags) as s:
        sizes = {}
        for kind in ("f16", "q8", "q4"):
            r = s.generate(prompt, max_tokens=10, kv_type=kind, ignore_end=True)
            expect(r["cache_stats"]["kv_type"], kind)
            expect(r["usage"]["cached_tokens"], 0, "of another type")
            sizes[kind] = r["cache_stats"]["bytes"]
    note("q8 %.3f, q4 %.3f of f16" % (sizes["q8"] / sizes["f16"], sizes["q4"] / sizes["f16"]))
    return sizes


@test
def types_take_less():
    deep = ("-m", forge("--shape", "golden", "--type", "Q8_0", "--layers", "16"))
    sizes = sizes_of_types([3 + i * 7 % 300 for i in range(300)], *deep)
    check(sizes["q4"] <= 0.30 * sizes["f16"], str(sizes))
    check(sizes["q8"] <= 0.55 * sizes["f16"], str(sizes))
    check("not 30%" not in run_plimsoll("plan", *deep, rc=0).out.decode(), "a warning without cause")
    # The built-in model's pages are so small that whole pages of the machine's make a difference: the plan says so.
    sizes = sizes_of_types(ids(300))
    check(sizes["q4"] <= 0.35 * sizes["f16"] and sizes["q8"] <= 0.60 * sizes["f16"], str(sizes))
    for kind, share in plan_of()["kv_share"].items():
        expect("%.4f" % share, "%.4f" % (sizes[kind] / sizes["f16"]), kind + " in the plan")
    plan = run_plimsoll("plan", rc=0).out.decode()
    check("not 55%: it is small" in plan and "not 30%: it is small" in plan, plan)
    with Server("-c", "512", "--kv", "q8") as s:
        expect(s.generate(ids(30), max_tokens=2)["cache_stats"]["kv_type"], "q8")


@test
def fit_answers_without_running():
    with Server("-c", "1024", "-np", "2") as s:
        r = s.post(ids(SHORT), path="/fit", max_tokens=100).json()
        expect((r["fits"], r["now"], r["prompt_tokens"], r["cached_tokens"]), (True, True, SHORT, 0))
        check(0 < r["required_bytes"] <= r["available_bytes"] <= r["pool_bytes"], str(r))
        s.generate(ids(SHORT), max_tokens=4)
        expect(s.post(ids(SHORT), path="/fit", max_tokens=100).json()["cached_tokens"], SHORT - 1)
        never = s.post(ids(1024), path="/fit", max_tokens=100).json()
        expect((never["fits"], never["now"]), (False, False))
        check("1024" in never["reason"], never["reason"])
        expect(s.post(ids(10), path="/fit", temperature="x").status, 400)
        streams = [s.stream(ids(20, 300 + i), max_tokens=100000, window=512, keep=16, ignore_end=True) for i in range(2)]
        for stream in streams:
            next(iter(stream))
        busy = s.post(ids(SHORT, 500), path="/fit", max_tokens=100).json()
        expect((busy["fits"], busy["now"]), (True, False))
        check(busy["retry_after_s"] >= 1 and busy["reason"], str(busy))
        for stream in streams:
            stream.close()
        until_quiet(s)


@test(timeout=120)
def what_is_spilled_survives_the_server():
    path = temp_path("spill")
    flags = ("-c", "1024", "--spill-file", path, "--spill-bytes", "64M", "--prompt-cache-bytes", "200K")
    prompts = [ids(400, 300 + i) for i in range(4)]
    with Server(*flags) as s:
        texts = [s.generate(p, max_tokens=8, temperature=0)["text"] for p in prompts]
        spill = s.memory()["spill"]
        check(spill["read_ms_per_page"] > 0 and spill["recompute_ms_per_page"] > 0, str(spill))
        note("a page: %.3f ms to read, %.3f ms to compute" % (spill["read_ms_per_page"], spill["recompute_ms_per_page"]))
        if spill["read_ms_per_page"] >= spill["recompute_ms_per_page"]:
            skip("reading a page back takes longer than computing it here: the file is not used")
        check(spill["used"] > 0, str(spill))
        wait_until(lambda: all(e["spilled_bytes"] + e["bytes"] > 0 for e in entries(s)), "entries")
        back = s.generate(prompts[0], max_tokens=8, temperature=0)
        check(back["usage"]["cached_tokens"] > 300 and back["text"] == texts[0], str(back["usage"]))
        check(s.memory()["spill"]["restored_pages"] > 0, "nothing came from the file")
    with Server(*flags) as s:  # after an end in peace
        for p, text in zip(prompts, texts):
            r = s.generate(p, max_tokens=8, temperature=0)
            expect(r["text"], text)
            check(r["usage"]["cached_tokens"] > 300, str(r["usage"]))
        s.kill()
    with Server(*flags) as s:  # after kill -9
        known = [s.generate(p, max_tokens=8, temperature=0) for p in prompts]
        expect([r["text"] for r in known], texts)
        check(sum(r["usage"]["cached_tokens"] for r in known) > 600, str([r["usage"] for r in known]))
        s.kill()
    size = os.path.getsize(path)
    with open(path, "r+b") as f:  # and after damage: computed again, never believed
        for at in range(size // 3, size, 64 << 10):
            f.seek(at)
            byte = f.read(1)
            f.seek(at)
            f.write(bytes([byte[0] ^ 0x55]) if byte else b"")
    with Server(*flags) as s:
        for p, text in zip(prompts, texts):
            expect(s.generate(p, max_tokens=8, temperature=0)["text"], text)
    with Server("-m", forge("--shape", "golden", "--type", "Q8_0"), *flags) as s:  # another model's file is not read
        expect(entries(s), [])


@test
def wrong_fields_are_told():
    with Server("-c", "512") as s:
        for fields in ({"n": 0}, {"n": 17}, {"n": "2"}, {"kv_type": "f32"}, {"kv_type": 4}, {"priority": 1000}, {"priority": "high"},
                       {"window": -1}, {"keep": 3}, {"cache_ttl": -1}, {"pin": "yes"}, {"cache": 1}):
            r = s.post(ids(10), **fields)
            expect(r.status, 400, str(fields))
            check("'%s'" % list(fields)[0] in r.reason(), "%s: %s" % (fields, r.reason()))


main()
