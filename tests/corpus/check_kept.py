# SPDX-License-Identifier: Apache-2.0
"""Nothing is dropped: each value of each field of each record that has a document stands somewhere in it, in one of
the forms it may take. Says nothing of where: that is check_oracle's."""
import os
import re
from decimal import Decimal

import compare
import document
import oracle
import sensors
from check_accounting import CSV_ALL
from check_oracle import FOLDERS
from expect_suricata import utc

# Words that say there is nothing, and what is said by network.transport and network.type.
NOTHING = {("app_proto", "failed"), ("service", "unknown"), ("class", "none"), ("vlan", 0), ("tcp_flags", "********"),
           ("proto", "IPV6-ICMP")}


def check(tapline, data):
    problems = []
    records = 0
    for folder in FOLDERS:
        for place, _, names in sorted(os.walk(os.path.join(data, folder))):
            for name in sorted(set(names) - {"fast.log", "SOURCES.md"}):
                path = os.path.join(place, name)
                count, wrong = check_file(tapline, path)
                records += count
                problems += ["%s: %s" % (os.path.relpath(path, data), line) for line in wrong[:3]]
    print("    %d records" % records)
    if records < 80000:
        problems.append("only %d records were looked at" % records)
    return problems[:40]


def check_file(tapline, path):
    try:
        data = sensors.file_bytes(path)
    except EOFError:
        return 0, []                # a damaged .gz: check_accounting looks at it
    args = ["--format", "snort_csv", "--csv-fields", CSV_ALL] if "csv-all" in path else []
    documents = {doc["log"]["offset"]: doc for doc in compare.load_lines(compare.Run(tapline, args + [path]).out)}
    problems = []
    records = 0
    for record in oracle.records_of(data, path, CSV_ALL if args else None)[0]:
        if isinstance(record, sensors.Bad) or record.start not in documents:
            continue
        records += 1
        values = set(flat(documents[record.start]))
        problems += ["offset %d: %s %r is nowhere in the document" % (record.start, name, item)
                     for name, value in record.items() for item in scalars(value)
                     if item not in (None, "") and (name, item) not in NOTHING and not stands(item, values)]
    return records, problems


def scalars(value):
    if isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from scalars(item)
    else:
        yield value


def flat(value):
    """Every scalar of a document; truth values told apart from 0 and 1."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from flat(item)
    elif isinstance(value, bool):
        yield ("bool", value)
    elif value is not None:
        yield value


def stands(item, values):
    if isinstance(item, bool):
        return ("bool", item) in values
    if isinstance(item, int) and 10 ** 9 <= item < 10 ** 10:   # seconds, whose fraction is in another field
        if any(isinstance(value, str) and value.startswith(document.iso(item)[:19]) for value in values):
            return True
    if not isinstance(item, str):
        return any(form in values for form in number_forms(item))
    parts = re.match(r"(.+):(\d+)$", item)      # a Host header: url.domain and url.port
    # Snort's stamps may have no year, syslog's have none.
    stamp = re.match(r"(?:[\d/]+-|\w{3} [ \d]\d )(\d\d:\d\d:\d\d(?:\.\d{6})?)$", item)
    if stamp:
        clock = "T" + stamp[1] + ("Z" if "." in stamp[1] else ".000000Z")
        return any(isinstance(value, str) and value.endswith(clock) for value in values)
    if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d{4})?$", item):
        return item in values or utc(item) in values
    return (any(form in values for form in (item, item.lower(), item.upper().replace(":", "-"), item.strip(),
                                            item.replace("*", "") or "*", item.replace(":", "").upper(), document.short(item)))
            or all(part in values for part in item.split(","))
            or parts is not None and parts[1] in values and int(parts[2]) in values)


def number_forms(number):
    """As it is, as text, as a time, as nanoseconds."""
    yield number
    yield str(number)
    if isinstance(number, Decimal) and number.is_finite() and abs(number) < 10 ** 11:
        yield document.nanoseconds(number)
        yield document.iso(number)
