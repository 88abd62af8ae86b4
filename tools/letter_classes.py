#!/usr/bin/env python3
"""Writes src/text/unicode/letter_classes.h: which characters Python prints as they are, and which are letters and numbers.

    /usr/bin/python3 tools/letter_classes.py > src/text/unicode/letter_classes.h
"""
import textwrap
import unicodedata


def ranges(predicate):
    out = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or not predicate(chr(c)):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


print(f"""/* text/unicode/letter_classes — what repr() prints as it is, letters and numbers. Written by tools/letter_classes.py
 * from Unicode {unicodedata.unidata_version}: do not edit. */
#ifndef TEXT_UNICODE_LETTER_CLASSES_H
#define TEXT_UNICODE_LETTER_CLASSES_H

#include "text/unicode/internal.h"
""")
for name, predicate in (("printable", str.isprintable), ("alpha", str.isalpha), ("numeric", str.isnumeric), ("digit", str.isdigit), ("decimal", str.isdecimal)):
    rows = " ".join(f"{{0x{a:04X},~0x{b:04X}}}," for a, b in ranges(predicate))
    print(f"static const unicode_range {name}_ranges[] = {{")
    print(textwrap.fill(rows, 110, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False).replace("~", " "))
    print("};")
print("\n#endif")
