#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the documents that we expect `tapline normalize FILE…` to print, derived without it.

  oracle.py [--written SECONDS] [--csv-fields A,B,…] FILE…

Reads Zeek's TSV and JSON, Snort's alert_fast, alert_full, cmg, alert_csv, alert_json and syslog, Suricata's eve.json. --written:
when the files were, if not as the file system says: it tells the year of stamps that have none, and the time of records
without one. --csv-fields: the list that an alert_csv was written with.
"""
import argparse
import json
import os
import re
import sys
from decimal import ROUND_FLOOR, Decimal

import expect
import sensors
import sensors_snort


def records_of(data, shown_path, csv_fields=None):
    """The records in a file's bytes, each a Record or Bad, and whose they are."""
    log = re.split(r"\.", os.path.basename(shown_path))[0]
    head = data.lstrip(b"\0 \t\r\n")[:200]
    form = None if b"#fields" in data else sensors_snort.reader(data, csv_fields)
    if form:
        return form(data), "snort"
    if head.startswith(b"{") and b'"event_type"' in head:
        return sensors.suricata_eve(data), "suricata"
    if head.startswith(b"{") and b'"timestamp"' in head:
        return sensors.snort_json(data), "snort"
    if head.startswith(b"{"):
        return sensors.zeek_json(data, log, expect.zeek_types), "zeek"
    if b"#fields" in data:
        return sensors.zeek_tsv(data), "zeek"
    return sensors.snort_fast(data), "snort"


def documents(path, shown_path, written=None, csv_fields=None):
    """Yields a document a record, None where the record is no good. written: when the file was, in seconds. #open, else
    that, stands in for the time of records that have none."""
    written = Decimal(os.stat(path).st_mtime_ns if written is None else written * 10 ** 9) / 10 ** 9
    records, kind = records_of(sensors.file_bytes(path), shown_path, csv_fields)
    for record in records:
        if isinstance(record, sensors.Bad):
            yield None
            continue
        if kind == "zeek" and "ts" not in record:
            when = written if record.opened is None else Decimal(record.opened)
            record["ts"] = when.quantize(sensors.MICRO, rounding=ROUND_FLOOR)
        try:
            yield document(record, kind, shown_path, written)
        except ValueError:
            yield None          # a field that is not of its type


def document(record, kind, shown_path, written):
    doc = expect.document(record, kind, float(written))
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
    parser.add_argument("--written", type=int)
    parser.add_argument("--csv-fields")
    parser.add_argument("files", nargs="+", metavar="FILE")
    args = parser.parse_args()
    for path in args.files:
        for doc in documents(path, path, args.written, args.csv_fields):
            if doc is not None:
                sys.stdout.buffer.write(json_line(doc))


if __name__ == "__main__":
    main()
