"""Alerts and the Grafana dashboard: promtool accepts all rules and the metrics of real processes; each alert is quiet, fires by its
metrics, and is quiet again; a real Prometheus scrapes a real host whose parts are broken one after the other, and fires what it
should; each panel's query is one that it answers with data.
SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import rig
from alerting import DASHBOARD, FIRED_BY, RULES, Prometheus, alerts, rule_tests
from redis_server import RedisServer, redis_there
from serving import program
from walk import Host

FIRES_S, ENDS_S = 90, 300
DISK_BYTES = 64 * 1024 * 1024  # the recording goes on: it must not fill it by itself
CODES_WITHOUT_ALERT = {"port_taken", "positions_awaited"}  # who cannot listen cannot be asked: TaplineDown; a start is no fault
DIES = "dies"


def promtool(*args, **keys):
    if shutil.which("promtool") is None:
        assert os.environ.get("CI") != "true", "promtool must be there under CI=true"
        pytest.skip("NO PROMTOOL: install Debian's prometheus")
    return subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, timeout=120, **keys)


# ---- without a host ------------------------------------------------------------------------------------------------------


def test_promtool_accepts_the_rules():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_by_its_metrics_and_by_nothing_else(tmp_path):
    assert set(alerts()) == set(FIRED_BY)
    (tmp_path / "rules.yml").write_text(json.dumps(rule_tests()))
    done = promtool("test", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_code_has_an_alert_and_each_alert_is_complete():
    table = (rig.TOP / "core/health_rules_table.c").read_text().split("const struct health_rule health_rules[]", 1)[1]
    codes = set(re.findall(r'\{"([a-z_]+)",\s*CORE_HEALTH_', table))
    assert len(codes) > 25
    told = set()
    for name, text in alerts().items():
        told |= set(re.findall(r'code: (\w+)|code="(\w+)"', text) and [a or b for a, b in re.findall(r'code: (\w+)|code="(\w+)"', text)])
        assert re.search(r"severity: (critical|warning)", text), name
        for part in ("summary", "description", "runbook"):
            assert re.search(rf"^          {part}: .+", text, flags=re.M), f"{name} has no {part}"
        assert "$labels.instance" in text or "$labels.path" in text or "$labels.sensor" in text, f"{name} does not say where"
    assert codes - told == CODES_WITHOUT_ALERT
    assert told - codes == {"not_ready"}


def test_who_complains_has_a_code_and_each_code_is_used():
    """A code that the table lacks would end the process; one that only threads can know of and nobody says is no code."""
    table = (rig.TOP / "core/health_rules_table.c").read_text().split("const struct health_rule health_rules[]", 1)[1]
    rows = re.findall(r'\{"([a-z_]+)",\s*CORE_HEALTH_\w+,\s*\w+,\s*CORE_HEALTH_\w+,\s*(\w+),', table)
    said, words = set(), set()
    for folder in ("core", "ingest", "normalize", "enrich", "sinks", "supervisor", "cmd"):
        for path in set((rig.TOP / folder).glob("*.c")) - {rig.TOP / "core/health_rules_table.c"}:
            words |= set(re.findall(r'"([a-z_]+)"', path.read_text()))
            said |= set(re.findall(r'core_health_complain\(\s*[\w>.-]+,\s*"([a-z_]+)"', path.read_text()))
    assert len(rows) > 30 and said <= {code for code, _ in rows}, said - {code for code, _ in rows}
    assert {code for code, rule in rows if rule == "NULL"} <= words  # some are chosen between


def test_the_dashboard_is_what_its_script_writes():
    subprocess.run([sys.executable, str(rig.TOP / "configs/grafana/generate.py"), "--check"], check=True)


# ---- with one ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def disk(folder):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    with disk(tmp_path_factory.mktemp("disk")) as folder:
        yield folder


@pytest.fixture
def own_disk(tmp_path_factory):
    with disk(tmp_path_factory.mktemp("disk")) as folder:
        yield folder


class Watched(Host):
    """The walk's host, with a node that dies when it is told to, a feeder, and Prometheus."""

    def __init__(self, folder, broker, redis, disk):
        super().__init__(folder, broker, redis, disk)
        config = json.loads(self.main.config.read_text())
        self.flag = self.folder / "die"
        config["sensors"]["nodes"].append(program(DIES, "sh", "-c", f"test ! -e {self.flag} && exec sleep 600", order=10, restart_deaths_max=8, settle="60s")
                                          | {"env": {"TAPLINE_TEST": str(self.main.run)}})
        self.main.config.write_text(json.dumps(config))
        feed = {"node": {"name": config["node"]["name"] + "-feed", "state": str(self.folder / "state")},
                "feed": {"group": "alerts", "topics": [r"^tapline\.zeek\..*"], "replication_factor": 1,
                         "rdkafka": {"bootstrap.servers": broker.address}},
                "sinks": {"file": {"path": str(disk / "fed.ndjson")}}, "health": config["health"]}
        self.feed_config = self.folder / "feed.yml"
        self.feed_config.write_text(json.dumps(feed))
        self.feed = self.prometheus = None

    def start(self):
        super().start()
        self.well_at = time.time()
        self.feed = rig.Feed(self.feed_config)
        self.prometheus = Prometheus(self.folder / "prometheus", {name: self.ports[name] for name in ("serve", "run", "feed")})
        return self

    def capture_loss(self, percent):
        """A report of the sensor's, as Zeek writes one each 15 minutes."""
        lines = (rig.SAMPLES / "zeek/capture_loss.log").read_text().splitlines(keepends=True)
        with open(self.logs / "capture_loss.log", "a") as log:
            if log.tell() == 0:
                log.write("".join(line for line in lines if line.startswith("#") and not line.startswith("#close")))
            log.write(f"{time.time():.6f}\t60.0\tzeek\t{int(percent * 10)}\t1000\t{percent}\n")

    def quiet(self):
        try:
            rig.wait_for("no alert", lambda: not self.prometheus.names(), ENDS_S, 0.5)
        except AssertionError:
            raise AssertionError(f"after {ENDS_S} s there are still {self.prometheus.firing()}\n{self.main.status()}") from None
        self.well_at = time.time()

    def fires(self, *names):
        """All of them have fired since all was quiet; all that did."""
        seen = set()

        def all_of_them():
            seen.update(name for name, _ in self.prometheus.fired_since(self.well_at))
            return set(names) <= seen

        try:
            rig.wait_for("alerts", all_of_them, FIRES_S, 0.5)
        except AssertionError:
            raise AssertionError(f"{sorted(set(names) - seen)} did not fire in {FIRES_S} s; {sorted(seen)} did\n"
                                 + "\n".join(line for line in self.metrics().splitlines() if "problem" in line)) from None
        return seen

    def close(self):
        if self.prometheus:
            self.prometheus.close()
        if self.feed:
            self.feed.kill()
        super().close()


