"""Alerts that test_alerts.py has no fault for: each of the twelve is fired by a real one, in a process of its own, all at the same
time, under one real Prometheus. Each is quiet before, fires where its fault is and nowhere else, and is quiet after the mending.
SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import rig
from alerting import Prometheus, alerts
from fixtures import broker_made
from late_proxy import LateProxy
from redis_server import RedisServer
from serving import Main, program

FIRES_S, ENDS_S = 90, 300
EVIL = "203.0.113.9"
USER, WORD = "tapline", "a-word-of-the-test"
OLD_WORD = "a-word-that-was-changed"
LATE_S = 1.5  # the follower waits 2.2 s for an answer: all of them come, and each is older than stale_after
SLOW_S = 1.5  # a batch
ROWS_SLOW = 80_000

# Alert: (the process with the fault, what its labels must be)
RARE = {
    "TaplineSinkRefused": ("denied", {"component": "sink kafka", "severity": "critical"}),
    "TaplineTopicMissing": ("missing", {"component": "sink kafka"}),
    "TaplineProducerFenced": ("fenced", {"component": "sink kafka"}),
    "TaplineEventsLost": ("refused", {"code": "events_lost"}),
    "TaplineHealthTopicAway": ("lines", {"code": "health_topic_away"}),
    "TaplineFileUnreadable": ("files", {"path": "…/dns.log"}),
    "TaplineStateUnwritable": ("files", {"code": "state_unwritable"}),
    "TaplineStageSlow": ("slow", {"stage": "enrich"}),
    "TaplineIntelStale": ("stale", {"code": "intel_stale"}),
    "TaplineSensorDown": ("down", {"node": "late"}),
    "TaplineSensorSilent": ("silent", {"component": "sensor w1"}),
    "TaplineSupervisorAway": ("lonely", {"code": "supervisor_away"}),
}
# What follows from these, in the same process: the sink's own state, logs that wait, what complains for longer than 5 s.
FOLLOWS = {"TaplineNotReady", "TaplineProblem", "TaplineSinkUnreachable", "TaplineSinkStalled", "TaplineFileLag", "TaplineBrokersAway",
           "TaplineDeadLetters", "TaplineIntelUnavailable"}
LASTS = ("TaplineProblem", "refused")  # nothing brings back what was lost: the problem is told for five minutes
WELL = "well"  # a process that nothing happens to


class Process:
    """A `tapline …` in a folder of its own, with a port for /metrics and a log to read (or several) that grows."""

    def __init__(self, name, folder, sinks, prefix=(), **sections):
        self.name, self.folder, self.port, self.prefix = name, folder / name, rig.free_port(), list(prefix)
        self.logs, self.state = self.folder / "logs", self.folder / "state"
        self.logs.mkdir(parents=True)
        self.conn, self.rows, self.writer = self.logs / "conn.log", 0, rig.ConnLog()
        self.writer.rows = [row for row in self.writer.rows if ":" not in row[self.writer.at["id.resp_h"]]]
        for row in self.writer.rows:
            row[self.writer.at["id.resp_h"]] = EVIL
        self.conn.write_text(self.writer.header)
        self.write(10)
        health = {"run": f"127.0.0.1:{self.port}", "interval": "1s", "topic": ""} | sections.pop("health", {})
        self.config = rig.config_write(self.folder / "tapline.yml", [{"type": "zeek", "paths": [str(self.logs / "*.log")]}], sinks,
                                       health=health, **sections)
        self.child = None

    def write(self, rows):
        with open(self.conn, "a") as log:
            log.write(self.writer.text(self.rows, self.rows + rows, header=False))
        self.rows += rows

    def write_fat(self):
        """A record that no topic here takes, and whose dead letter none takes either."""
        cells = self.writer.line(self.rows).split("\t")
        cells[self.writer.at["history"]] = "".join(map(chr, os.urandom(100_000).translate(bytes(65 + i % 26 for i in range(256)))))
        with open(self.conn, "a") as log:
            log.write("\t".join(cells))
        self.rows += 1

    def write_dns(self):
        """A kind of log that was not there before."""
        lines = (rig.SAMPLES / "zeek/dns.log").read_text().splitlines(keepends=True)
        (self.logs / "dns.log").write_text("".join(line for line in lines if not line.startswith("#close")))

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.child = subprocess.Popen([*self.prefix, str(rig.TAPLINE), "run", "-c", str(self.config)], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log)
        return self

    def log_text(self):
        return (self.folder / "log").read_text(errors="replace")

    def close(self):
        if self.child is not None:
            self.child.kill()
            self.child.wait()


class Host(Main):
    """A Main with sensors."""

    def __init__(self, name, folder, nodes, **serve):
        self.name, self.port = name, rig.free_port()
        super().__init__(folder / name, nodes, serve=serve, more={"health": {"serve": f"127.0.0.1:{self.port}", "interval": "1s"}})


def file_sink(folder, name):
    return {"file": {"path": str(folder / name / "documents.ndjson"), "sync_interval": "50ms"}}


def without_rights():
    """Root may read everything; without these two rights it may not, like anybody else."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search", "--"]


