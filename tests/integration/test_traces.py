"""Traces and metrics by OTLP: what a collector gets is as OpenTelemetry's proto files have it, each batch that is to be traced is, spans
of one batch are of one trace and follow each other, the feeder's link to those that wrote the records, and a collector that is
away, slow or refuses holds up nobody.
SPDX-License-Identifier: Apache-2.0
"""
import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

import rig
from judge import kafka_sink

PATIENCE_S = 60
HANGS_S = 120  # a collector that hangs: who waited for it would take longer than any machine

# The JSON mapping of opentelemetry-proto: message -> field -> what it is. A field that is not here is a mistake of ours.
HEX32, HEX16, INT64, DOUBLE, TEXT, BOOL, ENUM = "hex32", "hex16", "int64", "double", "text", "bool", "enum"
PROTO = {
    "TracesData": {"resourceSpans": ["ResourceSpans"]},
    "ResourceSpans": {"resource": "Resource", "scopeSpans": ["ScopeSpans"], "schemaUrl": TEXT},
    "ScopeSpans": {"scope": "Scope", "spans": ["Span"], "schemaUrl": TEXT},
    "Resource": {"attributes": ["KeyValue"]},
    "Scope": {"name": TEXT, "version": TEXT, "attributes": ["KeyValue"]},
    "KeyValue": {"key": TEXT, "value": "AnyValue"},
    "AnyValue": {"stringValue": TEXT, "intValue": INT64, "doubleValue": DOUBLE, "boolValue": BOOL},
    "Span": {"traceId": HEX32, "spanId": HEX16, "parentSpanId": HEX16, "name": TEXT, "kind": ENUM, "startTimeUnixNano": INT64,
             "endTimeUnixNano": INT64, "attributes": ["KeyValue"], "links": ["Link"], "status": "Status"},
    "Link": {"traceId": HEX32, "spanId": HEX16, "attributes": ["KeyValue"]},
    "MetricsData": {"resourceMetrics": ["ResourceMetrics"]},
    "ResourceMetrics": {"resource": "Resource", "scopeMetrics": ["ScopeMetrics"]},
    "ScopeMetrics": {"scope": "Scope", "metrics": ["Metric"]},
    "Metric": {"name": TEXT, "description": TEXT, "unit": TEXT, "gauge": "Gauge", "sum": "Sum", "histogram": "Histogram"},
    "Gauge": {"dataPoints": ["NumberDataPoint"]},
    "Sum": {"dataPoints": ["NumberDataPoint"], "aggregationTemporality": ENUM, "isMonotonic": BOOL},
    "Histogram": {"dataPoints": ["HistogramDataPoint"], "aggregationTemporality": ENUM},
    "NumberDataPoint": {"attributes": ["KeyValue"], "startTimeUnixNano": INT64, "timeUnixNano": INT64, "asInt": INT64, "asDouble": DOUBLE},
    "HistogramDataPoint": {"attributes": ["KeyValue"], "startTimeUnixNano": INT64, "timeUnixNano": INT64, "count": INT64, "sum": DOUBLE,
                           "bucketCounts": [INT64], "explicitBounds": [DOUBLE]},
}
RIGHT = {
    HEX32: lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{32}", v) and set(v) != {"0"},
    HEX16: lambda v: isinstance(v, str) and re.fullmatch("[0-9a-f]{16}", v) and set(v) != {"0"},
    INT64: lambda v: isinstance(v, str) and re.fullmatch("-?[0-9]+", v) and -2**63 <= int(v) < 2**63,
    DOUBLE: lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    TEXT: lambda v: isinstance(v, str),
    BOOL: lambda v: isinstance(v, bool),
    ENUM: lambda v: isinstance(v, int) and v > 0,
}


