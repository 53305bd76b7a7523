# SPDX-License-Identifier: Apache-2.0
"""The document that a person who has read ECS 8 and the names of Elastic's integrations would write for a record of Zeek,
Snort or Suricata. It reads neither our maps nor our program, so that a mistake in them shows."""
import re

import expect_zeek as own
from document import Document, flow, what
from expect_snort import snort
from expect_suricata import suricata
from expect_zeek_rows import ROWS, expected, types_of

__all__ = ["document", "zeek_types"]

BY_HAND = {"conn": own.conn, "dns": own.dns, "http": own.http, "ssl": own.ssl, "x509": own.x509, "files": own.files,
           "notice": own.notice, "notice_alarm": own.notice, "weird": own.weird, "ssh": own.ssh, "smtp": own.smtp,
           "dhcp": own.dhcp}

# What JSON does not say: which fields are times and intervals, by Zeek's documentation of these logs.
TYPES = {
    "conn": {"duration": "interval"},
    "dns": {"rtt": "interval", "TTLs": "vector[interval]"},
    "x509": {"certificate.not_valid_before": "time", "certificate.not_valid_after": "time"},
    "ssl": {"not_valid_before": "time", "not_valid_after": "time"},
    "files": {"duration": "interval"},
    "notice": {"suppress_for": "interval", "src": "addr", "dst": "addr"},
    "dhcp": {"lease_time": "interval", "duration": "interval"},
}


def plain(log):
    """Corelight's reduced logs are the logs they reduce."""
    name = log.removesuffix("_red")
    return name if name in BY_HAND or name in ROWS else log


def zeek_types(log):
    log = plain(log)
    own_types = TYPES.get("notice" if log == "notice_alarm" else log) or (types_of(ROWS[log]) if log in ROWS else {})
    return {"ts": "time", "_write_ts": "time", **own_types}


def any_log(doc):
    own.zeek_common(doc, doc.prefix)
    what(doc, "event", "network", "info")
    flow(doc)


def zeek(record):
    log = plain(record.log)
    name = re.sub(r"[^a-z0-9_]", "_", log.rpartition("/")[2].lower())
    doc = Document(record, "zeek.connection" if name == "conn" else "zeek." + name)
    if log in ROWS:
        expected(ROWS[log], doc)
    else:
        BY_HAND.get(log, any_log)(doc)
    return doc


def document(record, kind, written):
    """kind: which product wrote the record; written: when, in seconds."""
    if kind == "zeek":
        return zeek(record)
    doc = Document(record, "snort" if kind == "snort" else "suricata.eve")
    if kind == "snort":
        snort(doc, written)
    else:
        suricata(doc)
    return doc
