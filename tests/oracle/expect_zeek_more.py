# SPDX-License-Identifier: Apache-2.0
"""What takes more than a row of expect_zeek_rows: functions that fill a document from several fields, or by what one says."""
import re
from decimal import Decimal

from document import endpoint, is_ip, mac, nanoseconds
from expect_zeek import name_split, split_port, url

OUTCOME = {True: "success", False: "failure"}


def last_part(name):
    """Zeek's enums stand with their module: Reporter::ERROR."""
    return None if name is None else name.rpartition("::")[2]


def lower(text):
    return None if text is None else text.lower()


def duration(doc, name="duration"):
    length = doc.get(name)
    doc.put("event.duration", None if length is None else nanoseconds(length))


def round_trip(doc):
    duration(doc, "rtt")


# ---- authentication ---------------------------------------------------------------------------------------------------------

def kerberos(doc):
    """client is name/REALM; the name may have slashes (host/www.corp.example)."""
    client = doc.get("client") or ""
    name, realm = client.rsplit("/", 1) if "/" in client else (client, "")
    doc.put("user.name", name or None)
    doc.put("user.domain", realm or None)
    doc.add("related.user", name)
    for role, side in (("client", "source"), ("server", "destination")):
        for part in ("address", "ip"):
            doc.put(role + "." + part, doc.fields.get(side + "." + part))
    if doc.get("from") is not None and doc.get("till") is not None:
        doc.put("zeek.kerberos.valid.days", int((doc.get("till") - doc.get("from")) / 86400 + Decimal("0.5")))
    doc.add("related.hash", *[doc.get(name) for name in ("auth_ticket", "new_ticket", "auth_ticket_sha256",
                                                         "new_ticket_sha256")])
    for side in ("client", "server"):
        text = doc.get(side + "_cert_subject")
        doc.own(side + "_cert_subject", "cert.%s.subject" % side)
        doc.own(side + "_cert_fuid", "cert.%s.fuid" % side)
        doc.put("tls.%s.x509.subject.distinguished_name" % side, text)
        name_split(doc, None, "tls.%s.x509.subject" % side, text)


def radius(doc):
    result = doc.get("result")
    doc.put("event.outcome", {None: None, "success": "success", "failed": "failure"}.get(result, "unknown"))
    duration(doc, "ttl")


# ---- sessions ---------------------------------------------------------------------------------------------------------------

def ftp(doc):
    """Zeek writes <unknown> where it saw no USER."""
    user = doc.get("user")
    if user != "<unknown>":
        doc.put("user.name", user)
        doc.add("related.user", user)
    code = doc.get("reply_code")
    doc.put("event.outcome", None if code is None else OUTCOME[code < 400])


def rdp(doc):
    """Of an encrypted negotiation nobody knows what happened inside."""
    result = doc.get("result")
    doc.put("event.outcome", {None: None, "Success": "success", "encrypted": "unknown"}.get(result, "failure"))


def socks(doc):
    name = "request.host" if doc.get("request.host") is None else "request.name"
    doc.own("request.name", name)
    status = doc.get("status")
    doc.put("event.outcome", None if status is None else "success" if status == "succeeded" else "failure")
    doc.add("event.type", "error" if status not in (None, "succeeded") else None)


def sip(doc):
    status = doc.get("status_code")
    doc.put("event.outcome", None if status is None else OUTCOME[status < 400])
    doc.add("event.type", "connection", "protocol", "error" if status is not None and status >= 400 else None)
    number = re.match(r"\s*(\d+)", doc.get("seq") or "")
    doc.put("zeek.sip.sequence.number", number and number[1])


def websocket(doc):
    url(doc, doc.take("host"), doc.take("uri"), doc.fields.get("destination.port"))
    name = split_port(doc.get("host"))[0]
    doc.add("related.ip" if is_ip((name or "").strip("[]")) else "related.hosts", (name or "").strip("[]"))


FACILITIES = ("KERN USER MAIL DAEMON AUTH SYSLOG LPR NEWS UUCP CRON AUTHPRIV FTP NTP AUDIT ALERT CLOCK "
              "LOCAL0 LOCAL1 LOCAL2 LOCAL3 LOCAL4 LOCAL5 LOCAL6 LOCAL7").split()
SEVERITIES = "EMERG ALERT CRIT ERR WARNING NOTICE INFO DEBUG".split()


