#!/usr/bin/env python3
"""compare.py PEER.bin OURS.bin: how far our next-token distributions are from the peer's.

PEER.bin is a PLIMLOGP file (README.md); OURS.bin one too, or bare float32 rows as `plimsoll bench --logits` writes them.
Values may be logits or log p: rows are normalised here. Prints mean and greatest KL(peer || ours) over the positions, and
how often the top token agrees where the peer's top two are clearly apart. Exit status 1 beyond a threshold, 2 for bad files.
compare.py --self-test FOLDER-OR-FILE...: each file against itself must pass, against perturbed copies must fail.
"""
import argparse
import array
import math
import os
import random
import struct
import sys
import tempfile

MAGIC = b"PLIMLOGP"
HEADER = struct.Struct("<8sIIIIfI32s")  # magic, version, kind, positions, vocab, scale, zero, SHA-256 of the model
FLOAT32, FIXED16 = 0, 1
CLEAR_GAP = 1e-2


class BadFile(Exception):
    pass


class Rows:
    """A file's rows, normalised to log p as they are asked for."""

    def __init__(self, path, like=None):
        self.path = path
        with open(path, "rb") as f:
            data = f.read()
        if data[:8] == MAGIC and len(data) >= HEADER.size:
            _, version, self.kind, self.positions, self.vocab, self.scale, _, self.model = HEADER.unpack_from(data)
            if version != 1 or self.kind not in (FLOAT32, FIXED16):
                raise BadFile(f"{path}: version {version}, kind {self.kind} is not known")
            start = HEADER.size + 4 * self.positions
            self.tokens = array.array("i", data[HEADER.size:start])
        elif like is None:
            raise BadFile(f"{path}: not a PLIMLOGP file")
        else:
            self.kind, self.scale, self.model, start = FLOAT32, 0.0, None, 0
            self.positions, self.vocab, self.tokens = like.positions, like.vocab, like.tokens
        self.values = array.array("f" if self.kind == FLOAT32 else "H")
        due = self.values.itemsize * self.positions * self.vocab
        if len(data) - start != due:
            raise BadFile(f"{path}: {len(data) - start} bytes of rows, where {self.positions} x {self.vocab} take {due}")
        self.values.frombytes(data[start:])
        if sys.byteorder == "big":
            self.values.byteswap()

    def row(self, i):
        raw = self.values[i * self.vocab:(i + 1) * self.vocab]
        if self.kind == FIXED16:
            raw = [-self.scale * v for v in raw]
        most = max(raw)
        total = most + math.log(sum(math.exp(x - most) for x in raw))
        return [x - total for x in raw]


class Comparison:
    def __init__(self, peer, ours):
        if ours.vocab != peer.vocab or ours.tokens != peer.tokens:
            raise BadFile(f"{ours.path}: other tokens or vocabulary than {peer.path}")
        if ours.model is not None and ours.model != peer.model:
            raise BadFile(f"{ours.path}: of another model file than {peer.path}")
        kls, self.clear, self.same = [], 0, 0
        for i in range(peer.positions):
            p, q = peer.row(i), ours.row(i)
            kl = sum(math.exp(a) * (a - b) for a, b in zip(p, q))
            kls.append(kl if not math.isnan(kl) else math.inf)
            best = max(range(len(p)), key=p.__getitem__)
            second = max(x for v, x in enumerate(p) if v != best)
            if p[best] - second > CLEAR_GAP:
                self.clear += 1
                self.same += max(range(len(q)), key=q.__getitem__) == best
        self.mean_kl, self.max_kl, self.positions = sum(kls) / len(kls), max(kls), len(kls)
        self.agreement = self.same / self.clear if self.clear else 1.0

    def within(self, limits):
        return self.mean_kl <= limits.max_mean_kl and self.agreement >= limits.min_agreement

    def __str__(self):
        return (f"mean KL {self.mean_kl:.3e}, greatest {self.max_kl:.3e} over {self.positions} positions; "
                f"same top token in {self.same} of {self.clear} clear ones ({100 * self.agreement:.2f} %)")


def perturbed(peer, change):
    """A Rows like the peer's as float32, each row changed by change(index, row)."""
    file, path = tempfile.mkstemp(suffix=".bin")
    with os.fdopen(file, "wb") as f:
        for i in range(peer.positions):
            array.array("f", change(i, peer.row(i))).tofile(f)
    try:
        return Rows(path, like=peer)
    finally:
        os.unlink(path)


def self_test(path, limits):
    """What must pass and what must fail, each by a fault that a wrong engine would show."""
    peer, dice = Rows(path), random.Random(1)
    swapped = {i: peer.positions - 1 - i for i in range(peer.positions)}

    def one_nan(i, row):
        return [math.nan] + row[1:] if i == 7 else row

    def top_two_swapped(i, row):
        if i % 20:
            return row
        first, second = sorted(range(len(row)), key=row.__getitem__)[:-3:-1]
        row[first], row[second] = row[second], row[first]
        return row

    cases = [
        ("itself", True, lambda i, row: row),
        ("noise of 0.01", True, lambda i, row: [x + dice.gauss(0, 0.01) for x in row]),
        ("a constant added", True, lambda i, row: [x + 3 for x in row]),
        ("noise of 0.2", False, lambda i, row: [x + dice.gauss(0, 0.2) for x in row]),
        ("one part in ten hotter", False, lambda i, row: [x * 1.1 for x in row]),
        ("rows in the wrong order", False, lambda i, row: peer.row(swapped[i])),
        ("tokens shifted by one", False, lambda i, row: row[1:] + row[:1]),
        ("top two swapped in each twentieth row", False, top_two_swapped),
        ("one NaN", False, one_nan),
        ("all alike", False, lambda i, row: [0.0] * len(row)),
    ]
    wrong = 0
    for name, passes, change in cases:
        result = Comparison(peer, perturbed(peer, change))
        ok = result.within(limits) == passes
        wrong += not ok
        print(f"{'ok' if ok else 'WRONG'}: {os.path.basename(path)}: {name} {'passes' if passes else 'fails'}: {result}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--max-mean-kl", type=float, default=1e-3)
    parser.add_argument("--min-agreement", type=float, default=0.99)
    parser.add_argument("files", nargs="+")
    o = parser.parse_args()
    try:
        if o.self_test:
            return 1 if sum(self_test(path, o) for path in o.files) else 0
        if len(o.files) != 2:
            parser.error("two files are needed: the peer's and ours")
        peer = Rows(o.files[0])
        result = Comparison(peer, Rows(o.files[1], like=peer))
        print(result)
        return 0 if result.within(o) else 1
    except (BadFile, OSError) as e:
        print(f"compare.py: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