@pytest.fixture(scope="module")
def host(tmp_path_factory, small_disk):
    for needed in ("java", "prometheus"):
        if shutil.which(needed) is None:
            assert os.environ.get("CI") != "true", f"{needed} must be there under CI=true"
            pytest.skip(f"NO {needed.upper()}: alerts are not fired here")
    redis_there()
    broker = rig.Broker(tmp_path_factory.mktemp("broker")).start()
    redis = RedisServer(tmp_path_factory.mktemp("redis")).start()
    made = Watched(tmp_path_factory.mktemp("host"), broker, redis, small_disk)
    try:
        made.start()
        rig.wait_for("documents in the topic", lambda: broker.count("tapline.zeek.connection") > 0, 90)
        made.quiet()
        time.sleep(5)
        assert made.prometheus.names() == set(), made.prometheus.firing()
        yield made
    finally:
        made.close()
        redis.close()
        broker.close()


def test_promtool_accepts_the_metrics_of_each_process(host):
    for name in ("serve", "run", "feed"):
        done = promtool("check", "metrics", input=host.get(name, "/metrics"))
        assert done.returncode == 0 and not done.stdout + done.stderr, f"{name}: {done.stdout}{done.stderr}"


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def test_each_panel_has_data(host):
    """After garbage and a report of lost packets, so that there are dead letters and a loss to show."""
    host.garbage(5)
    host.capture_loss(0.0)
    empty = {}

    def all_have():
        empty.clear()
        for panel in panels():
            for target in panel["targets"]:
                expression = target["expr"].replace("$instance", ".*")
                if not host.prometheus.query(expression):
                    empty[panel["title"]] = expression
        return not set(empty) - {"Retries"}  # that nothing had to be tried again is as it should be

    try:
        rig.wait_for("data", all_have, FIRES_S, 1)
    except AssertionError:
        raise AssertionError(f"no data: {empty}") from None
    host.fires("TaplineDeadLetters")
    host.quiet()