def syslog(doc):
    for name, words in (("facility", FACILITIES), ("severity", SEVERITIES)):
        word = doc.get(name)
        doc.put("log.syslog.%s.name" % name, word)
        doc.put("log.syslog.%s.code" % name, words.index(word) if word in words else None)


# ---- Windows ----------------------------------------------------------------------------------------------------------------

def smb_files(doc):
    action, path, name = doc.get("action"), doc.get("path"), doc.get("name")
    doc.put("file.path", path + ("" if name.startswith("\\") else "\\") + name if path and name else None)
    doc.add("event.type", None if action is None else "deletion" if action == "SMB::FILE_DELETE" else
            "change" if action in ("SMB::FILE_RENAME", "SMB::FILE_SET_ATTRIBUTE") else "info")


def smb_cmd(doc):
    round_trip(doc)
    status = (doc.get("status") or "").upper()
    if status:
        outcome = {"SUCCESS": "success", "PENDING": "unknown", "MORE_PROCESSING_REQUIRED": "unknown"}.get(status, "failure")
        doc.put("event.outcome", outcome)
        doc.add("event.type", "error" if outcome == "failure" else None)


def ldap(doc):
    operation = doc.get("opcode")
    doc.put("event.action", lower(operation[0] if isinstance(operation, list) else operation))
    ldap_result(doc)


def ldap_search(doc):
    doc.put("event.action", "search")
    ldap_result(doc)


def ldap_result(doc):
    result = doc.get("result")
    result = result[0] if isinstance(result, list) and result else result
    doc.put("event.outcome", None if not result else OUTCOME[result == "success"])


# ---- databases, queues, plants ----------------------------------------------------------------------------------------------

CHANGES = ("init_db", "change_user", "set_option", "drop_db", "create_db", "process_kill", "delayed_insert")


def mysql(doc):
    command = doc.get("cmd")
    if command in ("connect", "connect_out"):
        doc.add("event.category", "session")
        doc.add("event.type", "access", "start" if command == "connect" else "end")
    elif command is not None:
        doc.add("event.type", "change" if command in CHANGES else "info")
    if command == "login":
        doc.put("user.name", doc.get("arg"))
        doc.add("related.user", doc.get("arg"))


def postgresql(doc):
    doc.put("event.action", lower(doc.get("frontend")))


def redis(doc):
    doc.put("event.action", lower(doc.get("cmd.name") or doc.get("cmd")))


def mqtt_connect(doc):
    doc.put("event.action", "connect")
    status = doc.get("connect_status")
    doc.put("event.outcome", None if status is None else OUTCOME[status == "Connection Accepted"])


def mqtt_subscribe(doc):
    doc.put("event.action", lower(last_part(doc.get("action"))))


def modbus(doc):
    """A request has no outcome yet."""
    if doc.get("exception") is not None or doc.get("pdu_type") != "REQ":
        doc.put("event.outcome", OUTCOME[doc.get("exception") is None])


def dnp3(doc):
    doc.put("event.action", lower(doc.get("fc_reply") or doc.get("fc_request")))


# ---- what is known ----------------------------------------------------------------------------------------------------------

def known_devices(doc):
    doc.put("host.mac", [mac(doc.take("mac"))] if doc.get("mac") else None)


def known_services(doc):
    doc.put("network.transport", lower(doc.take("port_proto")))
    services = doc.get("service")
    services = [services] if isinstance(services, str) else services or []
    doc.add("network.application", *[lower(service) for service in services])


def known_certs(doc):
    for name, role in (("subject", "subject"), ("issuer_subject", "issuer")):
        text = doc.take(name)
        doc.put("tls.server.%s" % role, text)
        doc.put("tls.server.x509.%s.distinguished_name" % role, text)
        name_split(doc, None, "tls.server.x509.%s" % role, text)


def known_users(doc):
    endpoint(doc, "source", doc.take("remote_ip"))


# ---- intel ------------------------------------------------------------------------------------------------------------------

HASHES = {32: "md5", 40: "sha1", 64: "sha256"}


