# SPDX-License-Identifier: Apache-2.0
"""Indicators drawn from documents: some of what is in them of each kind, spelled in other ways, the networks and parents around,
what has expired, what is there twice, and what is in none of them; written as files that people have."""
import collections
import csv
import ipaddress
import random
import re

import intel

# How many of each kind, at most.
EACH = {"ip": 500, "domain": 500, "url": 400, "email": 100, "file_hash": 250, "cert_hash": 100, "pubkey_hash": 40, "user": 60,
        "file_name": 200, "software": 120, "ja3": 80}
NETWORKS, PARENTS, ABSENT = 80, 120, 1500
COLUMNS = ("indicator", "type", "provider", "confidence", "tlp", "description", "reference", "tags", "first_seen", "last_seen",
           "expires", "id")


def texts(listed):
    """{kind: its texts, sorted}, of what observables.expected() gives of each document."""
    found = collections.defaultdict(set)
    for one in listed:
        for _, kind, text in one:
            found[kind].add(text)
    return {kind: sorted(some) for kind, some in found.items()}


def spelled(rng, kind, text):
    """Another spelling of the same."""
    way = rng.randrange(5)
    if kind == "ip":
        found = ipaddress.ip_address(intel.canonical("ip", text)[1])
        if found.version == 6:
            return [text, text.upper(), found.exploded, "[%s]" % text, text][way]
        return [text, text, text, "::ffff:%s" % found, "::FFFF:%s" % found][way]
    if kind == "domain":
        name = text.encode().decode("idna") if "xn--" in text and way < 3 else text
        return [name, name.upper(), name + ".", name.title(), name][way]
    if kind == "url":
        rest = text.split("://", 1)[-1]
        host, slash, path = rest.partition("/")
        if re.search(r"[:@\[]", host):  # a port stands for itself
            return rest
        return [rest, "http://" + rest, host.upper() + slash + path, "http://user:pw@%s:80%s%s" % (host, slash, path),
                "hTTp://" + rest.split("#")[0] + "#part"][way]
    if kind == "email":
        return [text, text.upper(), text.title(), text.lower(), text][way]
    if kind in ("file_hash", "cert_hash", "ja3"):
        digits = text.replace(":", "")
        return [text, text.upper(), ":".join(digits[at:at + 2] for at in range(0, len(digits), 2)), digits, text][way]
    return [text, text, text, " %s " % text, text][way] if kind in ("user", "file_name", "software") else text


def said(rng, now):
    """What somebody says of it."""
    word = {"provider": rng.choice(["certain", "other, inc.", "dritte \u201eStelle\u201c"])}
    if rng.random() < 0.7:
        word["confidence"] = rng.randrange(101) / 10
    if rng.random() < 0.5:
        word["tlp"] = rng.choice(["CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"])
    if rng.random() < 0.5:
        word["description"] = rng.choice(["seen in case 42", "quoted \"x\", with a comma", "b\u00f6se \u2620", "back\\slash"])
    if rng.random() < 0.3:
        number = rng.randrange(1000)
        word["reference"] = "https://intel.example/%d?a=1&b=2" % number
        word["tags"] = ["c2", "botnet, emotet", "tlp:white,,b\u00f6se ,c2", "x,x", ""][number % 5]
    if rng.random() < 0.4:
        word["first_seen"] = now - rng.randrange(86400, 86400 * 2000)
        word["last_seen"] = word["first_seen"] + rng.randrange(86400)
    if rng.random() < 0.3:
        word["id"] = "indicator--%06d" % rng.randrange(10 ** 6)
    if rng.random() < 0.4:
        word["expires"] = now + rng.choice([-86400 * 30, -3600, 86400, 86400 * 300])
    return word


def around(rng, found):
    """Networks that addresses of the documents are in, and parents of names."""
    addresses = [ipaddress.ip_address(intel.canonical("ip", text)[1]) for text in found["ip"]]
    for address in rng.choices(addresses, k=NETWORKS):
        bits = rng.choice([8, *range(14, 32)]) if address.version == 4 else rng.randrange(16, 128)
        yield "cidr", "%s/%d" % (address, bits)
    names = [text for text in found["domain"] if intel.canonical("domain", text) and text.count(".") >= 2]
    for name in rng.choices(names, k=PARENTS):
        labels = name.rstrip(".").split(".")
        yield "domain", rng.choice(["*.", "*.", ".", ""]) + ".".join(labels[rng.randrange(1, len(labels) - 1 or 2):])


def absent(rng):
    """What is in no document, of every kind; some of it another kind's text."""
    number = "%032x" % rng.getrandbits(128)
    kind = rng.choice(intel.KINDS)
    return kind, {"ip": "100.%d.%d.%d" % (64 + rng.randrange(64), rng.randrange(256), rng.randrange(256)),
                  "cidr": "100.%d.%d.0/24" % (64 + rng.randrange(64), rng.randrange(256)), "domain": "x%s.invalid" % number,
                  "url": "x%s.invalid/%s" % (number, number[:4]), "email": "%s@x.invalid" % number, "user": "u" + number,
                  "pubkey_hash": ":".join(number[at:at + 2] for at in range(0, 32, 2)), "file_name": number + ".exe",
                  "software": "agent " + number}.get(kind, number)


def drawn(listed, now, seed=6):
    """Rows for intel.Store."""
    rng = random.Random(seed)
    found = texts(listed)
    chosen = []
    for kind, most in EACH.items():
        usable = [text for text in found.get(kind, []) if is_usable(kind, text)]
        chosen += [(kind, spelled(rng, kind, text)) for text in rng.sample(usable, min(most, len(usable)))]
    chosen += list(around(rng, found)) + [absent(rng) for _ in range(ABSENT)]
    chosen += [(kind, text) for text, kind in zip(rng.choices(found["user"], k=20), ["file_name", "software"] * 10) if is_usable(kind, text)]
    rows = [dict(said(rng, now), type=kind, value=value) for kind, value in chosen]
    rows += [dict(said(rng, now), type=kind, value=value, provider="a second one") for kind, value in rng.sample(chosen, len(chosen) // 5)]
    for row in rows:
        if row["type"] == "ja3":  # there is hardly any
            row.pop("expires", None)
    return rows


def is_usable(kind, text):
    """Can it stand in a file of indicators, as one?"""
    key = intel.canonical(kind, text)
    return key is not None and key[0] == kind and not re.search(r"[\x00-\x1f\x7f]", text) and 0 < len(text) <= 2000 and (
        kind != "pubkey_hash" or ":" in text)


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        for row in rows:
            cells = dict(row, indicator=row["value"])
            cells.update({"confidence": round(row["confidence"] * 10)} if "confidence" in row else {})  # of 100
            out.writerow([cells.get(name, "") for name in COLUMNS])
    return str(path)


def write_list(path, rows):
    """As people write them to each other: defanged."""
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            value = row["value"]
            host, slash, rest = value.split("://", 1)[-1].partition("/")
            file.write(("hxxp://" if row["type"] == "url" else "") + host.replace(".", "[.]") + slash + rest + "\n")
    return str(path)


def leaves(value, path=""):
    """(field, text) of all of a document."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, path + "." + name if path else name)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one, path)
    elif isinstance(value, str):
        yield path, value
