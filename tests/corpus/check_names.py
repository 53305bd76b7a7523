# SPDX-License-Identifier: Apache-2.0
"""Drop-in: a record that has every source field that Elastic's integrations name (ecs/names.tsv beside the data) comes out
with all of their names, for the logs that have a map."""
import collections
import json
import os
import tempfile

import compare

LOGS = {"connection": "conn", "dns": "dns", "http": "http", "ssl": "ssl", "x509": "x509", "files": "files",
        "notice": "notice", "weird": "weird", "ssh": "ssh", "smtp": "smtp", "dhcp": "dhcp"}
# temp.* is no field of the document; the ICMP ones need an ICMP record: golden has them.
NOT_HERE = ("temp.duration", "zeek.connection.icmp.type", "zeek.connection.icmp.code")

NUMBERS = {"orig_p", "resp_p", "p", "client_port", "server_port", "auth_attempts", "trans_depth", "trans_id", "status_code",
           "total_bytes", "seen_bytes", "validation_code", "key_length", "path_len", "orig_ip_bytes", "resp_ip_bytes",
           "orig_pkts", "resp_pkts", "request_body_len", "response_body_len", "src_port", "dst_port", "eth_len", "rev", "sid",
           "gid", "icmp_type", "icmp_code", "icmp_id", "icmp_seq", "tcp_len", "tcp_seq", "tcp_ack", "tcp_win", "udp_len",
           "ip_id", "tos", "ttl", "pkt_num", "pkt_len", "vlan", "priority"}
LISTS = {"uids", "conn_uids", "msg_types", "rcptto", "cert_chain", "cert_chain_fuids", "client_cert_chain",
         "client_cert_chain_fuids"}
BOOLS = {"established", "resumed", "auth_success", "tls", "is_orig", "ca", "logcert"}
TEXTS = {"duration": 1.5, "not_valid_before": 1500000000.0, "not_valid_after": 1500000000.0, "exponent": "65537",
         "msg_orig": ["192.0.2.1"], "proto": "tcp", "tcp_flags": "***AP***"}
ADDRESSES = {"orig_h", "resp_h", "src", "dst", "client_addr", "server_addr", "assigned_addr", "requested_addr", "src_addr",
             "dst_addr"}
NAMES = {"subject", "issuer", "client_subject", "client_issuer"}
MACS = {"mac", "orig_l2_addr", "resp_l2_addr", "eth_src", "eth_dst"}


def value_for(field):
    last = field.split(".")[-1]
    for kind, value in ((NUMBERS, 7), (LISTS, ["x" + last]), (BOOLS, True), (ADDRESSES, "192.0.2.1"),
                        (NAMES, "CN=a,C=b,L=c,O=d,OU=e,ST=f"), (MACS, "02:00:00:00:00:01")):
        if last in kind:
            return value
    return TEXTS.get(last, "x" + last)


def check(tapline, data):
    path = os.path.join(data, "..", "ecs", "names.tsv")
    if not os.path.exists(path):
        print("    SKIPPED, NOTHING WAS TESTED: no %s" % path)
        return ["there is none, and CI=true"] if os.environ.get("CI") == "true" else []
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    datasets = collections.defaultdict(list)
    for product, dataset, source, target, *_ in rows:
        if product == "snort" or (product == "zeek" and dataset in LOGS):
            datasets[product, dataset].append((source, target))
    problems = [] if len(datasets) == len(LOGS) + 1 else ["names.tsv lacks a dataset"]
    for (product, dataset), names in datasets.items():
        problems += missing(tapline, product, dataset, names)
    return problems


def missing(tapline, product, dataset, names):
    prefix = "zeek.%s." % dataset if product == "zeek" else ""
    record = {"_path": LOGS[dataset], "ts": 1.0} if product == "zeek" else {
        "timestamp": "11/21-02:58:39.101903", "rule": "1:2:3"}
    targets = {target for _, target in names}
    for source, _ in names:
        # Rows chain: what is another row's target, or a part of a name, is no field of the record.
        if source.startswith(prefix) and source not in targets and not source.split(".")[-1].isupper():
            record[source[len(prefix):]] = value_for(source)
    if dataset == "dns":
        record["query"] = "www.example.org"
    if dataset == "ssl":
        record.update({name: value_for(name) for name in NAMES})
    with tempfile.TemporaryDirectory() as scratch:
        log = os.path.join(scratch, "in.log")
        with open(log, "w", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        run = compare.Run(tapline, [log], dead_letter=os.path.join(scratch, "dead"))
    documents = compare.load_lines(run.out)
    if len(documents) != 1:
        return ["%s.%s: no document: %s %s" % (product, dataset, run.err.strip(), run.dead)]
    have = {name for name, _ in parents(documents[0])}
    return ["%s.%s: %s has no %s" % (product, dataset, source, target) for source, target in names
            if target not in have and target not in NOT_HERE]


def parents(value, path=""):
    """Every name there is, objects too."""
    for key, item in value.items():
        name = path + "." + key if path else key
        yield name, item
        if isinstance(item, dict):
            yield from parents(item, name)
