#!/usr/bin/env python3
"""Random templates: what jinja2 makes of them, and what `plimsoll render` does. Prints where they differ.

    tools/jinja_random.py PLIMSOLL [N] [SEED]      needs python3-jinja2; exit status 1 when something differs
"""
import json
import random
import subprocess
import sys
import tempfile

import jinja_judge

CONTEXT = {
    "s": "Hello, World", "e": "", "u": "héllo 🌍", "n": 3, "f": 2.5, "neg": -7, "t": True, "no": False, "nul": None,
    "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "empty": [], "d": {"b": 1, "a": "x", "c": [1, 2]}, "de": {},
    "users": [{"name": "Ann", "age": 30, "tags": ["x", "y"]}, {"name": "bob", "age": 25, "tags": []}, {"name": "Cy", "age": 41, "admin": True}],
    "mixed": [1, 1.5, "a", True, None, [1], {"k": "v"}], "lines": "one\ntwo\n\nthree\n",
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}, {"role": "tool", "content": "r"}],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
}
NAMES = list(CONTEXT)[:18] + ["missing"]
CONSTANTS = ["0", "1", "2", "-1", "3", "10", "1.5", "0.1", "1e3", "'a'", "'b c'", "'Ünï'", "','", "''", "true", "false", "none", "[]", "{}", "(1, 2)", "'%s-%s'", "'{}|{}'"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">", "<=", ">=", "and", "or", "in", "not in"]
FILTERS = ["abs", "capitalize", "count", "default('x')", "default('x', true)", "dictsort", "e", "first", "float", "indent", "indent(2, true)", "int", "items", "join", "join('-')",
           "last", "length", "list", "lower", "map('upper')", "map(attribute='name')", "map('length')", "max", "min", "reject('none')", "rejectattr('admin')", "replace('a', 'b')",
           "reverse", "round", "round(1)", "select", "select('string')", "selectattr('role', 'equalto', 'user')", "selectattr('age', '>', 26)", "slice(2)", "batch(2)", "sort",
           "sort(reverse=true)", "string", "sum", "sum(attribute='age')", "title", "tojson", "tojson(indent=2)", "trim", "truncate(5)", "unique", "upper", "urlencode", "wordcount",
           "center(9)", "striptags", "urlize", "wordwrap(4)", "wordwrap(5, false)", "filesizeformat", "groupby('role')", "tojson(sort_keys=true)", "xmlattr", "attr('name')", "format(1, 2)"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence", "iterable", "odd", "even", "divisibleby(2)", "lower", "upper",
         "true", "false", "in [1, 'a', none]", "eq 3", "sameas none", "callable", "gt 1", "ne('a')"]
METHODS = [".upper()", ".split()", ".split(',')", ".split('l', 1)", ".strip()", ".lstrip('H')", ".title()", ".startswith('H')", ".endswith(('d', 'e'))", ".replace('l', 'L')", ".items()", ".keys()",
           ".values()", ".get('a')", ".get('zz', 5)", ".index(1)", ".count(1)", ".count('l')", ".find('o')", ".join(words)", ".format(1, n)", ".capitalize()", ".splitlines()", ".partition(' ')", ".isdigit()",
           ".zfill(6)", ".name", ".role", ".a", ".0", "[0]", "[-1]", "[1:]", "[::-1]", "['a']", "[:2]", "[99]", ".rsplit(None, 1)", ".copy()", ".append(1)"]


def expression(r, depth):
    if depth <= 0 or r.random() < 0.25:
        return r.choice(NAMES if r.random() < 0.7 else CONSTANTS)
    e = lambda: expression(r, depth - 1)  # noqa: E731
    kind = r.randrange(11)
    if kind < 3:
        return f"{e()}|{r.choice(FILTERS)}"
    if kind < 5:
        return f"{r.choice(NAMES)}{r.choice(METHODS)}" if r.random() < 0.5 else f"({e()}){r.choice(METHODS)}"
    if kind == 5:
        return f"({e()} {r.choice(OPERATORS)} {e()})"
    if kind == 6:
        return f"({e()} is {'not ' if r.random() < 0.2 else ''}{r.choice(TESTS)})"
    if kind == 7:
        return f"({e()} if {e()}{' else ' + e() if r.random() < 0.8 else ''})"
    if kind == 8:
        return f"[{e()}, {e()}]" if r.random() < 0.7 else f"{{'k': {e()}, {r.choice(CONSTANTS[:12])}: {e()}}}"
    if kind == 9:
        return f"({e()} {r.choice(OPERATORS[8:14])} {e()} {r.choice(OPERATORS[8:14])} {e()})"
    return f"{r.choice(['not ', '-', '+'])}{e()}"