def check(value, kind, at="$"):
    if isinstance(kind, list):
        assert isinstance(value, list), at
        for i, one in enumerate(value):
            check(one, kind[0], f"{at}[{i}]")
    elif kind in RIGHT:
        assert RIGHT[kind](value), f"{at}: {value!r} is no {kind}"
    else:
        assert isinstance(value, dict), at
        for name, member in value.items():
            assert name in PROTO[kind], f"{at}: a {kind} has no {name}"
            check(member, PROTO[kind][name], f"{at}.{name}")


def attributes(thing):
    """{key: value}; each key is there once, each value is of one kind."""
    found = {}
    for one in thing.get("attributes", []):
        assert set(one) == {"key", "value"} and len(one["value"]) == 1 and one["key"] not in found, one
        (kind, value), = one["value"].items()
        found[one["key"]] = int(value) if kind == "intValue" else value
    return found


class Collector:
    """Takes OTLP/HTTP JSON and checks it. status: what it answers; hold: seconds before it does."""

    def __init__(self, port=0):
        self.spans, self.metrics, self.resources, self.wrong = [], [], [], []
        self.status, self.hold, self.requests = 200, 0, 0
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def handler(self):
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests += 1
                time.sleep(collector.hold)
                if collector.status == 200:
                    try:
                        collector.take(self.path, self.headers["Content-Type"], json.loads(body.decode()))
                    except (AssertionError, ValueError, KeyError) as error:
                        collector.wrong.append(f"{self.path}: {error!r}")
                answer = b"{}"
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        return Handler

    def take(self, path, content_type, body):
        assert content_type == "application/json"
        if path == "/v1/traces":
            check(body, "TracesData")
            for resource in body["resourceSpans"]:
                self.resources.append(attributes(resource["resource"]))
                self.spans += [{**span, "service": self.resources[-1]["service.name"], "with": attributes(span)}
                               for scope in resource["scopeSpans"] for span in scope["spans"]]
        else:
            assert path == "/v1/metrics", path
            check(body, "MetricsData")
            self.metrics = [metric for resource in body["resourceMetrics"] for scope in resource["scopeMetrics"] for metric in scope["metrics"]]

    def traces(self, service="tapline-run"):
        """{trace id: {name: span}} of those whose root is here."""
        assert self.wrong == []
        found = {}
        for span in list(self.spans):
            if span["service"] == service:
                spans = found.setdefault(span["traceId"], {})
                assert span["name"] not in spans, "a step of a batch is there once"
                spans[span["name"]] = span
        return {trace: spans for trace, spans in found.items() if "batch" in spans}


def all_batches(collector, count):
    """Has each of so many events come in a trace? Before the end of the process, which waits for a collector for a second only."""
    return sum(t["batch"]["with"]["tapline.events"] for t in collector.traces().values()) == count


def wait_quiet(collector):
    """Until all that was to be sent must have come: it is sent once a second, and metrics are each time."""
    seen = collector.requests
    rig.wait_for("some turns", lambda: collector.requests >= seen + 4, PATIENCE_S)


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


def numbers(span):
    return int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])


def assert_order(spans, names):
    """Each begins when or after the one before ended, all within the root, which says when it was."""
    start, end = numbers(spans["batch"])
    assert "parentSpanId" not in spans["batch"]
    at = start
    for name in names:
        begun, ended = numbers(spans[name])
        assert at <= begun <= ended <= end, (name, at, begun, ended, end)
        at = ended
    assert abs(end / 1e9 - time.time()) < 120


def health(collector, **more):
    return {"run": "off", "feed": "off", "topic": "", "interval": "1s", "otlp": collector.url + "/", **more}


def log_and_config(tmp_path, conn_log, count, sinks=None, intel=None, **health_more):
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, count))
    sinks = sinks or {"file": {"path": str(tmp_path / "out.ndjson")}}
    sections = {"health": health_more} | ({"intel": intel} if intel else {})
    return log, rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}], sinks, **sections)


def documents(tmp_path):
    out = tmp_path / "out.ndjson"
    return out.read_bytes().count(b"\n") if out.exists() else 0


