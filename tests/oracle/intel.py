# SPDX-License-Identifier: Apache-2.0
"""What a list of indicators says of a document: the judge of enrichment, written from the issue, from ECS 8.17 (threat.*) and from
Zeek's intelligence framework. Knows nothing of the program, not even where it looks: that is observables.py's.

  store = Store([{"type": "domain", "value": "Evil.example.", "feed": "corp", …}], allowed=["10.0.0.0/8"], now=1795000000)
  compare(store, plain, got)      why `got` is not `plain` with what the store says; [] if it is
"""
import collections
import datetime
import ipaddress
import re
import socket

import observables

MAXIMUM = 64  # enrichments of one record
VALUE_BYTES = 2048  # of what is looked at
KINDS = ("ip", "cidr", "domain", "url", "email", "file_hash", "cert_hash", "pubkey_hash", "user", "file_name", "software", "ja3")
# STIX 2.1's names, as ECS has them for threat.indicator.type.
WORDS = {"domain": "domain-name", "url": "url", "email": "email-addr", "file_hash": "file", "cert_hash": "x509-certificate",
         "pubkey_hash": "artifact", "user": "user-account", "file_name": "file", "software": "software", "ja3": "artifact"}
HASHES = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
BLANKS = " \t\r\n"


# ---- the one form ----------------------------------------------------------------------------------------------------


def address(text):
    """As the C library writes it; IPv4 in IPv6 is IPv4. None: it is no address."""
    text = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    try:
        found = ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None
    if found is None:
        return None
    found = getattr(found, "ipv4_mapped", None) or found
    return socket.inet_ntop(socket.AF_INET if found.version == 4 else socket.AF_INET6, found.packed)


def network(text):
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    mapped = getattr(found.network_address, "ipv4_mapped", None)
    if mapped and found.prefixlen >= 96:
        found = ipaddress.ip_network((mapped, found.prefixlen - 96))
    return found


def domain(text):
    """In lower case, in ASCII. None: what no indicator's name could be."""
    text = text.removesuffix(".")
    if not text.isascii():
        try:
            text = text.encode("idna").decode()
        except UnicodeError:
            return None
    text = text.lower()
    labels = text.split(".")
    return text if len(text) <= 253 and all(re.fullmatch(r"[a-z0-9_-]{1,63}", label) for label in labels) else None


