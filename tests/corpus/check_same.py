# SPDX-License-Identifier: Apache-2.0
"""The same records, written in other ways, give the same documents but for log.* (where each came from)."""
import glob
import json
import os
from decimal import Decimal

import compare

BOTH_FORMS = 52                 # logs that the capture has as TSV and as JSON
# Zeek's own life (its packet counts, its warnings) differs from run to run; `rotated` is another run over the same packets.
OTHER_RUN_DIFFERS = ("packet_filter", "reporter", "stats")
OF_THE_RUN = {"packet_filter": ("@timestamp",), "reporter": ("@timestamp",), "stats": ("zeek.stats.memory",)}


def normalize(tapline, paths):
    documents = []
    for path in paths:
        run = compare.Run(tapline, [path])
        if run.code != 0:
            raise RuntimeError("%s: exit code %d: %s" % (path, run.code, run.err.strip()))
        documents += compare.load_lines(run.out)
    return documents


def check(tapline, data):
    zeek = os.path.join(data, "ours", "zeek")
    problems = []
    try:
        logs = sorted(name.removesuffix(".log") for name in os.listdir(os.path.join(zeek, "json")))
        if len(logs) < BOTH_FORMS:
            problems.append("only %d logs with both forms were found" % len(logs))
        for log in logs:
            problems += forms(tapline, zeek, log)
        for log in ("conn", "http", "notice", "weird"):
            both = [normalize(tapline, [os.path.join(zeek, form, log + ".log")]) for form in ("tsv-ext", "json-ext")]
            problems += named("%s tsv-ext, json-ext" % log, compare.compare_all(*both, ignore=("log.",), shown_max=2))
        problems += rotated(tapline, zeek)
    except RuntimeError as error:
        problems.append(str(error))
    return problems


def named(name, lines):
    return [name + ": " + line for line in lines]


def forms(tapline, zeek, log):
    tsv = [rounded(doc) for doc in normalize(tapline, [os.path.join(zeek, "tsv", log + ".log")])]
    ignore = ("log.",) + OF_THE_RUN.get(log, ())
    problems = [] if tsv else ["%s: no documents at all" % log]
    for form in ("json", "json-iso"):
        other = [rounded(doc) for doc in normalize(tapline, [os.path.join(zeek, form, log + ".log")])]
        problems += named("%s tsv, %s" % (log, form), compare.compare_all(tsv, other, ignore=ignore, shown_max=2))
    path = os.path.join(zeek, "json-millis", log + ".log")
    if os.path.exists(path):
        cut = [to_millis(doc) for doc in tsv]
        problems += named("%s tsv, json-millis" % log,
                          compare.compare_all(cut, normalize(tapline, [path]), ignore=("log.",), shown_max=2))
    return problems


def rounded(value):
    """A plain double has six digits in TSV, all of them in JSON."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return value.quantize(Decimal("0.000001")) if isinstance(value, Decimal) and abs(value) < 1 << 40 else value


def to_millis(doc):
    """What is left of a document's times where Zeek wrote milliseconds: it cuts the rest off."""
    doc = dict(doc, **{"@timestamp": doc["@timestamp"][:-4] + "000Z"})
    return doc


def rotated(tapline, zeek):
    names = {os.path.basename(path).split(".")[0] for path in glob.glob(os.path.join(zeek, "rotated", "*.log"))}
    problems = [] if len(names) > 40 else ["rotated: only %d logs found" % len(names)]
    for log in sorted(names - set(OTHER_RUN_DIFFERS)):
        parts = sorted(glob.glob(os.path.join(zeek, "rotated", log + ".*.log")))
        parts += glob.glob(os.path.join(zeek, "rotated", log + ".log"))
        # The order within a log is Zeek's: in another run connections that end together end in another order.
        joined = sorted(map(without_place, normalize(tapline, parts)))
        whole = sorted(map(without_place, normalize(tapline, [os.path.join(zeek, "tsv", log + ".log")])))
        if joined != whole:
            only = [line for line in joined if line not in whole][:1] + [line for line in whole if line not in joined][:1]
            problems.append("%s: rotated and whole differ (%d, %d documents), e.g. %s" % (log, len(joined), len(whole), only))
    return problems


def without_place(doc):
    return json.dumps({key: value for key, value in doc.items() if key != "log"}, sort_keys=True, default=str)
