# SPDX-License-Identifier: Apache-2.0
"""The document that a person who has read ECS 8 and the names of Elastic's integrations would write for a record of
Zeek or Snort: one function a log, by hand. It reads neither our maps nor our program, so that a mistake in them shows.
"""
import datetime
import ipaddress
import re
from decimal import Decimal

from community_id import community_id

UTC = datetime.timezone.utc


def iso(seconds):
    """Decimal seconds since the epoch -> 2026-11-21T02:58:30.536622Z, exactly."""
    micro = int(seconds * 1000000)
    stamp = datetime.datetime(1970, 1, 1, tzinfo=UTC) + datetime.timedelta(microseconds=micro)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def nanoseconds(seconds):
    return int(seconds * 1000000) * 1000


def is_ip(text):
    try:
        ipaddress.ip_address(text)
    except (ValueError, TypeError):
        return False
    return "%" not in text


class Document:
    """A document under construction, by dotted names, and which of the record's fields have found a place."""

    def __init__(self, record, prefix):
        self.record = record
        self.prefix = prefix
        self.fields = {}
        self.taken = set()

    def get(self, name):
        return self.record.get(name)

    def take(self, name):
        self.taken.add(name)
        return self.record.get(name)

    def put(self, target, value):
        """Once: the first value wins. None is no value."""
        if value is not None:
            self.fields.setdefault(target, value)

    def add(self, target, *values):
        """To a list: each distinct value once; empty texts are no values."""
        for value in values:
            for item in value if isinstance(value, list) else [value]:
                if item not in (None, "") and item not in self.fields.get(target, []):
                    self.fields.setdefault(target, []).append(item)

    def move(self, name, *targets):
        """A field under other names, which it has instead of its own."""
        value = self.take(name)
        for target in targets:
            self.put(target, value)

    def own(self, name, as_name=None, value=None):
        """A field below the log's own prefix."""
        value = self.take(name) if value is None else value
        self.taken.add(name)
        self.put(self.prefix + "." + (as_name or name), value)

    def keep(self):
        types = self.record.types or {}
        for name, value in self.record.items():
            if name not in self.taken:
                if types.get(name) == "time":
                    value = iso(value)
                self.put(self.prefix + "." + name, value)

    def nested(self):
        out = {}
        for name in sorted(self.fields):
            at = out
            *path, last = name.split(".")
            for part in path:
                # A name that is a leaf and a parent: the leaf's value stands below it (sorted: the leaf came first).
                if not isinstance(at.setdefault(part, {}), dict):
                    at[part] = {"value": at[part]}
                at = at[part]
            at[last] = self.fields[name]
        return out


# ---- what all Zeek logs share -----------------------------------------------------------------------------------------------

def zeek_common(doc, dataset, transport=None, protocol=None):
    doc.put("@timestamp", iso(doc.take("ts")))
    doc.put("ecs.version", "8.17.0")
    doc.put("event.module", "zeek")
    doc.put("event.dataset", dataset)
    doc.put("observer.vendor", "zeek")
    doc.put("observer.product", "zeek")
    doc.put("observer.type", "sensor")
    doc.move("_system_name", "observer.name")
    written = doc.take("_write_ts")
    doc.put("event.created", iso(written) if written is not None else None)
    doc.move("uid", "event.id", "zeek.session_id")
    doc.put("network.protocol", protocol)
    proto = doc.take("proto")
    doc.put("network.transport", proto.lower() if proto else transport)
    for side, host, port in (("source", "id.orig_h", "id.orig_p"), ("destination", "id.resp_h", "id.resp_p")):
        endpoint(doc, side, doc.take(host))
        number = doc.take(port)
        if doc.fields.get("network.transport") == "icmp":
            doc.put(doc.prefix + ".icmp." + ("type" if side == "source" else "code"), number)
        else:
            doc.put(side + ".port", number)


def endpoint(doc, side, address):
    doc.put(side + ".address", address)
    if is_ip(address):
        doc.put(side + ".ip", address)
        doc.add("related.ip", address)


