"""forge: the same arguments give the same bytes, and what it is told wrongly it says."""
import hashlib

from harness import *

TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
# Over golden in all TYPES with --seed 1. tests/golden/forged holds what a peer says about those very bytes: when this
# changes, record them again (tests/golden/record_forged.mjs) before writing the new value here.
GOLDEN_SHA256 = "1c60ec84df245219b28942d860affd5383cc341b0243ba3841bccb909275c101"


def run_forge(*arguments):
    check(os.access(FORGE, os.X_OK), "no forge at " + FORGE)
    return subprocess.run([FORGE, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * PATIENCE, text=True)


def forged(name, *arguments):
    """The bytes of a model, and where its tensor data begins."""
    path = temp_path(name)
    made = run_forge(*arguments, "-o", path)
    expect(made.returncode, 0, made.stderr)
    check(not os.path.exists(path + ".tmp"), "the temporary file is left")
    with open(path, "rb") as f:
        whole = f.read()
    os.unlink(path)
    return whole, len(whole) - int(re.search(r"tensors of (\d+) bytes", made.stdout).group(1))


@test
def same_arguments_same_bytes():
    first, _ = forged("a", "--shape", "golden", "--type", "Q4_K", "--seed", "7")
    again, _ = forged("b", "--shape", "golden", "--type", "q4_k", "--seed", "7")
    other, data = forged("c", "--shape", "golden", "--type", "Q4_K", "--seed", "8")
    check(first == again, "two runs differ")
    check(first[:data] == other[:data] and first[data:] != other[data:], "the seed must change the data, and nothing else")


@test
def golden_models_are_those_recorded():
    total = hashlib.sha256()
    for t in TYPES:
        total.update(forged(t, "--shape", "golden", "--type", t, "--seed", "1")[0])
    expect(total.hexdigest(), GOLDEN_SHA256, "sha256 over golden in all types")


@test
def fewer_layers_are_the_first_ones():
    for shape in "golden", "golden-phi3", "golden-qwen2", "golden-mixtral":
        whole, whole_data = forged("whole", "--shape", shape, "--type", "Q8_0")
        two, two_data = forged("two", "--shape", shape, "--type", "Q8_0", "--layers", "2")
        check(len(two) < len(whole) and whole[whole_data:].startswith(two[two_data:]), shape + ": layers 0 and 1 differ")


@test
def header_only_is_the_same_header_over_a_hole():
    whole, data = forged("whole", "--shape", "golden", "--type", "F32")
    hollow, hollow_data = forged("hollow", "--shape", "golden", "--type", "F32", "--header-only")
    expect((len(hollow), hollow_data), (len(whole), data), "size and start of data")
    check(hollow[:data] == whole[:data], "the headers differ")
    check(not any(hollow[data:]), "the hole is not empty")
    path = temp_path("large")
    expect(run_forge("--shape", "mixtral-8x7b", "--type", "Q6_K", "--header-only", "-o", path).returncode, 0)
    st = os.stat(path)
    check(st.st_size > 38e9, lambda: "%d bytes" % st.st_size)
    check(st.st_blocks * 512 < 8 * MIB, lambda: "%d bytes on disk" % (st.st_blocks * 512))
    os.unlink(path)


@test
def every_shape_can_be_inspected():
    shapes = [line.split()[0] for line in run_forge("--list").stdout.splitlines()[1:]]
    check({"llama-1b", "llama-8b", "phi3-mini", "qwen2-0.5b", "mixtral-8x7b", "golden", "tiny"} <= set(shapes), lambda: repr(shapes))
    for shape in shapes:
        path = temp_path(shape)
        expect(run_forge("--shape", shape, "--type", "Q4_K", "--header-only", "-o", path).returncode, 0, shape)
        expect(run_plimsoll("inspect", path).rc, 0, "plimsoll inspect of " + shape)
        os.unlink(path)


@test
def wrong_arguments_are_told():
    path = temp_path("never")
    good = ["--shape", "tiny", "--type", "F32", "-o", path]
    for arguments, word in [
        ([], "--shape is missing"),
        (["--shape", "tiny", "-o", path], "--type is missing"),
        (["--shape", "tiny", "--type", "F32"], "-o FILE is missing"),
        (["--shape", "lama", *good[2:]], 'unknown shape "lama"'),
        (["--shape", "tiny", "--type", "I32", "-o", path], 'unknown type "I32"; known are F32'),
        ([*good, "--layers", "0"], "--layers 0"),
        ([*good, "--layers", "513"], "--layers 513"),
        ([*good, "--layers", "-1"], "--layers -1"),
        ([*good, "--seed", "0x10"], "--seed 0x10"),
        ([*good, "--seed", "18446744073709551616"], "--seed 18446744073709551616"),
        ([*good, "--frob"], "--frob"),
        ([*good, "extra"], '"extra"'),
        ([*good[:-2], "-o"], "-o needs a value"),
    ]:
        r = run_forge(*arguments)
        expect(r.returncode, 2, " ".join(arguments))
        check(word in r.stderr and r.stderr.count("\n") == 1, lambda: "%s: %r" % (" ".join(arguments), r.stderr))
    check(not os.path.exists(path), "a file was written")
    expect(run_forge("--help").returncode, 0)


@test
def a_place_that_cannot_be_written_is_told():
    r = run_forge("--shape", "tiny", "--type", "F32", "-o", temp_path("no/such/folder"))
    expect(r.returncode, 1)
    check("No such file or directory" in r.stderr, lambda: r.stderr)
    os.mkdir(temp_path("folder"))
    r = run_forge("--shape", "tiny", "--type", "F32", "-o", temp_path("folder"))
    expect(r.returncode, 1)
    check("Is a directory" in r.stderr, lambda: r.stderr)
    check(not os.path.exists(temp_path("folder") + ".tmp"), "the temporary file is left")


main()
