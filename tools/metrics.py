#!/usr/bin/env python3
"""docs/METRICS.md: every figure the server says of itself, from the tables in src. Writes it; with --check only says whether it is as they say."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLES = [("src/mem/books_metrics.c", "books"), ("src/api/core/metrics.c", "")]
HEAD = """# Metrics

Written by `tools/metrics.py` from the tables in `src/mem/books_metrics.c` and `src/api/core/metrics.c`; a test says when they differ.

Every figure that the server says of itself has one row here: a name that stays, a kind, a unit, and what it means. `GET /memory` shows all of them, at the place in
the last column; `/health` and `/cache` show some again, and `plimsoll top` draws from them. A **counter** only grows while the server lives, a **gauge** goes up and
down, a **state** is a word or yes and no. Names carry base units: those in `_seconds` are milliseconds on the JSON pages. A row with `NAME` in its place stands for each
account of the ledger. Without a model there are only the books; without a spill file `spill` is null.

| name | kind | unit | what it is | in `GET /memory` |
|---|---|---|---|---|
"""
ROW = re.compile(r'\{"(\w+)", ("(\w+)"|NULL), METRIC_(\w+), METRIC_(\w+),\s*[^"]*?"((?:[^"\\]|\\.)*)"', re.S)


def rows_of(text, table):
    m = re.search(r"static const metric %s\[\] = \{\n(.*?)\n\};" % table, text, re.S)
    found = ROW.findall(m.group(1))
    if len(found) != m.group(1).count("METRIC_COUNTER") + m.group(1).count("METRIC_GAUGE") + m.group(1).count("METRIC_STATE"):
        sys.exit("%s: a row that tools/metrics.py cannot read" % table)
    return found


def lines():
    texts = {page: (ROOT / file).read_text() for file, page in TABLES}
    sections = [(page, section, rows, "NULL, \"account\"" in rest) for page, text in texts.items()
                for section, rows, rest in re.findall(r'\{"(\w*)", METRIC_ROWS\((\w+)\)([^}]*)\}', text)]
    for page, section, rows, labelled in sections:
        place = ".".join(p for p in (page, section, "NAME" if labelled else "") if p)
        for key, _, name, kind, unit, help_ in rows_of(texts[page], rows):
            shown = "`plimsoll_%s%s`" % (name, '{account="NAME"}' if labelled else "") if name else ""
            unit = "" if unit == "COUNT" else "seconds" if unit == "MILLISECONDS" else unit.lower()
            yield "| %s | %s | %s | %s | `%s` |" % (shown, kind.lower(), unit, help_, place + "." + key if place else key)


def main(arguments):
    doc, text = ROOT / "docs/METRICS.md", HEAD + "\n".join(lines()) + "\n"
    if arguments != ["--check"]:
        doc.write_text(text)
        return 0
    was, now = (doc.read_text() if doc.exists() else "").splitlines(), text.splitlines()
    for line in [l for l in now if l not in was]:
        print("docs/METRICS.md lacks: " + line[:200])
    for line in [l for l in was if l not in now]:
        print("docs/METRICS.md has, and the tables have not: " + line[:200])
    if was != now:
        print("run tools/metrics.py")
    return 1 if was != now else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