def flow(doc):
    """What follows from both endpoints, once they are known."""
    fields = doc.fields
    ip = fields.get("source.ip") or fields.get("destination.ip")
    doc.put("network.type", None if ip is None else "ipv6" if ":" in ip else "ipv4")
    doc.put("network.community_id", doc.take("community_id"))
    icmp = (fields.get(doc.prefix + ".icmp.type"), fields.get(doc.prefix + ".icmp.code"))
    doc.put("network.community_id", community_id(
        fields.get("source.ip", ""), fields.get("destination.ip", ""), fields.get("network.transport"),
        fields.get("source.port"), fields.get("destination.port"), icmp))


def what(doc, kind, category, *types):
    doc.put("event.kind", kind)
    doc.add("event.category", *category.split())
    doc.add("event.type", *types)


# ---- conn -------------------------------------------------------------------------------------------------------------------

STATES = {
    "S0": ("Connection attempt seen, no reply.", "start"),
    "S1": ("Connection established, not terminated.", "start"),
    "SF": ("Normal establishment and termination.", "start end"),
    "REJ": ("Connection attempt rejected.", "start denied"),
    "S2": ("Connection established and close attempt by originator seen (but no reply from responder).", "info"),
    "S3": ("Connection established and close attempt by responder seen (but no reply from originator).", "info"),
    "RSTO": ("Connection established, originator aborted (sent a RST).", "info"),
    "RSTR": ("Responder sent a RST.", "info"),
    "RSTOS0": ("Originator sent a SYN followed by a RST, we never saw a SYN-ACK from the responder.", "info"),
    "RSTRH": ("Responder sent a SYN ACK followed by a RST, we never saw a SYN from the (purported) originator.", "info"),
    "SH": ("Originator sent a SYN followed by a FIN, we never saw a SYN ACK from the responder (hence the connection "
           'was "half" open).', "info"),
    "SHR": ("Responder sent a SYN ACK followed by a FIN, we never saw a SYN from the originator.", "info"),
    "OTH": ('No SYN seen, just midstream traffic (a "partial connection" that was not later closed).', "start"),
}
DIRECTIONS = {(True, True): "internal", (True, False): "outbound", (False, True): "inbound", (False, False): "external"}


def mac(text):
    return None if text is None else text.upper().replace(":", "-")


def conn(doc):
    zeek_common(doc, "zeek.connection")
    service = doc.take("service")
    if service is not None:
        services = service.split(",")
        doc.put("network.protocol", services if len(services) > 1 else service)
    duration = doc.take("duration")
    doc.put("event.duration", nanoseconds(duration) if duration is not None else None)
    for side, who in (("source", "orig"), ("destination", "resp")):
        doc.move(who + "_ip_bytes", side + ".bytes")
        doc.move(who + "_pkts", side + ".packets")
        doc.put(side + ".mac", mac(doc.take(who + "_l2_addr")))
    for unit in ("bytes", "packets"):
        both = [doc.fields[side] for side in ("source." + unit, "destination." + unit) if side in doc.fields]
        doc.put("network." + unit, sum(both) if both else None)
    state = doc.take("conn_state")
    words, types = STATES.get(state, (None, "info"))
    doc.own("conn_state", "state")
    doc.put(doc.prefix + ".state_message", words)
    what(doc, "event", "network", *(types.split() if state is not None else []) + ["connection"])
    doc.put("network.direction", DIRECTIONS.get((doc.get("local_orig"), doc.get("local_resp"))))
    for name, target in (("ip_proto", "network.iana_number"), ("vlan", "network.vlan.id"),
                         ("inner_vlan", "network.inner.vlan.id")):
        value = doc.get(name)
        doc.put(target, str(value) if value is not None else None)
    flow(doc)


# ---- dns --------------------------------------------------------------------------------------------------------------------

def dns(doc):
    zeek_common(doc, "zeek.dns", protocol="dns")
    what(doc, "event", "network", "connection", "protocol", "info")
    if doc.get("trans_id") is not None:
        doc.put("dns.id", str(doc.get("trans_id")))
    doc.put("event.duration", nanoseconds(doc.get("rtt")) if doc.get("rtt") is not None else None)
    doc.put("dns.question.name", doc.get("query"))
    doc.add("related.hosts", doc.get("query"))
    doc.put("dns.question.class", {1: "IN", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}.get(doc.get("qclass")))
    doc.put("dns.question.type", doc.get("qtype_name"))
    code = doc.get("rcode_name")
    doc.put("dns.response_code", code)
    doc.put("dns.type", "query" if code is None else "answer")
    doc.put("event.outcome", None if code is None else "success" if code == "NOERROR" else "failure")
    doc.add("dns.header_flags", *[flag for flag in ("AA", "TC", "RD", "RA") if doc.get(flag) is True])
    answers, ttls = doc.get("answers"), doc.get("TTLs") or []
    if answers:
        doc.put("dns.answers", [dns_answer(data, ttls[i] if i < len(ttls) else None) for i, data in enumerate(answers)])
        ips = [data for data in answers if is_ip(data)]
        doc.add("dns.resolved_ip", ips)
        doc.add("related.ip", ips)
    flow(doc)


