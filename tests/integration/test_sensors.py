"""Real sensors on a wire of their own (wire.py), kept by Main and the Supervisor, and shipped by `tapline run` beside them: Suricata,
and Zeek where it is on the PATH. What FACTS says of their ends is asked of them here.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import shutil
import signal
import time

import pytest

import rig
from serving import UP, Main, is_running, wait_until
from wire import LISTENS, TO, TO_PORT, serial_of, wire  # noqa: F401

SURICATA = """%YAML 1.1
---
vars:
  address-groups: {HOME_NET: "[10.0.0.0/8]", EXTERNAL_NET: any}
stats: {enabled: no}
logging:
  default-log-level: notice
  outputs:
    - console: {enabled: yes}
outputs:
  - eve-log: {enabled: yes, filetype: regular, filename: eve.json, types: [alert, flow]}
af-packet:
  - {interface: default, cluster-id: 99, cluster-type: cluster_flow, defrag: yes}
unix-command: {enabled: no}
runmode: workers
default-rule-path: FOLDER
rule-files: [test.rules]
classification-file: /etc/suricata/classification.config
reference-config-file: /etc/suricata/reference.config
"""
RULE = f'alert udp any any -> any {TO_PORT} (msg:"a datagram of the test"; content:"tapline "; sid:1000001; rev:1;)\n'
WATCHDOG = "5s"  # the shortest that is looked at


def of_eve(folder, what):
    """Serial numbers of the datagrams that there is an event of this type of."""
    with open(folder / "eve.json", encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    return {serial_of(one["src_ip"]) for one in events if one["event_type"] == what and one.get("dest_port") == TO_PORT}


class Suricata:
    name, inputs = "suricata", ("eve.json",)
    at_end = False  # an alert is written at once

    def __init__(self, folder):
        folder.mkdir()
        self.rules = folder / "test.rules"
        self.rules.write_text(RULE)
        self.config = folder / "suricata.yaml"
        self.config.write_text(SURICATA.replace("FOLDER", str(folder)))

    def node(self, **more):
        return {"name": "sensor", "type": "suricata", "interface": LISTENS, "args": ["-c", str(self.config)]} | more

    @staticmethod
    def is_of_datagram(document):
        return document["event"]["kind"] == "alert"

    @staticmethod
    def flushed(folder):
        """Serial numbers of datagrams whose flow was written: at its end it writes all that are open."""
        return of_eve(folder, "flow")


class Zeek:
    name, inputs = "zeek", ("conn*.log",)
    at_end = True  # a datagram's connection is written a minute after it, or at the end

    def __init__(self, folder):
        folder.mkdir()

    def node(self, **more):
        return {"name": "sensor", "type": "zeek", "interface": LISTENS, "args": ["-C"]} | more

    @staticmethod
    def is_of_datagram(document):
        return document["event"]["dataset"] == "zeek.connection" and document["destination"]["ip"] == TO

    @staticmethod
    def flushed(folder):
        found = set()
        for log in folder.glob("conn*.log"):
            lines = log.read_text().splitlines()
            at = next(line for line in lines if line.startswith("#fields")).split("\t").index("id.orig_h") - 1
            found |= {serial_of(line.split("\t")[at]) for line in lines if not line.startswith("#") and f"\t{TO}\t" in line}
        return found


def is_missing(kind):
    return shutil.which(kind.name) is None


@pytest.fixture(params=[Suricata, Zeek], ids=lambda kind: kind.name)
def kind(request):
    if is_missing(request.param):
        assert request.param is Zeek or os.environ.get("CI") != "true", f"{request.param.name} is not on the PATH"
        pytest.skip(f"{request.param.name} is not on the PATH")
    return request.param


class OnWire(Main):
    """Main and all it starts, at the wire."""

    def __init__(self, wire, *args, **more):
        self.wire = wire
        super().__init__(*args, **more)

    def command(self):
        return self.wire.run(super().command())


class Site:
    """A sensor, what ships its records, and a neighbour."""

    def __init__(self, kind, wire, folder):
        self.kind, self.wire, self.folder = kind(folder / "config"), wire, folder
        self.out = folder / "out.ndjson"
        self.sensor = folder / "main/sensors/sensor"
        inputs = [{"type": kind.name, "paths": [str(self.sensor / name) for name in kind.inputs]}]
        self.more = {"inputs": inputs, "sinks": {"file": {"path": str(self.out), "sync_interval": "50ms"}},
                     "ingest": {"checkpoint_interval": "100ms"}, "normalize": {"maps": str(rig.TOP / "configs")}}
        self.main = OnWire(wire, folder / "main")
        self.configure()

    def nodes(self, **sensor):
        quick = {"settle": "200ms", "stop_timeout": "20s", "restart_delay_min": "100ms", "restart_delay_max": "500ms"}
        return [self.kind.node(**(quick | {"watchdog": WATCHDOG} | sensor)),
                {"name": "neighbour", "type": "program", "command": ["sleep", "100000"]},
                {"name": "shipper", "type": "tapline", "command": ["run", "-c", str(self.main.config)], "ready": ["after 500ms"]}]

    def configure(self, **sensor):
        self.main.configure(self.nodes(**sensor), more=self.more)

    def start(self):
        self.main.start()
        self.main.wait_for_all()
        self.others = {name: pid for name, pid in self.main.pids().items() if name != "sensor"}
        return self

    def seen(self):
        """Serial numbers of datagrams that were shipped, each with how often."""
        if not self.out.exists():
            return collections.Counter()
        documents = [json.loads(line) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return collections.Counter(serial_of(d["source"]["ip"]) for d in documents if self.kind.is_of_datagram(d))

    def wait_seen(self, *serials, seconds=90):
        """Until each of them was shipped; at once each."""
        wanted = collections.Counter(number for one in serials for number in one)
        try:
            wait_until(lambda: not wanted - self.seen(), seconds)
        except AssertionError:
            lost = wanted - self.seen()
            raise AssertionError(f"{len(lost)} of {len(wanted)} are missing: {sorted(lost)[:5]}") from None
        assert not self.seen() - wanted, "some are there twice, or were never sent"

    def peace(self):
        rows = self.main.status()
        for name, pid in self.others.items():
            assert rows[name]["pid"] == pid and rows[name]["starts"] == 1 and is_running(pid), rows[name]

    def close(self):
        self.main.close()


@pytest.fixture
def site(kind, wire, tmp_path):  # noqa: F811
    made = Site(kind, wire, tmp_path)
    yield made
    made.close()


def test_a_life(site):
    """Ready when it listens; killed and started again; stopped with everything flushed; shipped to the last record."""
    site.start()
    first = range(0, 500)
    site.wire.send(first.start, first.stop)  # the first datagrams after ready count
    if not site.kind.at_end:
        site.wait_seen(first)
    before = site.main.status()["sensor"]
    assert before["starts"] == 1 and before["interface"] == LISTENS

    os.kill(before["pid"], signal.SIGKILL)
    row = wait_until(lambda: (r := site.main.status()["sensor"])["state"] in UP and r["pid"] != before["pid"] and r)
    assert row["deaths"] == 1 and row["starts"] == 2
    report = wait_until(lambda: site.main.call("diag.list")["reports"])[0]
    text = site.main.call("diag.show", report=report["name"])["text"]
    assert report["node"] == "sensor" and "KILL" in text and site.kind.name in text

    second = range(10_000, 10_500)
    site.wire.send(second.start, second.stop)
    if not site.kind.at_end:
        site.wait_seen(first, second)
    time.sleep(6)  # the last of them through its rings
    assert all(node["ok"] for node in site.main.call("stop", nodes=["sensor"])["nodes"])
    row = site.main.status()["sensor"]
    assert row["state"] == "down" and row["last_end"] == "exit 0", row
    assert set(second) <= site.kind.flushed(site.sensor), "what was open is written at its end"
    site.wait_seen(*([second] if site.kind.at_end else [first, second]))
    site.peace()


def test_main_and_the_supervisor_are_killed_while_it_works(site):
    """What a sensor sees meanwhile is written, and shipped, as if nothing had happened."""
    site.start()
    sensor = site.main.pids()["sensor"]
    numbers = range(0, 4000)
    sender = site.wire.sender(numbers.start, numbers.stop, 1000)
    for turn in range(6):
        time.sleep(0.2)
        if turn % 2:
            site.main.kill_supervisor()
        site.main.kill()
        site.main.start()
        row = site.main.status()["sensor"]
        assert row["pid"] == sensor and row["starts"] == 1 and row["state"] in UP
    assert sender.wait(60) == 0
    if not site.kind.at_end:
        site.wait_seen(numbers)
    time.sleep(6)  # the last of them through its rings
    site.main.call("stop", nodes=["sensor"])
    assert set(numbers) <= site.kind.flushed(site.sensor)
    site.wait_seen(numbers)
    site.peace()


def test_a_wire_that_is_cut_and_mended(site):
    """Silence while nothing comes is no fault. When its interface is gone this is said, and it is left alone; when it is there
    again it sees packets again, by itself or because it is started again."""
    site.start()
    client = site.main.client()
    client.subscribe()
    pid = site.main.pids()["sensor"]
    time.sleep(11)  # two looks of the watchdog at an idle wire
    row = site.main.status()["sensor"]
    assert row["pid"] == pid and row["starts"] == 1, f"an idle sensor is no stuck one: {row}"

    site.wire.cut()
    told = client.wait_for_event(lambda e: e.get("name") == "sensor" and LISTENS in f"{e.get('text')} {e.get('reason')}", 120)
    assert "gone" in f"{told.get('text')} {told.get('reason')}", told
    site.wire.mend()
    numbers, sent = range(20_000, 2_000_000), 20_000

    def sees():
        nonlocal sent
        site.wire.send(sent, sent + 20)
        sent += 20
        if site.kind.at_end:  # nothing to be seen of it yet: it was started again, or it would not
            return site.main.status()["sensor"]["starts"] > 1
        return any(number in numbers for number in site.seen())

    wait_until(sees, 120, every=0.5)
    assert site.main.wait_for("sensor", UP)["pid"]
    site.peace()


def test_what_cannot_work_is_not_deployed_and_what_cannot_listen_is_said(site):
    site.start()
    pid = site.main.pids()["sensor"]
    site.configure(args=["-c", "/does/not/exist.yaml"] if site.kind.name == "suricata" else ["/does/not/exist.zeek"])
    result = site.main.call("deploy")
    assert result["ok"] is False, result
    assert "/does/not/exist" in json.dumps(result), "its own words say why"
    row = site.main.status()["sensor"]
    assert row["pid"] == pid and row["state"] in UP, "what runs is left as it is"

    site.configure(interface="nosuch0", ready_timeout="10s", restart_deaths_max=2)
    result = site.main.call("deploy")
    assert result["ok"] is False, result
    assert "nosuch0" in json.dumps(result), "the sensor's own words say why"
    row = site.main.wait_for("sensor", UP)
    assert row["interface"] == LISTENS, "rolled back to what listened"
    site.wire.send(0, 100)
    if not site.kind.at_end:
        site.wait_seen(range(0, 100))
    site.peace()


def test_it_is_stopped_before_what_ships_its_records(site):
    site.start()
    sender = site.wire.sender(0, 9000, 3000)
    time.sleep(1.5)
    client = site.main.connect(site.main.supervisor_socket)
    client.call("events.subscribe")
    site.main.call("stop")
    client.call("hello")  # what was told before has come
    downs = [e["name"] for e in client.events if e.get("to") == "down"]
    assert downs == ["sensor", "neighbour", "shipper"], downs
    sender.wait(60)
    flushed = site.kind.flushed(site.sensor)
    assert len(flushed) > 100
    shipped = set(site.seen())
    assert shipped >= (flushed if site.kind.at_end else of_eve(site.sensor, "alert")), "the last lines were shipped"