def test_every_batch(tmp_path, conn_log, collector, runs):
    """A share of one: all documents are in a trace, and no batch in two."""
    count = 20000
    _, config = log_and_config(tmp_path, conn_log, count, **health(collector, otlp_share=1, otlp_slow="1h"))
    run = runs(config)
    run.wait_for("all documents", lambda: documents(tmp_path) == count)
    rig.wait_for("all traces", lambda: all_batches(collector, count), PATIENCE_S)
    run.stop()
    traces = collector.traces()
    assert len(traces) > 5
    for spans in traces.values():
        assert set(spans) == {"batch", "tail", "normalize", "produce", "deliver"}
        assert_order(spans, ["tail", "normalize", "produce", "deliver"])
        assert {spans[name]["parentSpanId"] for name in ("tail", "normalize", "produce")} == {spans["batch"]["spanId"]}
        assert spans["deliver"]["parentSpanId"] == spans["produce"]["spanId"]
        assert spans["batch"]["with"]["tapline.sampled_by"] == "share"
        assert spans["batch"]["with"]["log.file.path"] == str(tmp_path / "conn.log")
        assert spans["batch"]["with"]["event.dataset"] == "zeek.connection"
        assert spans["produce"]["kind"] == 4 and spans["produce"]["with"]["tapline.sink"] == "file"
    assert sum(t["produce"]["with"]["messaging.batch.message_count"] for t in traces.values()) == count
    assert collector.resources[0]["service.name"] == "tapline-run"
    assert collector.resources[0]["service.instance.id"].endswith("/run-0")
    assert collector.resources[0]["host.name"] == socket.gethostname()


def test_with_intel(tmp_path, conn_log, collector, runs, redis_server):
    """Where indicators are looked up there is a step more, and it is as long as Redis makes it."""
    count = 2000
    intel = {"redis": {"urls": [redis_server.url]}, "lookback": {"days": 0}}
    _, config = log_and_config(tmp_path, conn_log, count, intel=intel, **health(collector, otlp_share=1, otlp_slow="1h"))
    run = runs(config)
    run.wait_for("all documents", lambda: documents(tmp_path) == count, PATIENCE_S)
    rig.wait_for("all traces", lambda: all_batches(collector, count), PATIENCE_S)
    run.stop()
    traces = collector.traces()
    assert all_batches(collector, count)
    for spans in traces.values():
        assert set(spans) == {"batch", "tail", "normalize", "enrich", "produce", "deliver"}
        assert_order(spans, ["tail", "normalize", "enrich", "produce", "deliver"])
        assert spans["enrich"]["parentSpanId"] == spans["batch"]["spanId"]


def test_share_and_slow(tmp_path, conn_log, collector, runs):
    """One in four; and with a share of none only those that took long."""
    count = 40000
    _, config = log_and_config(tmp_path, conn_log, count, **health(collector, otlp_share=4, otlp_slow="1h"))
    run = runs(config)
    run.wait_for("all documents", lambda: documents(tmp_path) == count, PATIENCE_S)
    wait_quiet(collector)
    run.stop()
    quarter = sum(t["batch"]["with"]["tapline.events"] for t in collector.traces().values())
    assert count / 8 < quarter < count / 2, quarter

    other = Collector()
    second = tmp_path / "second"
    second.mkdir()
    _, config = log_and_config(second, conn_log, count, **health(other, otlp_share=0, otlp_slow="1ms"))
    run = runs(config)
    run.wait_for("all documents", lambda: documents(second) == count, PATIENCE_S)
    wait_quiet(other)
    run.stop()
    traces = other.traces()
    other.close()
    assert traces and all(t["batch"]["with"]["tapline.sampled_by"] == "slow" for t in traces.values())
    assert all(numbers(t["batch"])[1] - numbers(t["batch"])[0] > 1_000_000 for t in traces.values())


