# SPDX-License-Identifier: Apache-2.0
"""Reads the forms of Snort's alerts that are no single line of text, or a list of values: alert_full, cmg, alert_csv, pfSense's
csv, syslog, unified2. Field names are alert_json's where it has the field."""
import base64
import csv
import ipaddress
import re
import struct

from sensors import FAST, Bad, Record, endpoint

HEAD = re.compile(r'\[\*\*\] \[(?P<gid>\d+):(?P<sid>\d+):(?P<rev>\d+)\] "?(?P<msg>.*?)"? \[\*\*\]$')
CLASS = re.compile(r"(?:\[Classification: (?P<class>[^]]*)\] )?(?:\[Priority: (?P<priority>\d+)\] )?$")
ENDS = re.compile(r"(?P<timestamp>[\d/]+-[\d:.]+) (?:(?P<src>\S+) -> (?P<dst>\S+))?$")
IP = re.compile(r"(?P<proto>\S+) TTL:(?P<ttl>\d+) TOS:(?P<tos>0x[0-9A-Fa-f]+) ID:(?P<ip_id>\d+) IpLen:(?P<ip_header>\d+) "
                r"DgmLen:(?P<dgm>\d+)(?P<flags>(?: RB| DF| MF)*) *$")
TCP = re.compile(r"(?P<tcp_flags>[*A-Z0-9]{8}) +Seq: (?P<tcp_seq>0x\w+)  Ack: (?P<tcp_ack>0x\w+)  Win: (?P<tcp_win>0x\w+)  "
                 r"TcpLen: (?P<tcp_len>\d+)(?:  UrgPtr: (?P<tcp_urgent>0x\w+))?")
ICMP = re.compile(r"Type:(?P<icmp_type>\d+) +Code:(?P<icmp_code>\d+)(?: +ID:(?P<icmp_id>\d+) +Seq:(?P<icmp_seq>\d+))?")
ETHER = re.compile(r"(?P<eth_src>[0-9A-Fa-f:]{17}) -> (?P<eth_dst>[0-9A-Fa-f:]{17}) type:(?P<eth_type>0x\w+) len:(?P<eth_len>0x\w+)$")
TEXTS = ("timestamp", "stamp", "host", "program", "msg", "class", "proto", "src_addr", "dst_addr", "tcp_flags", "flags", "eth_src", "eth_dst", "eth_type",
         "src_ap", "dst_ap")


def typed(fields):
    for name, value in fields.items():
        if value not in (None, ""):
            yield name, value if name in TEXTS else int(value, 0) if value.startswith("0x") else int(value)


def is_full(text):
    return text.startswith("[**] [")


def is_cmg(text):
    return FAST.match(text) is not None


def pieces(data, begins):
    """(start, text) of each multi-line record: from a line that begins one to the next such line."""
    start = position = 0
    lines = []
    for line in data.split(b"\n"):
        text = line.decode("utf-8", "surrogateescape").rstrip("\r")
        if begins(text) and lines:
            yield start, lines
            start, lines = position, []
        if lines or text.strip():
            lines.append(text)
        position = min(position + len(line) + 1, len(data))
    if lines:
        yield start, lines


def header_lines(record, lines):
    """The lines below an alert's first that say what its packet was; not those of the packet that an ICMP error quotes."""
    texts = [line for line in lines if line.startswith(("PACKET FILTERED", "ORIGINAL DATAGRAM TRUNCATED"))]
    if texts:
        record["packet_text"] = "\n".join(texts)
    quoted = [i for i, line in enumerate(lines) if line.startswith("** ORIGINAL DATAGRAM DUMP")]
    ends = [i for i, line in enumerate(lines) if line.startswith("** END OF DUMP")]
    if quoted and ends:
        record["icmp_original"] = "\n".join(lines[quoted[0] + 1:ends[0]]).rstrip()
        lines = lines[:quoted[0]] + lines[ends[0] + 1:]
    for line in lines:
        options = re.match(r"(TCP|IP) Options \(\d+\) => (.*)", line)
        if options:
            record[options[1].lower() + "_options"] = options[2].strip()
        words = re.match(r"Type:\d+ +Code:\d+(?: +ID:\d+ +Seq:\d+)? +(?!ID:)(\S.*)", line)
        if words:
            record["icmp_text"] = words[1].strip()
        for pattern in (IP, TCP, ICMP, ETHER):
            match = pattern.match(line)
            if match:
                record.update(typed(match.groupdict()))
        match = re.match(r"Len: (\d+)", line)
        if match:
            record["udp_len"] = int(match[1]) + 8


