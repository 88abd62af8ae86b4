#!/usr/bin/env python3
"""docs/fields.md: every field of every dialect, from the tables in src/api. Writes it; with --check only says whether it is as they say."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
API = ROOT / "src/api"
ROUTES = [  # column, file, table
    ("chat completions", "openai/chat.c", "chat_fields"), ("completions", "openai/completions.c", "rows"), ("responses", "openai/responses.c", "request_rows"),
    ("messages", "anthropic/messages.c", "request_rows"), ("Ollama", "ollama/chat.c", "rows"), ("Ollama's options", "ollama/chat.c", "option_rows"),
    ("/generate", "native/generate.c", "fields"), ("/v1/embeddings", "openai/embeddings.c", "rows"), ("/api/embed", "ollama/embed.c", "rows")]
CHATS_ONLY = {"continue_final_message", "prefill", "add_generation_prompt", "chat_template_kwargs", "enable_thinking", "thinking", "reasoning",
              "include_reasoning", "reasoning_format", "reasoning_budget_message", "thinking_budget_message", "thinking_budget_tokens",
              "thinking_token_budget", "thinking_budget", "reasoning_budget", "reasoning_budget_tokens"}
CHATS = {"chat completions", "responses", "messages", "Ollama", "Ollama's options"}
NO_SHARED = {"/v1/embeddings", "/api/embed"}
REFUSED_LATER = {"adapter", "images", "previous_response_id", "suffix", "template"}  # read by a table, refused by the code behind it
NOT_REQUESTS = {("echo.c", "fields"), ("ollama/models.c", "rows")}

HEAD = """# Fields of requests

Written by `tools/fields.py` from the tables in `src/api`; a test says when they differ.

**yes**: it works. **no effect**: its type is checked, and nothing that is said depends on it. **refused**: a 400 names it, unless its value asks for nothing
(null, false, 0, empty, or the number that is usual). **named**: nobody here knows it; it is let pass, and named in the response header `X-Plimsoll-Ignored` and
once in the log. **not done**: it is known, its type is checked, and what it asks for is not done; it is named as those are. `/generate`, whose fields are all our own, refuses what it does not know.

Tools: those marked `defer_loading` are told to the model at once, as nobody here searches for tools. A custom tool's input is held to its `regex` where a call is
forced; a grammar of `lark` is told to the model and named as not kept to. A value between tags (Qwen Coder's, GLM's) that is no JSON is a string. Arguments that are
no JSON come as they were written; where a dialect has an object for them (Anthropic's, Ollama's) there is no call, and what was written is the answer's text. In
their streams a call comes when it is whole: what has gone out cannot be taken back, and their clients fail over half of it.

`truncate_prompt_tokens`: the prompt's last so many tokens count; -1, or as many as it has and more: all of them. A prompt beyond the context is
refused whatever it says.

Budgets of thinking: after so many tokens the thought is ended, and the answer begins; 0: no thought; -1: no bound. Models that do not think refuse them by name,
but for Anthropic's `thinking.budget_tokens`, which is named.

"""


def table_text(file, name):
    text = (API / file).read_text()
    m = re.search(r"const field %s\[\] = \{(.*?)\n?\s*\};" % name, text, re.S)
    return m.group(1) if m else None


def macros():
    """The names that a macro of rows stands for; one may hold another."""
    found = {}
    for path in sorted(API.rglob("*.h")) + sorted(API.rglob("*.c")):
        for m in re.finditer(r"#define (\w+_FIELDS)\(.*?\n((?:.*\\\n)*.*)", path.read_text()):
            found[m.group(1)] = m.group(0)[len("#define ") + len(m.group(1)):]

    def names(macro):
        out = re.findall(r'\{\s*\\?\s*"(\w+)"', found[macro])
        for other in found:
            if other + "(" in found[macro]:
                out += names(other)
        return out

    return {macro: names(macro) for macro in found}


def fields(file, name, expand):
    """Each field and what is done with it."""
    body, out = table_text(file, name), {}
    for macro, names in expand.items():
        if macro in body:
            out.update((n, "yes") for n in names)
    for m in re.finditer(r'(REFUSED_BUT|REFUSED|CHECKED_NUMBER|CHECKED|IDLE_NUMBER|IDLE_FLAG)\("(\w+)"|\{"(\w+)",([^{}]*(?:\{[^{}]*\})?[^{}]*)\}', body):
        if m.group(1):
            out[m.group(2)] = "refused" if m.group(1).startswith("REFUSED") else "no effect"
        else:
            rest = m.group(4)
            out[m.group(3)] = "refused" if "FIELD_REFUSED" in rest else "not done" if "FIELD_NAMED" in rest else "no effect" if "FIELD_CHECKED" in rest or "FIELD_IGNORED" in rest else "yes"
    return {n: "refused" if n in REFUSED_LATER else w for n, w in out.items()}


def word(column, name, own, shared):
    if name in own:
        return own[name]
    if column in NO_SHARED or name not in shared:
        return "refused" if column == "/generate" else "named"
    return "refused" if name in CHATS_ONLY and column not in CHATS else shared[name]


def page():
    expand = macros()
    shared = fields("core/shared_fields.c", "shared_fields", expand)
    own = {column: fields(file, table, expand) for column, file, table in ROUTES}
    columns = [r[0] for r in ROUTES]
    names = sorted(set(shared).union(*own.values()))
    lines = ["| field | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += ["| `%s` | %s |" % (n, " | ".join(word(c, n, own[c], shared) for c in columns)) for n in names]
    lines += ["", "## Within objects", "", "| object | fields |", "|---|---|"]
    known = {(f, t) for _, f, t in ROUTES} | NOT_REQUESTS | {("core/shared_fields.c", "shared_fields")}
    for path in sorted(API.rglob("*.c")):
        for table in re.findall(r"const field (\w+)\[\] = ", path.read_text()):
            file = path.relative_to(API).as_posix()
            if (file, table) not in known:
                inner = fields(file, table, expand)
                said = ", ".join("`%s`%s" % (n, "" if w == "yes" else " (%s)" % w) for n, w in inner.items())
                lines.append("| %s: %s | %s |" % (file[:-2], table.replace("_", " "), said))
    return HEAD + "\n".join(lines) + "\n"


def main(arguments):
    doc, text = ROOT / "docs/fields.md", page()
    if arguments != ["--check"]:
        doc.write_text(text)
        return 0
    was, now = (doc.read_text() if doc.exists() else "").splitlines(), text.splitlines()
    for line in [l for l in now if l not in was]:
        print("docs/fields.md lacks: " + line[:200])
    for line in [l for l in was if l not in now]:
        print("docs/fields.md has, and src/api has not: " + line[:200])
    if was != now:
        print("run tools/fields.py")
    return 1 if was != now else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
