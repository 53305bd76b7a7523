"""A whole host for the operator's walk: Main, its Supervisor, a sensor (a recording played live), `tapline run` with Kafka,
a file on a disk of its own and intelligence in Redis; and the four places an operator looks at: `tapline top`, the web page,
/metrics, the health log.

    host = Host(folder, broker, redis_server, disk).start()
    host.views                  {"top": function, "page": …, "metrics": …, "log": …}: each gives its text as of now
    host.garbage(n)             lines that are no records, at the end of a log of their own
SPDX-License-Identifier: Apache-2.0
"""
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import urllib.error
import urllib.request

import rig
from serving import Main, program

SENSOR = "zeek-1"
RATE = 50


def browser_page(playwright, url):
    """Debian's Chromium, headless, at the page."""
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", headless=True,
                                         args=["--no-sandbox"] if os.geteuid() == 0 else [])
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(url)
    return browser, page


class Host:
    def __init__(self, folder, broker, redis, disk):
        self.folder, self.broker, self.redis = pathlib.Path(folder), broker, redis
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.out = disk / "documents.ndjson"
        self.bad = self.logs / "dns.log"
        self.ports = {"serve": rig.free_port(), "run": rig.free_port(), "feed": rig.free_port(), "intel_sync": rig.free_port()}
        recorded = self.folder / "recorded"
        recorded.mkdir()
        (recorded / "conn.log").write_text(rig.ConnLog().text(0, 2000))
        run = [str(rig.TAPLINE), "run", "-c", str(self.folder / "main" / "tapline.yml")]
        replay = [str(rig.TAPLINE), "replay", "--loop", "0", "--rate", str(RATE), "--to", str(self.logs), str(recorded / "conn.log")]
        more = {
            "inputs": [{"type": "zeek", "paths": [str(self.logs / "*.log")]}],
            "sinks": {"file": {"path": str(self.out), "sync_interval": "50ms"},
                      "kafka": {"rdkafka": {"bootstrap.servers": broker.address}}},
            "normalize": {"maps": str(rig.TOP / "configs")},
            "intel": {"redis": {"urls": [redis.url]}, "lookback": {"days": 0}, "sightings_every": "0s"},
            "health": {name: f"127.0.0.1:{port}" for name, port in self.ports.items()} | {"interval": "10s"},
            "node": {"name": "walk-" + hashlib.sha256(str(folder).encode()).hexdigest()[:8], "state": str(self.folder / "state")},
        }
        self.main = Main(self.folder / "main", [program(SENSOR, *replay, order=20), program("run", *run, order=90)], more=more)
        self.log_seen = {}
        self.page = None

    def start(self):
        self.main.start()
        self.main.wait_for_all()
        return self

    @property
    def views(self):
        return {"top": self.top, "page": self.shown, "metrics": self.metrics, "log": self.health_log}

    def top(self):
        done = subprocess.run([str(rig.TAPLINE), "top", "--once", "-c", str(self.main.config)], capture_output=True, text=True,
                              timeout=20, stdin=subprocess.DEVNULL)
        return done.stdout + done.stderr

    def shown(self):
        return self.page.inner_text("body")

    def metrics(self):
        return "".join(self.get(name, "/metrics") for name in ("serve", "run"))

    def get(self, name, path):
        """The body; of an answer that is an error, too; nothing if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except OSError:
            return ""

    def mark_log(self):
        """What the health log has until now is not looked at any more."""
        self.log_seen = {path: path.stat().st_size for path in self.health_logs()}

    def health_logs(self):
        return sorted((self.folder / "state").glob("health-*.ndjson"))

    def health_log(self):
        """Lines since mark_log(), each of them JSON."""
        lines = []
        for path in self.health_logs():
            with open(path, "rb") as log:
                log.seek(self.log_seen.get(path, 0))
                lines += [line.decode() for line in log.read().splitlines(True) if line.endswith(b"\n")]
        for line in lines:
            assert json.loads(line)["event"]["dataset"] == "tapline.health", line
        return "".join(lines)

    def garbage(self, lines):
        """Zeek's header, and below it lines that are none of its records."""
        with open(self.bad, "a") as log:
            if log.tell() == 0:
                log.write("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
                          "#fields\tts\tuid\tid.orig_h\tid.orig_p\n#types\ttime\tstring\taddr\tport\n")
            log.write("".join(f"\x01\x02 garbage {i}\n" for i in range(lines)))

    def freeze(self):
        os.kill(self.main.pids()[SENSOR], signal.SIGSTOP)

    def thaw(self):
        os.kill(self.main.pids()[SENSOR], signal.SIGCONT)

    def problems(self):
        """{code} of all processes, as Main tells them."""
        documents = self.main.call("health.all")["processes"]
        return {problem["code"] for document in documents for problem in document["problems"]}

    def close(self):
        self.main.close()