def snort_full(data):
    for start, lines in pieces(data, is_full):
        head = HEAD.match(lines[0])
        if not head:
            yield Bad("not an alert_full alert")
            continue
        record = Record(typed(head.groupdict()))
        record.start = start
        at = 1
        kind = CLASS.match(lines[1])
        if kind and lines[1]:
            record.update(typed(kind.groupdict()))
            at = 2
        ends = ENDS.match(lines[at])
        record["timestamp"] = ends["timestamp"]
        header_lines(record, lines[at + 1:])
        proto = record.get("proto", "")
        for side in ("src", "dst"):     # a fragment has no ports
            address, port = endpoint(ends[side], proto if ":" in (ends[side] or "") else "IP")
            record.update({key: value for key, value in ((side + "_addr", address), (side + "_port", port)) if value is not None})
        yield record


def snort_cmg(data):
    for start, lines in pieces(data, is_cmg):
        match = FAST.match(lines[0])
        record = Record(typed({key: value for key, value in match.groupdict().items() if key not in ("src", "dst")}))
        record.start = start
        for side in ("src", "dst"):
            address, port = endpoint(match[side], match["proto"])
            record.update({key: value for key, value in ((side + "_addr", address), (side + "_port", port)) if value is not None})
        stop = next((i for i, line in enumerate(lines) if line.endswith("]:")), len(lines))
        rest = [re.sub(r"^\S+ -> \S+ (?=\S+ TTL:)", "", line) if i < 2 else line for i, line in enumerate(lines[1:stop])]
        header_lines(record, rest)
        if stop < len(lines):
            record["dump"] = "\n".join(lines[stop:]).rstrip()
        yield record


# What Snort's manuals give as the order of alert_csv's fields where no list is configured, and pfSense's own.
SNORT2 = ("timestamp gid sid rev msg proto src_addr src_port dst_addr dst_port eth_src eth_dst eth_len tcp_flags tcp_seq tcp_ack "
          "tcp_len tcp_win ttl tos ip_id dgm iplen icmp_type icmp_code icmp_id icmp_seq").split()
PFSENSE = "timestamp gid sid rev msg proto src_addr src_port dst_addr dst_port ip_id class priority action disposition".split()
SNORT3 = "timestamp pkt_num proto pkt_gen pkt_len dir src_ap dst_ap rule action".split()


# What Snort writes to syslog: RFC 3164, without a host where it is the local socket's.
SYSLOG = re.compile(r'(?:<(?P<syslog_pri>\d+)>)?(?P<stamp>\w{3} [ \d]\d \d\d:\d\d:\d\d) (?:(?P<host>\S+) )?(?P<program>\w+)'
                    r'(?:\[(?P<pid>\d+)\])?: (?:\[(?P<gid>\d+):(?P<sid>\d+):(?P<rev>\d+)\] )?(?P<msg>.*?) ?'
                    r'(?:\[Classification: (?P<class>[^]]*)\] )?(?:\[Priority: (?P<priority>\d+)\]:? )?'
                    r'(?:\{(?P<proto>[^}]*)\} (?P<src>\S*) -> (?P<dst>\S*))?$')


def snort_syslog(data):
    position = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        start, position = position, min(position + len(line) + 1, len(data))
        if not line.strip():
            continue
        match = SYSLOG.match(line.decode("utf-8", "surrogateescape"))
        if not match:
            yield Bad("not an alert to syslog")
            continue
        record = Record(typed({key: value for key, value in match.groupdict().items() if key not in ("src", "dst")}))
        record.start, record.line = start, number
        record["msg"] = re.sub(r'^"(.*)"$', r"\1", record["msg"])
        for side in ("src", "dst"):
            address, port = endpoint(match[side], match["proto"] if ":" in (match[side] or "") else "IP")
            record.update({key: value for key, value in ((side + "_addr", address), (side + "_port", port)) if value is not None})
        yield record


NUMBERS = ("seconds client_bytes client_pkts dst_port eth_len flowstart_time geneve_vni gid icmp_code icmp_id icmp_seq icmp_type "
           "ip_id ip_len mpls pkt_len pkt_num priority rev server_bytes server_pkts sgt sid src_port tcp_ack tcp_len tcp_seq "
           "tcp_win tos ttl udp_len vlan dgm iplen").split()


def csv_typed(name, cell):
    return name, int(cell, 0) if name in NUMBERS else cell


def snort_csv(data, names):
    position = 0
    for number, line in enumerate(data.split(b"\n"), 1):
        start, position = position, min(position + len(line) + 1, len(data))
        if not line.strip():
            continue
        if names == SNORT2:     # its year stands last
            line = re.sub(rb"^(\d\d)/(\d\d)/(\d\d)-", rb"\3/\1/\2-", line)
        cells = [cell.strip() for cell in next(csv.reader([line.decode("utf-8", "surrogateescape")], skipinitialspace=True))]
        if len(cells) > len(names) and "msg" in names:     # Snort does not escape the quotes in a message
            cells, at = line.decode("utf-8", "surrogateescape").split(", "), names.index("msg")
            stop = at + 1 + len(cells) - len(names)
            cells = [re.sub(r'^"(.*)"$', r"\1", cell) for cell in cells[:at] + [", ".join(cells[at:stop])] + cells[stop:]]
        if len(cells) != len(names):
            yield Bad("%d cells for %d names" % (len(cells), len(names)))
            continue
        record = Record(csv_typed(name, cell) for name, cell in zip(names, cells) if cell)
        record.start, record.line = start, number
        yield record


