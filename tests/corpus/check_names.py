# SPDX-License-Identifier: Apache-2.0
"""Drop-in: a record that has every source field that Elastic's integrations name (ecs/names.tsv beside the data) comes out
with all of their names: all datasets of Zeek, Snort and Suricata."""
import collections
import json
import os
import tempfile

import compare
import expect

# Where our dataset, or Zeek's log, has another name than the integration's dataset.
LOGS = {"connection": "conn", "signature": "signatures"}
# Names of the integration that are no field of Zeek's record: what the field is called there.
ZEEK_NAMES = {
    "irc": {"dcc.file.size": "dcc_file_size"},
    "kerberos": {"cert.client_subject": "client_cert_subject", "cert.client_fuid": "client_cert_fuid",
                 "cert.server_subject": "server_cert_subject", "cert.server_fuid": "server_cert_fuid"}}
# temp.* is no field of the document; the ICMP ones need an ICMP record: golden has them. Zeek has no cert.client and no
# cert.server. The integration's own second row for mitre_technique_id finds the field renamed already.
NOT_HERE = ("temp.duration", "zeek.connection.icmp.type", "zeek.connection.icmp.code", "zeek.kerberos.cert.client.value",
            "zeek.kerberos.cert.server.value", "threat.technique.name")
EVERY_DATASET = 44

NUMBERS = set("""
error_code request_p bound_p port_num host_p mem desktop_width desktop_height cert_count reply_code file_size
dcc_file_size iin src_port dest_port severity size length status pkts_toclient pkts_toserver bytes_toclient
bytes_toserver get_requests get_bulk_requests get_responses set_requests request_body_len response_body_len
orig_p resp_p p client_port server_port auth_attempts trans_depth trans_id status_code width height total_bytes
seen_bytes validation_code key_length path_len orig_ip_bytes resp_ip_bytes orig_pkts resp_pkts dst_port eth_len
rev sid gid icmp_type icmp_code icmp_id icmp_seq tcp_len tcp_seq tcp_ack tcp_win udp_len ip_id tos ttl pkt_num
pkt_len vlan priority""".split())
LISTS = set("""
request_path response_path uids conn_uids msg_types rcptto cert_chain cert_chain_fuids client_cert_chain
client_cert_chain_fuids""".split())
BOOLS = set("""
auth ssl cert_permanent session_resumed established resumed auth_success tls is_orig ca logcert""".split())
TEXTS = {"duration": 1.5, "not_valid_before": 1500000000.0, "not_valid_after": 1500000000.0, "exponent": "65537",
         "msg_orig": ["192.0.2.1"], "proto": "tcp", "tcp_flags": "***AP***"}
ADDRESSES = set("""
host src_ip dest_ip orig_h resp_h src dst client_addr server_addr assigned_addr requested_addr src_addr dst_addr""".split())
NAMES = set("""
issuer_subject client_cert_subject server_cert_subject issuerdn subject issuer client_subject client_issuer""".split())
MACS = set("src_mac dest_mac mac orig_l2_addr resp_l2_addr eth_src eth_dst".split())


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
        datasets[product, dataset].append((source, target))
    problems = [] if len(datasets) == EVERY_DATASET else ["names.tsv has %d datasets" % len(datasets)]
    for (product, dataset), names in datasets.items():
        problems += missing(tapline, product, dataset, names)
    return problems


def record_of(product, dataset, names):
    """One record that has every field whose name the integration gives."""
    prefix = {"zeek": "zeek.%s." % dataset, "snort": "", "suricata": "suricata.eve."}[product]
    log = LOGS.get(dataset, dataset)
    record = {"zeek": {"_path": log, "ts": 1.0},
              "snort": {"timestamp": "11/21-02:58:39.101903", "rule": "1:2:3"},
              "suricata": {"timestamp": "2026-11-21T02:58:39.101903+0000", "event_type": "alert"}}[product]
    targets = {target for _, target in names}
    for source, _ in names:
        # Rows chain: what is another row's target, or a part of a name, is no field of the record.
        if source in targets or source.split(".")[-1].isupper():
            continue
        if source.startswith(prefix):
            name = source[len(prefix):]
        elif product == "zeek" and source.partition(".")[0] in ("host", "port_num", "port_proto", "service", "subject",
                                                                 "issuer_subject", "serial"):
            name = source           # the rows of known_* have no prefix
        else:
            continue
        name = ZEEK_NAMES.get(dataset, {}).get(name, name)
        if not (dataset == "kerberos" and name in ("cert.client", "cert.server")):
            kind = expect.zeek_types(log).get(name) if product == "zeek" else None
            record[name] = {"time": 1500000000.0, "interval": 1.5}.get(kind) or (7 if log == "stats" else value_for(name))
    record.update(OTHERS.get((product, dataset), {}))
    return record


X500 = "CN=a,C=b,L=c,O=d,OU=e,ST=f"
# What a record must have besides, or what no general value fits.
OTHERS = {
    ("zeek", "dns"): {"query": "www.example.org"},
    ("zeek", "ssl"): {name: X500 for name in ("subject", "issuer", "client_subject", "client_issuer")},
    ("zeek", "intel"): {"seen.indicator": "192.0.2.7", "seen.indicator_type": "Intel::ADDR"},
    ("suricata", "eve"): {"tls.subject": X500, "tls.issuerdn": X500, "proto": "TCP", "flow.start":
                          "2026-11-21T02:58:39.101903+0000", "flow.end": "2026-11-21T02:58:40.101903+0000",
                          "tls.notbefore": "2026-11-21T02:58:30", "tls.notafter": "2026-11-21T02:58:30",
                          "dns.answers": [{"rrname": "a.example", "rrtype": "A", "ttl": 5, "rdata": "192.0.2.9"}]}}


def missing(tapline, product, dataset, names):
    record = record_of(product, dataset, names)
    with tempfile.TemporaryDirectory() as scratch:
        log = os.path.join(scratch, "in.log")
        with open(log, "w", encoding="utf-8") as file:
            file.write(json.dumps(nested(record) if product == "suricata" else record) + "\n")
        run = compare.Run(tapline, [log], dead_letter=os.path.join(scratch, "dead"))
    documents = compare.load_lines(run.out)
    if len(documents) != 1:
        return ["%s.%s: no document: %s %s" % (product, dataset, run.err.strip(), run.dead)]
    have = {name for name, _ in parents(documents[0])}
    ours = "zeek.%s." % LOGS.get(dataset, dataset)
    return ["%s.%s: %s has no %s" % (product, dataset, source, target) for source, target in names
            if target.replace("zeek.%s." % dataset, ours if dataset == "signature" else "zeek.%s." % dataset) not in have
            and target not in NOT_HERE]


def nested(record):
    out = {}
    for name, value in record.items():
        at = out
        *path, last = name.split(".")
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return out


def parents(value, path=""):
    """Every name there is, objects too."""
    for key, item in value.items():
        name = path + "." + key if path else key
        yield name, item
        if isinstance(item, dict):
            yield from parents(item, name)
