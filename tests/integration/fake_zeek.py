#!/usr/bin/env python3
"""A program that does what Zeek does as a process, for hosts without a Zeek: its arguments, what it says, signals, logs.

It finds scripts by ZEEKPATH, refuses what is no script (unbalanced braces, or a line with `SYNTAX ERROR`), interfaces that are
not there and nodes that the layout of the cluster lacks, with the reason on stderr and exit code 1, as Zeek does; `-a` ends
there. It then says "listening on", writes packet_filter.log at once and a line of conn.log twice a second (workers write none),
rotates them into the directory that the generated script names, and makes the file that the generated script makes. SIGTERM and
SIGINT: logs get their #close, exit 0. SIGHUP: nothing. SIGUSR1: dies. An interface that goes away: it goes on, silent.

A script may have lines for tests: `# fake zeek: hang` (never ready), `# fake zeek: die SECONDS` (exit 1 so long after the
start), `# fake zeek: silent` (no line of conn.log).
SPDX-License-Identifier: Apache-2.0
"""

import os
import re
import signal
import sys
import time

WITH_VALUE = {"-i", "-p", "-e", "-f", "-r", "-w", "-U", "-s", "-J", "-t", "-x"}
OWN_SCRIPTS = {"local", "local.zeek", "base/files/extract", "base/misc/version"}
OWN_DIRECTORIES = ("policy/", "protocols/", "frameworks/", "misc/", "tuning/", "base/")
START_S = 0.2
LINE_EVERY_S = 0.5


def fatal(text):
    print(text, file=sys.stderr, flush=True)
    sys.exit(1)