def dns_answer(data, ttl):
    return {"data": data} if ttl is None else {"data": data, "ttl": int(ttl)}


# ---- http -------------------------------------------------------------------------------------------------------------------

def http(doc):
    zeek_common(doc, "zeek.http", transport="tcp", protocol="http")
    what(doc, "event", "network web", "connection", "protocol", "info")
    method = doc.take("method")
    doc.put("http.request.method", method)
    doc.put("event.action", method.lower() if method else method)
    for name, target in (("referrer", "http.request.referrer"), ("version", "http.version"),
                         ("user_agent", "user_agent.original"), ("request_body_len", "http.request.body.bytes"),
                         ("response_body_len", "http.response.body.bytes"), ("status_code", "http.response.status_code"),
                         ("password", "url.password")):
        doc.move(name, target)
    doc.move("username", "url.username", "user.name")
    doc.add("related.user", doc.fields.get("user.name"))
    status = doc.fields.get("http.response.status_code")
    doc.put("event.outcome", None if status is None else "success" if status < 400 else "failure")
    name = split_port(doc.get("host"))[0]
    doc.add("related.hosts", None if is_ip((name or "").strip("[]")) else name)
    for side, names in (("request", "orig_mime_types"), ("response", "resp_mime_types")):
        found = doc.get(names)
        doc.put("http.%s.mime_type" % side, found[0] if found else None)
    url(doc, doc.take("host"), doc.take("uri"))
    flow(doc)


def url(doc, host, uri):
    """origin-form (/path?query), absolute-form (a proxy's), or what else stands in a request line: RFC 9112, 3.2."""
    if not host and not uri:
        return
    doc.put("url.original", uri)
    absolute = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)$", uri or "", re.S)
    authority, target = host, uri or ""
    if absolute:
        doc.put("url.scheme", absolute[1].lower())
        authority, target = absolute[2], absolute[3]
        doc.put("url.full", uri)
    name, port = split_port(authority)
    doc.put("url.domain", name)
    doc.put("url.port", port if port is not None else None if absolute else doc.fields.get("destination.port"))
    if not absolute:
        if not target.startswith("/"):
            return
        doc.put("url.scheme", "http")
        if name:
            number = doc.fields.get("url.port")
            doc.put("url.full", "http://" + name + ("" if number in (None, 80) else ":%d" % number) + uri)
    parts = re.match(r"([^?#]*)(?:\?([^#]*))?(?:#(.*))?$", target, re.S)
    doc.put("url.path", parts[1] or None)
    doc.put("url.query", parts[2] or None)
    doc.put("url.fragment", parts[3] or None)
    extension = re.search(r"[^/]\.([^./]+)$", parts[1])
    doc.put("url.extension", extension[1] if extension else None)


def split_port(authority):
    """[fd20::10]:8080 -> [fd20::10], 8080; ECS wants the brackets in url.domain."""
    if not authority:
        return None, None
    match = re.match(r"(.*):(\d{1,5})$", authority, re.S)
    if match and (":" not in match[1] or match[1].endswith("]")):
        return match[1], int(match[2])
    return authority, None


# ---- ssl, x509 --------------------------------------------------------------------------------------------------------------

ATTRIBUTES = {"CN": "common_name", "C": "country", "O": "organization", "OU": "organizational_unit", "L": "locality",
              "ST": "state_or_province"}


def name_parts(text):
    """RFC 4514: attribute=value, cut at commas (and pluses) that no backslash quotes. OpenSSL's old form: /C=US/CN=x."""
    pattern = r"/((?:[^/]|/(?![A-Za-z.0-9]+=))+)" if text.startswith("/") else r"((?:\\.|[^,+\\])+)(?:[,+]|$)"
    for part in re.findall(pattern, text, re.S):
        key, equals, value = part.partition("=")
        if equals and key.strip() in ATTRIBUTES:
            yield ATTRIBUTES[key.strip()], re.sub(r"\\(.)", r"\1", value)


