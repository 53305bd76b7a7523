# SPDX-License-Identifier: Apache-2.0
"""A document depends on its record alone: JSON records in another order give the same documents; so do many TSV logs cut
into pieces of seven records, each with its header, and shuffled into one file (more headers than any file has)."""
import glob
import json
import os
import random
import tempfile

import compare
import sensors

WRITTEN = 1795233600            # one time for all files: it stands in for the time of records that have none
SEED = 7


def check(tapline, data):
    problems = []
    records = 0
    for folder in ("ours/zeek/json", "ours/zeek/json-ext", "ours/suricata", "ours/snort3/json-all", "zeek/json"):
        for place, _, names in sorted(os.walk(os.path.join(data, folder))):
            for name in sorted(names):
                count, wrong = shuffled(tapline, os.path.join(place, name))
                records += count
                problems += ["%s: %s" % (os.path.relpath(os.path.join(place, name), data), line) for line in wrong]
    count, wrong = mixed(tapline, data)
    print("    %d records shuffled, %d mixed" % (records, count))
    if records < 15000 or count < 10000:
        problems.append("too few records were found")
    return problems + wrong


def documents(tapline, name, lines):
    """Of a file of these lines, in sorted order, without where they came from."""
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, name)
        with open(path, "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
        os.utime(path, (WRITTEN, WRITTEN))
        out = compare.Run(tapline, [path]).out
    return sorted(json.dumps({key: value for key, value in doc.items() if key != "log"}, sort_keys=True, default=str)
                  for doc in compare.load_lines(out))


def differing(a, b):
    only = [line for line in a if line not in b][:1] + [line for line in b if line not in a][:1]
    return [] if a == b else ["%d and %d documents, e.g. %s" % (len(a), len(b), " / ".join(only)[:900])]


def shuffled(tapline, path):
    data = sensors.file_bytes(path)
    if not data.lstrip().startswith(b"{"):
        return 0, []
    lines = [line for line in data.split(b"\n") if line.strip()]
    name = os.path.basename(path).removesuffix(".gz")
    whole = documents(tapline, name, lines)
    random.Random(SEED).shuffle(lines)
    return len(whole), differing(whole, documents(tapline, name, lines))


def mixed(tapline, data):
    pieces, expected = [], []
    logs = sorted(glob.glob(os.path.join(data, "ours", "zeek", "tsv*", "*.log")))
    logs += sorted(glob.glob(os.path.join(data, "zeek", "tsv", "zeek-baseline-v3.2", "*.log")))[:120]
    for path in logs:
        with open(path, "rb") as file:
            lines = [line for line in file.read().split(b"\n") if line and not line.startswith((b"#close", b"#open"))]
        head = [line for line in lines if line.startswith(b"#")]
        rows = [line for line in lines if not line.startswith(b"#")]
        if lines[:len(head)] != head:
            continue            # headers in between: cut elsewhere
        expected += documents(tapline, os.path.basename(path), head + rows)
        pieces += [head + rows[i:i + 7] for i in range(0, len(rows), 7)]
    random.Random(SEED).shuffle(pieces)
    got = documents(tapline, "mixed.log", [line for piece in pieces for line in piece])
    return len(expected), ["mixed: " + line for line in differing(sorted(expected), got)]
