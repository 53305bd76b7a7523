# SPDX-License-Identifier: Apache-2.0
"""What Suricata's EVE events become. An event has its own object (`dns`) and may have others' (an alert's `http`, `flow`)."""
import datetime
import re

import suffix
from document import UTC, endpoint, flow, is_ip, mac, short, what
from expect_zeek import name_parts, split_port, url

WHAT = {
    "alert": ("alert", "network intrusion_detection", ["info"]),
    "stats": ("metric", "host", ["info"]),
    "fileinfo": ("event", "network file", ["info"]),
    "flow": ("event", "network", ["connection", "end"]),
    "netflow": ("event", "network", ["connection", "end"]),
    "http": ("event", "network web", ["connection", "protocol", "access"]),
    "smtp": ("event", "network email", ["connection", "protocol", "info"]),
    "krb5": ("event", "network authentication", ["connection", "protocol", "info"]),
}
PROTOCOLS = {"ftp_data": "ftp", "krb5": "kerberos", "http2": "http"}
PROTOCOLS.update({name: name for name in ("http dns tls ssh smtp ftp smb tftp snmp dhcp sip mqtt rfb rdp nfs ike quic modbus "
                                          "dnp3 pgsql ntp").split()})

# Fields that get another name, and those that get one more (names.tsv renames the first, keeps the second).
MOVED = {
    "src_port": "source.port", "dest_port": "destination.port", "in_iface": "observer.ingress.interface.name",
    "alert.severity": "event.severity",
    "http.http_refer": "http.request.referrer", "http.status": "http.response.status_code",
    "http.length": "http.response.body.bytes", "fileinfo.filename": "file.path",
    "fileinfo.size": "file.size", "tls.session_resumed": "tls.resumed"}
COPIED = {
    "alert.signature": ("rule.name", "rule.description"), "http.http_method": ("http.request.method",),
    "http.http_user_agent": ("user_agent.original",), "tls.sni": ("tls.client.server_name",),
    "tls.subject": ("tls.server.subject",), "tls.issuerdn": ("tls.server.issuer",),
    "tls.client.subject": ("tls.client.subject",), "tls.client.issuerdn": ("tls.client.issuer",),
    "tls.ja3.hash": ("tls.client.ja3", "related.hash"), "tls.ja3s.hash": ("tls.server.ja3s", "related.hash"),
    "fileinfo.md5": ("file.hash.md5", "related.hash"), "fileinfo.sha1": ("file.hash.sha1", "related.hash"),
    "fileinfo.sha256": ("file.hash.sha256", "related.hash"), "email.subject": ("email.subject",),
    "email.message_id": ("email.message_id",), "email.x_mailer": ("email.x_mailer",),
    "krb5.cname": ("user.name", "related.user"), "krb5.realm": ("user.domain",),
    "smb.ntlmssp.user": ("user.name", "related.user"), "smb.ntlmssp.domain": ("user.domain",),
    "smb.ntlmssp.host": ("related.hosts",), "mqtt.connect.username": ("user.name", "related.user"),
    "dhcp.hostname": ("related.hosts",), "netflow.bytes": ("network.bytes",), "netflow.pkts": ("network.packets",)}
TIMES = {"timestamp": "@timestamp", "flow.start": "event.start", "flow.end": "event.end",
         "tls.notbefore": "tls.server.not_before", "tls.notafter": "tls.server.not_after",
         "tls.client.notbefore": "tls.client.not_before", "tls.client.notafter": "tls.client.not_after"}
ADDRESSES = ["%s.%s" % (where, name) for where, names in (("tunnel", "src_ip dest_ip"), ("flow", "src_ip dest_ip"), ("dhcp", (
    "assigned_ip client_ip relay_ip next_server_ip requested_ip subnet_mask")), ("snmp", "trap_address")) for name in names.split()]
METADATA = ("protocols attack_target capec_id cwe_id malware cve cvss_v2_base cvss_v2_temporal cvss_v3_base cvss_v3_temporal "
            "priority hostile infected classtype rule_source sid").split()
# The field that is event.action, of the events of that type.
ACTIONS = {"ftp": "command", "ftp_data": "command", "tftp": "packet", "smb": "command", "krb5": "msg_type", "sip": "method",
           "snmp": "pdu_type", "dhcp": "dhcp_type", "anomaly": "event", "http": "http_method"}


