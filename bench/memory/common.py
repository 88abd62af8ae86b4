"""What the measurements of memory share: a server, the kernel's figures of it, and the sections of RESULTS.md."""
import datetime
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
RESULTS = os.path.join(HERE, "RESULTS.md")
MB, MIB = 1e6, 1 << 20


def when_and_where():
    return "%s, %d cores, load average before: %.1f." % (datetime.date.today(), os.cpu_count(), os.getloadavg()[0])


def status_bytes(pid):
    """Figures of /proc/PID/status in bytes; {} when it has ended."""
    try:
        with open("/proc/%d/status" % pid) as f:
            return {k: int(v) * 1024 for k, v in re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M)}
    except (FileNotFoundError, ProcessLookupError):
        return {}


def resident(status):
    return sum(status.get(k, 0) for k in ("RssAnon", "RssFile", "RssShmem", "VmSwap"))


class Server:
    """`plimsoll serve` on a free port, until the end of a `with`."""

    def __init__(self, program, flags, env=None):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([program, "serve", "--port", "0", *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log, env={**os.environ, **(env or {})})
        self.pid, self.port = self.process.pid, None
        while not self.port:
            said = os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")
            ready = re.search(r"ready: .* on http://[\d.]+:(\d+)", said)
            if ready:
                self.port = int(ready.group(1))
            elif self.process.poll() is not None:
                raise SystemExit("the server did not start: " + said)
            else:
                time.sleep(0.01)
        self.url = "http://127.0.0.1:%d" % self.port

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def status(self):
        return status_bytes(self.pid)

    def ask(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(asked, timeout=600) as r:
            return r.read()

    def memory(self):
        return json.loads(self.ask("/memory"))


def write_section(title, text):
    """Puts text under its heading `# title` into RESULTS.md, in the place of what was there; other sections stay."""
    old = open(RESULTS).read() if os.path.exists(RESULTS) else ""
    sections = [s for s in re.split(r"(?m)^(?=# )", old) if s.strip()]
    new = "# %s\n\n%s\n" % (title, text.strip())
    at = [i for i, s in enumerate(sections) if s.startswith("# %s\n" % title)]
    if at:
        sections[at[0]] = new
    else:
        sections.append(new)
    with open(RESULTS, "w") as f:
        f.write("\n".join(s.strip() + "\n" for s in sections))