def test_through_kafka(tmp_path, conn_log, broker, collector, runs, feeds):
    """The records of a traced batch, and no others, name its produce span; the feeder's spans link to it."""
    count, prefix = 4000, f"tr{rig.free_port()}"
    _, config = log_and_config(tmp_path, conn_log, count, sinks=kafka_sink(broker, prefix), **health(collector, otlp_share=2, otlp_slow="1h"))
    run = runs(config)
    found = {}  # traceparent -> records

    def each(message):
        headers = dict(message.headers())
        assert set(headers) <= {"tapline", "traceparent"}
        parent = headers.get("traceparent", b"").decode()
        assert parent == "" or re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", parent), parent
        found[parent] = found.get(parent, 0) + 1

    with rig.Reader(broker, lambda topic: topic.startswith(prefix) and topic.endswith("zeek.connection"), each) as reader:
        run.wait_for("all records", lambda: (reader.read(), sum(found.values()) == count)[1], 60)
    wait_quiet(collector)
    run.stop()
    traces = collector.traces()
    named = {f"00-{trace}-{spans['produce']['spanId']}-01": spans["produce"]["with"]["messaging.batch.message_count"]
             for trace, spans in traces.items() if spans["produce"]["with"]["messaging.batch.message_count"]}
    assert {parent: records for parent, records in found.items() if parent} == named
    assert found.get("", 0) > 0, "only one in two is traced"

    out = tmp_path / "fed.ndjson"
    config = rig.config_write(tmp_path / "feed.yml", [], {"file": {"path": str(out)}}, health=health(collector, otlp_share=0, otlp_slow="1h"),
                              feed={"rdkafka": {"bootstrap.servers": broker.address}, "group": prefix, "topics": [rf"^{prefix}\.zeek\..*"],
                                    "dead_letter_topic": prefix + ".dead", "ledger_topic": prefix + ".feed", "replication_factor": 1})
    feed = feeds(config)
    feed.wait_for("all documents", lambda: out.exists() and out.read_bytes().count(b"\n") == count, 60)
    wait_quiet(collector)
    feed.stop()
    fed = collector.traces("tapline-feed")
    linked = set()
    for spans in fed.values():
        assert_order(spans, ["consume", "bulk", "indexed"])
        assert spans["batch"]["with"]["tapline.sampled_by"] == "link"
        assert spans["consume"]["links"] == spans["bulk"]["links"] and spans["bulk"]["links"]
        linked |= {f"00-{link['traceId']}-{link['spanId']}-01" for link in spans["bulk"]["links"]}
    assert linked == set(named)


def test_metrics(tmp_path, conn_log, collector, runs):
    """The same numbers as /metrics: names, kinds, labels."""
    port, count = rig.free_port(), 3000
    _, config = log_and_config(tmp_path, conn_log, count, **health(collector, otlp_share=0, run=f"127.0.0.1:{port}"))
    run = runs(config)

    def sent(name):
        return [metric for metric in collector.metrics if metric["name"] == name]

    run.wait_for("metrics", lambda: sent("tapline_sink_accepted") and sent("tapline_sink_accepted")[0]["sum"]["dataPoints"][0]["asInt"] == str(count))
    rig.wait_for("a quiet second", lambda: sent("tapline_otlp_spans"))
    assert collector.wrong == []

    def types_of():
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))

    types = types_of()
    kinds = {"gauge": "gauge", "sum": "counter", "histogram": "histogram"}
    for metric in collector.metrics:
        (kind,) = set(metric) & set(kinds)
        name = metric["name"] + ("_total" if kind == "sum" else "")
        assert types[name] == kinds[kind], name
        if kind == "sum":
            assert metric["sum"]["aggregationTemporality"] == 2 and metric["sum"]["isMonotonic"] is True
    rig.wait_for("the names that /metrics has", lambda: set(types_of()) - {
        metric["name"] + ("_total" if "sum" in metric else "") for metric in collector.metrics} <= {"tapline_build_info"})
    lines = sent("tapline_ingest_lines")[0]["sum"]["dataPoints"][0]
    assert lines["asInt"] == str(count) and int(lines["startTimeUnixNano"]) < int(lines["timeUnixNano"])
    (size,) = sent("tapline_file_size_bytes")[0]["gauge"]["dataPoints"]
    assert attributes(size) == {"path": str(tmp_path / "conn.log")} and size["asInt"] == str((tmp_path / "conn.log").stat().st_size)
    (latency,) = sent("tapline_sink_latency_seconds")[0]["histogram"]["dataPoints"]
    assert len(latency["bucketCounts"]) == len(latency["explicitBounds"]) + 1
    assert sum(map(int, latency["bucketCounts"])) == int(latency["count"]) > 0
    run.stop()


