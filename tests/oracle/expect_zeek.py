# SPDX-License-Identifier: Apache-2.0
"""Zeek's own logs that every sensor writes, by hand: conn dns http ssl x509 files notice weird ssh smtp dhcp."""
import re

import suffix
from document import endpoint, flow, is_ip, iso, mac, nanoseconds, what


# ---- what all Zeek logs share -----------------------------------------------------------------------------------------------

def zeek_common(doc, dataset, transport=None, protocol=None,
                ends=("id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p")):
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
    for side, host, port in (("source", *ends[:2]), ("destination", *ends[2:])):
        endpoint(doc, side, doc.take(host))
        number = doc.take(port)
        if doc.fields.get("network.transport") == "icmp":
            doc.put(doc.prefix + ".icmp." + ("type" if side == "source" else "code"), number)
        else:
            doc.put(side + ".port", number)
    # What the policies mac-logging and vlan-logging add.
    for side, who in (("source", "orig"), ("destination", "resp")):
        doc.put(side + ".mac", mac(doc.take(who + "_l2_addr")))
    for name, target in (("id.ctx.vlan", "network.vlan.id"), ("id.ctx.inner_vlan", "network.inner.vlan.id")):
        value = doc.take(name)
        doc.put(target, None if value is None else str(value))


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
    for part, text in suffix.parts(doc.get("query")).items():
        doc.put("dns.question." + part, text)
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
    doc.add("related.ip" if is_ip((name or "").strip("[]")) else "related.hosts", (name or "").strip("[]"))
    for side, names in (("request", "orig_mime_types"), ("response", "resp_mime_types")):
        found = doc.get(names)
        doc.put("http.%s.mime_type" % side, found[0] if found else None)
    # Bro 2.0 had no files.log: the body's type and hash stood here.
    doc.put("http.response.mime_type", doc.get("mime_type"))
    doc.add("related.hash", doc.get("md5"))
    url(doc, doc.take("host"), doc.take("uri"), doc.fields.get("destination.port"))
    flow(doc)


def url(doc, host, uri, default_port=None):
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
    doc.put("url.port", port if port is not None else None if absolute else default_port)
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
    """RFC 4514: attribute=value, cut at commas (and pluses) that no backslash quotes. OpenSSL's old form: /C=US/CN=x. Suricata
    quotes none: a comma that no attribute follows is one of the value's own."""
    pattern = r"/((?:[^/]|/(?![A-Za-z.0-9]+=))+)" if text.startswith("/") else r"((?:\\.|[^,+\\]|[,+](?! *[-A-Za-z.0-9]+=| *$))+)(?:[,+]|$)"
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
        if ours is None:
            continue
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
    doc.add("related.hash", doc.get("cert_chain_fps"), doc.get("client_cert_chain_fps"), doc.get("ja3"), doc.get("ja3s"),
            doc.get("cert_hash"))
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
    doc.add("related.hosts", doc.get("san.dns"))
    doc.add("related.ip", doc.get("san.ip"))
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
    zeek_common(doc, doc.prefix)
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
    # What Bro 2 guessed.
    doc.put("event.outcome", {"success": "success", "failure": "failure"}.get(doc.get("status")))
    doc.add("related.hash", *[doc.get(name) for name in ("host_key", "host_key_fingerprint", "hassh", "hasshServer")])
    for name in ("host_key", "host_key_fingerprint"):                 # as other logs have it, where it is hexadecimal
        if re.fullmatch(r"[0-9A-Fa-f:]+", doc.get(name) or ""):
            doc.add("related.hash", doc.get(name).replace(":", "").lower())
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
    for name, target in (("mailfrom", "sender"), ("rcptto", "to"), ("from", "from"), ("cc", "cc"), ("reply_to", "reply_to")):
        values = doc.get(name)
        for value in values if isinstance(values, list) else [values] if values else []:
            inner = re.search(r"<([^<>]*)>$", value or "")
            doc.add("email.%s.address" % target, inner[1] if inner else value)
    doc.own("mailfrom", "mail_from")
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
