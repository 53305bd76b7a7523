# SPDX-License-Identifier: Apache-2.0
"""Every document is the one that the oracle derives, over all files of Zeek and Snort that there are: our own capture in
every form, and the third-party and hard ones. What neither reads is checked by check_accounting."""
import os
import shutil
import tempfile

import compare
import oracle
import sensors
import sensors_snort
from check_accounting import CSV_ALL

FOLDERS = ("zeek", "snort/fast", "snort/csv", "suricata/eve", "ours/zeek", "ours/suricata") + tuple(
    "ours/snort3/" + form for form in ("fast", "fast-year", "full", "cmg", "csv", "csv-all", "json", "json-all", "syslog"))
WRITTEN = 1795233600            # what the copies' time is set to: 2026-11-21. It tells the year of a stamp without one,
WRITTEN_THIRD_PARTY = {         # and must not be near a turn of the year.
    "plaso__snort3_alert_fast.log": 1770500000, "triage__alert_fast_sample.txt": 1791000000}


def check(tapline, data):
    problems = []
    files = records = 0
    for folder in FOLDERS:
        for place, _, names in sorted(os.walk(os.path.join(data, folder))):
            for name in sorted(set(names) - {"fast.log", "SOURCES.md"}):    # Suricata's fast alerts: check_snort
                path = os.path.join(place, name)
                count, wrong = check_file(tapline, path)
                files, records = files + 1, records + count
                problems += ["%s: %s" % (os.path.relpath(path, data), line) for line in wrong]
    problems += unified2(tapline, data)
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
        args = ["--format", "snort_csv", "--csv-fields", CSV_ALL] if "csv-all" in path else []
        run = compare.Run(tapline, args + [name], cwd=scratch)
    if run.code != 0:
        return 0, ["exit code %d: %s" % (run.code, run.err.strip())]
    try:
        expected = by_offset(oracle.json_line(doc) for doc in oracle.documents(
            path, name, written, CSV_ALL if args else None) if doc)
    except EOFError:
        return 0, []            # a damaged .gz: check_accounting looks at it
    got = by_offset(run.out.split(b"\n"))
    problems = ["offset %d: the oracle reads it, the program does not" % offset for offset in expected.keys() - got.keys()]
    problems += ["offset %d: the program reads it, the oracle does not" % offset for offset in got.keys() - expected.keys()]
    both = sorted(expected.keys() & got.keys())
    problems = problems[:3] + compare.compare_all([expected[i] for i in both], [got[i] for i in both], shown_max=2)
    return len(both), problems


def unified2(tapline, data):
    """Every event of a unified2 file is a document that says what its record says; Snort 3's own type says the same."""
    problems, events = [], 0
    for folder in ("snort/unified2", "ours/snort3/unified2-legacy"):
        for name in sorted(os.listdir(os.path.join(data, folder))):
            path = os.path.join(data, folder, name)
            raw = sensors.file_bytes(path)
            if name.endswith((".md", ".map", ".config")) or len(raw) < 100:
                continue
            expected = [sensors_snort.unified2_facts(event) for event in sensors_snort.unified2(raw)]
            got = [dict(compare.leaves(doc)) for doc in compare.load_lines(compare.Run(tapline, [path]).out)]
            events += len(expected)
            problems += ["%s: %d events, %d documents" % (name, len(expected), len(got))] if len(expected) != len(got) else []
            wrong = ["%s: event %d: %s is %s, not %s" % (name, number, field, doc.get(field), value)
                     for number, (facts, doc) in enumerate(zip(expected, got), 1) for field, value in facts.items()
                     if doc.get(field) != value]
            problems += wrong[:5]
    both = [compare.load_lines(compare.Run(tapline, [os.path.join(data, "ours", "snort3", form, "unified2.log")]).out)
            for form in ("unified2-legacy", "unified2")]
    problems += compare.compare_all(*both, ignore=("log.", "snort.policy", "snort.packet", "snort.extra", "snort.buffer", "snort.event_tail"), shown_max=2)
    print("    %d events of unified2" % events)
    return problems if events > 10000 else problems + ["only %d events of unified2 were found" % events]


def by_offset(lines):
    documents = [compare.load(line) for line in lines if line.strip()]
    return {doc["log"]["offset"]: doc for doc in documents}