def name_split(doc, ours, ecs, text):
    if text is None:
        return
    lists = {}
    for attribute, value in name_parts(text):
        lists.setdefault(attribute, []).append(value)
    for attribute, values in lists.items():
        doc.add(ecs + "." + attribute, values)
        attribute = "state" if attribute == "state_or_province" else attribute
        doc.put(ours + "." + attribute, values if len(values) > 1 else values[0])


def ssl(doc):
    version = doc.get("version")
    zeek_common(doc, "zeek.ssl", transport="udp" if version and version.startswith("DTLS") else "tcp", protocol="tls")
    what(doc, "event", "network", "connection", "protocol")
    match = re.match(r"(TLS|DTLS|SSL)v(\d)(\d?)$", version or "")
    if match:
        doc.put("tls.version", match[2] + "." + (match[3] or "0"))
        doc.put("tls.version_protocol", match[1].lower())
    for name, target in (("cipher", "tls.cipher"), ("curve", "tls.curve"), ("server_name", "tls.client.server_name"),
                         ("resumed", "tls.resumed"), ("established", "tls.established"),
                         ("next_protocol", "tls.next_protocol")):
        doc.put(target, doc.get(name))
    for name, ours in (("server_name", "server.name"), ("cert_chain_fuids", "server.cert_chain_fuids"),
                       ("client_cert_chain_fuids", "client.cert_chain_fuids"), ("validation_status", "validation.status")):
        doc.own(name, ours)
    doc.add("related.hosts", doc.get("server_name"))
    doc.add("related.hash", doc.get("cert_chain_fps"), doc.get("client_cert_chain_fps"), doc.get("ja3"), doc.get("ja3s"))
    doc.move("ja3", "tls.client.ja3")
    doc.move("ja3s", "tls.server.ja3s")
    done = doc.get("established")
    doc.put("event.outcome", None if done is None else "success" if done else "failure")
    for name, target in (("not_valid_before", "tls.server.not_before"), ("not_valid_after", "tls.server.not_after")):
        when = doc.take(name)
        doc.put(target, iso(when) if when is not None else None)
    # issuer_subject is what Bro 2.1 called the issuer.
    for names, side, role in ((("subject",), "server", "subject"), (("issuer", "issuer_subject"), "server", "issuer"),
                              (("client_subject",), "client", "subject"),
                              (("client_issuer", "client_issuer_subject"), "client", "issuer")):
        text = next((doc.take(name) for name in names if doc.get(name) is not None), None)
        doc.put("tls.%s.%s" % (side, role), text)
        name_split(doc, "zeek.ssl.%s.%s" % (side, role), "tls.%s.x509.%s" % (side, role), text)
    flow(doc)


ALGORITHMS = {"sha256WithRSAEncryption": "SHA256-RSA", "sha1WithRSAEncryption": "SHA1-RSA",
              "md5WithRSAEncryption": "MD5-RSA", "sha384WithRSAEncryption": "SHA384-RSA",
              "sha512WithRSAEncryption": "SHA512-RSA", "ecdsa-with-SHA256": "ECDSA-SHA256",
              "ecdsa-with-SHA384": "ECDSA-SHA384", "ED25519": "Ed25519"}