@pytest.mark.parametrize("how", ["away", "refuses", "hangs"])
def test_a_bad_collector(tmp_path, conn_log, runs, how):
    """Nobody waits for it, it is said once, is a problem, and what is lost is counted; when it is back, so are traces."""
    port, http_port, count = rig.free_port(), rig.free_port(), 10000
    collector = None if how == "away" else Collector(port)
    if collector is not None:
        collector.status, collector.hold = (500, 0) if how == "refuses" else (500, HANGS_S)
    log, config = log_and_config(tmp_path, conn_log, count, run=f"127.0.0.1:{http_port}", topic="", interval="1s",
                                 otlp=f"http://127.0.0.1:{port}", otlp_share=1, otlp_slow="1h")
    run = runs(config)
    run.wait_for("all documents", lambda: documents(tmp_path) == count, HANGS_S / 2)

    def metrics():
        text = urllib.request.urlopen(f"http://127.0.0.1:{http_port}/metrics", timeout=20).read().decode()
        return {name: float(value) for name, value in re.findall(r"^(tapline_otlp_\w+) (\S+)$", text, re.M)} | {"text": text}

    rig.wait_for("the problem", lambda: 'code="otlp_unreachable"' in metrics()["text"], timeout=HANGS_S / 2)
    assert urllib.request.urlopen(f"http://127.0.0.1:{http_port}/readyz").status == 200, "without a collector it works all the same"
    rig.wait_for("dropped spans", lambda: metrics()["tapline_otlp_spans_dropped_total"] > 0, timeout=HANGS_S / 2)
    assert metrics()["tapline_otlp_up"] == 0 and metrics()["tapline_otlp_spans_total"] == 0
    time.sleep(2)
    assert run.log().count("the collector does not take what is sent") == 1, run.log()
    if collector is None:
        collector = Collector(port)
    collector.status, collector.hold = 200, 0
    with open(log, "a") as file:
        file.write(conn_log.text(count, count + 10, header=False))
    rig.wait_for("traces again", lambda: collector.traces(), timeout=PATIENCE_S)
    rig.wait_for("no problem", lambda: 'code="otlp_unreachable"' not in metrics()["text"], timeout=PATIENCE_S)
    start = time.monotonic()
    collector.hold = HANGS_S  # and at its end it waits for nobody either
    with open(log, "a") as file:
        file.write(conn_log.text(count + 10, count + 20, header=False))
    run.wait_for("the last documents", lambda: documents(tmp_path) == count + 20, HANGS_S / 2)
    run.stop(HANGS_S)
    assert time.monotonic() - start < HANGS_S / 2
    collector.close()


JAEGER = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {receivers: [otlp], processors: [], exporters: [jaeger_storage_exporter]}
  telemetry: {metrics: {level: none}, logs: {level: warn}}
extensions:
  jaeger_query:
    storage: {traces: mem}
    http: {endpoint: "127.0.0.1:%(query)d"}
    grpc: {endpoint: "127.0.0.1:%(query_grpc)d"}
  jaeger_storage: {backends: {mem: {memory: {max_traces: 10000}}}}
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:%(otlp)d"}}}
exporters:
  jaeger_storage_exporter: {trace_storage: mem}
