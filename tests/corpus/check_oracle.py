# SPDX-License-Identifier: Apache-2.0
"""Every document of our own capture is the one that the oracle derives: Zeek's logs in TSV, Snort's alerts in each form."""
import glob
import os
import shutil
import tempfile

import compare
import oracle

YEAR = 2026                     # of the capture; Snort's stamps do not say it
WRITTEN = 1795233600            # when, so that a year-less stamp has one


def check(tapline, data):
    files = sorted(glob.glob(os.path.join(data, "ours", "zeek", "tsv", "*.log")))
    files += sorted(glob.glob(os.path.join(data, "ours", "snort3", "*", "alert_fast.txt")))
    files += sorted(glob.glob(os.path.join(data, "ours", "snort3", "*", "alert_json.txt")))
    problems = []
    records = 0
    for path in files:
        count, wrong = check_file(tapline, path)
        records += count
        problems += ["%s: %s" % (os.path.relpath(path, data), line) for line in wrong]
    print("    %d files, %d records" % (len(files), records))
    return problems


def check_file(tapline, path):
    name = os.path.basename(path)
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copyfile(path, os.path.join(scratch, name))
        os.utime(copy, (WRITTEN, WRITTEN))
        run = compare.Run(tapline, [name], cwd=scratch)
    if run.code != 0:
        return 0, ["exit code %d: %s" % (run.code, run.err.strip())]
    expected = compare.load_lines(b"".join(oracle.json_line(doc) for doc in oracle.documents(path, name, YEAR) if doc))
    return len(expected), compare.compare_all(expected, compare.load_lines(run.out), shown_max=2)
