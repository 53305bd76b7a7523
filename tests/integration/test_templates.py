"""The templates of `tapline map export opensearch` in a real engine: it takes them, and documents of the golden pairs and
of the corpus, without a rejection; then each field has the type that the schema gives it, in all indices.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.request

import pytest

import rig

sys.path.insert(0, str(rig.TOP / "tests" / "oracle"))
import enriched  # noqa: E402

ENGINE = rig.HERE / "opensearch" / "opensearch.sh"
DATA = pathlib.Path(os.environ.get("TAPLINE_DATA", rig.TOP.parent / "shared" / "data"))
BULK_BYTES = 4 << 20
DOCUMENTS_MAX = 500 * rig.STORM  # of one dataset
ENRICHED = "zeek.http"  # one of these is as enrichment leaves it
# What the engine calls a type of schema.tsv when it is asked what a field is.
TYPE_OF_CAPS = {"keyword": "keyword", "text": "match_only_text", "wildcard": "wildcard", "long": "long", "double": "double",
                "boolean": "boolean", "date": "date", "ip": "ip", "object": "object", "nested": "nested", "flattened": "flat_object",
                "geo_point": "geo_point"}
# Counts of the corpus that no signed 64 bits hold; other values must all fit their fields.
BEYOND_LONG = {"zeek.connection.orig_bytes"}


class Engine:
    def __init__(self, folder):
        self.folder = folder
        self.port = rig.free_port()
        self._script("start", folder, self.port)

    def _script(self, *args):
        done = subprocess.run([str(ENGINE), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
        assert done.returncode == 0, done.stderr.decode()

    def close(self):
        self._script("kill", self.folder)

    def ask(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=body, method=method,
                                         headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{method} {path}: {error.code}: {error.read()[:2000].decode()}")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    if shutil.which("java") is None or shutil.which("mvn") is None:
        assert os.environ.get("CI") != "true", "no java or mvn: under CI=true the engine's test must run"
        pytest.skip("NO JAVA: no engine has seen the templates; install default-jre-headless and maven")
    made = Engine(tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


def logs():
    folders = [rig.TOP / "tests" / "golden"] + [DATA / name for name in ("zeek", "snort", "suricata", "ours")]
    return sorted(str(path) for folder in folders for path in folder.rglob("*")
                  if path.is_file() and path.name not in ("out.ndjson", "case.json") and path.suffix not in (".pcap", ".md"))


def documents(tmp_path):
    dead = tmp_path / "dead.ndjson"
    done = subprocess.run([rig.TAPLINE, "normalize", "--dead-letter", dead, "--", *logs()], stdout=subprocess.PIPE, check=True,
                          stderr=subprocess.DEVNULL, env=dict(os.environ, TAPLINE_MAPS=str(rig.TOP / "configs")))
    yield from done.stdout.splitlines()
    yield from dead.read_bytes().splitlines()[:500]


def bulk(engine, lines):
    """One request: all lines. Returns the reasons of those that were refused."""
    answer = engine.ask("POST", "/_bulk", b"".join(lines), "application/x-ndjson")
    if not answer["errors"]:
        return []
    errors = [item["create"] for item in answer["items"] if "error" in item["create"]]
    return [f"{error['_index']}: {error['error']['reason']}: {error['error'].get('caused_by', {}).get('reason')}"
            for error in errors]


def fields_of_schema():
    text = subprocess.run([rig.TAPLINE, "map", "export", "--maps", rig.TOP / "configs", "fields"], check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    return {row.split("\t")[0]: row.split("\t")[2] for row in text.splitlines()[1:]}


def test_documents_are_taken_and_fields_have_their_types(engine, tmp_path):
    subprocess.run([rig.TAPLINE, "map", "export", "--maps", rig.TOP / "configs", "--to", tmp_path / "t", "opensearch"],
                   check=True, stdout=subprocess.DEVNULL)
    for path in sorted((tmp_path / "t").rglob("*.json")):  # components come first
        name = path.relative_to(tmp_path / "t").with_suffix("")
        assert engine.ask("PUT", f"/{name}", path.read_bytes())["acknowledged"]

    refused, count, lines, size = [], collections.Counter(), [], 0
    for line in documents(tmp_path):
        dataset = json.loads(line)["event"]["dataset"]
        if count[dataset] == DOCUMENTS_MAX:
            continue
        if dataset == ENRICHED and count[dataset] == 0:
            line = json.dumps(enriched.enriched(json.loads(line))).encode()
        count[dataset] += 1
        lines.append(b'{"create":{"_index":"logs-%s-test-2026.11"}}\n%s\n' % (dataset.encode(), line))
        size += len(line)
        if size > BULK_BYTES:
            refused += bulk(engine, lines)
            lines, size = [], 0
    refused += bulk(engine, lines)
    assert refused == [], f"{len(refused)} of {sum(count.values())} refused, such as: " + "\n".join(refused[:5])
    assert len(count) > 70, sorted(count)

    engine.ask("POST", "/logs-*/_refresh", b"")
    assert engine.ask("GET", "/logs-*/_count")["count"] == sum(count.values())
    hits = engine.ask("POST", "/logs-*/_search?_source=false&size=10000", b'{"query": {"exists": {"field": "_ignored"}}}')
    ignored = {name for hit in hits["hits"]["hits"] for name in hit["_ignored"]}
    words = fields_of_schema()
    assert {name for name in ignored if words.get(name, "keyword") != "keyword"} <= BEYOND_LONG
    caps = engine.ask("GET", "/logs-*/_field_caps?fields=*")["fields"]
    wrong = {}
    for name, word in words.items():
        have = caps.get(name, {})
        if have and list(have) not in ([TYPE_OF_CAPS[word]], ["text"] if word == "text" else None):
            wrong[name] = (word, list(have))
    assert wrong == {}
    icmp = {name: list(kinds) for name, kinds in caps.items() if name.startswith("zeek.") and name.endswith(".icmp.type")}
    assert icmp and all(kinds == ["long"] for kinds in icmp.values()), icmp

    assert enrichments_with(engine, {"indicator.name": "192.0.2.0/24", "feed.name": "corp"}) == 1
    assert enrichments_with(engine, {"indicator.name": "192.0.2.0/24", "feed.name": "urls"}) == 0, "of two objects"
    sums = engine.ask("POST", "/logs-*/_search?size=0",
                      b'{"aggs": {"feeds": {"terms": {"field": "threat.feed.name"}}}}')["aggregations"]["feeds"]["buckets"]
    assert {row["key"]: row["doc_count"] for row in sums} == {"corp": 1, "urls": 1}


def enrichments_with(engine, members, index="logs-*"):
    """How many documents have one enrichment with all these members."""
    terms = [{"term": {"threat.enrichments." + name: text}} for name, text in members.items()]
    query = {"query": {"nested": {"path": "threat.enrichments", "query": {"bool": {"must": terms}}}}}
    return engine.ask("POST", f"/{index}/_count", json.dumps(query).encode())["count"]


def test_what_intelligence_adds_is_found(engine, tmp_path):
    """Our own capture with the indicators of ours/intel: the engine takes each document, a nested query finds what one
    enrichment says together, and the flat copies can be counted. Templates are those of the test before."""
    folder = DATA / "ours"
    if not folder.is_dir():
        assert os.environ.get("CI") != "true", f"no data at {DATA}"
        pytest.skip(f"NO DATA at {DATA}: no enriched documents were taken")
    files = [str(path) for path in sorted((folder / "zeek" / "tsv").glob("*.log"))]
    done = subprocess.run([rig.TAPLINE, "normalize", "--intel", folder / "intel" / "intel.dat", "--", *files], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=dict(os.environ, TAPLINE_MAPS=str(rig.TOP / "configs")))
    found = [document for document in map(json.loads, done.stdout.splitlines()) if "enrichments" in document.get("threat", {})]
    lines = [b'{"create":{"_index":"logs-%s-intel-2026.11"}}\n%s\n' % (document["event"]["dataset"].encode(), json.dumps(document).encode())
             for document in found]
    assert len(lines) > 500
    assert bulk(engine, lines) == []
    engine.ask("POST", "/logs-*-intel-*/_refresh", b"")

    address = {"indicator.ip": "203.0.113.80", "indicator.provider": "second-feed", "matched.field": "destination.ip"}
    wanted = sum(any(one["indicator"].get("ip") == address["indicator.ip"] and one["indicator"]["provider"] == "second-feed"
                     and one["matched"]["field"] == "destination.ip" for one in document["threat"]["enrichments"])
                 for document in found)
    assert enrichments_with(engine, address, "logs-*-intel-*") == wanted > 0
    assert enrichments_with(engine, dict(address, **{"matched.field": "url.domain"}), "logs-*-intel-*") == 0, "of two objects"
    types = collections.Counter(kind for document in found for kind in set(as_list(document["threat"]["indicator"]["type"])))
    answer = engine.ask("POST", "/logs-*-intel-*/_search?size=0",
                        b'{"aggs": {"types": {"terms": {"field": "threat.indicator.type", "size": 100}}}}')
    assert {row["key"]: row["doc_count"] for row in answer["aggregations"]["types"]["buckets"]} == types
    assert len(types) >= 7, types


def as_list(value):
    return value if isinstance(value, list) else [value]