def suricata(doc):
    kind = doc.get("event_type")
    for name, value in (("ecs.version", "8.17.0"), ("event.module", "suricata"), ("event.dataset", "suricata.eve"),
                        ("observer.vendor", "OISF"), ("observer.product", "ids"), ("observer.type", "ids")):
        doc.put(name, value)
    event_kind, category, types = WHAT.get(kind, ("event", "network", ["connection", "protocol"]))
    action = {"allowed": "allowed", "blocked": "denied"}.get(doc.get("alert.action"))
    what(doc, event_kind, category, *types + [action])
    for name in ADDRESSES:
        if name in doc.record:
            doc.record[name] = short(doc.record[name])
    endpoint(doc, "source", doc.take("src_ip"))
    endpoint(doc, "destination", doc.take("dest_ip"))
    proto, app = doc.take("proto"), doc.take("app_proto")
    doc.put("network.transport", proto.lower() if proto else None)
    doc.put("network.protocol", app if app != "failed" else None)
    doc.put("network.protocol", PROTOCOLS.get(kind))
    for name, target in TIMES.items():
        doc.put(target, utc(doc.take(name)))
    for name, target in MOVED.items():
        doc.move(name, target)
    # The server's packets are the source's where the packet that a rule fitted, whose source the alert has, went to the client.
    sides = ("destination", "source") if doc.get("direction") == "to_client" else ("source", "destination")
    for side, way in zip(sides, ("toserver", "toclient")):
        doc.move("flow.pkts_" + way, side + ".packets")
        doc.move("flow.bytes_" + way, side + ".bytes")
    if kind == "fileinfo" and doc.get("fileinfo.filename"):
        doc.put("file.name", re.split(r"[/\\]", doc.get("fileinfo.filename"))[-1] or None)
    for name, targets in COPIED.items():
        for target in targets:
            if target.startswith("related."):
                doc.add(target, doc.get(name))
            else:
                doc.put(target, doc.get(name) or None if target.startswith("user.") else doc.get(name))
    for part in (alert, dns, http, tls, mail, host):
        part(doc)
    own = doc.get("%s.%s" % (kind, ACTIONS[kind])) if kind in ACTIONS else None
    doc.put("event.action", re.sub(r"^smb[12]_command_", "", own.lower()) if own else None)
    doc.put("event.outcome", outcome(doc, kind))
    span(doc)
    for unit in ("bytes", "packets"):
        both = [doc.fields[side] for side in ("source." + unit, "destination." + unit) if side in doc.fields]
        doc.put("network." + unit, sum(both) if both else None)
    for vlan, target in zip(doc.get("vlan") or [], ("network.vlan.id", "network.inner.vlan.id")):
        doc.put(target, str(vlan))
    flow(doc)


def utc(stamp):
    """2026-11-21T02:58:39.101903+0100 -> …01:58:39.101903Z; without a zone it is UTC."""
    if not stamp:
        return None
    match = re.match(r"(.*?)(\.\d+)?(Z|[+-]\d{4})?$", stamp)
    when = datetime.datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    if match[3] and match[3] != "Z":
        minutes = int(match[3][1:3]) * 60 + int(match[3][3:])
        when -= datetime.timedelta(minutes=minutes if match[3][0] == "+" else -minutes)
    return when.strftime("%Y-%m-%dT%H:%M:%S") + (match[2] or ".").ljust(7, "0") + "Z"


