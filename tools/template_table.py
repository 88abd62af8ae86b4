#!/usr/bin/env python3
"""A folder of chat templates (*.jinja) beside Python's jinja2: eight conversations each, as a table in markdown.

    tools/template_table.py PLIMSOLL FOLDER        needs python3-jinja2; exit status 1 when something differs

same: `plimsoll render` gives the bytes that jinja2 gives. fit: both refuse the conversation as it stands, and the server
answers it all the same, in another shape. refused: both refuse, and so does the server.
"""
import copy
import datetime
import glob
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import jinja_judge

TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather of a place", "parameters": {
    "type": "object", "properties": {"place": {"type": "string", "description": "where"}, "days": {"type": "integer"}}, "required": ["place"]}}}


def user(text):
    return {"role": "user", "content": text}


def called(*calls):
    return {"role": "assistant", "content": "", "tool_calls": [
        {"id": i, "type": "function", "function": {"name": "weather", "arguments": {"place": place}}} for i, place in calls]}


def result(call, content):
    return {"role": "tool", "tool_call_id": call, "name": "weather", "content": content}


ONE, TWO = ("call0weat", "Oslo"), ("call1weat", "Rome")
CONVERSATIONS = {
    "plain": {"messages": [user("Hello"), {"role": "assistant", "content": "Hi! How can I help?"}, user("Who are you?")]},
    "system": {"messages": [{"role": "system", "content": "You are terse."}, user("Hello")]},
    "tools": {"messages": [user("Weather in Oslo?")], "tools": [TOOL]},
    "result": {"messages": [user("Weather in Oslo?"), called(ONE), result(ONE[0], "rain, 4 °C")], "tools": [TOOL]},
    "in parts": {"messages": [user("Weather in Oslo?"), called(ONE), result(ONE[0], [{"type": "text", "text": "rain"}, {"type": "text", "text": "4 °C"}])],
                 "tools": [TOOL]},
    "parallel": {"messages": [user("Oslo and Rome?"), called(ONE, TWO), result(ONE[0], "rain"), result(TWO[0], "sun"),
                              {"role": "assistant", "content": "Rain, and sun."}, user("Thanks")], "tools": [TOOL]},
    "thinking": {"messages": [user("2 + 2?"), {"role": "assistant", "content": "4", "reasoning_content": "Two and two."}, user("And 3 + 3?")],
                 "enable_thinking": True},
    "Unicode": {"messages": [{"role": "system", "content": "Répondez: «оui» 你好\t“q”"}, user("naïve 👩‍👩‍👧 ﷽\nline two \u200d <b>&amp;</b> \\n")]},
}
BESIDE = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}


def rendered(plimsoll, path, context):
    p = subprocess.run([plimsoll, "render", "--template", path], input=json.dumps(context).encode(), capture_output=True, check=False)
    return p.stdout.decode() if p.returncode == 0 else None


class Server:
    """The built-in model with this template."""

    def __init__(self, plimsoll, path):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen([plimsoll, "serve", "--port", str(self.port), "--chat-template", path], stderr=subprocess.DEVNULL)

    def answers(self, given):
        given = copy.deepcopy(given)
        for m in given["messages"]:
            for call in m.get("tool_calls", []):
                call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        given = {("chat_template_kwargs" if k == "enable_thinking" else k): ({k: v} if k == "enable_thinking" else v) for k, v in given.items()}
        body = json.dumps({**given, "max_tokens": 1}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/chat/completions", body, {"Content-Type": "application/json"})
        while self.process.poll() is None:
            try:
                with urllib.request.urlopen(request) as reply:
                    return reply.status == 200
            except urllib.error.HTTPError as e:
                if e.code != 503:  # it is starting
                    return b"context" in e.read()  # its prompt was made, and is longer than the built-in model's context
            except urllib.error.URLError:
                pass
            time.sleep(0.02)
        return False

    def end(self):
        self.process.terminate()
        self.process.wait()


def row(plimsoll, path):
    with open(path, encoding="utf-8", newline="") as f:
        source = f.read()
    server, cells = None, []
    for given in CONVERSATIONS.values():
        context = {**given, **BESIDE}
        for _ in range(3):  # some write the time of day, and a second may pass between the two
            jinja_judge.NOW = datetime.datetime.now(datetime.timezone.utc)
            wanted, _ = jinja_judge.render(source, copy.deepcopy(context))
            got = rendered(plimsoll, path, context)
            if wanted == got:
                break
        if wanted is not None or got is not None:
            cells.append("same" if wanted == got else "**differs**")
            continue
        server = server or Server(plimsoll, path)
        cells.append("fit" if server.answers(given) else "refused")
    if server:
        server.end()
    return cells


def main(plimsoll, folder):
    paths = sorted(glob.glob(os.path.join(folder, "*.jinja")), key=str.lower)
    lines, counts = [], {}
    for path in paths:
        cells = row(plimsoll, path)
        lines.append(f"| {os.path.basename(path)[:-6]} | {' | '.join(cells)} |")
        for cell in cells:
            counts[cell] = counts.get(cell, 0) + 1
    print(f"{len(paths)} templates: " + ", ".join(f"{n} {cell}" for cell, n in sorted(counts.items())) + "\n")
    print("| template | " + " | ".join(CONVERSATIONS) + " |\n|---" + "|---" * len(CONVERSATIONS) + "|", *lines, sep="\n")
    return "**differs**" in counts


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1]), sys.argv[2]))