def x509(doc):
    zeek_common(doc, "zeek.x509")
    what(doc, "event", "file", "info")
    doc.move("id", "event.id", "zeek.session_id")
    doc.add("related.hash", doc.get("fingerprint"))
    serial, version = doc.get("certificate.serial"), doc.get("certificate.version")
    doc.put("file.x509.serial_number", serial)
    doc.put("file.x509.version_number", str(version) if version is not None else None)
    for name, ours, role in (("certificate.subject", "certificate.sub", "subject"),
                             ("certificate.issuer", "certificate.iss", "issuer")):
        doc.put("file.x509.%s.distinguished_name" % role, doc.get(name))
        doc.own(name, ours)
        name_split(doc, "zeek.x509.certificate." + role, "file.x509." + role, doc.get(name))
    for name, ours, target in (("certificate.not_valid_before", "certificate.valid.from", "not_before"),
                               ("certificate.not_valid_after", "certificate.valid.until", "not_after")):
        when = doc.take(name)
        if when is not None:
            doc.put("file.x509." + target, iso(when))
            doc.own(name, ours, iso(when))
    for name, ours, target in (("certificate.key_alg", "certificate.key.algorithm", "public_key_algorithm"),
                               ("certificate.key_length", "certificate.key.length", "public_key_size"),
                               ("certificate.curve", "certificate.curve", "public_key_curve")):
        doc.put("file.x509." + target, doc.get(name))
        doc.own(name, ours)
    doc.own("certificate.key_type", "certificate.key.type")
    doc.own("certificate.cn", "certificate.common_name")
    signed = doc.get("certificate.sig_alg")
    doc.put("file.x509.signature_algorithm", ALGORITHMS.get(signed, signed))
    doc.own("certificate.sig_alg", "certificate.signature_algorithm")
    exponent = doc.get("certificate.exponent")
    doc.put("file.x509.public_key_exponent", int(exponent) if exponent and exponent.isdigit() else None)
    for name in ("san.dns", "san.uri", "san.email", "san.ip"):
        doc.add("file.x509.alternative_names", doc.get(name))
    doc.own("basic_constraints.ca", "basic_constraints.certificate_authority")
    doc.own("basic_constraints.path_len", "basic_constraints.path_length")
    flow(doc)


# ---- files, notice, weird ---------------------------------------------------------------------------------------------------

def files(doc):
    zeek_common(doc, "zeek.files")
    what(doc, "event", "file", "info")
    sent = {True: ("id.orig_h", "id.resp_h"), False: ("id.resp_h", "id.orig_h")}.get(doc.get("is_orig"))
    if sent:
        doc.put("server.ip", doc.get(sent[0]))
        doc.put("client.ip", doc.get(sent[1]))
    for name, target in (("tx_hosts", "server.ip"), ("rx_hosts", "client.ip")):
        hosts = doc.get(name)
        doc.add("related.ip", hosts)
        doc.put(target, hosts[0] if hosts else None)
    uids = doc.get("conn_uids")
    doc.own("conn_uids", "session_ids")
    doc.put("event.id", uids[0] if uids else None)
    doc.put("zeek.session_id", uids[0] if uids else None)
    doc.put("file.mime_type", doc.get("mime_type"))
    doc.move("filename", "file.name")
    doc.move("total_bytes", "file.size")
    for name in ("md5", "sha1", "sha256"):
        doc.put("file.hash." + name, doc.get(name))
        doc.add("related.hash", doc.get(name))
    duration = doc.take("duration")
    doc.put("event.duration", nanoseconds(duration) if duration is not None else None)
    flow(doc)


def notice(doc):
    zeek_common(doc, "zeek.notice")
    what(doc, "alert", "intrusion_detection", "info",
         {True: "denied", False: "allowed"}.get(doc.get("dropped")))
    doc.put("rule.name", doc.get("note"))
    doc.put("rule.description", doc.get("msg"))
    endpoint_if_none(doc, "source", doc.get("src"))
    endpoint_if_none(doc, "destination", doc.get("dst"))
    if doc.fields.get("network.transport") != "icmp":
        doc.put("destination.port", doc.get("p"))
    doc.put("file.mime_type", doc.get("file_mime_type"))
    doc.own("file_mime_type", "file.mime_type")
    flow(doc)


def endpoint_if_none(doc, side, address):
    doc.add("related.ip", address)
    doc.put(side + ".address", address)
    doc.put(side + ".ip", address)


def weird(doc):
    zeek_common(doc, "zeek.weird")
    what(doc, "event", "network", "info")
    doc.put("rule.name", doc.get("name"))
    doc.own("addl", "additional_info")
    flow(doc)


# ---- ssh, smtp, dhcp --------------------------------------------------------------------------------------------------------

