#!/usr/bin/env python3
"""Writes how pre-tokenizers cut texts, by the published patterns and Python's `regex` module (pip).

    tools/record_splits.py VECTORS.inp > tests/golden/pretokenize.facts

Lines: "text N ESCAPED" and "split NAME N BYTES…", the lengths of the words of text N.
"""
import sys

import regex

CONTRACTION = "'s|'t|'re|'ve|'m|'ll|'d"
GPT2 = CONTRACTION + r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BLANKS = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
# The published class lists these letters by range; it is the letters that have case, of an older Unicode.
CASED_LETTERS = r"[\p{Lu}\p{Ll}\p{Lt}--[\u0294ª-ªº-º]]"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cl100k(digits):
    return "(?i:%s)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|%s| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*%s" % (CONTRACTION, digits, BLANKS)


def cased(contraction, digits):
    first = r"[^\r\n\p{L}\p{N}]?"
    return (first + UPPER + "*" + LOWER + "+" + contraction + "|" + first + UPPER + "+" + LOWER + "*" + contraction +
            "|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + BLANKS)


FAMILIES = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "llama-bpe": [cl100k(r"\p{N}{1,3}")],
    "qwen2": [cl100k(r"\p{N}")],
    "gpt-4o": [cased("(?i:%s)?" % CONTRACTION, r"\p{N}{1,3}")],
    "tekken": [cased("", r"\p{N}")],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "smollm": [r"\p{N}", GPT2],
    "deepseek-llm": ["[\r\n]", r"\s?" + CASED_LETTERS + "+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", CJK, r"\p{N}"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                    r"| ?[\p{P}\p{S}]+[\r\n]*" + BLANKS],
}

MORE = [
    "I'LL go; they'Re here, we've won. O'Neil's 'tis DON'T", "int main(void) {\n\treturn x[1] += 0x1F;  // ok\n}\n",
    "CamelCaseWord HTTPServer iPhone ÉCOLE école ǅungla", "path/to/file.txt\\n http://a.b/c?d=e&f#g",
    "  leading  and   trailing   ", "\r\n\r\nwindows\r\n \r\nlines \n\n x", "1234567 1,234.5 ½³ Ⅳ ٣٤٥ 一二三",
    "a\u00a0b\u2003c\u3000d\u2028e\u0085f", "cafe\u0301 e\u0301\u0327x हिन्दी ไทย", "日本語テスト、カタカナ。한국어 시험 中文字",
    "‘quoted’ “text” … ！？：；～、。", "$5+3=8 <b>~x~</b> ^y^ `code` |z|", "🏳️‍🌈👩‍👩‍👧‍👦🇩🇪 ok", "\t\t\tx\t \ty", "   字", "_snake_case __init__",
]


def cut(text, patterns):
    pieces = [text]
    for pattern in patterns:
        out = []
        for piece in pieces:
            at = 0
            for m in regex.finditer(pattern, piece, regex.V1):
                out += [piece[at:m.start()], m[0]]
                at = m.end()
            out.append(piece[at:])
        pieces = [p for p in out if p]
    return pieces


def escape(text):
    return "".join(c if c > " " and c not in "\\\x7f" and not c.isspace()
                   else "".join("\\x%02X" % b for b in c.encode()) for c in text)


with open(sys.argv[1], encoding="utf-8", newline="") as vectors:
    texts = vectors.read().split("\n__ggml_vocab_test__\n")[:-1] + MORE
for i, text in enumerate(texts):
    print("text\t%d\t%s" % (i, escape(text)))
for name, patterns in FAMILIES.items():
    for i, text in enumerate(texts):
        print("split\t%s\t%d\t%s" % (name, i, " ".join(str(len(p.encode())) for p in cut(text, patterns))))