def intel(doc):
    """The eleven types of Zeek's intelligence framework, in ECS's words for indicators."""
    text, kind = doc.get("seen.indicator"), last_part(doc.get("seen.indicator_type"))
    address = "ipv6-addr" if ":" in (text or "") else "ipv4-addr"
    doc.put("threat.indicator.type", {
        "ADDR": address, "SUBNET": address, "URL": "url", "SOFTWARE": "software", "EMAIL": "email-addr",
        "DOMAIN": "domain-name", "USER_NAME": "user-account", "CERT_HASH": "x509-certificate", "PUBKEY_HASH": "artifact",
        "FILE_HASH": "file", "FILE_NAME": "file"}.get(kind))
    doc.put("threat.indicator.name", text)
    doc.put("threat.indicator.provider", (doc.get("sources") or [None])[0])
    doc.put("file.mime_type", doc.get("file_mime_type"))
    if kind == "ADDR" and is_ip(text):
        doc.put("threat.indicator.ip", text)
        doc.add("related.ip", text)
    elif kind == "EMAIL":
        doc.put("threat.indicator.email.address", text)
    elif kind == "FILE_NAME":
        doc.put("threat.indicator.file.name", text)
    elif kind == "DOMAIN":
        doc.put("threat.indicator.url.domain", text)
        doc.add("related.hosts", text)
    elif kind == "USER_NAME":
        doc.add("related.user", text)
    elif kind in ("FILE_HASH", "CERT_HASH", "PUBKEY_HASH"):
        plain = text.replace(":", "")
        doc.add("related.hash", text, plain)
        if len(plain) in HASHES:
            doc.put("threat.indicator.file.hash." + HASHES[len(plain)], plain)
    elif kind == "URL":
        intel_url(doc, text)


def intel_url(doc, text):
    """Zeek cuts the scheme off: www.corp.example/path?query."""
    authority, slash, rest = text.partition("/")
    name, port = split_port(authority)
    path, _, query = (slash + rest).partition("#")[0].partition("?")
    extension = re.search(r"[^/]\.([^./]+)$", path)
    for part, value in (("original", text), ("domain", name), ("port", port), ("path", path), ("query", query),
                        ("fragment", text.partition("#")[2]), ("extension", extension and extension[1])):
        doc.put("threat.indicator.url." + part, value or None)
    doc.add("related.ip" if is_ip(name.strip("[]")) else "related.hosts", name.strip("[]"))


# ---- what Zeek tells of itself ----------------------------------------------------------------------------------------------

def reporter(doc):
    level = lower(last_part(doc.get("level")))
    doc.put("log.level", level)
    doc.add("event.type", "error" if level and (level == "error" or level.startswith("fatal")) else "info")


def communication(doc):
    doc.put("log.level", lower(doc.get("level")))


def broker(doc):
    doc.put("event.action", lower(last_part(doc.get("ev"))))
    endpoint(doc, "destination", doc.take("peer.address"))


def printed(doc):
    doc.put("message", ", ".join(doc.get("vals") or []) or None)


# ---- what Zeek tells others to do -------------------------------------------------------------------------------------------

def netcontrol(doc):
    state = last_part(doc.get("state"))
    doc.put("event.action", lower(last_part(doc.get("action"))))
    doc.put("event.outcome", {"SUCCEEDED": "success", "FAILED": "failure", "TIMEOUT": "failure"}.get(state))
    doc.add("event.type", "change" if last_part(doc.get("cmd")) in ("ADD", "REMOVE") else "info")
    entity = doc.get("entity") or ""
    if "<->" in entity:                                              # a connection: address/port<->address/port
        doc.add("related.ip", *[side.split("/")[0] for side in entity.split("<->") if is_ip(side.split("/")[0])])
    else:                                                            # subnet, or subnet/port->subnet/port
        doc.add("related.ip", *[single_host("/".join(side.split("/")[:2])) for side in entity.split("->")])


def single_host(subnet):
    """The only host of a subnet, if it is one of a single host."""
    host, _, bits = (subnet or "").partition("/")
    return host if is_ip(host) and bits in ("", "128" if ":" in host else "32") else None


def catch_release(doc):
    doc.put("event.action", lower(last_part(doc.get("action"))))
    endpoint(doc, "source", doc.take("ip"))


def openflow(doc):
    command = last_part(doc.get("flow_mod.command"))
    doc.put("event.action", lower(command and command.removeprefix("OFPFC_")))
    doc.add("related.ip", single_host(doc.get("match.nw_src")), single_host(doc.get("match.nw_dst")))
