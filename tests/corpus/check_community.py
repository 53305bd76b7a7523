# SPDX-License-Identifier: Apache-2.0
"""Community IDs: against the specification's own tables (through records made with those tuples), and against Zeek's."""
import json
import os
import tempfile

import community_id as reference
import compare
import sensors

NAMES = {1: "icmp", 6: "tcp", 17: "udp", 46: "rsvp", 58: "icmp", 132: "sctp"}


def check(tapline, data):
    problems = []
    for name, seed in (("deflt", 0), ("seed1", 1)):
        with open(os.path.join(data, "community-id", "baseline__baseline_%s.json" % name), encoding="utf-8") as file:
            rows = json.load(file)
        problems += reference_problems(rows, seed) + tables(tapline, rows, seed)
    for log in ("conn", "notice"):
        problems += zeek_own(tapline, os.path.join(data, "ours", "zeek", "tsv", log + ".log"))
    problems += one_flow(tapline, os.path.join(data, "ours", "zeek", "tsv"))
    return problems + suricata_own(tapline, os.path.join(data, "ours", "suricata", "eve.json"))


def reference_problems(rows, seed):
    """The oracle's own computation, over the whole table: what checks must itself be right."""
    return ["reference, seed %d: %s" % (seed, row) for row in rows if reference.community_id(
        row["saddr"], row["daddr"], row["proto"], row["sport"], row["dport"], (row["sport"], row["dport"]), seed)
        != row["communityid"]]


def tables(tapline, rows, seed):
    """The table's ports of ICMP are type and its answer's type (or the code): just what Zeek writes as its ports."""
    lines = b"".join(json.dumps({
        "_path": "conn", "ts": 1.0, "uid": "C%d" % i, "id.orig_h": row["saddr"], "id.orig_p": row["sport"],
        "id.resp_h": row["daddr"], "id.resp_p": row["dport"], "proto": NAMES[row["proto"]]}).encode() + b"\n"
        for i, row in enumerate(rows))
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "conn.log")
        with open(path, "wb") as file:
            file.write(lines)
        run = compare.Run(tapline, ["--community-id-seed", str(seed), path])
    documents = compare.load_lines(run.out)
    if run.code != 0 or len(documents) != len(rows) or len(rows) != 23:
        return ["seed %d: exit code %d, %d of %d documents: %s" % (seed, run.code, len(documents), len(rows), run.err.strip())]
    return ["seed %d: %s: %s, not %s" % (seed, row, doc["network"].get("community_id"), row["communityid"])
            for row, doc in zip(rows, documents) if doc["network"].get("community_id") != row["communityid"]]


def zeek_own(tapline, path):
    """The sensor's id is kept; without its column, ours is the same. Zeek also has ids of transports it does not know."""
    log = os.path.basename(path)
    with open(path, "rb") as file:
        data = file.read()
    own = [record.get("community_id") for record in sensors.zeek_tsv(data)]
    unknown = [record.get("proto") == "unknown_transport" for record in sensors.zeek_tsv(data)]
    kept = ids(tapline, log, data)
    computed = ids(tapline, log, without_column(data, b"community_id"))
    problems = []
    if kept != own:
        problems.append("%s: the sensor's own ids are not kept" % log)
    if len(computed) != len(own) or sum(value is not None for value in own) < 50:
        problems.append("%s: %d records, %d documents" % (log, len(own), len(computed)))
    problems += ["%s: record %d: computed %s, Zeek says %s" % (log, i, a, b)
                 for i, (a, b, no_name) in enumerate(zip(computed, own, unknown), 1) if a != (None if no_name else b)]
    return problems[:10]


def one_flow(tapline, folder):
    """A record of any log that names a connection (by uid) has the connection's own transport and id, or none; but for dhcp,
    whose ends are the lease's, where the connection's may be broadcast addresses."""
    conn, others = {}, []
    for name in sorted(os.listdir(folder), key=lambda name: (name != "conn.log", name)):
        for doc in compare.load_lines(compare.Run(tapline, [os.path.join(folder, name)]).out):
            uid, network = doc["event"].get("id"), doc.get("network", {})
            if name == "conn.log":
                conn[uid] = (network.get("transport"), network.get("community_id"))
            elif uid in conn and name != "dhcp.log":
                others.append((name, uid, network))
    problems = ["%s: %s: network.%s is %s, the connection's %s" % (name, uid, field, network[field], value)
                for name, uid, network in others for field, value in zip(("transport", "community_id"), conn[uid])
                if field in network and network[field] != value]
    with_id = sum("community_id" in network for _, _, network in others)
    if len(others) < 2300 or with_id < 1700:
        problems.append("only %d records of connections were found, %d with an id" % (len(others), with_id))
    return problems[:10]


def suricata_own(tapline, path):
    """Suricata's ids, except where it leaves the specification: it packs ports of 0 for IPv6 in IPv4, which has none, and
    gives the flow of an ICMPv6 error an id that neither direction has."""
    with open(path, "rb") as file:
        events = [json.loads(line) for line in file]
    own = [event.pop("community_id", None) for event in events]
    computed = ids(tapline, "eve.json", b"".join(json.dumps(event).encode() + b"\n" for event in events))
    odd = [event.get("proto") == "IPv6" or (event.get("proto"), event["event_type"], event.get("icmp_type")) == (
        "IPv6-ICMP", "flow", 1) for event in events]
    problems = ["eve.json: event %d: computed %s, Suricata says %s" % (i, a, b)
                for i, (a, b, is_odd) in enumerate(zip(computed, own, odd), 1) if a != b and not is_odd]
    if len(computed) != len(events) or sum(odd) > 4:
        problems.append("eve.json: %d events, %d documents, %d set aside" % (len(events), len(computed), sum(odd)))
    return problems[:10]


def ids(tapline, log, data):
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, log)
        with open(path, "wb") as file:
            file.write(data)
        documents = compare.load_lines(compare.Run(tapline, [path]).out)
    return [doc.get("network", {}).get("community_id") for doc in documents]


def without_column(data, name):
    lines = data.split(b"\n")
    fields = next(line for line in lines if line.startswith(b"#fields")).split(b"\t")[1:]
    at = fields.index(name)
    out = []
    for line in lines:
        cells = line.split(b"\t")
        if line.startswith((b"#fields", b"#types")):
            del cells[at + 1]
        elif line and not line.startswith(b"#"):
            del cells[at]
        out.append(b"\t".join(cells))
    return b"\n".join(out)
