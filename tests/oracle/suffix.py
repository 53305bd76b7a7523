# SPDX-License-Identifier: Apache-2.0
"""The parts of a host name by the public suffix list (publicsuffix.org/list: the rules are on one page), read from the file
that Debian's package `publicsuffix` installs, or that $PUBLIC_SUFFIX_LIST names."""
import functools
import os
import re

LIST = os.environ.get("PUBLIC_SUFFIX_LIST", "/usr/share/publicsuffix/public_suffix_list.dat")


NAME_BYTES_MAX = 253    # RFC 1035: longer is no name of the DNS


@functools.lru_cache(None)
def rules():
    with open(LIST, encoding="utf-8") as file:
        lines = [line.split()[0] for line in file if line.strip() and not line.startswith("//")]
    return frozenset(name for line in lines for name in (line, punycode(line)))


def punycode(name):
    return ".".join(label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in name.split("."))


def suffix_labels(labels):
    """How many labels, from the right, are the public suffix: of the longest rule that fits; of `*` if none does."""
    best = 1
    for count in range(1, len(labels) + 1):
        tail = labels[-count:]
        if "!" + ".".join(tail) in rules():
            return count - 1
        if ".".join(tail) in rules() or ".".join(["*"] + tail[1:]) in rules():
            best = count
    return best


def parts(name):
    """registered_domain, subdomain, top_level_domain of a DNS name, where it has them. An address has none."""
    name = (name or "").removesuffix(".").lower()
    labels = name.split(".")
    if len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES_MAX or "" in labels or ":" in name or re.fullmatch(r"[\d.]+", name):
        return {}
    count = suffix_labels(labels)
    if count >= len(labels):
        return {}
    out = {"top_level_domain": ".".join(labels[-count:]), "registered_domain": ".".join(labels[-count - 1:])}
    if len(labels) > count + 1:
        out["subdomain"] = ".".join(labels[:-count - 1])
    return out
