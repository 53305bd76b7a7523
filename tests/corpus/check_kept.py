# SPDX-License-Identifier: Apache-2.0
"""Nothing is dropped: each value of each field of each Zeek TSV record that has a document stands somewhere in it, in one of
the forms it may take. Says nothing of where: that is check_oracle's."""
import os
import re
from decimal import Decimal

import compare
import document
import sensors


def check(tapline, data):
    problems = []
    records = 0
    for folder in ("zeek", "ours/zeek"):
        for place, _, names in sorted(os.walk(os.path.join(data, folder))):
            for name in sorted(names):
                path = os.path.join(place, name)
                count, wrong = check_file(tapline, path)
                records += count
                problems += ["%s: %s" % (os.path.relpath(path, data), line) for line in wrong[:3]]
    print("    %d records" % records)
    if records < 45000:
        problems.append("only %d records were looked at" % records)
    return problems[:40]


def check_file(tapline, path):
    try:
        data = sensors.file_bytes(path)
    except EOFError:
        return 0, []                # a damaged .gz: check_accounting looks at it
    if b"#fields" not in data:
        return 0, []
    documents = {doc["log"]["offset"]: doc for doc in compare.load_lines(compare.Run(tapline, [path]).out)}
    problems = []
    records = 0
    for record in sensors.zeek_tsv(data):
        if isinstance(record, sensors.Bad) or record.start not in documents:
            continue
        records += 1
        values = set(flat(documents[record.start]))
        problems += ["line %d: %s %r is nowhere in the document" % (record.line, name, item)
                     for name, value in record.items() for item in (value if isinstance(value, list) else [value])
                     if item not in (None, "") and not stands(item, values)]
    return records, problems


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
    if not isinstance(item, str):
        return any(form in values for form in number_forms(item))
    parts = re.match(r"(.+):(\d+)$", item)      # a Host header: url.domain and url.port
    return (any(form in values for form in (item, item.lower(), item.upper().replace(":", "-")))
            or all(part in values for part in item.split(","))
            or parts is not None and parts[1] in values and int(parts[2]) in values)


def number_forms(number):
    """As it is, as text, as a time, as nanoseconds."""
    yield number
    yield str(number)
    if isinstance(number, Decimal) and number.is_finite() and abs(number) < 10 ** 11:
        yield document.nanoseconds(number)
        yield document.iso(number)