# ---- unified2 ---------------------------------------------------------------------------------------------------------------

EVENT = struct.Struct("!9I")
IDS = ("sensor_id", "event_id", "seconds", "microseconds", "sid", "gid", "rev", "classification", "priority")


def unified2_records(data):
    """(start, type, body) of each; the last may be cut off: then the type is None."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            yield at, None, data[at:]
            return
        kind, length = struct.unpack_from("!II", data, at)
        body = data[at + 8:at + 8 + length]
        yield at, kind if len(body) == length else None, body
        at += 8 + len(body)


EVENTS = (7, 72, 104, 105, 114)


def unified2_pieces(data):
    """(start, bytes) of each event with the packets and extra data that follow it."""
    starts = [start for start, kind, _ in unified2_records(data) if kind in EVENTS or start == 0 or kind is None]
    for start, end in zip(starts, starts[1:] + [len(data)]):
        yield start, data[start:end]


def unified2(data):
    """Yields an event's numbers, its addresses, and the records that joined it."""
    event = None
    for at, kind, body in unified2_records(data):
        if kind in (7, 72, 104, 105):
            if event:
                yield event
            event = Record(zip(IDS, EVENT.unpack_from(body)))
            event.start = at
            size = 4 if kind in (7, 104) else 16
            ends = body[36:36 + 2 * size]
            event["src_addr"] = str(ipaddress.ip_address(ends[:size]))
            event["dst_addr"] = str(ipaddress.ip_address(ends[size:]))
            (event["src_port"], event["dst_port"], event["protocol"], event["impact_flag"], event["impact"],
             event["blocked"]) = struct.unpack_from("!HHBBBB", body, 36 + 2 * size)
            if kind in (104, 105):
                event["mpls"], event["vlan"] = struct.unpack_from("!IH", body, 44 + 2 * size)
            event["joined"] = []
        elif event is not None:
            event["joined"].append((kind, body))
    if event:
        yield event


PACKET = struct.Struct("!7I")
TRANSPORTS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}


def unified2_facts(event):
    """Of a document, what the event's own record and its packets say: name -> value."""
    facts = {"rule.id": str(event["sid"]), "rule.version": str(event["rev"]), "snort.gid": event["gid"],
             "event.severity": event["priority"], "snort.event_id": event["event_id"],
             "snort.classification_id": event["classification"] or None, "event.kind": "alert", "event.module": "snort"}
    transport = TRANSPORTS.get(event["protocol"])
    if transport:
        facts["network.transport"] = transport
        for side, end in (("source", "src"), ("destination", "dst")):
            facts[side + ".ip"] = event[end + "_addr"]
            facts[side + ".port"] = event[end + "_port"] if transport in ("tcp", "udp") else None
    if transport == "icmp" and event["protocol"] == 1:
        facts.update({"snort.icmp.type": event["src_port"], "snort.icmp.code": event["dst_port"]})
    packets = [PACKET.unpack_from(body) + (body[28:],) for kind, body in event["joined"] if kind == 2]
    # Snort 3 puts some IPv6 packets' events into records with room for IPv4's addresses: then the packet says them.
    if packets and packets[0][5] == 1 and packets[0][7][12:14] == b"\x86\xdd" and "source.ip" in facts:
        facts["source.ip"] = str(ipaddress.ip_address(packets[0][7][22:38]))
        facts["destination.ip"] = str(ipaddress.ip_address(packets[0][7][38:54]))
    # Extra data 11 and 12: the IPv6 addresses of an event that has room for IPv4's alone.
    for kind, body in event["joined"]:
        number = int.from_bytes(body[20:24], "big") if kind == 110 else None
        if number in (11, 12) and "source.ip" in facts:
            facts[("source.ip", "destination.ip")[number - 11]] = str(ipaddress.ip_address(body[32:48]))
    if packets:
        facts["snort.packet.data"] = [base64.b64encode(data).decode() for *_, data in packets]
        facts["snort.packet.linktype"] = [packet[5] for packet in packets]
    return facts


def reader(data, csv_fields=None):
    """Which of these forms it is, by its first lines; None: one of sensors.py's."""
    head = data.lstrip(b"\r\n")[:4000].decode("utf-8", "replace")
    line = head.split("\n")[0].rstrip("\r")
    if csv_fields:
        return lambda data: snort_csv(data, csv_fields.split(","))
    if is_full(line):
        return snort_full
    if is_cmg(line):
        return snort_cmg if re.search(r"^\S+\[\d+\]:$", head, re.M) or ETHER.match(head.split("\n")[1]) else None
    if SYSLOG.match(line):
        return snort_syslog
    for names in (SNORT3, SNORT2, PFSENSE):
        if re.match(r"\d\d/\d\d[-/]", line) and line.count(",") + 1 == len(names):
            return lambda data: snort_csv(data, names)
    return None