class Zeek:
    def __init__(self, words):
        self.interface, self.scripts, self.is_check = None, [], False
        self.node = os.environ.get("CLUSTER_NODE", "")
        self.path = os.environ.get("ZEEKPATH", ".").split(":")
        self.texts = {}
        self.logs = {}
        while words:
            word = words.pop(0)
            if word in WITH_VALUE:
                value = words.pop(0) if words else fatal(f"{word} needs a value")
                self.interface = value if word == "-i" else self.interface
            elif word == "-a":
                self.is_check = True
            elif not word.startswith("-") and "=" not in word:
                self.scripts.append(word)

    def find(self, name, directory=None):
        if name.startswith("/"):
            places = [name]
        else:
            places = [os.path.join(d, name) for d in ([directory or "."] if name.startswith("./") else self.path) if d]
        for place in places:
            for path in (place, place + ".zeek", os.path.join(place, "__load__.zeek")):
                if os.path.isfile(path):
                    return os.path.realpath(path)
        return None

    def load(self, name, where="<command line>", line=1, directory=None):
        path = self.find(name, directory)
        if path is None:
            if name in OWN_SCRIPTS or name.startswith(OWN_DIRECTORIES):
                return  # a real Zeek has it in its own directories
            fatal(f"fatal error in {where}, line {line}: can't find {name}")
        if path in self.texts:
            return
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.texts[path] = text
        depth = 0
        for number, row in enumerate(text.splitlines(), 1):
            code = re.sub(r'"(\\.|[^"\\])*"|#.*', "", row)
            depth += code.count("{") - code.count("}")
            if "SYNTAX ERROR" in code or depth < 0:
                fatal(f'error in {path}, line {number}: syntax error, at or near "{row.strip()[:20]}"')
            match = re.match(r"@load\s+(\S+)", row)
            if match:
                self.load(match.group(1), path, number, os.path.dirname(path))
        if depth != 0:
            fatal(f"error in {path}, line {len(text.splitlines())}: syntax error, at end of file")

    def layout(self):
        if not self.node:
            return "STANDALONE"
        path = self.find("cluster-layout")
        if path is None:
            fatal("fatal error in base/frameworks/cluster/__load__.zeek, line 45: can't find cluster-layout")
        self.load(path)
        match = re.search(r'\["%s"\] = \[\$node_type=Cluster::(\w+)' % re.escape(self.node), self.texts[path])
        if not match:
            fatal(f"fatal error: cluster node {self.node} is not in {path}")
        writes_itself = "manager_is_logger = T" in self.texts[path]
        return "LOGGER" if match.group(1) == "MANAGER" and writes_itself else match.group(1)

    def says(self, pattern):
        """The last match in all scripts, as the last redef counts."""
        found = [m for text in self.texts.values() for m in re.finditer(pattern, text, re.MULTILINE)]
        return found[-1] if found else None

    def log(self, name, row):
        if name not in self.logs:
            self.logs[name] = open(name + ".log", "w", encoding="utf-8")
            self.logs[name].write(f"#separator \\x09\n#path\t{name}\n#fields\tts\tuid\n#types\ttime\tstring\n")
        self.logs[name].write(row + "\n")
        self.logs[name].flush()

    def rotate(self):
        directory = self.says(r'^redef Log::default_rotation_dir = "([^"]*)"')
        directory = os.path.join(directory.group(1), os.environ.get("TAPLINE_NODE", "")) if directory else "."
        for name, file in self.logs.items():
            file.write(time.strftime("#close\t%Y-%m-%d-%H-%M-%S\n"))
            file.close()
            self.archive(name, directory)
        self.logs = {}

    def archive(self, name, directory):
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, name + time.strftime(".%Y-%m-%d-%H-%M-%S"))
        number = ""
        while os.path.exists(path + number + ".log"):
            number = f"-{int(number[1:] or 0) + 1}"
        os.rename(name + ".log", path + number + ".log")

    def run(self):
        kind = self.layout()
        for script in self.scripts:
            self.load(script)
        if self.is_check:
            return
        device = self.interface.rsplit("::", 1)[-1].split("@")[0] if self.interface else None
        if device and not os.path.isdir(f"/sys/class/net/{device}"):
            fatal(f"fatal error: problem with interface {self.interface} ({device}: No such device exists)")
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ends = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ends.append(1))
        self.live(kind, device, ends)
        print("<params>, line 1: received termination signal", file=sys.stderr, flush=True)

    def live(self, kind, device, ends):
        started = time.monotonic()
        die = self.says(r"^# fake zeek: die ([\d.]+)")
        hangs, silent = self.says(r"^# fake zeek: hang"), self.says(r"^# fake zeek: silent")
        interval = self.says(r"^redef Log::default_rotation_interval = (\d+) secs")
        interval = float(interval.group(1)) if interval else 0
        writes = kind in ("STANDALONE", "LOGGER")
        for name in os.listdir("."):  # what a killed one has left
            if writes and name.endswith(".log") and name not in ("stdout.log", "stderr.log"):
                self.archive(name[:-4], "." if not self.says("default_rotation_dir") else os.path.join(
                    self.says(r'^redef Log::default_rotation_dir = "([^"]*)"').group(1), os.environ.get("TAPLINE_NODE", "")))
        time.sleep(START_S)
        if not hangs:
            if self.says(r'open\("\.initialized"\)'):
                with open(".initialized", "w", encoding="utf-8") as file:
                    file.write(f"{time.time()}\n")
            if device:
                print(f"listening on {self.interface}\n", file=sys.stderr, flush=True)
            if writes:
                self.log("packet_filter" if device else "cluster", f"{time.time():.6f}\tready")
        rotated, count = time.monotonic(), 0
        while not ends:
            time.sleep(0.02)
            now = time.monotonic()
            if die and now - started > float(die.group(1)):
                fatal("fatal error: a script told it to die")
            if writes and not hangs and not silent and now - started > count * LINE_EVERY_S + LINE_EVERY_S:
                count += 1
                if not device or os.path.isdir(f"/sys/class/net/{device}"):
                    self.log("conn", f"{time.time():.6f}\tC{os.getpid()}x{count}")
            if writes and interval and now - rotated > interval:
                rotated = now
                self.rotate()
        if interval:
            self.rotate()
        for file in self.logs.values():
            file.write(time.strftime("#close\t%Y-%m-%d-%H-%M-%S\n"))
            file.close()


if __name__ == "__main__":
    if "--version" in sys.argv or "-v" in sys.argv:
        print("zeek version 8.0.10", file=sys.stderr)
        sys.exit(0)
    Zeek(sys.argv[1:]).run()
