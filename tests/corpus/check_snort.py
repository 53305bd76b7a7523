# SPDX-License-Identifier: Apache-2.0
"""One run of Snort 3 wrote its 344 alerts in every form it has. Alert by alert they tell the same as far as the form has
room for it, and what ground truth says. So does Suricata's fast.log of the same packets: what eve.json's alerts say."""
import csv
import os
import shutil
import tempfile
import time

import compare

ALERTS = 344
SURICATA_ALERTS = 209
WRITTEN = 1795233600            # the day of the capture: most forms have no year

# The order of csv-all's columns is the plugin's own; see gen/runsnort.sh of the corpus.
ALL_FIELDS = ("timestamp seconds action class b64_data client_bytes client_pkts dir dst_addr dst_ap dst_port eth_dst eth_len "
              "eth_src eth_type flowstart_time geneve_vni gid icmp_code icmp_id icmp_seq icmp_type iface ip_id ip_len msg mpls "
              "pkt_gen pkt_len pkt_num priority proto rev rule server_bytes server_pkts service sgt sid src_addr src_ap src_port "
              "target tcp_ack tcp_flags tcp_len tcp_seq tcp_win tos ttl udp_len vlan").split()

ENDS = ("source.ip", "source.address", "source.port", "destination.ip", "destination.address", "destination.port",
        "network.transport", "network.type")
RULE = ("rule.id", "rule.version", "snort.gid")
TEXT = ("rule.description", "rule.name", "rule.category", "event.severity")
HEADERS = ("snort.ip.ttl", "snort.ip.tos", "snort.ip.id", "snort.tcp.flags", "snort.tcp.seq", "snort.tcp.ack",
           "snort.tcp.window", "snort.tcp.length", "snort.udp.length")
ICMP = ("snort.icmp.type", "snort.icmp.code")
FRAME = ("source.mac", "destination.mac", "snort.eth.length", "snort.eth_type")
PACKET = ("network.bytes", "network.packets", "snort.pkt_gen", "snort.dir", "event.action")

# form: file, arguments, what it must tell as json-all does: present there, present here, and equal; absent there, absent here.
FORMS = {
    "json-all": ("alert_json.txt", (), ()),
    "csv-all": ("alert_csv.txt", ("--csv-fields", ",".join(ALL_FIELDS)), None),     # all of it
    "json": ("alert_json.txt", (), ("@timestamp",) + ENDS + RULE + PACKET),
    "csv": ("alert_csv.txt", (), ("@timestamp",) + ENDS + RULE + PACKET),
    "fast": ("alert_fast.txt", (), ("@timestamp",) + ENDS + RULE + TEXT),
    "fast-year": ("alert_fast.txt", (), ("@timestamp",) + ENDS + RULE + TEXT),
    "cmg": ("stdout.txt", (), ("@timestamp",) + ENDS + RULE + TEXT),
    "full": ("alert_full.txt", (), ("@timestamp",) + RULE + TEXT[:2]),
    # numbers of classes are places in classification.config, whose order is the same everywhere; rules have no texts
    "unified2": ("unified2.log", ("--classification-config", "{data}/snort/unified2/idstools__classification.config"),
                 ("@timestamp",) + ENDS + RULE + TEXT[2:] + ("event.action",)),
    "unified2-legacy": ("unified2.log",
                        ("--classification-config", "{data}/snort/unified2/idstools__classification.config"),
                        ("@timestamp",) + ENDS + RULE + TEXT[2:] + ("event.action",)),
    "syslog": ("dev-log.txt", (), TEXT[:2]),       # its time is when syslog was told: the run's, not the packet's
}
ALL = "json-all"


