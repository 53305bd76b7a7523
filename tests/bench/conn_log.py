#!/usr/bin/env python3
"""conn_log.py LINES TSV JSON: write one big conn log twice, as Zeek's TSV and as Zeek's JSON, with the same records.

The records are the 1,440 connections of our own capture (configs/samples/zeek/conn.log and conn.json.log.gz beside this
file), over and over, each time with another time, uid and originating port, so that no two lines are alike and a broker
cannot compress them away. Columns that a stock Zeek does not write (community id, VLAN and MAC addresses) are left out:
then tapline has to compute the community id itself.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import json
import pathlib
import re
import string
import sys

HERE = pathlib.Path(__file__).resolve().parent
TSV_SEED = HERE.parent.parent / "configs/samples/zeek/conn.log"
JSON_SEED = HERE / "conn.json.log.gz"
NOT_STOCK = ("community_id", "vlan", "inner_vlan", "orig_l2_addr", "resp_l2_addr")
FIRST_SECOND = 1_795_000_000
LINES_PER_SECOND = 2000
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
TRIPLES = [a + b + c for a in ALPHABET for b in ALPHABET for c in ALPHABET]
LINES_PER_WRITE = 10_000


def uids(count):
    """Distinct uids that look like Zeek's; the same ones every time."""
    state = 88172645463325252
    for i in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        low, high = state & 0xFFFFFFFF, state >> 32
        yield "C" + TRIPLES[low % 238328] + TRIPLES[high % 238328] + TRIPLES[(low ^ high) % 238328] + TRIPLES[i % 238328] + TRIPLES[i // 238328]


def tsv_templates():
    """The header's lines, and for each record its text with %s for time, uid and port."""
    lines = TSV_SEED.read_text().splitlines()
    fields = next(l for l in lines if l.startswith("#fields")).split("\t")[1:]
    keep = [i for i, name in enumerate(fields) if name not in NOT_STOCK]
    header, templates = [], []
    for line in lines:
        cells = line.split("\t")
        if line.startswith(("#fields", "#types")):
            header.append("\t".join([cells[0]] + [cells[1 + i] for i in keep]))
        elif line.startswith("#close"):
            continue
        elif line.startswith("#"):
            header.append(line)
        else:
            cells = [cells[i].replace("%", "%%") for i in keep]
            is_icmp = cells[6] == "icmp"
            cells[0] = cells[1] = "%s"
            if not is_icmp:
                cells[3] = "%s"
            templates.append(("\t".join(cells) + "\n", is_icmp))
    return "\n".join(header) + "\n", templates


def json_templates():
    dropped = re.compile(r',"(?:%s)":(?:"[^"]*"|[0-9]+)' % "|".join(NOT_STOCK))
    templates = []
    for line in gzip.open(JSON_SEED, "rt"):
        is_icmp = json.loads(line)["proto"] == "icmp"
        text = dropped.sub("", line).replace("%", "%%")
        text = re.sub(r'"ts":[0-9.e+]+', '"ts":%s', text, count=1)
        text = re.sub(r'"uid":"[^"]*"', '"uid":"%s"', text, count=1)
        if not is_icmp:
            text = re.sub(r'"id.orig_p":[0-9]+', '"id.orig_p":%s', text, count=1)
        templates.append((text, is_icmp))
    return templates


def main():
    count, tsv_path, json_path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    header, tsv = tsv_templates()
    as_json = json_templates()
    if len(tsv) != len(as_json):
        sys.exit(f"conn_log: {TSV_SEED} has {len(tsv)} records and {JSON_SEED} {len(as_json)}; they must be the same")
    with open(tsv_path, "w") as tsv_out, open(json_path, "w") as json_out:
        tsv_out.write(header)
        tsv_lines, json_lines = [], []
        for i, uid in enumerate(uids(count)):
            second, part = divmod(i, LINES_PER_SECOND)
            ts = "%d.%06d" % (FIRST_SECOND + second, part * 499 + 1)
            port = 1024 + (i * 40503) % 64000
            seed = i % len(tsv)
            text, is_icmp = tsv[seed]
            values = (ts, uid) if is_icmp else (ts, uid, port)
            tsv_lines.append(text % values)
            json_lines.append(as_json[seed][0] % values)
            if len(tsv_lines) == LINES_PER_WRITE or i + 1 == count:
                tsv_out.writelines(tsv_lines)
                json_out.writelines(json_lines)
                tsv_lines, json_lines = [], []


if __name__ == "__main__":
    main()