"""


class Jaeger:
    """A real one (version 2, all in one process), asked as its page asks it."""

    def __init__(self, folder):
        ports = {"query": rig.free_port(), "query_grpc": rig.free_port(), "otlp": rig.free_port()}
        (folder / "jaeger.yaml").write_text(JAEGER % ports)
        self.url, self.query = f"http://127.0.0.1:{ports['otlp']}", f"http://127.0.0.1:{ports['query']}"
        with open(folder / "jaeger.log", "wb") as log:
            self.process = subprocess.Popen([os.environ["TAPLINE_JAEGER"], "--config", str(folder / "jaeger.yaml")], stdout=log, stderr=log)

    def ask(self, path):
        try:
            with urllib.request.urlopen(self.query + path, timeout=10) as answer:
                return json.load(answer)["data"] or []
        except OSError:
            return None  # not up yet

    def traces(self, service):
        """[{name: span}]"""
        return [{span["operationName"]: span for span in trace["spans"]} for trace in self.ask(f"/api/traces?service={service}&limit=1000") or []]

    def close(self):
        self.process.terminate()
        self.process.wait(20)


@pytest.mark.skipif("TAPLINE_JAEGER" not in os.environ, reason="TAPLINE_JAEGER names no jaeger (it takes minutes to build, and Debian has none)")
def test_jaeger(tmp_path, conn_log, broker, runs, feeds):
    """What the schema says is right, a real collector takes, too: a batch of run, and the feeder's work on its records, as Jaeger shows them."""
    jaeger = Jaeger(tmp_path)
    try:
        rig.wait_for("Jaeger", lambda: jaeger.ask("/api/services") is not None)
        count, prefix = 4000, f"jg{rig.free_port()}"
        _, config = log_and_config(tmp_path, conn_log, count, sinks=kafka_sink(broker, prefix), **health(jaeger, otlp_share=1, otlp_slow="1h"))
        run = runs(config)
        rig.wait_for("each batch", lambda: sum(tag["value"] for spans in jaeger.traces("tapline-run") if "batch" in spans
                                               for tag in spans["batch"]["tags"] if tag["key"] == "tapline.events") == count)
        out = tmp_path / "fed.ndjson"
        config = rig.config_write(tmp_path / "feed.yml", [], {"file": {"path": str(out)}}, health=health(jaeger, otlp_share=0, otlp_slow="1h"),
                                  feed={"rdkafka": {"bootstrap.servers": broker.address}, "group": prefix, "topics": [rf"^{prefix}\.zeek\..*"],
                                        "dead_letter_topic": prefix + ".dead", "ledger_topic": prefix + ".feed", "replication_factor": 1})
        feed = feeds(config)
        feed.wait_for("all documents", lambda: out.exists() and out.read_bytes().count(b"\n") == count, 60)
        feed.stop()
        run.stop()
        batches = jaeger.traces("tapline-run")
        produced = set()
        for spans in batches:
            assert set(spans) == {"batch", "tail", "normalize", "produce", "deliver"}
            parents = {name: [ref["spanID"] for ref in span["references"] if ref["refType"] == "CHILD_OF"] for name, span in spans.items()}
            assert parents["batch"] == [] and parents["deliver"] == [spans["produce"]["spanID"]]
            assert all(parents[name] == [spans["batch"]["spanID"]] for name in ("tail", "normalize", "produce"))
            assert all(span["warnings"] is None for span in spans.values()), "Jaeger finds nothing odd"
            produced.add((spans["produce"]["traceID"], spans["produce"]["spanID"]))
        linked = {(ref["traceID"], ref["spanID"]) for spans in jaeger.traces("tapline-feed")
                  for ref in spans["bulk"]["references"] if ref["refType"] == "FOLLOWS_FROM"}
        assert linked == produced and len(produced) > 1
    finally:
        jaeger.close()
