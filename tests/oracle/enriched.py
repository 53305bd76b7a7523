# SPDX-License-Identifier: Apache-2.0
"""A document as enrichment leaves it, with every member that ECS 8.17 and configs/schema.tsv give it: for those who must take
such documents (JSON Schemas, index templates). The names are ECS's; nothing here knows the program."""
import copy

NETWORK = {
    "indicator": {"type": "ipv4-addr", "name": "192.0.2.0/24", "provider": "corp-feed", "confidence": "High",
                  "description": "scanners", "reference": "https://intel.example/1", "first_seen": "2026-11-01T00:00:00.000000Z",
                  "last_seen": "2026-11-20T00:00:00.000000Z", "marking": {"tlp": "AMBER"}, "tags": ["botnet", "c2"]},
    "matched": {"atomic": "192.0.2.7", "field": "source.ip", "type": "network", "occurred": "2026-11-21T02:58:30.536622Z",
                "id": "indicator--1"},
    "feed": {"name": "corp"}}
URL = {
    "indicator": {"type": "url", "name": "evil.example:8080/a.exe?b", "provider": "cps", "confidence": "Low",
                  "url": {"original": "evil.example:8080/a.exe?b", "domain": "evil.example", "port": 8080, "path": "/a.exe",
                          "extension": "exe", "query": "b"}},
    "matched": {"atomic": "http://evil.example:8080/a.exe?b#c", "field": "url.full", "type": "exact",
                "occurred": "2026-11-21T02:58:30.536622Z"},
    "feed": {"name": "urls"}}
FILE = {
    "indicator": {"type": "file", "name": "d41d8cd98f00b204e9800998ecf8427e", "ip": "192.0.2.1", "email": {"address": "a@b.example"},
                  "file": {"name": "a.exe", "hash": {"md5": "d41d8cd98f00b204e9800998ecf8427e",
                                                     "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                                                     "sha256": "00" * 32, "sha512": "00" * 64}}},
    "matched": {"atomic": "D41D8CD98F00B204E9800998ECF8427E", "field": "file.hash.md5", "type": "exact",
                "occurred": "2026-11-21T02:58:30.536622Z"},
    "feed": {"name": "corp"}}


# Members of an indicator that have no flat copy.
ALONE = {"description", "reference", "first_seen", "last_seen"}


def flat(objects):
    """Of each member of the indicators, all values."""
    found = {}
    for one in objects:
        for key, value in one.items():
            if key in ALONE:
                continue
            if isinstance(value, list):
                found[key] = found.get(key, []) + [each for each in value if each not in found.get(key, [])]
            elif isinstance(value, dict):
                found[key] = flat([other[key] for other in objects if isinstance(other.get(key), dict)])
            elif value not in found.setdefault(key, []):
                found[key].append(value)
    return found


def enriched(document):
    out = copy.deepcopy(document)
    enrichments = [copy.deepcopy(one) for one in (NETWORK, URL, FILE)]
    threat = out.setdefault("threat", {})
    threat.update(enrichments=enrichments, indicator=flat([one["indicator"] for one in enrichments]),
                  feed={"name": ["corp", "urls"]})
    out["tags"] = out.get("tags", []) + ["intel_match"]
    out.setdefault("labels", {})["intel"] = "unavailable"
    return out
