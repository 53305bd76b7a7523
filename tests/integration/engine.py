"""Real search engines for the tests of `tapline feed` and `setup`, and what is in them, as clients that are not ours see it.

Elasticsearch is the server's core alone (elasticsearch/); OpenSearch is whole but for its plugins (opensearch/).
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest

import rig

PRODUCTS = ("elasticsearch", "opensearch")
# What Elasticsearch itself installs for logs: with it, and without a template that comes first, what is written to logs-*-*
# makes data streams.
STOCK = {"index_patterns": ["logs-*-*"], "priority": 100, "data_stream": {},
         "template": {"settings": {"number_of_shards": 1, "number_of_replicas": 0},
                      "mappings": {"dynamic_templates": [{"ips": {"match": "ip", "match_mapping_type": "string",
                                                                 "mapping": {"type": "ip"}}}]}}}


def engine_there():
    """Skip without Java; under CI=true that is a failure."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        assert os.environ.get("CI") != "true", "no java or mvn: under CI=true the engines' tests must run"
        pytest.skip("NO JAVA: no engine takes a document here; install default-jre-headless and maven")


class Engine:
    """One node on 127.0.0.1, with the stock template. settings: of the node, "thread_pool.write.queue_size=1"."""

    def __init__(self, product, folder, *settings):
        engine_there()
        self.product, self.folder, self.settings = product, pathlib.Path(folder), settings
        self.script = rig.HERE / product / f"{product}.sh"
        self.port = rig.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._client = None

    def _run(self, *args):
        done = subprocess.run([str(self.script), *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
        assert done.returncode == 0, f"{self.script.name} {args}: {done.stderr.decode()[-3000:]}"

    def start(self):
        is_new = not self.folder.exists()
        self._run("start", self.folder, self.port, *self.settings)
        if is_new:
            self.ask("PUT", "/_index_template/logs", STOCK)
        else:  # it answers before what it has on disk is open again
            self.ask("GET", "/_cluster/health?wait_for_status=yellow&wait_for_no_initializing_shards=true&timeout=60s")
        return self

    @property
    def pid(self):
        return int((self.folder / "pid").read_text())

    def stop(self):
        self._run("stop", self.folder)

    def kill(self):
        self._run("kill", self.folder)

    def freeze(self):
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self):
        os.kill(self.pid, signal.SIGCONT)

    def close(self):
        if self._client is not None:
            self._client.close()
        try:
            os.kill(self.pid, 0)
        except (OSError, ValueError):
            return
        self.kill()

    def ask(self, method, path, body=None, kind="application/json", code=None):
        """An answer's JSON. It must be a success, or have the status that is named. body: bytes, or what becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=body, method=method, headers={"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        assert status == code if code else status < 300, f"{method} {path}: {status}: {text[:2000].decode()}"
        return json.loads(text) if text else None

    def templates(self, folder):
        """What `tapline map export` has for this engine, as an operator would put it there by hand."""
        done = rig.tapline("map", "export", "--maps", rig.TOP / "configs", "--to", folder, self.product)
        assert done.returncode == 0, done.stderr
        paths = [path for kind in ("_component_template", "_index_template") for path in sorted((folder / kind).glob("*.json"))]
        assert len(paths) > 70
        for path in paths:
            self.ask("PUT", f"/{path.relative_to(folder).with_suffix('')}", path.read_bytes())

    def setup(self, config):
        """`tapline setup`, which must be content."""
        done = rig.tapline("setup", "-c", config)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    # ---- what is in it -----------------------------------------------------------------------------------------------

    @property
    def client(self):
        if self._client is None:
            if self.product == "elasticsearch":
                from elasticsearch import Elasticsearch

                self._client = Elasticsearch(self.url, request_timeout=60)
            else:
                from opensearchpy import OpenSearch

                self._client = OpenSearch(self.url, timeout=60)
        return self._client

    def refresh(self, pattern="logs-*"):
        self.client.indices.refresh(index=pattern, expand_wildcards="all", ignore_unavailable=True)

    def hits(self, pattern, source=True):
        """All hits of these indices, hidden ones too, by scrolling: nothing is told apart by what an id may be."""
        self.refresh(pattern)
        if self.product == "elasticsearch":
            from elasticsearch.helpers import scan
        else:
            from opensearchpy.helpers import scan
        query = {"query": {"match_all": {}}, "sort": ["_doc"], "_source": source}
        return scan(self.client, index=pattern, query=query, size=5000, preserve_order=True, expand_wildcards="all",
                    ignore_unavailable=True)

    @staticmethod
    def _once_started(ask):
        """An index that is made just now answers 503 ("all shards failed") until its shard has started: it is asked again."""
        until = time.monotonic() + 20
        while True:
            try:
                return ask()
            except Exception as error:  # each client has a class of its own
                if getattr(error, "status_code", None) != 503 or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def documents(self, pattern):
        return self._once_started(lambda: [hit["_source"] for hit in self.hits(pattern)])

    def ids(self, pattern):
        """How often each _id is in these indices, all together."""
        return self._once_started(lambda: collections.Counter(hit["_id"] for hit in self.hits(pattern, source=False)))

    def count(self, pattern):
        self.refresh(pattern)
        return self._once_started(lambda: self.client.count(index=pattern, expand_wildcards="all", ignore_unavailable=True)["count"])

    def indices(self, pattern="logs-*"):
        """Names of indices, hidden ones too, those behind data streams among them."""
        found = self.client.indices.get_settings(index=pattern, expand_wildcards="all", ignore_unavailable=True)
        return sorted(found)

    def counts(self, pattern):
        """Index to its number of documents."""
        return {name: self.count(name) for name in self.indices(pattern)}

    def by_dataset(self, pattern, field="event.dataset"):
        """Dataset to its number of documents, as the engine itself adds them up."""
        self.refresh(pattern)
        answer = self.client.search(index=pattern, ignore_unavailable=True, size=0, track_total_hits=True,
                                    aggs={"by": {"terms": {"field": field, "size": 1000}}}) \
            if self.product == "elasticsearch" else self.client.search(
                index=pattern, ignore_unavailable=True, body={
                    "size": 0, "aggs": {"by": {"terms": {"field": field, "size": 1000}}}})
        if "aggregations" not in answer:
            return collections.Counter()
        by = answer["aggregations"]["by"]
        assert by["sum_other_doc_count"] == 0
        return collections.Counter({row["key"]: row["doc_count"] for row in by["buckets"]})


class Engines:
    """Engines of a module, each started when it is first asked for."""

    def __init__(self, factory):
        self.factory, self.made = factory, {}

    def __getitem__(self, product):
        if product not in self.made:
            self.made[product] = Engine(product, self.factory.mktemp("engine") / product).start()
        return self.made[product]

    def close(self):
        for engine in self.made.values():
            engine.close()