def url(text):
    """(host, port, rest) without scheme, user and fragment."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    rest = (text[scheme.end():] if scheme else text).split("#")[0]
    place, path = re.fullmatch(r"([^/?]*)(.*)", rest, re.S).groups()
    place = place.rsplit("@", 1)[-1]
    host, port = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?", place).groups() if place.count(":") < 2 or "[" in place else (place, None)
    if host.startswith("["):
        number = address(host)
        host = "[%s]" % number if number and ":" in number else number
    else:
        host = address(host) or domain(host)
    default = {"https": "443", "ftp": "21", "http": "80"}.get(scheme[1].lower() if scheme else "http")
    port = None if port in ("", default) else port
    if path[:1] != "/":
        path = "/" + path
    return (host, port, path) if host else None


def canonical(kind, text):
    """(kind, value) as a look-up compares them, or None."""
    text = text.strip(BLANKS)
    if kind in ("ip", "cidr"):
        if "/" not in text:
            return ("ip", address(text)) if address(text) else None
        found = network(text)
        if found is None:
            return None
        return ("ip", str(found.network_address)) if found.prefixlen == found.max_prefixlen else ("cidr", str(found))
    if kind == "domain":
        return ("ip", address(text)) if address(text) else ("domain", domain(text)) if domain(text) else None
    if kind == "url":
        found = url(text)
        return ("url", found[0] + (":" + found[1] if found[1] else "") + found[2]) if found else None
    if kind == "email":
        return ("email", text.lower()) if re.fullmatch(r"[^@]+@[^@]+", text) else None
    if kind in ("file_hash", "cert_hash", "ja3"):
        digits = text.replace(":", "").lower()
        return (kind, digits) if re.fullmatch("[0-9a-f]+", digits) and len(digits) in HASHES else None
    if kind == "pubkey_hash":
        return (kind, text.lower()) if re.fullmatch("([0-9A-Fa-f]{2}:){15}[0-9A-Fa-f]{2}", text) else (kind, text)
    return (kind, text) if text else None


# ---- the list --------------------------------------------------------------------------------------------------------


class Store:
    """Rows have type and value, and maybe feed, provider, confidence (0 to 10), tlp, description, reference, tags, first_seen,
    last_seen, expires (seconds), subdomains, id. What has expired is no row; of those with the same
    type, value, feed and provider the last one counts."""

    def __init__(self, rows, allowed=(), now=0):
        self.words = collections.defaultdict(dict)
        self.networks = collections.defaultdict(set)  # (version, bits) -> numbers
        for row in rows:
            if row.get("expires") and row["expires"] <= now:
                continue
            value = row["value"]
            subdomains = row.get("subdomains", False)
            if row["type"] == "domain" and value.startswith(("*.", ".")):
                value, subdomains = value.lstrip("*").lstrip("."), True
            key = canonical(row["type"], value)
            assert key, row
            word = dict(row, subdomains=subdomains, feed=row.get("feed", "local"))
            self.words[key][(word["feed"], word.get("provider") or word["feed"])] = word
        for key in self.words:
            if key[0] == "cidr":
                self.put(self.networks, ipaddress.ip_network(key[1]))
        self.allowed_values, self.allowed_names, self.allowed_networks = set(), set(), collections.defaultdict(set)
        self.answers = {}
        for text in allowed:
            found = network(text)
            kind = ("url" if "://" in text else "email" if "@" in text else
                    "file_hash" if re.fullmatch("[0-9A-Fa-f]{32,128}", text) else "domain")
            if found is not None:
                self.put(self.allowed_networks, found)
            elif kind == "domain":
                self.allowed_names.add(domain(text))
            else:
                self.allowed_values.add(canonical(kind, text))

    @staticmethod
    def put(networks, found):
        if found is not None:
            networks[(found.version, found.prefixlen)].add(int(found.network_address))

    @staticmethod
    def around(networks, text):
        """Those of the networks that an address is in, longest prefix first."""
        found = ipaddress.ip_address(text)
        for version, bits in sorted(networks, reverse=True):
            number = int(found) >> (found.max_prefixlen - bits) << (found.max_prefixlen - bits) if version == found.version else -1
            if number in networks[(version, bits)]:
                yield str(ipaddress.ip_network((number, bits)))

    def is_allowed(self, kind, value):
        if (kind, value) in self.allowed_values:
            return True
        if kind == "ip":
            return next(self.around(self.allowed_networks, value), None) is not None
        names = value.split(".")
        return kind == "domain" and any(".".join(names[at:]) in self.allowed_names for at in range(len(names)))

    def asked(self, kind, text):
        """[(indicator's key, its words)] of an observable, in the order of how well they fit."""
        if (kind, text) not in self.answers:
            self.answers[(kind, text)] = self.answer(canonical(kind, text))
        return self.answers[(kind, text)]

    def answer(self, key):
        if key is None or self.is_allowed(*key):
            return []
        found = [(key, list(self.words[key].values()))] if key in self.words else []
        if key[0] == "ip":
            found += [(("cidr", one), list(self.words[("cidr", one)].values())) for one in self.around(self.networks, key[1])]
        if key[0] == "domain":
            names = key[1].split(".")
            for at in range(1, len(names)):
                above = ("domain", ".".join(names[at:]))
                words = [word for word in self.words[above].values() if word["subdomains"]] if above in self.words else []
                found += [(above, words)] if words else []
        return found

    def enrichments(self, document, listed):
        """The objects of threat.enrichments; listed: (field, kind, text) of its observables, each once."""
        return [enrichment(document, field, text, key, word) for field, kind, text in listed
                for key, words in self.asked(kind, text) for word in words]


# ---- ECS -------------------------------------------------------------------------------------------------------------


def confidence(number):
    """STIX 2.1, appendix A: None, Low, Med, High."""
    return "None" if number < 0.1 else "Low" if number < 3 else "Medium" if number < 7 else "High"


def date(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def indicator(key, word):
    kind, value = key
    out = {"type": WORDS.get(kind) or ("ipv6-addr" if ":" in value else "ipv4-addr"), "name": value,
           "provider": word.get("provider") or word["feed"]}
    if kind == "ip":
        out["ip"] = value
    elif kind == "domain":
        out["url"] = {"domain": value}
    elif kind == "url":
        host, port, path = url(value)
        out["url"] = {"original": value, "domain": host, "path": path.split("?")[0]}
        out["url"].update({"port": int(port)} if port else {})
        out["url"].update({"query": path.split("?", 1)[1]} if path.partition("?")[2] else {})
        extension = re.search(r"\.([^./]+)$", out["url"]["path"])
        out["url"].update({"extension": extension[1]} if extension else {})
    elif kind == "email":
        out["email"] = {"address": value}
    elif kind == "file_name":
        out["file"] = {"name": value}
    elif kind in ("file_hash", "cert_hash"):
        out["file"] = {"hash": {HASHES[len(value)]: value}}
    for name in ("description", "reference"):
        out.update({name: word[name]} if word.get(name) else {})
    for name in ("first_seen", "last_seen"):
        out.update({name: date(word[name])} if word.get(name) else {})
    out.update({"confidence": confidence(word["confidence"])} if word.get("confidence") is not None else {})
    out.update({"marking": {"tlp": word["tlp"]}} if word.get("tlp") else {})
    tags = [tag.strip(BLANKS) for tag in word.get("tags", "").split(",")]
    out.update({"tags": list(dict.fromkeys(filter(None, tags)))} if any(tags) else {})
    return out


def enrichment(document, field, text, key, word):
    return {"indicator": indicator(key, word), "feed": {"name": word["feed"]},
            "matched": {"atomic": text, "field": field, "type": key[0], "occurred": document["@timestamp"],
                        "id": "%s:%s" % key}}


# Copies of members of the indicators that stand flat in threat.indicator, and must.
FLAT = ("type", "name", "ip", "provider", "confidence", "email.address", "file.name", "file.hash.md5", "file.hash.sha1",
        "file.hash.sha256", "file.hash.sha512", "url.domain", "url.original", "marking.tlp", "tags")


def member(value, path):
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def listed(value):
    return value if isinstance(value, list) else [] if value is None else [value]


def without(document, found):
    """The document as it was, if it was as it should be: what was added is taken away."""
    out = dict(document)
    out["tags"] = [tag for tag in listed(out.get("tags")) if tag != "intel_match"]
    out.pop("threat", None)
    return {name: value for name, value in out.items() if name != "tags" or value or not found}


def frozen(value):
    if isinstance(value, dict):
        return tuple(sorted((name, frozen(one)) for name, one in value.items()))
    return tuple(frozen(one) for one in value) if isinstance(value, list) else value


def compare(store, plain, got, observed=None):
    observed = observables.expected(plain) if observed is None else observed
    if sum(observed.values()) > observables.MAXIMUM:
        return []  # not all of them are looked at
    want = store.enrichments(plain, observed)
    have = member(got, "threat.enrichments") or []
    wanted, had = collections.Counter(map(frozen, want)), collections.Counter(map(frozen, have))
    problems = []
    if len(want) > MAXIMUM or any(len(text.encode(errors="replace")) > VALUE_BYTES for _, _, text in observed):
        if member(got, "labels.intel") != "partial":
            problems.append("not all of it was looked at, or is said, and labels.intel does not tell")
        got = dict(got, labels={name: value for name, value in got.get("labels", {}).items() if name != "intel"})
        got = {name: value for name, value in got.items() if name != "labels" or value}
    if not want:
        return problems + ([] if got == plain else ["changed, though nothing matches: %s" % have[:2]])
    if len(want) > MAXIMUM and len(have) == MAXIMUM:
        wanted &= had
    if wanted != had:
        problems += ["missing: %s" % str(one)[:700] for one in (wanted - had)] + ["too much: %s" % str(one)[:700] for one in (had - wanted)]
    problems += ["order: %s" % line for line in disorder(store, have)]
    threat = plain.get("threat", {})
    for path in FLAT:
        values = listed(member(threat, "indicator." + path))
        values += [one for each in have for one in listed(member(each["indicator"], path))]
        flat = listed(member(got, "threat.indicator." + path))
        if set(values) != set(flat) or len(set(flat)) != len(flat):
            problems.append("threat.indicator.%s is %s, not %s" % (path, flat, values))
    feeds = {each["feed"]["name"] for each in have} | set(listed(member(threat, "feed.name")))
    if sorted(feeds) != sorted(listed(member(got, "threat.feed.name"))):
        problems.append("threat.feed.name is %s" % member(got, "threat.feed.name"))
    if got.get("tags") != listed(plain.get("tags")) + ["intel_match"] or without(got, True) != without(plain, True):
        now, then = without(got, True), without(plain, True)
        others = [(name, then.get(name), now.get(name)) for name in {**now, **then} if then.get(name) != now.get(name)]
        problems.append("something else of the document is another: tags %s, %s" % (got.get("tags"), others))
    kept = {name: value for name, value in threat.items() if name not in ("indicator", "feed")}
    if any(got["threat"].get(name) != value for name, value in kept.items()):
        problems.append("of threat something is lost: %s" % kept)
    return problems


def disorder(store, have):
    """Of one observable, what fits best comes first: itself, then longest prefix or longest parent."""
    places = collections.defaultdict(list)
    for one in have:
        name = one["indicator"]["name"]
        matched = one["matched"]
        rank = {"ip": 1000, "cidr": int(name.rsplit("/", 1)[-1]) if matched["type"] == "cidr" else 0}.get(matched["type"], len(name))
        places[(matched["field"], matched["atomic"], matched["type"] in ("ip", "cidr"))].append(rank)
    return ["%s: %s" % (place, ranks) for place, ranks in places.items() if place[2] and ranks != sorted(ranks, reverse=True)]
