# SPDX-License-Identifier: Apache-2.0
"""Compares documents as JSON: numbers exactly (never through a float), keys in any order, lists in order, but for
related.*, event.category and event.type, which are sets. And runs the program."""
import json
import os
import subprocess
from decimal import Decimal


def load(line):
    """One document. Raises ValueError where the line is no UTF-8 or no JSON."""
    return json.loads(line.decode("utf-8"), parse_float=Decimal, parse_constant=refuse)


def refuse(text):
    raise ValueError("%s is no JSON number" % text)


def load_lines(data):
    return [load(line) for line in data.split(b"\n") if line]


def leaves(value, path=""):
    """{"a": {"b": 1}} -> ("a.b", 1); lists are leaves."""
    if isinstance(value, dict) and (value or path == ""):
        for key in value:
            yield from leaves(value[key], path + "." + key if path else key)
    else:
        yield path, value


SETS = ("related.", "event.category", "event.type")


def same(path, a, b):
    if path.startswith(SETS) and isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and sorted(a) == sorted(b)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return a == b


def differences(expected, got, ignore=()):
    """Lines that say what differs, by field; empty where nothing does."""
    expected = {path: value for path, value in leaves(expected) if not path.startswith(tuple(ignore) or "\0")}
    got = {path: value for path, value in leaves(got) if not path.startswith(tuple(ignore) or "\0")}
    out = []
    for path in sorted(expected.keys() | got.keys()):
        if path not in got:
            out.append("  - %s: %s" % (path, show(expected[path])))
        elif path not in expected:
            out.append("  + %s: %s" % (path, show(got[path])))
        elif not same(path, expected[path], got[path]):
            out.append("  - %s: %s\n  + %s: %s" % (path, show(expected[path]), path, show(got[path])))
    return out


def show(value):
    return json.dumps(value, ensure_ascii=False, default=str)


def compare_all(expected, got, ignore=(), shown_max=5):
    """The first documents that differ, in words; empty where all agree. Missing: "-", too many or wrong: "+"."""
    out = []
    if len(expected) != len(got):
        out.append("%d documents expected, %d came" % (len(expected), len(got)))
    differing = 0
    for number, (a, b) in enumerate(zip(expected, got), 1):
        lines = differences(a, b, ignore)
        if lines:
            differing += 1
            if differing <= shown_max:
                out.append("document %d:" % number)
                out += lines
    if differing > shown_max:
        out.append("… and %d more documents differ" % (differing - shown_max))
    return out


class Run:
    """What `tapline normalize` said: code, documents (raw bytes), stderr, dead letters (raw bytes)."""

    def __init__(self, tapline, args, cwd=None, dead_letter=None, timeout_s=300, stdin=b""):
        command = [tapline, "normalize"] + (["--dead-letter", dead_letter] if dead_letter else []) + list(args)
        maps = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "configs")
        env = dict(os.environ, TAPLINE_MAPS=os.path.normpath(maps))
        done = subprocess.run(command, cwd=cwd, env=env, input=stdin, capture_output=True, timeout=timeout_s)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")
        self.dead = b""
        if dead_letter and os.path.exists(dead_letter):
            with open(dead_letter, "rb") as file:
                self.dead = file.read()
