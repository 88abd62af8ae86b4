"""A model in several files: the same bits as in one, and one clear line for every way in which parts do not fit together."""
import shutil
import struct

from harness import *

SHAPE = ("--shape", "golden", "--type", "Q8_0")


def split(name, n=3, *more):
    """Paths of the parts, in a folder of their own."""
    folder = temp_path(name)
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder)
    made = subprocess.run([FORGE, *(more or SHAPE), "--split", str(n), "-o", os.path.join(folder, "m.gguf")], capture_output=True)
    expect(made.returncode, 0, made.stderr)
    return [os.path.join(folder, "m-%05d-of-%05d.gguf" % (i + 1, n)) for i in range(n)]


def refused(path, *words):
    for command in (("plan", path), ("serve", "--port", "0", path), ("inspect", path)):
        r = run_plimsoll(*command)
        check(r.rc != 0 and r.err.count("\n") == 1, lambda: "%s: %d, %r" % (command, r.rc, r.err))
        for w in words:
            check(w in r.err, lambda: "%r does not say %r" % (r.err, w))


def set_key(path, key, number):
    """Overwrites the value of an integer key where it stands."""
    with open(path, "r+b") as f:
        data = f.read()
        at = data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key)
        kind = struct.unpack_from("<I", data, at)[0]
        f.seek(at + 4)
        f.write(struct.pack({2: "<H", 4: "<I", 5: "<i"}[kind], number))


@test
def the_same_as_in_one_file():
    whole = forge(*SHAPE)
    run = lambda path: run_plimsoll("run", "--temp", "0", "-n", "24", path, "Once upon", rc=0).out
    wanted, plan = run(whole), json.loads(run_plimsoll("plan", "--json", "-m", whole, rc=0).out)
    for n in (2, 3, 7):
        parts = split("good%d" % n, n)
        expect(run(parts[0]), wanted, "%d files" % n)
        got = json.loads(run_plimsoll("plan", "--json", parts[0], rc=0).out)
        for key in ("tensor_bytes", "kv_page_bytes", "context", "model"):
            expect(got[key], plan[key], key)
        expect(got["plan"]["weights"] if "weights" in got["plan"] else None, plan["plan"].get("weights"), "weights are planned once")
        expect(json.loads(run_plimsoll("inspect", "--json", parts[0], rc=0).out)["files"], n, "files")
    os.chdir(os.path.dirname(parts[0]))
    expect(run(os.path.basename(parts[0])), wanted, "without a folder")
    with Server(parts[0]) as s, Server(whole) as w:
        ask = {"max_tokens": 12, "temperature": 0, "logprobs": True}
        expect(s.generate("Once upon", **ask)["text"], w.generate("Once upon", **ask)["text"], "served")
        a, b = (x.memory()["books"]["accounts"]["weights"]["now_bytes"] for x in (s, w))
        expect(a, b, "bytes of weights")


@test
def parts_that_do_not_fit():
    parts = split("bad")
    keep = [open(p, "rb").read() for p in parts]

    def restore():
        for p, data in zip(parts, keep):
            with open(p, "wb") as f:
                f.write(data)

    refused(parts[1], "part 2 of 3", "m-00001-of-00003.gguf")
    refused(parts[2], "part 3 of 3", "m-00001-of-00003.gguf")
    os.remove(parts[1])
    refused(parts[0], "part 2 of 3", "m-00002-of-00003.gguf", "No such file")
    restore()
    os.truncate(parts[2], len(keep[2]) - 100)
    refused(parts[0], "part 3 of 3", "m-00003-of-00003.gguf", "tensor")
    os.truncate(parts[2], 10)
    refused(parts[0], "part 3 of 3", "m-00003-of-00003.gguf", "truncated")
    restore()
    shutil.copy(parts[1], parts[2])
    refused(parts[0], "m-00003-of-00003.gguf", "is part 2 of 3, not part 3 of 3")
    restore()
    shutil.copy(forge(*SHAPE), parts[1])
    refused(parts[0], "m-00002-of-00003.gguf", "no part of a split model")
    restore()
    set_key(parts[1], b"split.tensors.count", 5)
    refused(parts[0], "m-00002-of-00003.gguf", "another model")
    restore()
    set_key(parts[1], b"split.count", 4)
    refused(parts[0], "m-00002-of-00003.gguf", "part 2 of 4")
    restore()
    for p in parts:
        set_key(p, b"split.tensors.count", 99)
    refused(parts[0], "hold", "not 99")
    restore()
    shutil.copy(parts[1], parts[2])  # its tensors twice
    set_key(parts[2], b"split.no", 2)
    refused(parts[0], "duplicate tensor")
    restore()
    set_key(parts[0], b"split.no", 7)
    refused(parts[0], "part 8 of 3")
    restore()
    set_key(parts[0], b"split.count", 60000)
    refused(parts[0], "60000 parts")
    restore()
    other = os.path.join(os.path.dirname(parts[0]), "renamed.gguf")
    shutil.copy(parts[0], other)
    refused(other, "first of 3 parts", "-00001-of-00003.gguf")
    more = split("other", 3, "--shape", "golden", "--type", "Q8_0", "--layers", "2")
    shutil.copy(more[1], parts[1])
    refused(parts[0], "m-00002-of-00003.gguf", "another model")
    restore()
    run_plimsoll("plan", parts[0], rc=0)


def respell(path, key, other):
    """Gives a key another name of the same length: to the reader it is no longer there."""
    with open(path, "r+b") as f:
        data = f.read()
        f.seek(data.index(key))
        f.write(other)


