"""What files of indicators say, told by Python: no line of the program's code, its canonical forms made by other libraries.

read(path) gives (indicators, refused): indicators are (type, value, provider) in the order of the file, refused a Counter of
the program's words for why; or None if the file as a whole is none.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import gzip
import ipaddress
import json
import re
import urllib.parse

NO_NAME = "it is no host name"
NO_ADDRESS = "it is no IP address"
CONTEXT = "its to_ids is not set: it is context, no indicator"
DELETED = "it is deleted"
UNSEEN = "its type is none that a log of the network can show"
REMOVED = "the file takes it back (meta.remove)"
EXCEPTED = "the file excepts it (meta.whitelist); tapline intel allow does"
AND = "it is one condition of several (AND): alone it would be a false alarm"
OTHER = "it compares by another rule than = and IN"
UNSEEN_PROPERTY = "what it compares is nothing that a log of the network can show"
OBSERVABLE = "it is an observable, no indicator (option observables)"
EMPTY = "it is empty"
ZEEK_TYPES = {"ADDR": "ip", "SUBNET": "cidr", "URL": "url", "SOFTWARE": "software", "EMAIL": "email", "DOMAIN": "domain",
              "USER_NAME": "user", "CERT_HASH": "cert_hash", "PUBKEY_HASH": "pubkey_hash", "FILE_HASH": "file_hash",
              "FILE_NAME": "file_name", "JA3": "ja3"}
NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_-]{1,63}\.)*(?!\d+$)[a-z0-9_-]{1,63}", re.I)


class Refused(Exception):
    pass


def address(text):
    try:
        ip = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def host(text):
    ip = address(text)
    if ip:
        return ip
    text = text[:-1] if text.endswith(".") else text
    if not NAME.fullmatch(text):
        raise Refused(NO_NAME)
    return text.lower()


def url(text):
    parts = urllib.parse.urlsplit(text if "://" in text else "//" + text)
    name = host(parts.hostname or "")
    name = f"[{name}]" if ":" in name else name
    default = parts.port in (None, 80) or (parts.scheme.lower(), parts.port) in (("https", 443), ("ftp", 21))
    head = text.split("#")[0]
    at = re.match(r"(?:[a-z0-9+.-]+://)?[^/?]*", head, re.I).end()  # the path as it stands, not as a library would write it
    path = head[at:]
    return name + ("" if default else f":{parts.port}") + ("" if path.startswith("/") else "/") + path


def canonical(kind, text):
    """(type, value), or Refused."""
    text = text.strip(" \t\r\n")
    if not text:
        raise Refused(EMPTY)
    if kind in ("ip", "cidr"):
        if "/" not in text:
            ip = address(text)
            if not ip:
                raise Refused(NO_ADDRESS)
            return "ip", ip
        network = ipaddress.ip_network(text, strict=False)
        if network.prefixlen == network.max_prefixlen:
            return "ip", str(network.network_address)
        return "cidr", str(network)
    if kind == "domain":
        return ("ip", address(text)) if address(text) else (kind, host(text))
    if kind == "url":
        return kind, url(text)
    if kind == "email":
        local, _, domain = text.rpartition("@")
        return kind, local.lower() + "@" + host(domain)
    if kind in ("file_hash", "cert_hash"):
        digits = text.replace(":", "").lower()
        if not re.fullmatch("[0-9a-f]+", digits) or len(digits) not in (32, 40, 64, 128):
            raise Refused("it is no MD5, SHA-1, SHA-256 or SHA-512 in hex")
        return kind, digits
    if kind == "pubkey_hash":
        digits = text.replace(":", "").lower()
        return kind, ":".join(digits[i:i + 2] for i in range(0, 32, 2))
    return kind, text


class Reading:
    def __init__(self):
        self.indicators = []
        self.refused = collections.Counter()

    def give(self, kind, text, provider):
        try:
            self.indicators.append((*canonical(kind, text), provider.strip() or "local"))
        except Refused as why:
            self.refused[str(why)] += 1


def zeek(text, out):
    columns = None
    for line in text.splitlines():
        cells = line.split("\t")
        if cells[0] == "#fields":
            columns = cells[1:]
        elif line.strip() and not line.startswith("#"):
            row = dict(zip(columns, cells))
            kind = ZEEK_TYPES[row["indicator_type"].removeprefix("Intel::")]
            if row.get("meta.remove") == "T":
                out.refused[REMOVED] += 1
            elif row.get("meta.whitelist") == "T":
                out.refused[EXCEPTED] += 1
            else:
                out.give(kind, row["indicator"], row.get("meta.source", ""))


MISP_TYPES = {"ip-src": "ip", "ip-dst": "ip", "domain": "domain", "hostname": "domain", "url": "url", "uri": "url", "email": "email",
              "email-src": "email", "email-dst": "email", "email-reply-to": "email", "md5": "file_hash", "sha1": "file_hash",
              "sha256": "file_hash", "sha512": "file_hash", "filename": "file_name", "user-agent": "software",
              "x509-fingerprint-sha1": "cert_hash", "ja3-fingerprint-md5": "ja3", "ssh-fingerprint": "pubkey_hash"}
MISP_PARTS = {"ip-src|port": [("ip", 0)], "ip-dst|port": [("ip", 0)], "hostname|port": [("domain", 0)],
              "domain|ip": [("domain", 0), ("ip", 1)], "filename|md5": [("file_hash", 1)], "filename|sha1": [("file_hash", 1)],
              "filename|sha256": [("file_hash", 1)], "filename|sha512": [("file_hash", 1)], "malware-sample": [("file_hash", 1)]}


def misp_attribute(attribute, provider, is_deleted, out):
    if is_deleted or str(attribute.get("deleted", False)).lower() in ("true", "1"):
        out.refused[DELETED] += 1
    elif str(attribute.get("to_ids", False)).lower() not in ("true", "1"):
        out.refused[CONTEXT] += 1
    elif attribute["type"] in MISP_PARTS:
        parts = attribute.get("value", "").split("|") + [""]
        for kind, at in MISP_PARTS[attribute["type"]]:
            out.give(kind, parts[at], provider)
    elif attribute["type"] in MISP_TYPES:
        out.give(MISP_TYPES[attribute["type"]], attribute["value"], provider)
    else:
        out.refused[UNSEEN] += 1


def misp_event(event, out):
    provider = event.get("Orgc", {}).get("name", "")
    for attribute in event.get("Attribute", []):
        misp_attribute(attribute, provider, False, out)
    for thing in event.get("Object", []):
        for attribute in thing.get("Attribute", []):
            misp_attribute(attribute, provider, bool(thing.get("deleted")), out)


def misp(tree, out):
    """Is there an event or an attribute in it?"""
    if isinstance(tree, list):
        return sum([misp(thing, out) for thing in tree]) > 0
    if not isinstance(tree, dict):
        return False
    if "response" in tree:
        return misp(tree["response"], out)
    if isinstance(tree.get("Event"), dict):
        misp_event(tree["Event"], out)
    elif isinstance(tree.get("Object"), list) or "Attribute" in tree:
        misp_event(tree, out)
    elif "to_ids" in tree:
        misp_attribute(tree, "", False, out)
    else:
        return False
    return True


PROPERTY = {("ipv4-addr", "value"): "ip", ("ipv6-addr", "value"): "ip", ("domain-name", "value"): "domain", ("url", "value"): "url",
            ("email-addr", "value"): "email", ("email-message", "from_ref.value"): "email", ("file", "name"): "file_name",
            ("email-message", "body_multipart.body_raw_ref.name"): "file_name"}
COMPARISON = re.compile(r"([a-z0-9-]+):([\w.'\[\]*-]+)\s*(=|IN|MATCHES|LIKE|ISSUBSET)\s*'((?:[^'\\]|\\.)*)'")


def property_of(thing, path):
    path = re.sub(r"\[[^]]*\]", "", path).replace("'", "")
    if path.startswith("hashes."):
        known = path.split(".")[1].upper() in ("MD5", "SHA-1", "SHA-256", "SHA-512")
        return {"file": "file_hash", "x509-certificate": "cert_hash"}.get(thing) if known else None
    return PROPERTY.get((thing, path))


def stix_indicator(pattern, provider, out):
    """Only what the files here have: comparisons of texts, in one [observation] each."""
    terms = [(property_of(thing, path), sign, value) for thing, path, sign, value in COMPARISON.findall(pattern)]
    assert terms, pattern
    is_and = " AND " in pattern and not all(kind == "file_hash" for kind, _, _ in terms)
    hashes_only = is_and and any(kind == "file_hash" for kind, _, _ in terms) and all(
        kind in ("file_hash", "file_name") for kind, _, _ in terms)
    for kind, sign, value in terms:
        if hashes_only and kind != "file_hash":
            continue
        if sign not in ("=", "IN"):
            out.refused[OTHER] += 1
        elif kind is None:
            out.refused[UNSEEN_PROPERTY] += 1
        elif is_and and not hashes_only:
            out.refused[AND] += 1
        else:
            out.give(kind, value, provider)


def stix(bundle, out):
    objects = bundle.get("objects", [bundle] if bundle.get("type") != "bundle" else [])
    names = {thing.get("id"): thing.get("name") for thing in objects if thing.get("type") == "identity"}
    for thing in objects:
        if thing.get("type") == "indicator":
            stix_indicator(thing["pattern"], names.get(thing.get("created_by_ref")) or "", out)
            continue
        for path in [key for key in thing if isinstance(thing[key], str)]:
            if property_of(thing["type"], path):
                out.refused[OBSERVABLE] += 1


def read(path):
    data = (gzip.open if path.name.endswith(".gz") else open)(path, "rb").read()
    text = data.decode("utf-8", "surrogateescape")
    out = Reading()
    if text.startswith("#fields\t"):
        zeek(text, out)
        return out
    if text.lstrip()[:1] not in ("{", "["):
        return None
    tree = json.loads(text)
    if isinstance(tree, dict) and ("objects" in tree or re.match("[a-z-]+--", str(tree.get("id", "")))):
        stix(tree, out)
        return out
    return out if misp(tree, out) else None