def ssh(doc):
    zeek_common(doc, "zeek.ssh", transport="tcp", protocol="ssh")
    success = doc.get("auth_success")
    what(doc, "event", "network", "connection", "protocol")
    doc.put("event.action", "ssh_login")
    if success is not None:
        doc.add("event.category", "authentication")
        doc.add("event.type", "info")
        doc.put("event.outcome", "success" if success else "failure")
    for name, ours in (("auth_success", "auth.success"), ("auth_attempts", "auth.attempts"),
                       ("cipher_alg", "algorithm.cipher"), ("mac_alg", "algorithm.mac"),
                       ("compression_alg", "algorithm.compression"), ("kex_alg", "algorithm.key_exchange"),
                       ("host_key_alg", "algorithm.host_key")):
        doc.own(name, ours)
    doc.put("network.direction", {"INBOUND": "inbound", "OUTBOUND": "outbound"}.get(doc.get("direction")))
    flow(doc)


def smtp(doc):
    zeek_common(doc, "zeek.smtp", transport="tcp", protocol="smtp")
    what(doc, "event", "network email", "connection", "protocol", "info")
    doc.own("trans_depth", "transaction_depth")
    doc.add("email.sender.address", doc.get("mailfrom"))
    doc.own("mailfrom", "mail_from")
    doc.add("email.to.address", doc.get("rcptto"))
    doc.own("rcptto", "rcpt_to")
    doc.put("email.subject", doc.get("subject"))
    doc.put("email.message_id", doc.get("msg_id"))
    doc.put("email.x_mailer", doc.get("user_agent"))
    doc.put("tls.established", doc.get("tls"))
    doc.add("related.ip", doc.get("x_originating_ip"), doc.get("path"))
    flow(doc)


def dhcp(doc):
    zeek_common(doc, "zeek.dhcp", transport="udp", protocol="dhcp")
    what(doc, "event", "network", "connection", "protocol", "info")
    uids = doc.take("uids")
    doc.put("zeek.session_id", uids)
    doc.put("event.id", uids[0] if uids else None)
    for name, side, role in (("client_addr", "source", "client"), ("server_addr", "destination", "server")):
        address = doc.get(name)
        endpoint(doc, side, address)
        doc.put(role + ".address", address)
        doc.put(role + ".ip", address)
        doc.own(name, "address." + role)
    doc.put("source.port", 68)
    doc.put("destination.port", 67)
    # assigned_ip is what Bro 2 called it.
    assigned = "assigned_ip" if "assigned_ip" in doc.record and "assigned_addr" not in doc.record else "assigned_addr"
    for name, ours in ((assigned, "address.assigned"), ("requested_addr", "address.requested")):
        doc.add("related.ip", doc.get(name))
        doc.own(name, ours)
    doc.put("source.mac", mac(doc.get("mac")))
    doc.put("client.mac", mac(doc.get("mac")))
    doc.add("related.hosts", doc.get("host_name"), doc.get("client_fqdn"))
    doc.put("network.name", doc.get("domain"))
    for name, ours in (("mac", "address.mac"), ("host_name", "hostname"), ("client_message", "msg.client"),
                       ("server_message", "msg.server"), ("msg_types", "msg.types"),
                       ("client_software", "software.client"), ("server_software", "software.server"),
                       ("circuit_id", "id.circuit"), ("agent_remote_id", "id.remote_agent"),
                       ("subscriber_id", "id.subscriber")):
        doc.own(name, ours)
    duration = doc.take("duration")
    doc.put("event.duration", nanoseconds(duration) if duration is not None else None)
    flow(doc)


def any_log(doc):
    zeek_common(doc, doc.prefix)
    kind = "metric" if doc.record.log in ("stats", "capture_loss", "weird_stats", "telemetry") else "event"
    what(doc, kind, "network", "info")
    flow(doc)


ZEEK = {"conn": conn, "dns": dns, "http": http, "ssl": ssl, "x509": x509, "files": files, "notice": notice,
        "weird": weird, "ssh": ssh, "smtp": smtp, "dhcp": dhcp}

# What JSON does not say: which fields are times and intervals, by Zeek's documentation of these logs.
ZEEK_TYPES = {
    "conn": {"duration": "interval"},
    "dns": {"rtt": "interval", "TTLs": "vector[interval]"},
    "x509": {"certificate.not_valid_before": "time", "certificate.not_valid_after": "time"},
    "files": {"duration": "interval"},
    "notice": {"suppress_for": "interval", "src": "addr", "dst": "addr"},
    "dhcp": {"lease_time": "interval", "duration": "interval"},
}


def zeek_types(log):
    return {"ts": "time", "_write_ts": "time", **ZEEK_TYPES.get(log, {})}


