#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the documents that we expect `tapline normalize FILE…` to print, derived without it.

  oracle.py [--year N] FILE…

Reads Zeek TSV and JSON logs, Snort alert_fast and alert_json. --year is the year of Snort stamps that have none.
"""
import argparse
import json
import os
import re
import sys
from decimal import Decimal

import expect
import sensors


def documents(path, shown_path, year):
    """Yields (document, or None where the record is no good; line number)."""
    data = sensors.file_bytes(path)
    log = re.split(r"\.", os.path.basename(shown_path))[0]
    head = data.lstrip(b"\0 \t\r\n")[:200]
    if head.startswith(b"{") and b'"timestamp"' in head:
        records, kind = sensors.snort_json(data), "snort"
    elif head.startswith(b"{"):
        records, kind = sensors.zeek_json(data, log, expect.zeek_types), "zeek"
    elif head.startswith(b"#"):
        records, kind = sensors.zeek_tsv(data), "zeek"
    else:
        records, kind = sensors.snort_fast(data), "snort"
    for record in records:
        if isinstance(record, sensors.Bad):
            yield None
            continue
        yield document(record, kind, shown_path, year)


def document(record, kind, shown_path, year):
    if kind == "snort":
        doc = expect.Document(record, "snort")
        expect.snort(doc, year)
    else:
        name = re.sub(r"[^a-z0-9_]", "_", record.log.lower())
        doc = expect.Document(record, "zeek.connection" if name == "conn" else "zeek." + name)
        expect.ZEEK.get(record.log, expect.any_log)(doc)
    doc.keep()
    doc.put("log.file.path", shown_path)
    doc.put("log.offset", record.start)
    return doc.nested()


class Exact(json.JSONEncoder):
    """Decimals are written as numbers, digit by digit."""

    def iterencode(self, o, _one_shot=False):
        text = "".join(super().iterencode(o, _one_shot))
        yield re.sub(r'"\\u0000d([^"]*)"', r"\1", text)

    def default(self, o):
        if isinstance(o, Decimal):
            return "\0d" + format(o, "f")
        return super().default(o)


def json_line(doc):
    return json.dumps(doc, cls=Exact, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogateescape") + b"\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--year", type=int, default=2026)
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args()
    for path in args.files:
        for doc in documents(path, path, args.year):
            if doc is not None:
                sys.stdout.buffer.write(json_line(doc))


if __name__ == "__main__":
    main()
