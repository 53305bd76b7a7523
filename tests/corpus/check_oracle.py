# SPDX-License-Identifier: Apache-2.0
"""Every document is the one that the oracle derives, over all files of Zeek and Snort that there are: our own capture in
every form, and the third-party and hard ones. What neither reads is checked by check_accounting."""
import os
import shutil
import tempfile

import compare
import oracle

FOLDERS = ("zeek", "snort/fast", "ours/zeek", "ours/snort3/fast", "ours/snort3/fast-year", "ours/snort3/json",
           "ours/snort3/json-all", "ours/suricata")
WRITTEN = 1795233600            # what the copies' time is set to: 2026-11-21. It tells the year of a stamp without one,
WRITTEN_THIRD_PARTY = {         # and must not be near a turn of the year.
    "plaso__snort3_alert_fast.log": 1770500000, "triage__alert_fast_sample.txt": 1791000000}


def check(tapline, data):
    problems = []
    files = records = 0
    for folder in FOLDERS:
        for place, _, names in sorted(os.walk(os.path.join(data, folder))):
            for name in sorted(set(names) - {"fast.log"}):  # Suricata's fast alerts are not Snort's
                path = os.path.join(place, name)
                count, wrong = check_file(tapline, path)
                files, records = files + 1, records + count
                problems += ["%s: %s" % (os.path.relpath(path, data), line) for line in wrong]
    print("    %d files, %d records" % (files, records))
    if records < 75000:
        problems.append("only %d records were compared" % records)
    return problems[:60]


def check_file(tapline, path):
    name = os.path.basename(path)
    written = WRITTEN_THIRD_PARTY.get(name, WRITTEN)
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copyfile(path, os.path.join(scratch, name))
        os.utime(copy, (written, written))
        run = compare.Run(tapline, [name], cwd=scratch)
    if run.code != 0:
        return 0, ["exit code %d: %s" % (run.code, run.err.strip())]
    try:
        expected = by_offset(oracle.json_line(doc) for doc in oracle.documents(path, name, written) if doc)
    except EOFError:
        return 0, []            # a damaged .gz: check_accounting looks at it
    got = by_offset(run.out.split(b"\n"))
    problems = ["offset %d: the oracle reads it, the program does not" % offset for offset in expected.keys() - got.keys()]
    problems += ["offset %d: the program reads it, the oracle does not" % offset for offset in got.keys() - expected.keys()]
    both = sorted(expected.keys() & got.keys())
    problems = problems[:3] + compare.compare_all([expected[i] for i in both], [got[i] for i in both], shown_max=2)
    return len(both), problems


def by_offset(lines):
    documents = [compare.load(line) for line in lines if line.strip()]
    return {doc["log"]["offset"]: doc for doc in documents}
