"""What processes serve over HTTP is what Prometheus takes: promtool accepts /metrics without a complaint, a strict foreign parser
accepts its OpenMetrics, /healthz and /readyz answer as they promise, and a port in use, odd file names, foreign Host headers or a
long sync are no trouble.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import rig
from feeds import Fault, FeedServer, Files
from redis_server import redis_server  # noqa: F401

OPEN = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


class Site:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path, headers=None, method="GET"):
        request = urllib.request.Request(self.url + path, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def is_there(self):
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def text(self, headers=None):
        status, _, body = self.get("/metrics", headers)
        assert status == 200
        return body.decode()  # strict: it is UTF-8

    def open(self):
        """{(sample, labels): value}, from a parser that takes nothing that is not as OpenMetrics wants it."""
        return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(self.text(OPEN)) for sample in family.samples}


def promtool(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.fixture
def process():
    """process(config, *command): starts it, ends it."""
    made = []

    def start(config, *command):
        path = config.pop("path")
        path.write_text(json.dumps(config))
        made.append(subprocess.Popen([str(rig.TAPLINE), *command, "-c", str(path)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True))
        return made[-1]

    yield start
    for one in made:
        if one.poll() is None:
            one.send_signal(signal.SIGTERM)
        try:
            one.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            one.kill()
            one.communicate()
            raise


def config_of(folder, port, logs=None, **sections):
    logs = logs or folder / "logs"
    logs.mkdir(exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    return {"path": folder / "tapline.yml",
            "node": {"name": 'n"1', "state": str(folder / "state")},
            "inputs": [{"type": "zeek", "paths": [str(logs / "*.log")]}],
            "sinks": {"file": {"path": str(folder / "out.ndjson")}},
            "health": {"run": f"127.0.0.1:{port}"}, **sections}


def conn_lines(path, count):
    with open(path, "ab") as file:
        for i in range(count):
            file.write(json.dumps({"ts": time.time(), "uid": f"C{i}", "id.orig_h": "10.0.0.1", "id.orig_p": i % 65536, "id.resp_h": "10.0.0.2",
                                   "id.resp_p": 53, "proto": "udp", "_path": "conn"}).encode() + b"\n")


def counted_alike(site):
    """The counters of three sources are the same numbers, once none grows while the three are asked."""
    def ask():
        samples, document = site.open(), json.loads(site.get("/health")[2])
        text = dict(re.findall(r"^(tapline_[a-z_]+_total) (\d+)$", site.text(), re.M))
        counters = {f"tapline_{name.replace('.', '_')}_total": value for name, value in document["counters"].items()
                    if not name.startswith("checkpoint.")}
        differ = {name for name, value in counters.items() if not samples[name, ()] == value == int(text[name])}
        assert counters["tapline_ingest_lines_total"] == 515
        return samples, document, differ

    rig.wait_for("the same numbers", lambda: not ask()[2], pause=0.5)
    return ask()[:2]


def test_metrics(tmp_path, process):
    port = rig.free_port()
    site = Site(port)
    logs = tmp_path / "logs"
    logs.mkdir()
    conn_lines(logs / "conn.log", 500)
    # Names that a shell, a JSON or a label would stumble over; each is a file of its own.
    odd = [b'qu"ote\\.log', b"new\nline.log", b"bad\xff\xfe.log", b"bad\\xff\\xfe.log", "bücher\u2028.log".encode()]
    for i, name in enumerate(odd):
        conn_lines(os.fsencode(logs) + b"/" + name, i + 1)
    run = process(config_of(tmp_path, port), "run")
    rig.wait_for("HTTP", site.is_there, 60)
    rig.wait_for("all documents", lambda: site.open().get(("tapline_sink_accepted_total", ())) == 515, 60)

    promtool(site.text())
    status, headers, body = site.get("/metrics", OPEN)
    assert headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8" and body.endswith(b"\n# EOF\n")
    status, headers, body = site.get("/metrics", {"Accept": "text/plain"})
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8" and b"# EOF" not in body
    rig.wait_for("rows of all files", lambda: len([name for name, _ in site.open() if name == "tapline_file_size_bytes"]) == 5)  # two look the same
    samples, document = counted_alike(site)
    # Files: each name is one series, and what it says is true.
    sizes = {dict(labels)["path"]: value for (name, labels), value in samples.items() if name == "tapline_file_size_bytes"}
    assert sizes[str(logs / "conn.log")] == (logs / "conn.log").stat().st_size
    assert str(logs / 'qu"ote\\.log') in sizes and str(logs / "new\nline.log") in sizes and str(logs / "bücher\u2028.log") in sizes
    assert [path for path in sizes if path.endswith("/bad\\xff\\xfe.log")], sizes
    # The process's own numbers are those of the kernel.
    rss = int(open(f"/proc/{run.pid}/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
    assert abs(samples["tapline_process_resident_memory_bytes", ()] - rss) < 64 << 20
    rig.wait_for("its descriptors", lambda: abs(site.open()["tapline_process_open_fds", ()] - len(os.listdir(f"/proc/{run.pid}/fd"))) <= 3, 60)
    disk = os.statvfs(tmp_path / "state")
    assert abs(samples["tapline_process_state_free_bytes", ()] / (disk.f_bavail * disk.f_frsize) - 1) < 0.2
    build = [dict(labels) for (name, labels) in samples if name == "tapline_build_info"]
    assert build == [{"version": document["version"], "process": "run", "node": 'n"1'}]
    latency = {dict(labels)["le"]: value for (name, labels), value in samples.items() if name == "tapline_sink_latency_seconds_bucket"}
    assert list(latency.values()) == sorted(latency.values()) and latency["+Inf"] > 0


def test_other_routes(tmp_path, process):
    port = rig.free_port()
    site = Site(port)
    process(config_of(tmp_path, port), "run")
    rig.wait_for("HTTP", site.is_there, 60)
    assert site.get("/healthz")[2] == b"ok\n"
    rig.wait_for("ready", lambda: site.get("/readyz")[0] == 200, 60)
    status, headers, body = site.get("/readyz")
    assert json.loads(body) == {"ready": True, "state": "ok", "problems": []}
    assert headers["Content-Type"] == "application/json" and headers["Cache-Control"] == "no-store"
    assert site.get("/")[0] == 404 and site.get("/metrics/")[0] == 404
    assert site.get("/metrics", method="POST")[0] == 405
    assert site.get("/metrics", method="HEAD")[2] == b""
    assert site.get("/metrics", {"Host": "evil.example"})[0] == 403
    assert site.get("/metrics", {"Host": f"localhost:{port}"})[0] == 200
    # curl, too, and many at once.
    pids = [subprocess.Popen(["curl", "-sf", "-o", "/dev/null", site.url + "/metrics"]) for _ in range(40)]
    assert [pid.wait(90) for pid in pids] == [0] * 40


def test_not_ready(tmp_path, process):
    """A Kafka that is not there: alive, but not ready, and says which broker."""
    port, gone = rig.free_port(), rig.free_port()
    site = Site(port)
    config = config_of(tmp_path, port, sinks={"kafka": {"rdkafka": {"bootstrap.servers": f"127.0.0.1:{gone}"}}})
    conn_lines(tmp_path / "logs" / "conn.log", 10)
    process(config, "run")
    rig.wait_for("HTTP", site.is_there, 60)
    rig.wait_for("not ready", lambda: site.get("/readyz")[0] == 503, 60)

    def said():
        answer = json.loads(site.get("/readyz")[2])
        assert answer["ready"] is False
        return answer["state"] == "failing" and f"127.0.0.1:{gone}" in json.dumps(answer["problems"])

    rig.wait_for("which broker", said, 60)
    assert site.get("/healthz")[0] == 200
    promtool(site.text())
    codes = {dict(labels)["code"] for (name, labels) in site.open() if name == "tapline_problem_age_seconds"}
    assert codes and codes & {problem["code"] for problem in json.loads(site.get("/readyz")[2])["problems"]}


def test_port_in_use(tmp_path, process):
    """Somebody has the port: logs are shipped all the same, it is said once, and taken when it is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        conn_lines_path = tmp_path / "logs"
        conn_lines_path.mkdir()
        conn_lines(conn_lines_path / "conn.log", 20)
        run = process(config_of(tmp_path, port), "run")
        out = tmp_path / "out.ndjson"
        rig.wait_for("documents", lambda: out.exists() and out.read_bytes().count(b"\n") == 20)
        said = ""
        while "are not served" not in said:
            said = run.stderr.readline()
            assert said, "it ended without a word of the port"
        assert "/metrics" in said and str(port) in said and "in use" in said and " warn " in said
    site = Site(port)
    rig.wait_for("the port to be taken", site.is_there, 60)
    assert site.open()["tapline_sink_accepted_total", ()] == 20


