# SPDX-License-Identifier: Apache-2.0
"""What Snort's alerts become, in whichever form they were written."""
import datetime
from decimal import Decimal

from document import UTC, endpoint, flow, iso, mac, what


PASSED = {"allow", "alert", "log", "pass", "trust", "rewrite"}
STOPPED = {"drop", "sdrop", "block", "reject", "react", "reset"}


def snort(doc, written):
    record = doc.record
    if doc.get("stamp"):
        doc.put("@timestamp", syslog_time(doc.take("stamp"), written))
        for name, target in (("syslog_pri", "log.syslog.priority"), ("host", "log.syslog.hostname"), ("program", "process.name"),
                             ("pid", "process.pid")):
            doc.move(name, target)
    elif doc.get("timestamp") is not None:
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
    transport(doc)
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
    # What alert_full and cmg say besides.
    doc.put("network.bytes", doc.get("dgm"))
    for name, ours in (("tcp_urgent", "tcp.urgent"), ("tcp_options", "tcp.options"), ("ip_options", "ip.options"),
                       ("icmp_text", "icmp.text"), ("icmp_original", "icmp.original"), ("dgm", "dgm.length"), ("iplen", "ip.length"), ("ip_header", "ip.length"), ("flags", "ip.flags")):
        doc.own(name, ours, value=doc.get(name).strip() if isinstance(doc.get(name), str) else None)
    started = doc.get("flowstart_time")
    doc.own("flowstart_time", value=None if started is None else iso(started))
    flow(doc)


def transport(doc):
    """One alert is one thing in each form: fast and json say ICMP of ICMPv6 too, and IP of what is none of the three."""
    name = doc.take("proto")
    if name is None:
        return
    name = "ICMP" if name in ("IPV6-ICMP", "ICMP6") else name
    if (doc.get("ttl") is not None or doc.get("program") is not None) and name not in ("TCP", "UDP", "ICMP", "IP", "ARP"):
        doc.put("snort.ip.protocol", name)
        name = "IP"
    doc.put("network.transport", name.lower())


def syslog_time(stamp, written):
    """Local time without its year: that of the moment nearest to when the file was written."""
    near = datetime.datetime.fromtimestamp(written, UTC)
    stamps = [datetime.datetime.strptime("%d %s" % (near.year + i, stamp), "%Y %b %d %H:%M:%S").replace(tzinfo=UTC)
              for i in (-1, 0, 1)]
    return min(stamps, key=lambda one: abs(one - near)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def snort_endpoints(doc):
    protocol = (doc.get("proto") or "").upper()
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
