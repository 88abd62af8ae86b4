#!/usr/bin/env python3
"""Records what Python's jinja2 makes of the templates in tests/golden/templates, as facts for the unit tests.

    tools/record_template_facts.py [FOLDER]                        FOLDER: more templates, recorded by their hash alone
    tools/record_template_facts.py --show TEMPLATE CONVERSATION    one result

expressions.json: a context, and small templates, one behaviour each. conversations.json: what each template is asked to
render. Written: expressions.facts (template, "=" or "!" for refused, what came out), conversations.facts, matrix.facts (a
line for each template with its hash, then one for each conversation: "refused", or hash and length of the text).
"""
import copy
import glob
import json
import os
import re
import sys

import jinja_judge

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "templates")


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def escaped(text):
    return re.sub("[\x00-\x1f\\\\\x7f-\x9f]", lambda m: "".join(f"\\x{b:02X}" for b in m[0].encode()), text)


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return json.load(f)


def write(name, lines):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        f.write("".join(line + "\n" for line in lines))


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def templates(folders):
    found = {}
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.jinja"))):
            with open(path, encoding="utf-8", newline="") as f:
                found.setdefault(os.path.basename(path)[:-6], f.read())
    return found


def matrix(sources, conversations):
    import jinja2
    yield f"# jinja2 {jinja2.__version__}"
    for name, source in sources.items():
        yield f"{name}\t{fnv(source.encode())}"
        for conversation, given in conversations.items():
            text, _ = jinja_judge.render(source, copy.deepcopy(given))
            yield f"\t{conversation}\t" + ("refused" if text is None else f"{fnv(text.encode())}\t{len(text.encode())}")


def main(arguments):
    conversations, small = read("conversations.json"), read("expressions.json")
    if arguments[:1] == ["--show"]:
        print(*jinja_judge.render(templates([HERE])[arguments[1]], conversations[arguments[2]]), sep="\n")
        return
    write("conversations.facts", (f"{name}\t{escaped(compact(given))}" for name, given in conversations.items()))
    write("matrix.facts", matrix(templates([HERE, *arguments]), conversations))
    facts = [(t, jinja_judge.render(t, copy.deepcopy(small["context"]))[0]) for t in small["templates"]]
    facts = [(t, text) for t, text in facts if not text or " at 0x" not in text]  # addresses are nobody's to repeat
    write("expressions.facts", [f"context\t{escaped(compact(small['context']))}"] +
          [f"{escaped(t)}\t{'!' if text is None else '='}\t{escaped(text or '')}" for t, text in facts])
    print(f"{len(facts)} expressions, {sum(text is None for _, text in facts)} of them refused")


if __name__ == "__main__":
    main(sys.argv[1:])