# ---- Snort ------------------------------------------------------------------------------------------------------------------

PASSED = {"allow", "alert", "log", "pass", "trust", "rewrite"}
STOPPED = {"drop", "sdrop", "block", "reject", "react", "reset"}


def snort(doc, written):
    record = doc.record
    doc.put("@timestamp", snort_time(doc.take("timestamp"), doc.take("seconds"), written))
    doc.put("ecs.version", "8.17.0")
    doc.put("event.module", "snort")
    doc.put("event.dataset", "snort.log")
    doc.put("observer.vendor", "snort")
    doc.put("observer.product", "ids")
    doc.put("observer.type", "ids")
    action = doc.take("action")
    doc.put("event.action", action.lower() if action else None)
    what(doc, "alert", "network intrusion_detection",
         "allowed" if action in PASSED else "denied" if action in STOPPED else None, "info")
    snort_endpoints(doc)
    doc.put("network.transport", doc.take("proto").lower())
    gid, sid, rev = record.get("rule", "::").split(":")
    for name, target, part in (("gid", "snort.gid", gid), ("sid", "rule.id", sid), ("rev", "rule.version", rev)):
        value = doc.take(name)
        value = value if value is not None else part or None
        doc.put(target, None if value is None else int(value) if name == "gid" else str(value))
    doc.move("msg", "rule.description", "rule.name")
    rule_class, service, vlan = doc.take("class"), doc.take("service"), doc.take("vlan")
    doc.put("rule.category", rule_class if rule_class != "none" else None)
    doc.put("network.protocol", service if service != "unknown" else None)
    doc.put("network.vlan.id", str(vlan) if vlan else None)
    doc.put("source.mac", mac(doc.take("eth_src")))
    doc.put("destination.mac", mac(doc.take("eth_dst")))
    flags = doc.take("tcp_flags")
    doc.put("snort.tcp.flags", flags.replace("*", "") or None if flags else None)
    for name, target in (("priority", "event.severity"), ("pkt_num", "network.packets"), ("pkt_len", "network.bytes"),
                         ("iface", "observer.ingress.interface.name"), ("eth_len", "snort.eth.length"),
                         ("icmp_type", "snort.icmp.type"), ("icmp_code", "snort.icmp.code"), ("icmp_id", "snort.icmp.id"),
                         ("icmp_seq", "snort.icmp.seq"), ("tcp_len", "snort.tcp.length"), ("tcp_seq", "snort.tcp.seq"),
                         ("tcp_ack", "snort.tcp.ack"), ("tcp_win", "snort.tcp.window"), ("udp_len", "snort.udp.length"),
                         ("ip_id", "snort.ip.id"), ("tos", "snort.ip.tos"), ("ttl", "snort.ip.ttl")):
        doc.move(name, target)
    flow(doc)


def snort_endpoints(doc):
    protocol = doc.get("proto").upper()
    for side, ours in (("src", "source"), ("dst", "destination")):
        address, port = doc.take(side + "_addr"), doc.take(side + "_port")
        both = doc.get(side + "_ap")
        if both and both != ":0":
            head, _, tail = both.rpartition(":")
            address = address or head
            port = port if port is not None else int(tail) if protocol in ("TCP", "UDP") else None
        endpoint(doc, ours, address)
        doc.put(ours + ".port", port)


def snort_time(stamp, seconds, written):
    """seconds is exact and UTC; the stamp then gives only the microseconds. A stamp without its year is of the year that
    brings it nearest to when the file was written, but never of the future."""
    date, _, clock = stamp.partition("-")
    micro = int(clock.partition(".")[2])
    if seconds is not None:
        return iso(Decimal(seconds) + Decimal(micro) / 1000000)
    parts = [int(part) for part in date.split("/")]
    if len(parts) == 3:
        return "%04d-%02d-%02dT%sZ" % (2000 + parts[0], parts[1], parts[2], clock)
    near = datetime.datetime.fromtimestamp(written, UTC)
    latest = datetime.datetime.now(UTC) + datetime.timedelta(days=1)
    if not (1 <= parts[0] <= 12 and 1 <= parts[1] <= 31):
        raise ValueError("%s is no date" % date)
    days = [datetime.datetime(near.year + i, parts[0], parts[1], tzinfo=UTC) for i in (-1, 0, 1)]
    day = min((day for day in days if day <= latest), key=lambda day: abs(day - near))
    return "%04d-%02d-%02dT%sZ" % (day.year, parts[0], parts[1], clock)