def normalize(tapline, path, args, written=WRITTEN):
    """Documents as {field: value}, and what is wrong with the run itself."""
    with tempfile.TemporaryDirectory() as scratch:
        path = shutil.copyfile(path, os.path.join(scratch, os.path.basename(path)))
        os.utime(path, (written, written))
        run = compare.Run(tapline, list(args) + [path], dead_letter=os.path.join(scratch, "dead"))
    problems = [] if run.code == 0 and not run.dead else [
        "%s: exit code %d, dead letters: %s" % (path, run.code, run.dead[:500].decode("utf-8", "replace"))]
    return [dict(compare.leaves(doc)) for doc in compare.load_lines(run.out)], problems


def check(tapline, data):
    every = {}
    problems = []
    for form, (file, args, _) in FORMS.items():
        args = [arg.replace("{data}", data) for arg in args]
        every[form], wrong = normalize(tapline, os.path.join(data, "ours", "snort3", form, file), args)
        problems += ["%s: %s" % (form, line) for line in wrong]
        if len(every[form]) != ALERTS:
            problems.append("%s: %d documents of %d alerts" % (form, len(every[form]), ALERTS))
    truth = truth_of(data, "snort-zeek.tsv")
    if len(truth) != ALERTS:
        problems.append("ground truth has %d rows" % len(truth))
    if not problems:
        for number, row in enumerate(truth):
            docs = {form: every[form][number] for form in FORMS}
            problems += true_of(row, docs[ALL])
            for form, doc in docs.items():
                problems += ["alert %s in %s: %s" % (row["line"], form, line)
                             for line in agree(form, doc, docs[ALL]) + ids(form, doc, docs[ALL], row)]
        problems += counted(every) + check_stamps(tapline, data, every["fast"])
    return (problems + check_suricata(tapline, data))[:20]


def check_stamps(tapline, data, fast):
    """The same stamps, read in January; and as what a clock in Chicago showed, six hours behind in November."""
    path = os.path.join(data, "ours", "snort3", "fast", "alert_fast.txt")
    january, problems = normalize(tapline, path, (), WRITTEN + 60 * 86400)
    chicago, wrong = normalize(tapline, path, ("--timezone", "America/Chicago"))
    problems += wrong
    for number, (doc, late, west) in enumerate(zip(fast, january, chicago), 1):
        want = "%s%02d%s" % (doc["@timestamp"][:11], int(doc["@timestamp"][11:13]) + 6, doc["@timestamp"][13:])
        if late["@timestamp"] != doc["@timestamp"]:
            problems.append("alert %d, read in January, is of %s" % (number, late["@timestamp"]))
        if west["@timestamp"] != want:
            problems.append("alert %d, in Chicago's time, is of %s, not %s" % (number, west["@timestamp"], want))
    return problems