def test_intel_sync(tmp_path, process, redis_server):  # noqa: F811
    """A sync that waits for its feed answers meanwhile; then its numbers are there."""
    port = rig.free_port()
    site = Site(port)
    server = FeedServer(site=Files({"/list.txt": b"198.51.100.1\n198.51.100.2\n", "/none.txt": b""})).start()
    try:
        may_answer = threading.Event()
        server.faults.append(Fault(change=lambda answer: (may_answer.wait(45), answer)[1]))
        feeds = [{"name": name, "type": "list", "url": f"{server.url}/{file}.txt", "confidence": "7", "tlp": "GREEN", "patience": patience}
                 for name, file, patience in (("good", "list", "60s"), ("bad", "missing", "1s"))]
        process(config_of(tmp_path, port, health={"intel_sync": f"127.0.0.1:{port}"}, intel={"redis": {"urls": [redis_server.url]}, "feeds": feeds}), "intel", "sync", "--watch")
        rig.wait_for("HTTP", site.is_there, 60)
        rig.wait_for("a sync under way", server.asked)
        took = []
        for _ in range(3):
            since = time.monotonic()
            assert site.is_there()
            took.append(time.monotonic() - since)
        assert not may_answer.is_set() and len(server.asked()) == 1
        assert min(took) < 0.7, took  # a probe's patience is a second
        may_answer.set()
        rig.wait_for("its end", lambda: ("tapline_intel_feed_failed", (("feed", "bad"),)) in site.open(), 60)
        samples = site.open()
        assert samples["tapline_intel_feed_indicators", (("feed", "good"),)] == 2
        assert samples["tapline_intel_feed_failed", (("feed", "good"),)] == 0
        assert samples["tapline_intel_feed_failed", (("feed", "bad"),)] == 1
        assert abs(samples["tapline_intel_feed_last_success_timestamp_seconds", (("feed", "good"),)] - time.time()) < 120
        promtool(site.text())
        rig.wait_for("the problem", lambda: "bad" in json.dumps(json.loads(site.get("/readyz")[2])["problems"]), 60)
    finally:
        server.close()