def broker_with_users(folder):
    """A broker that has one more port, at which only who knows the user's word is let in."""
    broker = broker_made(folder)
    broker.users_port = rig.free_port()
    path = broker.folder / "server.properties"
    text = path.read_text()
    for key, more in (("listeners", f"USERS://127.0.0.1:{broker.users_port}"), ("advertised.listeners", f"USERS://127.0.0.1:{broker.users_port}"),
                      ("listener.security.protocol.map", "USERS:SASL_PLAINTEXT")):
        text = re.sub(rf"^({re.escape(key)}=.*)$", rf"\1,{more}", text, flags=re.M)
    text += ("sasl.enabled.mechanisms=PLAIN\nlistener.name.users.plain.sasl.jaas.config="
             f"org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{WORD}\";\n")
    path.write_text(text)
    return broker.start()


class World:
    """All processes, their faults, and how these are mended."""

    def __init__(self, folder, stack):
        self.folder = folder
        self.broker = stack.enter_context(closing(broker_with_users(folder / "broker")))
        self.redis = stack.enter_context(closing(RedisServer(folder / "redis").start()))
        self.proxies = {name: stack.enter_context(LateProxy(self.redis, 0.0)) for name in ("slow", "stale")}
        self.processes = {one.name: stack.enter_context(closing(one)) for one in [*self.runs(), *self.mains()]}
        self.supervisor = self.other = None
        stack.callback(self.close)
        self.broken, self.mended = set(), set()
        self.domains = 0
        self.is_writing = threading.Event()
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.write_on, self.add_on)]

    def __getitem__(self, name):
        return self.processes[name]

    # ---- what there is -----------------------------------------------------------------------------------------------------

    def runs(self):
        folder, kafka = self.folder, {"bootstrap.servers": self.broker.address}
        users = {"bootstrap.servers": f"127.0.0.1:{self.broker.users_port}", "security.protocol": "sasl_plaintext",
                 "sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": OLD_WORD}

        def topics(name, rdkafka=kafka, **keys):
            return {"kafka": {"topic": name + ".%{event.dataset}", "dead_letter_topic": name + ".dead", "rdkafka": rdkafka, "partitions": 1} | keys}

        def intel(name):
            return {"redis": {"urls": [self.proxies[name].url]}, "lookback": {"days": 0}, "sightings_every": "0s", "timeout": "10s"}

        yield Process(WELL, folder, topics(WELL), health={"topic": "well.health"})
        yield Process("denied", folder, topics("denied", users))
        yield Process("missing", folder, topics("missing", create_topics=False, delivery="at_least_once"))
        yield Process("fenced", folder, topics("fenced", delivery="exactly_once"))
        yield Process("refused", folder, topics("refused"))
        yield Process("lines", folder, file_sink(folder, "lines"), health={"topic": "lines.health", "rdkafka": kafka})
        yield Process("files", folder, file_sink(folder, "files"), prefix=without_rights())
        yield Process("slow", folder, file_sink(folder, "slow"), pipeline={"batches": 4}, intel=intel("slow"))
        yield Process("stale", folder, file_sink(folder, "stale"), intel=intel("stale") | {"stale_after": "1s"})

    def mains(self):
        self.flag = self.folder / "is-ready"
        self.flag.touch()
        opens = f"until test -e {self.flag}; do sleep 0.2; done; echo it is open; exec sleep 600"
        yield Host("down", self.folder, [program("slow", "sh", "-c", opens, ready=["output it is open"], ready_timeout="0s", order=90),
                                         program("late", "sleep", "600", order=10)])
        worker = program("w1", "sleep", "600", ready=["after 0s"], watchdog="5s", logs=["*.log"]) | {"type": "worker", "interface": "tlnone0"}
        yield Host("silent", self.folder, [program("m", "sleep", "600", ready=["after 0s"]) | {"type": "manager"}, worker])
        yield Host("lonely", self.folder, [program("a", "sleep", "600")], starts_supervisor=False)

    def start(self):
        self.broker.create_topic("missing.dead", 1)
        self.broker.create_topic("missing.zeek.connection", 1)
        self.broker.create_topic("lines.health", 1)
        self.broker.create_topic("refused.zeek.connection", 1, **{"max.message.bytes": "10000"})
        self.broker.create_topic("refused.dead", 1, **{"max.message.bytes": "100"})
        (self.folder / "silent/sensors/w1").mkdir(exist_ok=True)
        self.is_writing.set()
        for thread in self.threads:
            thread.start()
        done = rig.tapline("intel", "add", "-c", self.config_of_redis(), EVIL)
        assert done.returncode == 0, done.stderr
        self.supervise()
        for one in self.processes.values():
            one.start()
        for name in ("down", "silent", "lonely"):
            self[name].wait_for_all()
        self.prometheus = Prometheus(self.folder / "prometheus", {name: one.port for name, one in self.processes.items()})
        return self

    def config_of_redis(self):
        path = self.folder / "redis.yml"
        if not path.exists():
            rig.config_write(path, [], {"stdout": {}}, intel={"redis": {"urls": [self.redis.url]}})
        return path

    def supervise(self):
        lonely = self["lonely"]
        with open(self.folder / "supervise.log", "ab") as log:
            self.supervisor = subprocess.Popen(
                [str(rig.TAPLINE), "supervise", "--socket", str(lonely.supervisor_socket), "--state", str(self.folder / "supervise")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"TAPLINE_TEST": str(lonely.run)})

    def write_on(self):
        """What goes on all the time: a sensor's log grows (until it falls silent), and connections come."""
        turn = 0
        while not self.is_over.wait(0.25):
            turn += 1
            if self.is_writing.is_set():
                with open(self["silent"].sensors / "w1/conn.log", "a") as log:
                    log.write("a line\n")
            if turn % 4 == 0:
                for name in (WELL, "denied", "missing", "fenced", "refused", "files", "stale"):
                    self[name].write(1)
            if turn % 4 == 0 and "fenced" in self.broken - self.mended:
                self.shut_out()

    def add_on(self):
        """Domains are added: the follower has to ask for each one's words, so that a step of it has two late answers."""
        while not self.is_over.wait(0.7):
            if "stale" in self.broken - self.mended:
                self.domains += 1
                rig.tapline("intel", "add", "-c", self.config_of_redis(), f"d{self.domains}.example.org")

    def shut_out(self):
        """Somebody else takes the transactional id of node `fenced`, again and again, and never says who it is."""
        from confluent_kafka import KafkaException, Producer

        node = re.search(r'"name": "(node-\w+)"', self["fenced"].config.read_text()).group(1)
        self.other = Producer({"bootstrap.servers": self.broker.address, "transactional.id": f"tapline/{node}", "log_level": 2})
        with contextlib.suppress(KafkaException):
            self.other.init_transactions(10)

    # ---- faults -------------------------------------------------------------------------------------------------------------

    def alter_topic(self, topic, key, value):
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

        entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        asked = self.broker._admin().incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])])
        for one in asked.values():
            one.result(20)

    def break_all(self):
        self.alter_topic("lines.health", "max.message.bytes", "10")
        self["missing"].write_dns()
        self["refused"].write_fat()
        files = self["files"]
        (files.folder / "dns.log").write_text((rig.SAMPLES / "zeek/dns.log").read_text())
        (files.folder / "dns.log").chmod(0)
        (files.folder / "dns.log").rename(files.logs / "dns.log")
        self.proxies["slow"].delay_s = SLOW_S
        self["slow"].write(ROWS_SLOW)
        self.proxies["stale"].delay_s = LATE_S
        self.flag.unlink()
        down = self["down"]
        down.call("stop", nodes=["late", "slow"])
        down.connect().send("start", nodes=["late", "slow"])
        self.is_writing.clear()
        self.supervisor.send_signal(signal.SIGKILL)
        self.supervisor.wait()
        self.broken |= set(self.processes)

    def mend(self, name):
        if name in self.mended:
            return
        self.mended.add(name)
        if name == "denied":
            denied = self["denied"]  # the cure that the problem has: correct the file and restart
            denied.close()
            denied.config.write_text(denied.config.read_text().replace(OLD_WORD, WORD))
            denied.start()
        elif name == "missing":
            self.broker.create_topic("missing.zeek.dns", 1)
        elif name == "lines":
            self.alter_topic("lines.health", "max.message.bytes", "1000000")
        elif name == "files":
            self["files"].state.chmod(0o700)
            (self["files"].logs / "dns.log").chmod(0o644)
        elif name in self.proxies:
            self.proxies[name].delay_s = 0.0
        elif name == "down":
            self.flag.touch()
        elif name == "silent":
            self.is_writing.set()
        elif name == "lonely":
            self.supervise()

    def close(self):
        self.is_over.set()
        for thread in self.threads:
            if thread.is_alive():
                thread.join(30)
        if hasattr(self, "prometheus"):
            self.prometheus.close()
        if self.supervisor is not None:
            self.supervisor.kill()
            self.supervisor.wait()