def uncounted(parts):
    for p in parts:
        respell(p, b"split.tensors.count", b"split.anything.else")


def add_key(path, key, value):
    """A text, as the first key."""
    with open(path, "rb") as f:
        data = f.read()
    tensors, keys = struct.unpack_from("<QQ", data, 8)
    added = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    check(len(added) % 32 == 0, "%d bytes more would move the data off its alignment" % len(added))
    with open(path, "wb") as f:
        f.write(data[:8] + struct.pack("<QQ", tensors, keys + 1) + added + data[24:])


@test
def through_links_as_a_cache_has_them():
    """snapshots/REVISION/m-0000N-of-00002.gguf -> ../../blobs/HASH: by the links, by links to them, never by the blobs."""
    wanted = run_plimsoll("run", "--temp", "0", "-n", "8", forge(*SHAPE), "Once upon", rc=0).out
    parts = split("cache", 2)
    top = os.path.dirname(parts[0])
    snapshot, blobs, alone = (os.path.join(top, d) for d in ("snapshots/0123abcd", "blobs", "alone"))
    for folder in (snapshot, blobs, alone):
        os.makedirs(folder)
    for i, p in enumerate(parts):
        os.rename(p, os.path.join(blobs, "%064x" % (7 + i)))
        os.symlink("../../blobs/%064x" % (7 + i), os.path.join(snapshot, os.path.basename(p)))
    first = os.path.join(snapshot, os.path.basename(parts[0]))
    links = [os.path.join(top, "model.gguf"), os.path.join(top, "again.gguf"), os.path.join(alone, os.path.basename(first)), os.path.join(top, "absolute.gguf")]
    os.symlink("snapshots/0123abcd/" + os.path.basename(first), links[0])
    os.symlink("model.gguf", links[1])
    os.symlink("../snapshots/0123abcd/" + os.path.basename(first), links[2])  # the first part alone, under its own name
    os.symlink(first, links[3])
    for path in [first] + links:
        expect(run_plimsoll("run", "--temp", "0", "-n", "8", path, "Once upon", rc=0).out, wanted, path)
    os.chdir(top)
    expect(run_plimsoll("run", "--temp", "0", "-n", "8", "model.gguf", "Once upon", rc=0).out, wanted, "without a folder")
    with Server(first) as s:
        check(s.generate("Once upon", max_tokens=4, temperature=0)["text"], "no text")
    refused(os.path.join(blobs, "%064x" % 7), "first of 2 parts", "-00001-of-00002.gguf", "the link in snapshots")
    refused(os.path.join(blobs, "%064x" % 8), "part 2 of 2", "-00001-of-00002.gguf", "the link in snapshots")
    refused(os.path.join(snapshot, os.path.basename(parts[1])), "part 2 of 2", "give the first, " + os.path.basename(first))
    os.remove(os.path.join(snapshot, os.path.basename(parts[1])))
    refused(first, "part 2 of 2", "m-00002-of-00002.gguf", "No such file")
    os.symlink("circle.gguf", os.path.join(top, "circle.gguf"))
    refused(os.path.join(top, "circle.gguf"), "circle.gguf")


@test
def a_part_of_another_model():
    """What metadata can tell, also where the parts do not count their tensors; then what is missing, doubled or of another shape."""
    parts = split("mine", 2)
    mine = [open(p, "rb").read() for p in parts]

    def second(path, change=lambda p: None):
        for p, data in zip(parts, (mine[0], open(path, "rb").read())):
            with open(p, "wb") as f:
                f.write(data)
        change(parts[1])
        uncounted(parts)
        return os.path.basename(parts[1])

    deeper = split("deeper", 2, *SHAPE, "--layers", "6")[1]
    refused(parts[0], second(deeper) and "m-00002-of-00002.gguf", "another model", "3 layers", "blk.")
    own = os.path.join(os.path.dirname(deeper), "own.gguf")
    with open(own, "wb") as f:
        f.write(mine[1])
    second(own)
    run_plimsoll("plan", parts[0], rc=0)
    second(own, lambda p: add_key(p, b"general.architecture", b"llama" + b"-" * 19))
    refused(parts[0], "m-00002-of-00002.gguf", "another general.architecture")
    second(own, lambda p: add_key(p, b"xyzzy.block_count", b"x" * 27))
    refused(parts[0], "m-00002-of-00002.gguf", "has no xyzzy.block_count")
    second(own)
    respell(parts[1], b"split.anything.else", b"split.tensors.count")
    refused(parts[0], "m-00002-of-00002.gguf", "split.tensors.count")
    second(own, lambda p: respell(p, b"blk.2.ffn_up.weight", b"blk.2.ffn_uq.weight"))
    r = run_plimsoll("plan", parts[0])
    check(r.rc != 0 and "m-00001-of-00002.gguf" in r.err and "blk.2.ffn_up.weight is missing" in r.err, lambda: r.err)
    second(own, lambda p: respell(p, b"blk.2.ffn_up.weight", b"blk.0.ffn_up.weight"))
    refused(parts[0], "m-00001-of-00002.gguf", "duplicate tensor blk.0.ffn_up.weight, in parts 1 and 2")

    def transpose(path):
        with open(path, "r+b") as f:
            data = f.read()
            at = data.index(b"blk.2.ffn_up.weight") + 19 + 4
            f.seek(at)
            f.write(data[at + 8:at + 16] + data[at:at + 8])
    second(own, transpose)
    r = run_plimsoll("plan", parts[0])
    check(r.rc != 0 and "m-00001-of-00002.gguf" in r.err and "blk.2.ffn_up.weight (in part 2 of 2) is" in r.err, lambda: r.err)


main()