def truth_of(data, name):
    with open(os.path.join(data, "ours", "ground-truth", name), encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def is_rebuilt(reference):
    """Not from the wire, or no IP: alert_full has two lines for it, and cmg no headers."""
    return reference["snort.pkt_gen"] != "raw" or reference["network.transport"] == "arp"


def must_tell(form, reference):
    """The fields that this form has of this alert."""
    fields = FORMS[form][2]
    if fields is None:
        return sorted(field for field in reference if not field.startswith("log."))
    fields = list(fields)
    if form in ("full", "cmg") and not is_rebuilt(reference):
        fields += HEADERS + ("network.bytes",) + (ENDS + TEXT if form == "full" else FRAME)
        if reference.get("network.type") == "ipv4" or form == "full":
            fields += ICMP          # cmg leaves out the types of ICMPv6
    if form.startswith("unified2") and not is_rebuilt(reference):
        fields += HEADERS + FRAME + ICMP + ("network.bytes",)
        if reference.get("snort.icmp.type") in (0, 8, 128, 129):
            fields += ("snort.icmp.id", "snort.icmp.seq")     # of others alert_json prints what stands in their place
    if form == "syslog" and reference["network.transport"] != "arp":
        fields += ENDS + RULE + TEXT[:3]
        if reference["event.severity"] > 0:
            fields.append("event.severity")     # syslog leaves out a priority of 0
    return fields


def agree(form, doc, reference):
    out = []
    for field in must_tell(form, reference):
        have, want = str(doc.get(field)), str(reference.get(field))
        if form.startswith("unified2") and field == "rule.category":
            have, want = have.lower(), want.lower()     # "Trojan was Detected" in one version's file, "detected" in another's
        if have != want:
            out.append("%s is %s, in json-all %s" % (field, doc.get(field), reference.get(field)))
    if doc.get("event.kind") != "alert" or doc.get("event.dataset") != "snort.log":
        out.append("it is %s of %s" % (doc.get("event.kind"), doc.get("event.dataset")))
    return out


def ids(form, doc, reference, row):
    """Whoever knows ports, or ICMP type and code, has the flow's id; nobody has another."""
    have = doc.get("network.community_id")
    knows = "source.port" in doc or (doc.get("network.transport") == "icmp" and "snort.icmp.type" in doc)
    want = row["community_id"] if knows and row["community_id"] != "-" else None
    return [] if have == want else ["network.community_id is %s, in truth %s (%s)" % (have, want, row["proto"])]


def true_of(row, doc):
    """A line of the ground truth: ids computed from the packets themselves."""
    want = {"network.community_id": row["community_id"], "source.ip": row["src"], "destination.ip": row["dst"],
            "network.transport": row["proto"].lower()}
    gid, sid, rev = row["rule"].split(":")
    want.update({"snort.gid": gid, "rule.id": sid, "rule.version": rev})
    out = ["alert %s: %s is %s, in truth %s" % (row["line"], field, doc.get(field), value)
           for field, value in want.items() if str(doc.get(field, "-")) != (value or "-")]
    seconds, fraction = row["ts"].split(".")
    when = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(int(seconds))) + fraction + "Z"
    return out + ([] if doc["@timestamp"] == when else ["alert %s: @timestamp is %s, in truth %s" % (
        row["line"], doc["@timestamp"], when)])


def counted(every):
    """So that no form passes by telling nothing: of how many alerts it tells what only some forms know."""
    want = {("full", "snort.ip.ttl"): 280, ("cmg", "source.mac"): 280, ("cmg", "snort.dump"): 262,
            ("unified2", "snort.packet.data"): 299, ("unified2-legacy", "snort.packet.data"): 344,
            ("full", "snort.icmp.type"): 69, ("syslog", "rule.id"): 325, ("fast", "network.community_id"): 252}
    have = {(form, field): sum(field in doc for doc in every[form]) for form, field in want}
    return ["%s: %d alerts have %s, not %d" % (form, have[form, field], field, number)
            for (form, field), number in want.items() if have[form, field] != number]


def check_suricata(tapline, data):
    folder = os.path.join(data, "ours", "suricata")
    fast, problems = normalize(tapline, os.path.join(folder, "fast.log"), ())
    eve, wrong = normalize(tapline, os.path.join(folder, "eve.json"), ())
    alerts = [doc for doc in eve if doc.get("suricata.eve.event_type") == "alert"]
    truth = truth_of(data, "suricata-zeek.tsv")
    problems += wrong
    if not len(fast) == len(alerts) == len(truth) == SURICATA_ALERTS:
        return problems + ["suricata: %d fast, %d eve, %d true alerts" % (len(fast), len(alerts), len(truth))]
    for row, doc, alert in zip(truth, fast, alerts):
        for field, value in doc.items():
            if not field.startswith("log.") and not compare.same(field, value, alert.get(field)):
                problems.append("suricata alert %s: %s is %s, in eve.json %s" % (row["line"], field, value, alert.get(field)))
        want = None if row["community_id"] == "-" else row["community_id"]
        if doc.get("network.community_id") != want or alert.get("network.community_id") != want:
            problems.append("suricata alert %s: community id %s and %s, in truth %s" % (
                row["line"], doc.get("network.community_id"), alert.get("network.community_id"), want))
    return problems
