# SPDX-License-Identifier: Apache-2.0
"""What enrichment adds to the documents of all the corpus, with indicators drawn from the corpus itself, is what the matcher of
../oracle adds: the same objects on the same records, no more and no fewer, and nothing else of a document is another. And where a
text of a document is an indicator but nothing looks, its field is one that is listed here."""
import collections
import json
import os
import random
import subprocess
import tempfile
import time

import check_observables
import intel
import intel_sample
import observables

# Fields whose text may be an indicator, and nothing looks: what was derived from a field that is looked at, parts of names, what
# names a network or a realm rather than a host, what Zeek hit itself, settings, and custom logs.
UNLOOKED = {
    "related.hash", "related.hosts", "related.ip", "related.user", "dns.question.registered_domain", "dns.question.subdomain",
    "dns.answers.name", "suricata.eve.dns.answers.rrname", "suricata.eve.dns.authorities.rrname", "suricata.eve.krb5.realm",
    "user.domain", "network.name", "zeek.dhcp.domain", "threat.indicator.email.address", "threat.indicator.file.hash.md5",
    "threat.indicator.name", "threat.indicator.ip", "threat.indicator.url.domain", "zeek.intel.seen.indicator", "zeek.notice.sub",
    "zeek.notice_alarm.sub", "zeek.config.new_value", "zeek.config.old_value", "zeek.test.x",
    "suricata.eve.dns.answers.srv.name", "suricata.eve.dns.grouped.SRV.name", "zeek.http_2.host",
}
DOCUMENTS_LEAST, HITS_LEAST = 60000, 20000


def normalize(tapline, paths, files=()):
    """[document], as lines, of everything that can be read."""
    env = dict(os.environ, TAPLINE_MAPS=os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "configs")))
    args = ["--intel", ",".join(files)] if files else []
    run = subprocess.run([tapline, "normalize", *args, "--", *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, check=False)
    if run.returncode not in (0, 111):  # one of the corpus's files is a damaged .gz
        raise RuntimeError(run.stderr.decode(errors="replace")[-2000:])
    return run.stdout.splitlines(), run.stderr.decode(errors="replace")


def check(tapline, data):
    problems = []
    paths = [path for folder in ("zeek", "snort", "suricata", "ours/zeek", "ours/snort3", "ours/suricata")
             for path in check_observables.logs(os.path.join(data, folder))]
    plain, _ = normalize(tapline, paths)
    now = int(time.time())
    documents = [json.loads(line) for line in plain]
    listed = [observables.expected(document) for document in documents]
    rows = intel_sample.drawn(listed, now)
    defanged = plainly(rows)
    store = intel.Store([dict(row) for row in rows if row not in defanged] + [
        {"type": row["type"], "value": row["value"], "provider": "sample.txt"} for row in defanged], now=now)  # a list's name says who says it
    with tempfile.TemporaryDirectory() as scratch:
        files = [intel_sample.write_csv(os.path.join(scratch, "sample.csv"), [row for row in rows if row not in defanged]),
                 intel_sample.write_list(os.path.join(scratch, "sample.txt"), defanged)]
        got, said = normalize(tapline, paths, files)
    if len(got) != len(plain):
        return ["%d documents with intelligence, %d without" % (len(got), len(plain))]
    hits, types = 0, collections.Counter()
    for document, line, was, some in zip(documents, got, plain, listed):
        after = json.loads(line) if line != was else document
        found = intel.member(after, "threat.enrichments") or []
        hits += len(found)
        types.update(one["matched"]["type"] for one in found)
        wrong = intel.compare(store, document, after, some)
        problems += ["%s:%s %s: %s" % (document["log"]["file"]["path"], document["log"].get("offset"), document["event"]["dataset"], one)
                     for one in wrong[:3]] if len(problems) < 60 else []
    for where, count in sorted(unlooked(store, documents, listed).items()):
        if where not in UNLOOKED:
            problems.append("%d documents have an indicator in %s, where nothing looks" % (count, where))
    print("    %d documents, %d indicators, %d hits: %s" % (len(documents), len(rows), hits, dict(types.most_common())))
    if len(documents) < DOCUMENTS_LEAST or hits < HITS_LEAST or set(types) != set(intel.KINDS):
        problems.append("only %d documents, %d hits, kinds %s: %s" % (len(documents), hits, sorted(types), said[-300:]))
    return problems


def unlooked(store, documents, listed):
    """{field: in how many documents} of texts that are an indicator, in a document whose observables do not have it."""
    names = {value for kind, value in store.words if kind not in ("cidr", "user", "file_name", "software")}
    found = collections.Counter()
    for document, some in zip(documents, listed):
        at = {path for path, text in intel_sample.leaves(document) if text.lower() in names}
        if at:
            have = {key[1] for _, kind, text in some for key in [intel.canonical(kind, text)] if key}
            found.update({path for path, text in intel_sample.leaves(document) if path in at and text.lower() in names - have})
    return found


def plainly(rows):
    """Those that go into a list instead: their words are lost there."""
    once = collections.Counter(row["value"] for row in rows)
    able = [row for row in rows if row["type"] in ("ip", "domain") and once[row["value"]] == 1 and row["value"].count(".") > 1
            and not row["value"].startswith(("*", ".", "::"))]
    return random.Random(7).sample(able, min(60, len(able)))
