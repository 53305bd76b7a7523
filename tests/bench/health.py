"""The part `health` of bench.py: what being watched costs a run, in instructions, which no neighbour on the machine can change.

One `tapline run --once` from a log into /dev/null under callgrind, with section `health` (metrics served, a health log each second),
and nobody looking. Counted as the watching's are the instructions of the files of health, of tap and traces, whatever they call, and the
lines that other files have from core_count() and its like. Valgrind makes everything some fifty times slower but the clock: in a
second there are so many fewer events, so the share of what happens each second is fifty times what it is.

SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import re
import shutil
import subprocess

from measure import Failed

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
EVENTS = 100_000
SHARE_MAX = 0.01
# Files by what they are for. (Not pipeline_control.c: its loop is what the main thread waits in.)
WATCHING = {
    "counting and health": re.compile(r"/(core/(health\w*|otlp\w*|httpd|kafka_stats)\.c|cmd/pipeline_(health|notes|trace)\.c|ingest/(\w*health|growth)\.c"
                                      r"|sinks/\w*health\.c)$"),
    "tap, nobody looking": re.compile(r"/(cmd/pipeline_tap|normalize/watch)\.c$"),
}
COUNTING = ("core_count", "core_counted")  # inline, in core/core.h


def inline_lines():
    """Numbers of the lines of the functions that count."""
    text = (TOP / "core/core.h").read_text().splitlines()
    found = set()
    for name in COUNTING:
        (first,) = (i for i, line in enumerate(text, 1) if line.startswith("static inline") and f" {name}(" in line)
        last = next(i for i, line in enumerate(text, 1) if i > first and line == "}")
        found |= set(range(first, last + 1))
    return found


class Profile:
    """A callgrind.out file: all instructions, and those of each kind of watching."""

    def __init__(self, path):
        self.names = {}  # (of a file or a function, number) -> name: written once, then by number
        self.total = 0
        self.of = dict.fromkeys(WATCHING, 0)
        counting = inline_lines()
        kinds = {}  # of each function's file, then of the file that a line is from
        line_no = is_callee = None
        function = source = callee = None
        for line in path.read_text().splitlines():
            if line[:3] in ("fl=", "fi=", "fe="):
                source = self.name("file", line[3:])
                function = source if line[:2] == "fl" else function
            elif line[:4] in ("cfi=", "cfl="):
                callee = self.name("file", line[4:])
            elif line[:6] == "calls=":
                is_callee = True
            elif re.match(r"[-+*0-9]", line):
                at, cost = line.split()[:2]
                line_no = line_no if at == "*" else line_no + int(at) if at[0] in "+-" else int(at)
                cost = int(cost)
                kind = kinds.setdefault(source, self.kind(source))
                if is_callee:  # a call's inclusive cost: its own lines stand elsewhere
                    inside = kinds.setdefault(callee or function, self.kind(callee or function))
                    if kind is not None and inside is None:
                        self.of[kind] += cost
                else:
                    self.total += cost
                    if kind is None and source.endswith("/core/core.h") and line_no in counting:
                        kind = "counting and health"
                    if kind is not None:
                        self.of[kind] += cost
                is_callee, callee = False, None

    def name(self, kind, text):
        number, _, name = text.partition(" ")
        if name:
            self.names[kind, number] = name
        return self.names[kind, number]

    def kind(self, source):
        return next((kind for kind, pattern in WATCHING.items() if pattern.search(source)), None)


class Health:
    def __init__(self, bench, say):
        self.bench, self.say, self.figures = bench, say, {}

    def measure(self):
        if not shutil.which("valgrind"):
            self.bench.skipped["health"] = "valgrind is not installed"
            return
        bench = self.bench
        log, work = bench.work / "watched.log", bench.work / "watched"
        with open(bench.logs["conn tsv"], "rb") as long_log, open(log, "wb") as out:
            for _ in range(EVENTS):
                out.write(long_log.readline())
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        config = work / "tapline.yml"
        config.write_text(json.dumps({
            "node": {"name": "watched", "state": str(work)}, "inputs": [{"type": "zeek", "paths": [str(log)]}],
            "normalize": {"maps": str(TOP / "configs")}, "sinks": {"file": {"path": "/dev/null"}},
            "health": {"run": "127.0.0.1:0", "interval": "1s", "topic": ""}}))
        out = work / "callgrind.out"
        argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", bench.args.tapline, "run", "--once", "-c", config]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{argv}: {done.returncode}: {done.stderr[-2000:]}")
        profile = Profile(out)
        self.figures = {"instructions_per_event": round(profile.total / EVENTS)} | {kind: round(cost / profile.total, 5) for kind, cost in profile.of.items()}
        self.say(f"health: {self.figures}")

    def lines(self):
        for kind in WATCHING:
            if kind in self.figures:
                yield f"{kind}: of a run's instructions", f"{self.figures[kind]:.2%}"

    def targets(self, want):
        for kind in WATCHING:
            if kind in self.figures:
                want(f"{kind}: of a run's instructions", self.figures[kind], f"< {SHARE_MAX}", self.figures[kind] < SHARE_MAX)
