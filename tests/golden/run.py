#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden test: real sensor lines in, exact documents out.

  run.py TAPLINE [CASE…]

A case is a folder beside this file: one log (in.log, or named as the sensor names it where the name matters), out.ndjson,
and perhaps case.json: {"mtime": "…Z"}, when the log was last written (Snort's stamps have no year). out.ndjson is what a
person derives from ECS and the sensor's documentation; it was drafted by ../oracle/oracle.py, which does not know the
program, and read through. It is never made from the program's own output. A record that must become a dead letter stands in
it as {"dead": REGEX}, the regex matching its reason.
"""
import datetime
import json
import os
import re
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import compare  # noqa: E402


def stage(case, scratch):
    """A copy of the log, with the time that the case asks for. Returns its name."""
    logs = [name for name in os.listdir(case) if name not in ("out.ndjson", "case.json")]
    if len(logs) != 1:
        sys.exit("%s: a case has one log, out.ndjson and perhaps case.json; this one has %s" % (case, logs))
    path = shutil.copy(os.path.join(case, logs[0]), scratch)
    settings = os.path.join(case, "case.json")
    if os.path.exists(settings):
        with open(settings, encoding="utf-8") as file:
            stamp = json.load(file)["mtime"]
        when = datetime.datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
        os.utime(path, (when, when))
    return logs[0]


def check(tapline, case):
    """What is wrong, as lines."""
    with open(os.path.join(case, "out.ndjson"), "rb") as file:
        expected = compare.load_lines(file.read())
    reasons = [doc["dead"] for doc in expected if "dead" in doc]
    expected = [doc for doc in expected if "dead" not in doc]
    with tempfile.TemporaryDirectory() as scratch:
        log = stage(case, scratch)
        run = compare.Run(tapline, [log], cwd=scratch, dead_letter=os.path.join(scratch, "dead.ndjson"))
    if run.code != 0:
        return ["exit code %d: %s" % (run.code, run.err)]
    problems = compare.compare_all(expected, compare.load_lines(run.out))
    dead = [doc["error"]["message"] for doc in compare.load_lines(run.dead)]
    if len(dead) != len(reasons) or not all(re.search(a, b) for a, b in zip(reasons, dead)):
        problems.append("dead letters expected: %s; came: %s" % (reasons, dead))
    return problems


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    names = sys.argv[2:] or sorted(name for name in os.listdir(HERE) if os.path.exists(os.path.join(HERE, name, "out.ndjson")))
    failed = 0
    for name in names:
        problems = check(os.path.abspath(sys.argv[1]), os.path.join(HERE, name))
        failed += bool(problems)
        print("%s %s" % ("FAIL" if problems else "ok  ", name))
        for line in problems:
            print("    " + line)
    print("%d cases, %d failed ( - expected, + came )" % (len(names), failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
