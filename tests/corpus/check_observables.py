# SPDX-License-Identifier: Apache-2.0
"""Every record's observables are those that ../oracle/observables.py finds in its document, in all of the corpus; the same log
lists the same ones as TSV and as JSON; each kind occurs; and what Zeek's own intel framework hit in these very records is an
observable of the right kind, but for what no log has."""
import collections
import os

import observables

RECORDS_LEAST, OBSERVABLES_LEAST = 60000, 150000
NO_LOGS = (".md", ".pcap", ".pcap.gz", "stderr.txt", "conn-summary.log.gz")
FILES_MAX = 300  # of one run of the program
KINDS = {"ADDR": "ip", "DOMAIN": "domain", "URL": "url", "EMAIL": "email", "FILE_HASH": "file_hash", "CERT_HASH": "cert_hash",
         "PUBKEY_HASH": "pubkey_hash", "SOFTWARE": "software", "FILE_NAME": "file_name", "USER_NAME": "user"}
# Hits in what Zeek writes to no log: a mail's body; the SHA-1 of a certificate, whose log has the SHA-256.
NOT_LOGGED = {"SMTP::IN_MESSAGE": 3, "X509::IN_CERT": 2}


def logs(folder):
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names
                  if not name.endswith(NO_LOGS) and not name.startswith(("stderr.", "stdout.", "conn-summary.")))


def check(tapline, data):
    problems, records, count = [], 0, 0
    paths = [path for folder in ("zeek", "snort", "suricata", "ours/zeek", "ours/snort3", "ours/suricata")
             for path in logs(os.path.join(data, folder))]
    for at in range(0, len(paths), FILES_MAX):
        some = observables.compare(tapline, paths[at:at + FILES_MAX])
        records, count = records + some[0], count + some[1]
        problems += some[2][:5]
    if records < RECORDS_LEAST or count < OBSERVABLES_LEAST:
        problems.append("only %d records with %d observables were looked at" % (records, count))
    return problems + forms(tapline, os.path.join(data, "ours"))


def listed(tapline, path):
    found = collections.Counter()
    for document, some in observables.explained(tapline, [path]):
        if document["event"]["dataset"] != "zeek.intel":
            found += some
    return found


def forms(tapline, ours):
    problems, every = [], collections.Counter()
    for name in sorted(os.listdir(os.path.join(ours, "zeek", "json"))):
        tsv, json = (listed(tapline, os.path.join(ours, "zeek", form, name)) for form in ("tsv", "json"))
        if tsv != json:
            problems.append("%s: only as TSV: %s; only as JSON: %s" % (name, sorted(tsv - json)[:5], sorted(json - tsv)[:5]))
        every += tsv
    kinds = {kind for _, kind, _ in every}
    for kind in set(KINDS.values()) - kinds:
        problems.append("no observable of kind %s in all of ours/zeek" % kind)
    return problems + hits(os.path.join(ours, "ground-truth", "intel.tsv"), every)


def form_of(kind, text):
    """As Zeek compares them."""
    if kind == "url":
        return text.split("://", 1)[-1]
    return text if kind in ("user", "file_name", "software") else text.lower()


def hits(path, every):
    texts = {(kind, form_of(kind, text)) for _, kind, text in every}
    problems, unseen = [], collections.Counter()
    with open(path, encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split("\t")
        rows = [dict(zip(names, line.rstrip("\n").split("\t"))) for line in file]
    for row in rows:
        kind = KINDS[row["seen_type"].removeprefix("Intel::")]
        in_body = row["where"] == "SMTP::IN_MESSAGE"  # such a URL may be in another log by chance
        if in_body or (kind, form_of(kind, row["indicator"])) not in texts:
            unseen[row["where"]] += 1
    if len(rows) != 229 or unseen != NOT_LOGGED:
        problems.append("of %d hits of Zeek's these are no observables: %s, instead of %s" % (len(rows), dict(unseen), NOT_LOGGED))
    return problems
