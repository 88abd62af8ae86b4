#!/usr/bin/env python3
"""Writes src/text/unicode/fold_tables.h: how WordPiece (uncased BERT) folds characters.

    tools/unicode_tables.py > src/text/unicode/fold_tables.h

A character is decomposed canonically, loses its non-spacing marks and is lower-cased. Control, format and
private-use characters vanish. Hangul syllables decompose by arithmetic and are not in the table.
"""
import textwrap
import unicodedata

LAST = 0x110000
HANGUL = range(0xAC00, 0xD7A4)
SURROGATES = range(0xD800, 0xE000)
BLANKS = {0x09, 0x0A, 0x0D}


def fold(c):
    base = [x for x in unicodedata.normalize("NFD", chr(c)) if unicodedata.category(x) != "Mn"]
    return [ord(y) for x in base for y in x.lower()]


def dropped(c):
    if c in BLANKS:
        return False
    return c in (0, 0xFFFD) or unicodedata.category(chr(c)) in ("Cc", "Cf", "Co", "Mn")


def ranges(predicate):
    out = []
    for c in range(LAST):
        if c in SURROGATES or not predicate(c):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def deltas(pairs):
    """Runs of equal distance with step 1 or 2."""
    out = []
    for c, to in pairs:
        if out:
            first, last, step, delta = out[-1]
            if to - c == delta and c - last in (1, 2) and (step == 0 or c - last == step):
                out[-1] = (first, c, c - last, delta)
                continue
        out.append((c, c, 0, to - c))
    return [(f, l, s or 1, d) for f, l, s, d in out]


def rows(items):
    print(textwrap.fill(" ".join(i.replace(" ", "~") for i in items), 110, initial_indent="    ",
                        subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).replace("~", " "))


single, many = [], []
for c in range(LAST):
    if c in HANGUL or c in SURROGATES or dropped(c):
        continue
    to = fold(c)
    if to == [c]:
        continue
    if len(to) == 1:
        single.append((c, to[0]))
    else:
        assert 2 <= len(to) <= 3, hex(c)
        many.append((c, to))

print("""/* text/unicode/fold_tables — how uncased WordPiece folds characters. Written by tools/unicode_tables.py from
 * Unicode %s: do not edit. */""" % unicodedata.unidata_version)
print("""#ifndef TEXT_UNICODE_FOLD_TABLES_H
#define TEXT_UNICODE_FOLD_TABLES_H

#include "text/unicode/internal.h"
""")
print("static const unicode_shift fold_one[] = {")
rows(["{0x%04X, 0x%04X, %d, %d}," % d for d in deltas(single)])
print("};\n\nstatic const unicode_several fold_many[] = {")
rows(["{0x%04X, {%s}}," % (c, ", ".join("0x%04X" % t for t in to)) for c, to in many])
print("};\n\n/* Control, format, private use, non-spacing marks, NUL and U+FFFD. */\nstatic const unicode_range dropped[] = {")
rows(["{0x%04X, 0x%04X}," % tuple(r) for r in ranges(dropped)])
print("};\n\nstatic const unicode_range punctuation[] = {")
rows(["{0x%04X, 0x%04X}," % tuple(r) for r in ranges(lambda c: unicodedata.category(chr(c))[0] == "P")])
print("};\n\n#endif")
