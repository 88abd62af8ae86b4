"""POST /v1/embeddings: what may come in, what comes out, and many at once."""
import base64
import math
import struct

from harness import *

TEXTS = ["The boat came home.", "A boat came back home.", "Nine hundred and two"]


def ask(s, path="/v1/embeddings", **fields):
    r = s.request("POST", path, json.dumps({"model": "m", **fields}))
    expect(r.status, 200, "status (%s)" % r.body[:300])
    return r.json()


def vectors(answer):
    expect([d["index"] for d in answer["data"]], list(range(len(answer["data"]))))
    return [d["embedding"] for d in answer["data"]]


def refused(s, status, param, **fields):
    r = s.request("POST", "/v1/embeddings", json.dumps({"model": "m", **fields}))
    expect(r.status, status, "status of %r (%s)" % (fields, r.body[:200]))
    error = r.json()["error"]
    expect(set(error), {"message", "type", "param", "code"})
    if param:
        check(error["param"] and error["param"].startswith(param), "%r names %r (%r)" % (error, error["param"], fields))
    return error


def length(v):
    return math.sqrt(sum(x * x for x in v))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / (length(a) * length(b))


def ids_of(text):
    return [int(i) for i in run_plimsoll("tokenize", "--ids", text, rc=0).out.split()]


@test
def all_that_may_come_in():
    with Server("--alias", "m") as s:
        made = ask(s, input=TEXTS)
        expect(set(made), {"object", "data", "model", "usage", "timings", "memory"})
        expect((made["object"], made["model"], made["data"][0]["object"]), ("list", "m", "embedding"))
        v = vectors(made)
        check(all(abs(length(x) - 1) < 1e-5 for x in v), "lengths")
        check(cosine(v[0], v[1]) > cosine(v[0], v[2]), "likeness")
        ids = [ids_of(t) for t in TEXTS]
        expect(made["usage"], {"prompt_tokens": sum(map(len, ids)), "total_tokens": sum(map(len, ids))})
        expect(vectors(ask(s, input=TEXTS[0])), v[:1], "a string")
        expect(vectors(ask(s, input=ids)), v, "arrays of ids")
        expect(vectors(ask(s, input=ids[0])), v[:1], "an array of ids")
        expect(vectors(ask(s, "/embeddings", input=TEXTS[0])), v[:1], "the other path")
        packed = vectors(ask(s, input=TEXTS, encoding_format="base64"))
        for text, wanted in zip(packed, v):
            raw = base64.b64decode(text, validate=True)
            got = struct.unpack("<%df" % (len(raw) // 4), raw)
            expect(list(got), [struct.unpack("<f", struct.pack("<f", x))[0] for x in wanted], "base64 and numbers")
        for n in (1, 7, 100):
            short = vectors(ask(s, input=TEXTS[0], dimensions=n))[0]
            check(len(short) == n and abs(length(short) - 1) < 1e-5 and cosine(short, v[0][:n]) > 1 - 1e-6, short)


@test
def poolings():
    with Server("--alias", "m") as s:
        by = {p: vectors(ask(s, input=TEXTS, pooling=p)) for p in ("model", "mean", "last", "cls")}
        expect(by["model"], by["mean"], "this model asks for nothing")
        check(by["mean"] != by["last"] and by["last"] != by["cls"], "poolings are the same")
        expect(by["cls"][0], by["cls"][1], "the first token is the same one")
        long = vectors(ask(s, input=TEXTS[0], normalize=False))[0]
        check(abs(length(long) - 1) > 1e-3 and cosine(long, by["mean"][0]) > 1 - 1e-6, length(long))


@test
def the_same_whatever_runs_beside():
    texts = ["%d boats and %s" % (i, "a long story about the sea, " * (i % 9)) for i in range(120)]
    with Server("--alias", "m", "-np", "1") as s:
        alone = [vectors(ask(s, input=t))[0] for t in texts]
    with Server("--alias", "m", "-np", "6") as s:
        answers, streams = {}, [s.stream("Once upon a time", max_tokens=400, ignore_end=True, seed=i) for i in range(3)]
        threads = [threading.Thread(target=lambda i=i: answers.update({i: vectors(ask(s, input=texts))}), daemon=True) for i in range(4)]
        for t in threads:
            t.start()
        for stream in streams:
            check(list(stream)[-1]["done"], "a stream without an end")
        for t in threads:
            t.join(50)
        expect(len(answers), 4)
        for got in answers.values():
            expect(got, alone, "vectors in company")
        until_quiet(s)


@test
def a_short_queue_is_enough():
    with Server("--alias", "m", "-np", "1", "--max-queue", "2") as s:
        expect(len(vectors(ask(s, input=TEXTS * 30))), 90)
        blocker = [s.open_request("Once", max_tokens=1500, ignore_end=True) for _ in range(3)]
        wait_until(lambda: s.health()["queued_jobs"] == 2, "the queue to be full")
        r = s.request("POST", "/v1/embeddings", json.dumps({"model": "m", "input": TEXTS}))
        expect(r.status, 429)
        check(int(r.headers["retry-after"]) >= 1, "no Retry-After")
        for c in blocker:
            c.close()
        until_quiet(s)
        expect(len(vectors(ask(s, input=TEXTS))), 3)


@test
def what_is_refused():
    with Server("--alias", "m", "-c", "256") as s:
        for wrong in (None, 5, True, {}, "", [], [""], ["a", 5], [5, "a"], [[]], [["a"]], [[5.5]], [-1], [1 << 40], ["a", None]):
            refused(s, 400, "input", input=wrong)
        refused(s, 400, "encoding_format", input="x", encoding_format="hex")
        refused(s, 400, "encoding_format", input="x", encoding_format=5)
        for wrong in (0, -1, 1.5, "x", 1 << 40, 257):
            refused(s, 400, "dimensions", input="x", dimensions=wrong)
        refused(s, 400, "pooling", input="x", pooling="max")
        refused(s, 400, "normalize", input="x", normalize=1)
        refused(s, 400, "input", input=["x"] * 5000)
        expect(refused(s, 400, None, input="word " * 1000)["code"], "context_length_exceeded")
        expect(refused(s, 400, None, input=["x", "word " * 1000])["code"], "context_length_exceeded")
        expect(refused(s, 404, None, model="nope", input="x")["code"], "model_not_found")
        expect(len(vectors(ask(s, input=[5] * 256))[0]), 256, "a text as long as the context")
        until_quiet(s)


@test
def an_answer_too_large_is_said_before():
    with Server("--alias", "m", "--body-pool", "4M") as s:
        error = refused(s, 400, "input", input=["x"] * 2000)
        check("fewer" in error["message"], error)
        expect(len(vectors(ask(s, input=["x"] * 2000, dimensions=8))), 2000)
        expect(len(vectors(ask(s, input=["x"] * 200))), 200)


main()