# ---- Suricata ---------------------------------------------------------------------------------------------------------------

EVE_WHAT = {
    "alert": ("alert", "network intrusion_detection", ["info"]),
    "stats": ("metric", "host", ["info"]),
    "fileinfo": ("event", "network file", ["info"]),
    "flow": ("event", "network", ["connection", "end"]),
    "netflow": ("event", "network", ["connection", "end"]),
    "http": ("event", "network web", ["connection", "protocol"]),
    "smtp": ("event", "network email", ["connection", "protocol"]),
}
# Fields that get another name, and those that get one more (names.tsv renames the first, keeps the second).
EVE_MOVED = {
    "src_port": "source.port", "dest_port": "destination.port", "in_iface": "observer.ingress.interface.name",
    "alert.severity": "event.severity", "flow.pkts_toserver": "source.packets", "flow.pkts_toclient": "destination.packets",
    "flow.bytes_toserver": "source.bytes", "flow.bytes_toclient": "destination.bytes",
    "http.http_refer": "http.request.referrer", "http.status": "http.response.status_code",
    "http.length": "http.response.body.bytes", "http.url": "url.original", "fileinfo.filename": "file.path",
    "fileinfo.size": "file.size", "tls.session_resumed": "tls.resumed"}
EVE_COPIED = {
    "alert.signature": ("rule.name", "rule.description"), "http.hostname": ("url.domain",),
    "http.http_method": ("http.request.method",), "http.http_user_agent": ("user_agent.original",),
    "tls.sni": ("tls.client.server_name",), "tls.subject": ("tls.server.subject",), "tls.issuerdn": ("tls.server.issuer",)}
EVE_TIMES = {"timestamp": "@timestamp", "flow.start": "event.start", "flow.end": "event.end",
             "tls.notbefore": "tls.server.not_before", "tls.notafter": "tls.server.not_after"}


def suricata(doc):
    for name, value in (("ecs.version", "8.17.0"), ("event.module", "suricata"), ("event.dataset", "suricata.eve"),
                        ("observer.vendor", "OISF"), ("observer.product", "ids"), ("observer.type", "ids")):
        doc.put(name, value)
    kind, category, types = EVE_WHAT.get(doc.get("event_type"), ("event", "network", ["connection", "protocol"]))
    action = {"allowed": "allowed", "blocked": "denied"}.get(doc.get("alert.action"))
    what(doc, kind, category, *types + [action])
    for name, target in EVE_TIMES.items():
        stamp = doc.take(name)
        doc.put(target, re.sub(r"(\.\d{6})\+0000$", r"\1Z", stamp if "." in stamp else stamp + ".000000+0000")
                if stamp else None)
    endpoint(doc, "source", doc.take("src_ip"))
    endpoint(doc, "destination", doc.take("dest_ip"))
    proto, app = doc.take("proto"), doc.take("app_proto")
    doc.put("network.transport", proto.lower() if proto else None)
    doc.put("network.protocol", app if app != "failed" else None)
    for name, target in EVE_MOVED.items():
        doc.move(name, target)
    for name, targets in EVE_COPIED.items():
        for target in targets:
            doc.put(target, doc.get(name))
    for name, target in (("alert.signature_id", "rule.id"), ("alert.rev", "rule.version")):
        doc.put(target, str(doc.get(name)) if doc.get(name) is not None else None)
    doc.move("alert.category", "message", "rule.category")
    doc.add("related.hosts", doc.get("http.hostname"), doc.get("tls.sni"))
    for role, name in (("subject", "tls.subject"), ("issuer", "tls.issuerdn")):
        eve_names(doc, "tls.server.x509." + role, doc.get(name))
    for unit in ("bytes", "packets"):
        both = [doc.fields[side] for side in ("source." + unit, "destination." + unit) if side in doc.fields]
        doc.put("network." + unit, sum(both) if both else None)
    flow(doc)


def eve_names(doc, target, text):
    """Suricata writes names in OpenSSL's way of old, `C=DE, O=Corp Example, CN=x`: blanks after the commas are no part."""
    for attribute, value in name_parts(text or ""):
        doc.add(target + "." + attribute, value)
