#!/usr/bin/env python3
"""Writes src/text/template/html_entities.h: the names of HTML 5 and what they stand for, for the filter striptags.

    /usr/bin/python3 tools/html_entities.py > src/text/template/html_entities.h
"""
import html.entities


def literal(text):
    return "".join(chr(b) if 0x20 < b < 0x7F and b not in b'"\\?' else f"\\{b:03o}" for b in text.encode())


print("""/* text/template/html_entities — the names of HTML 5 and what they stand for. Written by tools/html_entities.py: do not
 * edit.
 *
 * One text, in the order of the names: \\001 name \\002 what it stands for. Some names go without their semicolon. */
#ifndef TEXT_TEMPLATE_HTML_ENTITIES_H
#define TEXT_TEMPLATE_HTML_ENTITIES_H

static const char html_entities[] =""")
line = ""
for name in sorted(html.entities.html5):
    entry = f"\\1{name}\\2{literal(html.entities.html5[name])}"
    if len(line) + len(entry) > 114:
        print(f'    "{line}"')
        line = ""
    line += entry
print(f'    "{line}\\1";\n\n#endif')
