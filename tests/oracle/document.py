# SPDX-License-Identifier: Apache-2.0
"""What an expected document is made with: its names, its endpoints, what follows from them. Reads neither our maps nor our
program, so that a mistake in them shows."""
import datetime
import ipaddress

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


def short(text):
    """An IPv6 address written in full, as Suricata does, the way all others write it (RFC 5952)."""
    return str(ipaddress.ip_address(text)) if text and len(text) == 39 and is_ip(text) else text


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

    def shown(self, name):
        """A field's value as documents show it: times as ISO 8601."""
        value = self.record.get(name)
        return iso(value) if value is not None and (self.record.types or {}).get(name) == "time" else value

    def move(self, name, *targets):
        """A field under other names, which it has instead of its own."""
        self.taken.add(name)
        value = self.shown(name)
        for target in targets:
            self.put(target, value)

    def own(self, name, as_name=None, value=None):
        """A field below the log's own prefix."""
        value = self.shown(name) if value is None else value
        self.taken.add(name)
        self.put(self.prefix + "." + (as_name or name), value)

    def keep(self):
        for name in self.record:
            if name not in self.taken:
                self.put(self.prefix + "." + name, self.shown(name))

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



def endpoint(doc, side, address):
    address = short(address)
    doc.put(side + ".address", address)
    if is_ip(address):
        doc.put(side + ".ip", address)
        doc.add("related.ip", address)


DIRECTIONS = {(True, True): "internal", (True, False): "outbound", (False, True): "inbound", (False, False): "external"}


def flow(doc):
    """What follows from both endpoints, once they are known."""
    fields = doc.fields
    ip = fields.get("source.ip") or fields.get("destination.ip")
    doc.put("network.type", None if ip is None else "ipv6" if ":" in ip else "ipv4")
    doc.put("network.direction", DIRECTIONS.get((doc.get("local_orig"), doc.get("local_resp"))))
    doc.put("network.community_id", doc.take("community_id"))
    icmp = (fields.get(doc.prefix + ".icmp.type"), fields.get(doc.prefix + ".icmp.code"))
    doc.put("network.community_id", community_id(
        fields.get("source.ip", ""), fields.get("destination.ip", ""), fields.get("network.transport"),
        fields.get("source.port"), fields.get("destination.port"), icmp))


def what(doc, kind, category, *types):
    doc.put("event.kind", kind)
    doc.add("event.category", *category.split())
    doc.add("event.type", *types)


def mac(text):
    return None if text is None else text.upper().replace(":", "-")