def span(doc):
    for name, target in (("netflow.start", "event.start"), ("netflow.end", "event.end")):
        doc.put(target, utc(doc.get(name)))
        doc.own(name, value=utc(doc.get(name)))
    ends = [doc.fields.get("event.start"), doc.fields.get("event.end")]
    if None not in ends:
        start, end = (datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ") for text in ends)
        doc.put("event.duration", (end - start) // datetime.timedelta(microseconds=1) * 1000)


def outcome(doc, kind):
    if kind == "http" and doc.fields.get("http.response.status_code") is not None:
        return "success" if doc.fields["http.response.status_code"] < 400 else "failure"
    if kind == "dns" and doc.get("dns.rcode") is not None:
        return "success" if doc.get("dns.rcode") == "NOERROR" else "failure"
    if kind == "smb" and doc.get("smb.status") is not None:
        return {"STATUS_SUCCESS": "success", "STATUS_PENDING": "unknown", "STATUS_MORE_PROCESSING_REQUIRED": "unknown"}.get(
            doc.get("smb.status"), "failure")
    if kind == "krb5" and doc.get("krb5.error_code") is not None:
        return "failure"
    if kind == "sip" and doc.get("sip.code") is not None:
        return "success" if int(doc.get("sip.code")) < 400 else "failure"
    return None


def alert(doc):
    for name, target in (("alert.signature_id", "rule.id"), ("alert.rev", "rule.version")):
        doc.put(target, str(doc.get(name)) if doc.get(name) is not None else None)
    doc.move("alert.category", "message", "rule.category")
    for name, target in (("mitre_attack", "tactic.id"), ("mitre_tactic_id", "tactic.id"), ("mitre_tactic_name", "tactic.name"),
                         ("mitre_technique_id", "technique.id")):
        doc.move("alert.metadata." + name, "threat." + target)
    doc.move("alert.metadata.filename", "file.name")
    for name in METADATA:
        doc.own("alert.metadata." + name, "alert." + name)


# ---- dns --------------------------------------------------------------------------------------------------------------------

def dns(doc):
    """Three forms: v1 has an answer an event; v2 all in `answers`, and an alert has `query`; v3 has `queries`."""
    asked = next((rows[0] for rows in (doc.get("dns.queries"), doc.get("dns.query")) if rows), {})
    kind = doc.get("dns.type") or asked.get("type")
    name = doc.get("dns.rrname") if doc.get("dns.rrname") is not None else asked.get("rrname")
    number = doc.get("dns.id")
    doc.put("dns.id", str(number) if number is not None else None)
    doc.put("dns.type", {"request": "query", "response": "answer"}.get(kind, kind))
    doc.put("dns.response_code", doc.get("dns.rcode"))
    doc.put("dns.question.name", name)
    doc.add("related.hosts", name)
    doc.put("dns.question.type", doc.get("dns.rrtype") or asked.get("rrtype"))
    for part, text in suffix.parts(name).items():
        doc.put("dns.question." + part, text)
    doc.add("dns.header_flags", *[flag.upper() for flag in ("aa", "tc", "rd", "ra") if doc.get("dns." + flag) is True])
    answers = doc.get("dns.answers")
    if answers is None and kind == "answer" and (doc.get("dns.rdata") or doc.get("dns.ttl")) is not None:
        answers = [{key: doc.get("dns." + key) for key in ("rrname", "rrtype", "ttl", "rdata")}]
    if not answers:  # `formats: [grouped]`
        answers = [{"rrtype": kind, "rdata": data} for kind in ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "TXT")
                   for data in doc.get("dns.grouped." + kind) or []]
    if answers:
        doc.put("dns.answers", [answer(row) for row in answers])
        doc.add("dns.resolved_ip", *[short(row.get("rdata")) for row in answers if is_ip(row.get("rdata"))])
        doc.add("related.ip", doc.fields.get("dns.resolved_ip"))


def answer(row):
    names = {"rrname": "name", "rrtype": "type", "ttl": "ttl", "rdata": "data"}
    return {ours: short(row[name]) if name == "rdata" else row[name] for name, ours in names.items() if row.get(name) is not None}


# ---- http, tls, mail --------------------------------------------------------------------------------------------------------

def http(doc):
    name = split_port(doc.get("http.hostname"))[0]
    doc.add("related.ip" if is_ip((name or "").strip("[]")) else "related.hosts", short((name or "").strip("[]")))
    url(doc, doc.get("http.hostname"), doc.take("http.url"), doc.get("http.http_port") or None)
    version = (doc.get("http.protocol") or "").partition("/")[2]
    doc.put("http.version", version or None)


def tls(doc):
    version = re.match(r"(TLS|SSL|DTLS)v? ?([\d.]+)$", doc.get("tls.version") or "")
    if version:
        doc.put("tls.version", version[2] if "." in version[2] else version[2] + ".0")
        doc.put("tls.version_protocol", version[1].lower())
    doc.add("related.hosts", doc.get("tls.sni"))
    for side, where in (("server", "tls."), ("client", "tls.client.")):
        finger, serial = doc.get(where + "fingerprint"), doc.get(where + "serial")
        if finger:
            finger = finger.replace(":", "").upper()
            doc.put("tls.%s.hash.sha1" % side, finger)
            doc.add("related.hash", finger, finger.lower())      # as Elastic has it, and as all other hashes are written
        doc.put("tls.%s.x509.serial_number" % side, serial.replace(":", "") if serial else None)
        for role, name in (("subject", "subject"), ("issuer", "issuerdn")):
            # OpenSSL's way of old, `C=DE, O=Corp Example, CN=x`: blanks after the commas are no part.
            for attribute, value in name_parts(doc.get(where + name) or ""):
                doc.add("tls.%s.x509.%s.%s" % (side, role, attribute), value)


def mail(doc):
    for name, target in (("smtp.mail_from", "email.sender.address"), ("smtp.rcpt_to", "email.to.address"),
                         ("email.from", "email.from.address"), ("email.cc", "email.cc.address")):
        values = doc.get(name)
        for value in values if isinstance(values, list) else [values] if values else []:
            inner = re.search(r"<([^<>]*)>$", value)
            doc.add(target, inner[1] if inner else value)


def host(doc):
    """The machine that an address was given to."""
    address = doc.get("dhcp.assigned_ip")
    doc.put("client.mac", mac(doc.get("dhcp.client_mac")))
    doc.put("client.address", address)
    if is_ip(address):
        doc.put("client.ip", address)
        doc.add("related.ip", address)
    for side, name in (("source", "ether.src_mac"), ("destination", "ether.dest_mac")):
        doc.put(side + ".mac", mac(doc.get(name)))