@contextlib.contextmanager
def closing(one):
    try:
        yield one
    finally:
        one.close()


# ---- the story -----------------------------------------------------------------------------------------------------------------


class Story:
    """What fired when: (alert, job) to its labels."""

    def __init__(self):
        self.before, self.during, self.after, self.took = {}, {}, {}, {}
        self.problems = ""

    def jobs_of(self, alert):
        return {job for name, job in self.during if name == alert}


def firing(world):
    return {(name, labels["job"].removeprefix("tapline-")): labels for name, labels in world.prometheus.firing()}


def told(world, story):
    """For who reads a failure: problems by what /metrics last had, and ends of logs."""
    rows = world.prometheus.query("tapline_problem_age_seconds")
    lines = [f"{row['metric']['job']}: {row['metric'].get('code')} {row['metric'].get('component')} {row['value'][1]}" for row in rows]
    logs = [f"--- {name}\n{one.log_text()[-1500:]}" for name, one in world.processes.items()]
    story.problems = "\n".join(lines + logs)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    for needed in ("java", "prometheus", "redis-server"):
        if shutil.which(needed) is None:
            assert os.environ.get("CI") != "true", f"{needed} must be there under CI=true"
            pytest.skip(f"NO {needed.upper()}: alerts are not fired here")
    made = Story()
    with contextlib.ExitStack() as stack:
        world = World(tmp_path_factory.mktemp("rare"), stack).start()
        everybody = {name: 1 for name in world.processes}

        def is_calm():
            ups = {row["metric"]["job"].removeprefix("tapline-"): int(row["value"][1]) for row in world.prometheus.query("up")}
            return ups == everybody and {job for _, job in firing(world)} <= {"denied"}

        with contextlib.suppress(AssertionError):
            rig.wait_for("calm", is_calm, ENDS_S, 0.5)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            made.before.update(firing(world))
            time.sleep(0.5)
        world.break_all()
        begun, broken = time.monotonic(), rig.own_time()
        while rig.own_time() < broken + FIRES_S and not set(RARE) <= {name for name, _ in made.during}:
            for key, labels in firing(world).items():
                made.during.setdefault(key, labels)
                made.took.setdefault(key, time.monotonic() - begun)
            if made.jobs_of("TaplineFileUnreadable"):
                world["files"].state.chmod(0o500)  # now: a file that is new would not even be opened
            time.sleep(0.5)
        told(world, made)
        for name in world.processes:
            world.mend(name)
        begun = time.monotonic()
        while time.monotonic() < begun + ENDS_S:
            made.after = {key: labels for key, labels in firing(world).items() if key != LASTS}
            if not made.after:
                break
            time.sleep(0.5)
        if made.after:
            told(world, made)
        made.ended = time.monotonic() - begun
        print({name: round(seconds, 1) for (name, _), seconds in made.took.items() if name in RARE}, f"quiet after {made.ended:.1f} s")
        yield made


