#!/usr/bin/env python3
"""zeek_log.py LOG LINES TSV JSON: write one big conn, dns or http log twice, as Zeek's TSV and as Zeek's JSON, with the same
records.

The records are those of our own capture (configs/samples/zeek/LOG.log and LOG.json.log.gz beside this file), over and over,
each time with another time, uid and originating port, and a dns query with another host, so that no two lines are alike
and a broker cannot compress them away. Columns that a stock Zeek does not write (community id, VLAN and MAC addresses) are
left out: then tapline has to compute the community id itself.

SPDX-License-Identifier: Apache-2.0
"""
import gzip
import json
import pathlib
import re
import string
import sys

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE.parent.parent / "configs/samples/zeek"
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


HOSTS = 2_000  # a query's first label gets a number below it; small ones often, as names are asked for (Zipf's law)
LABEL = re.compile(r"^([a-z0-9-]+)(\..+\..+)$")


def tsv_templates(log):
    """The header's lines, and for each record its text with %(ts)s … where it differs each time."""
    lines = (SAMPLES / f"{log}.log").read_text().splitlines()
    fields = next(l for l in lines if l.startswith("#fields")).split("\t")[1:]
    keep = [i for i, name in enumerate(fields) if name not in NOT_STOCK]
    names = [fields[i] for i in keep]
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
            row = dict(zip(names, (cells[i].replace("%", "%%") for i in keep)))
            row["ts"], row["uid"] = "%(ts)s", "%(uid)s"
            if row.get("proto") != "icmp":
                row["id.orig_p"] = "%(port)s"
            if "query" in row:
                row["query"] = LABEL.sub(r"\1%(host)s\2", row["query"])
            templates.append("\t".join(row[name] for name in names) + "\n")
    return "\n".join(header) + "\n", templates


def json_templates(log):
    dropped = re.compile(r',"(?:%s)":(?:"[^"]*"|[0-9]+)' % "|".join(NOT_STOCK))
    templates = []
    for line in gzip.open(HERE / f"{log}.json.log.gz", "rt"):
        record = json.loads(line)
        text = dropped.sub("", line).replace("%", "%%")
        text = re.sub(r'"ts":[0-9.e+]+', '"ts":%(ts)s', text, count=1)
        text = re.sub(r'"uid":"[^"]*"', '"uid":"%(uid)s"', text, count=1)
        if record.get("proto") != "icmp":
            text = re.sub(r'"id.orig_p":[0-9]+', '"id.orig_p":%(port)s', text, count=1)
        if "query" in record:
            query = LABEL.sub(r"\1%(host)s\2", record["query"])
            text = text.replace('"query":"' + record["query"] + '"', '"query":"' + query + '"', 1)
        templates.append(text)
    return templates


def main():
    log, count, tsv_path, json_path = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    header, tsv = tsv_templates(log)
    as_json = json_templates(log)
    if len(tsv) != len(as_json):
        sys.exit(f"zeek_log: {log}.log has {len(tsv)} records as TSV and {len(as_json)} as JSON; they must be the same")
    with open(tsv_path, "w") as tsv_out, open(json_path, "w") as json_out:
        tsv_out.write(header)
        tsv_lines, json_lines = [], []
        for i, uid in enumerate(uids(count)):
            second, part = divmod(i, LINES_PER_SECOND)
            values = {
                "ts": "%d.%06d" % (FIRST_SECOND + second, part * 499 + 1), "uid": uid,
                "port": 1024 + (i * 40503) % 64000, "host": int(HOSTS ** (i * 7919 % 10007 / 10007)),
            }
            seed = i % len(tsv)
            tsv_lines.append(tsv[seed] % values)
            json_lines.append(as_json[seed] % values)
            if len(tsv_lines) == LINES_PER_WRITE or i + 1 == count:
                tsv_out.writelines(tsv_lines)
                json_out.writelines(json_lines)
                tsv_lines, json_lines = [], []


if __name__ == "__main__":
    main()
