# SPDX-License-Identifier: Apache-2.0
"""One run of Snort 3 wrote its 344 alerts in five forms. Line by line they tell the same, and what ground truth says."""
import csv
import os
import shutil
import tempfile

import compare

FORMS = {"fast": "alert_fast.txt", "fast-year": "alert_fast.txt", "json": "alert_json.txt", "json-all": "alert_json.txt"}
ALERTS = 344
WRITTEN = 1795233600            # the day of the capture: alert_fast has no year

# Fields that a form may lack (its format has no room for them); where two forms have one, it must be equal.
COMMON = ("@timestamp", "event.kind", "event.severity", "source.ip", "source.port", "source.address", "destination.ip",
          "destination.port", "destination.address", "network.transport", "network.type", "rule.id", "rule.version",
          "rule.description", "rule.name", "rule.category", "snort.gid", "network.bytes", "network.packets", "event.action")
# and these every form has
ALWAYS = ("@timestamp", "event.kind", "network.transport", "rule.id", "rule.version", "snort.gid", "event.dataset")


def documents(tapline, data, form):
    with tempfile.TemporaryDirectory() as scratch:
        path = shutil.copyfile(os.path.join(data, "ours", "snort3", form, FORMS[form]), os.path.join(scratch, FORMS[form]))
        os.utime(path, (WRITTEN, WRITTEN))
        run = compare.Run(tapline, [path], dead_letter=os.path.join(scratch, "dead"))
    problems = [] if run.code == 0 and not run.dead else [
        "%s: exit code %d, dead letters: %s" % (form, run.code, run.dead[:500].decode("utf-8", "replace"))]
    return [dict(compare.leaves(doc)) for doc in compare.load_lines(run.out)], problems


def check(tapline, data):
    every = {}
    problems = []
    for form in FORMS:
        every[form], wrong = documents(tapline, data, form)
        problems += wrong
        if len(every[form]) != ALERTS:
            problems.append("%s: %d documents of %d alerts" % (form, len(every[form]), ALERTS))
    if problems:
        return problems
    for number, rows in enumerate(zip(*(every[form] for form in FORMS)), 1):
        problems += agree(number, dict(zip(FORMS, rows)))
    with open(os.path.join(data, "ours", "ground-truth", "snort-zeek.tsv"), encoding="utf-8") as file:
        truth = list(csv.DictReader(file, delimiter="\t"))
    if len(truth) != ALERTS:
        problems.append("ground truth has %d rows" % len(truth))
    for row, doc in zip(truth, every["json-all"]):
        problems += true_of(row, doc)
    return problems[:20]


def agree(number, docs):
    problems = []
    for field in COMMON:
        values = {form: doc[field] for form, doc in docs.items() if field in doc}
        if len(set(map(str, values.values()))) > 1:
            problems.append("alert %d: %s: %s" % (number, field, values))
    for field in ALWAYS:
        missing = [form for form, doc in docs.items() if field not in doc]
        if missing:
            problems.append("alert %d: %s is missing in %s" % (number, field, missing))
    # What ends in the same endpoints must be known of both: no form loses the addresses of an IP packet.
    with_ip = {form: "source.ip" in doc for form, doc in docs.items()}
    if len(set(with_ip.values())) > 1:
        problems.append("alert %d: source.ip is there only in some: %s" % (number, with_ip))
    return problems


def true_of(row, doc):
    """A line of the ground truth: ids computed from the packets themselves."""
    want = {"network.community_id": row["community_id"], "source.ip": row["src"], "destination.ip": row["dst"],
            "network.transport": row["proto"].lower()}
    gid, sid, rev = row["rule"].split(":")
    want.update({"snort.gid": gid, "rule.id": sid, "rule.version": rev})
    return ["alert %s: %s is %s, in truth %s" % (row["line"], field, doc.get(field), value)
            for field, value in want.items() if str(doc.get(field, "-")) != (value or "-")]