def test_the_twelve_are_those_that_have_no_fault_yet():
    """Every alert is named by one of the two files, and none by none."""
    other = (rig.HERE / "test_alerts.py").read_text()
    assert {name for name in alerts() if f'"{name}"' not in other} <= set(RARE)
    assert set(RARE) <= set(alerts())


def test_all_is_quiet_before(story):
    assert {job for _, job in story.before} <= {"denied"}, (story.before, story.problems)


@pytest.mark.parametrize("alert", RARE)
def test_it_fires_by_its_fault(story, alert):
    job, wanted = RARE[alert]
    assert (alert, job) in story.during, f"{sorted(story.during)}\n{story.problems}"
    labels = story.during[alert, job]
    for name, value in wanted.items():
        assert labels.get(name, "").endswith(value.removeprefix("…")), (name, value, labels)
    assert story.jobs_of(alert) == {job}, "it fires where nothing is wrong"
    text = alerts()[alert]
    lacking = {name for name in re.findall(r"{{ \$labels\.(\w+)", text) if not labels.get(name)}  # others have a `with`
    assert not lacking, f"its text names {lacking}, which it does not have: {labels}"


def test_nothing_fires_that_does_not_follow(story):
    allowed = {("TaplinePositionsUnknown", "denied")} | {(alert, job) for alert, (job, _) in RARE.items()} | {(alert, job) for job, _ in RARE.values() for alert in FOLLOWS}
    assert set(story.during) <= allowed, (sorted(set(story.during) - allowed), story.problems)
    assert WELL not in {job for _, job in story.during}


def test_all_is_quiet_after_the_mending(story):
    assert not story.after, (sorted(story.after), story.problems)
