# SPDX-License-Identifier: Apache-2.0
"""What Suricata's EVE events become."""
import re

from document import endpoint, flow, what
from expect_zeek import name_parts


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