def statement(r, depth):
    e = lambda: expression(r, 2)  # noqa: E731
    body = lambda: block(r, depth - 1)  # noqa: E731
    minus = lambda: r.choice(["", "", "", "-", "+"])  # noqa: E731
    tag = lambda text: "{%" + minus() + " " + text + " " + minus() + "%}"  # noqa: E731
    kind = r.randrange(12) if depth > 0 else r.randrange(3)
    if kind == 0:
        return r.choice(["text ", "\n", "  ", "\t", "a\n  ", "é\n", " \n\n"])
    if kind < 3:
        return "{{" + r.choice(["", "-"]) + " " + expression(r, 3) + " " + r.choice(["", "-"]) + "}}"
    if kind < 5:
        return tag(f"if {e()}") + body() + r.choice(["", tag("else") + body(), tag(f"elif {e()}") + body()]) + tag("endif")
    if kind < 8:
        target, extra = r.choice([("x", ""), ("x", f" if x {r.choice(['is string', '!= 1', 'is defined'])}"), ("x, y", "")])
        loop = r.choice(["{{ x }}", "{{ loop.index }}{{ x }}", "{{ loop.cycle('a', 'b') }}", "{{ loop.last }}", "{{ loop.previtem }}", "{% if loop.first %}{% continue %}{% endif %}"])
        return tag(f"for {target} in {e()}{extra}") + loop + body() + r.choice(["", tag("else") + body()]) + tag("endfor")
    if kind == 8:
        return tag(f"set {r.choice(['n', 's', 'v', 'l'])} = {e()}") + "{{ v }}"
    if kind == 9:
        return tag("set v") + body() + tag("endset") + "{{ v|length }}"
    if kind == 10:
        return tag(f"macro m(a, b={e()})") + "[{{ a }}{{ b }}]" + body() + tag("endmacro") + "{{ m(" + r.choice(["", "1", "b=2", "1, 2", "1, 2, 3"]) + ") }}"
    return "{#" + minus() + " note " + minus() + "#}"


def block(r, depth):
    return "".join(statement(r, depth) for _ in range(r.randrange(1, 4)))


def ours(plimsoll, source):
    with tempfile.NamedTemporaryFile("w", suffix=".jinja", newline="", encoding="utf-8") as f:
        f.write(source)
        f.flush()
        p = subprocess.run([plimsoll, "render", "--template", f.name], input=json.dumps(CONTEXT).encode(), capture_output=True, check=False)
    return (p.stdout.decode() if p.returncode == 0 else None), p.stderr.decode()


def excused(wanted, reason, error):
    """What is known to differ: addresses, lazy generators, complex and huge numbers; what is folded while compiling."""
    return (wanted and " at 0x" in wanted) or "127 bits" in error or "no real number" in error or "127 bits" in (reason or "") or "no text form" in error or "cannot be sliced" in error


def main(plimsoll, n=1000, seed=1):
    r, wrong, texts = random.Random(seed), 0, 0
    for i in range(n):
        source = "{{ " + expression(r, 3) + " }}" if i % 2 else block(r, 2)
        wanted, reason = jinja_judge.render(source, json.loads(json.dumps(CONTEXT)))
        got, error = ours(plimsoll, source)
        texts += wanted is not None
        if wanted == got or excused(wanted, reason, error):
            continue
        wrong += 1
        print(repr(source), "\n  wanted", repr(wanted), reason, "\n  got   ", repr(got), error.strip())
    print(f"{n} templates, {texts} rendered by the judge, {wrong} differ")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