def test_a_sensor_that_loses_packets(host):
    host.capture_loss(12.0)
    host.fires("TaplineCaptureLoss")
    host.capture_loss(0.0)
    host.quiet()


def test_kafka_is_stopped(host):
    host.broker.kill()
    fired = host.fires("TaplineSinkUnreachable", "TaplineSinkStalled", "TaplineNotReady", "TaplineFileLag", "TaplineBrokersAway", "TaplineProblem")
    host.broker.start()
    host.quiet()
    assert "TaplineDown" not in fired and "TaplineDeadLetters" not in fired and "TaplineBytesLost" not in fired


def test_the_disk_is_full(host):
    ballast = host.out.parent / "ballast"
    with open(ballast, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            pass
    host.fires("TaplineDiskFull", "TaplineSinkUnreachable", "TaplineConsumerLag")
    ballast.unlink()
    host.quiet()


def test_redis_is_killed(host):
    host.redis.kill()
    host.fires("TaplineIntelUnavailable")
    host.redis.start()
    host.quiet()


def test_a_sensor_is_frozen(host):
    host.freeze()
    try:
        host.fires("TaplineSensorFrozen")
    finally:
        host.thaw()
    host.quiet()


def test_a_process_hangs(host):
    """`tapline run` is stopped by a signal: Main hears nothing of it, and Prometheus neither."""
    pid = host.main.pids()["run"]
    os.kill(pid, signal.SIGSTOP)
    try:
        host.fires("TaplineDown", "TaplineProcessGone", "TaplineSensorFrozen")
    finally:
        os.kill(pid, signal.SIGCONT)
    host.quiet()


def test_a_process_dies_again_and_again(host):
    host.flag.touch()
    os.kill(host.main.pids()[DIES], signal.SIGKILL)
    host.fires("TaplineSensorRestarting", "TaplineSensorLatched")
    host.flag.unlink()
    host.main.call("start", nodes=[DIES])
    host.quiet()


def test_the_health_log_cannot_be_written(host):
    path = host.folder / "state" / "health-run.ndjson"
    while not path.is_dir():
        path.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # a line was written just then
            path.mkdir()
    host.fires("TaplineLogUnwritable")
    path.rmdir()
    host.quiet()


# ---- faults of single processes ------------------------------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path, own_disk, runs):
    """A run whose state and output are on the small disk; one whose broker is not there; Prometheus."""
    if shutil.which("prometheus") is None:
        pytest.skip("NO PROMETHEUS")
    dead, made = f"127.0.0.1:{rig.free_port()}", []
    ports = {"run": rig.free_port(), "waiting": rig.free_port()}
    log = tmp_path / "conn.log"
    log.write_text(rig.ConnLog().text(0, 10))
    state = own_disk / "alone"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                              {"file": {"path": str(own_disk / "alone.ndjson"), "sync_interval": "10ms"}},
                              node={"state": str(state)}, pipeline={"batches": 4},
                              health={"run": f"127.0.0.1:{ports['run']}", "interval": "1s", "otlp": f"http://{dead}"})
    (tmp_path / "waiting").mkdir()
    waiting = rig.config_write(tmp_path / "waiting/tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                               {"kafka": {"rdkafka": {"bootstrap.servers": dead}}}, health={"run": f"127.0.0.1:{ports['waiting']}"})
    prometheus = Prometheus(tmp_path / "prometheus", ports)
    made.append(prometheus)
    yield {"run": runs(config), "waiting": runs(waiting), "log": log, "disk": own_disk, "prometheus": prometheus}
    for one in made:
        one.close()


def fired_in(prometheus, names, seconds=FIRES_S):
    seen, begun = set(), time.time()

    def all_of_them():
        seen.update((name, labels["job"].removeprefix("tapline-")) for name, labels in prometheus.fired_since(begun))
        return names <= seen

    try:
        rig.wait_for("alerts", all_of_them, seconds, 0.5)
    except AssertionError:
        raise AssertionError(f"{sorted(names - seen)} did not fire in {seconds} s; {sorted(seen)} did") from None
    return seen


def test_disks_collectors_and_brokers_of_single_processes(alone):
    prometheus, log = alone["prometheus"], alone["log"]
    seen = fired_in(prometheus, {("TaplineOtlpUnreachable", "run"), ("TaplinePositionsUnknown", "waiting"),
                                 ("TaplineSinkUnreachable", "waiting"), ("TaplineNotReady", "waiting")})
    assert not {("TaplineStateUnwritable", "run"), ("TaplineDiskFull", "run"), ("TaplineNotReady", "run")} & seen, seen
    ballast = alone["disk"] / "ballast"
    with open(ballast, "wb", buffering=0) as out:
        out.truncate(0)
        out.write(b"x" * (DISK_BYTES - 8 * 1024 * 1024))
        fired_in(prometheus, {("TaplineStateLow", "run")})
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            pass
    conn = rig.ConnLog()
    with open(log, "a") as more:  # more than all batches hold: some of it stays unread
        more.write(conn.text(10, 60000, header=False))
    fired_in(prometheus, {("TaplineDiskFull", "run"), ("TaplineSinkStalled", "run"), ("TaplineNotReady", "run"),
                          ("TaplineLogUnwritable", "run"), ("TaplineFileLag", "run")})
    time.sleep(2)
    os.truncate(log, 0)
    ballast.unlink()
    fired_in(prometheus, {("TaplineBytesLost", "run")})


def test_a_feed_of_indicators_fails(redis_server, tmp_path):
    if shutil.which("prometheus") is None:
        pytest.skip("NO PROMETHEUS")
    port, config = rig.free_port(), tmp_path / "tapline.yml"
    feed = {"name": "list", "type": "list", "url": f"http://127.0.0.1:{rig.free_port()}/list.txt", "patience": "1s"}
    config.write_text(json.dumps({"node": {"name": "n", "state": str(tmp_path / "state")}, "health": {"intel_sync": f"127.0.0.1:{port}"},
                                  "intel": {"redis": {"urls": [redis_server.url]}, "feeds": [feed]}}))
    prometheus = Prometheus(tmp_path / "prometheus", {"sync": port})
    with open(tmp_path / "log", "w") as log:
        sync = subprocess.Popen([str(rig.TAPLINE), "intel", "sync", "--watch", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        fired_in(prometheus, {("TaplineIntelFeedFailed", "sync")})
        assert {name for name, _ in prometheus.firing()} <= {"TaplineIntelFeedFailed", "TaplineProblem"}
    finally:
        sync.kill()
        sync.wait()
        prometheus.close()
