"""A small template language for making text.

  [a|b|c]     one of the alternatives, which may nest; an empty alternative is allowed
  {name}      a value from the environment; {Name} is the same with a capital letter
  {who.he}    an attribute of a value; {who.He} is the same with a capital letter
Afterwards "a apple" becomes "an apple" and double spaces become single ones.
"""
import re

_cache = {}
_AN = re.compile(r"\b([Aa]) (?=[aeiouAEIOU]|honest|hour)(?!one\b|once\b|use|uni|euro|One\b|Uni|Use)")


def _parse(s, i, stop):
    seq, buf = [], []
    while i < len(s) and s[i] not in stop:
        c = s[i]
        if c == "[":
            if buf:
                seq.append("".join(buf))
                buf = []
            alts = []
            while True:
                alt, i = _parse(s, i + 1, "|]")
                alts.append(alt)
                if s[i] == "]":
                    break
            seq.append(alts)
            i += 1
        elif c == "{":
            if buf:
                seq.append("".join(buf))
                buf = []
            j = s.index("}", i)
            seq.append((s[i + 1:j],))
            i = j + 1
        else:
            buf.append(c)
            i += 1
    if buf:
        seq.append("".join(buf))
    return seq, i


def cap(s):
    return s[:1].upper() + s[1:]


def _value(key, env, rng):
    head, _, attr = key.partition(".")
    low = head[0].lower() + head[1:]
    v = env[low]
    if attr:
        v = getattr(v, attr[0].lower() + attr[1:])
        return cap(v) if attr[0].isupper() or head[0].isupper() else v
    v = v.ref(rng) if hasattr(v, "ref") else str(v)
    return cap(v) if head[0].isupper() else v


def _emit(seq, env, rng, out):
    for part in seq:
        if type(part) is str:
            out.append(part)
        elif type(part) is tuple:
            out.append(_value(part[0], env, rng))
        else:
            _emit(part[int(rng.random() * len(part))], env, rng, out)


def fill(rng, template, env):
    tree = _cache.get(template)
    if tree is None:
        tree, end = _parse(template, 0, "")
        assert end == len(template), template
        _cache[template] = tree
    out = []
    _emit(tree, env, rng, out)
    s = _AN.sub(r"\1n ", "".join(out))
    while "  " in s:
        s = s.replace("  ", " ")
    return s.strip()


def join(items):
    """'a', 'a and b', 'a, b and c'."""
    items = list(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
