"""Looking back: what a new indicator names of what was seen before is told, once, also over kills, restarts and re-adds.
SPDX-License-Identifier: Apache-2.0
"""
import ipaddress
import json
import random
import struct
import time

import pytest

import rig
from test_intel_run import Conns, enrichments, intel, redis_at
from test_intel_run import config as config_without

LATE, NETWORK, CLEAN = "203.0.113.77", "203.0.113.64/27", "198.51.100.1"
WITHIN = 60  # seconds, as promised
PATIENCE_S = 3 * WITHIN  # where it is not the time that is judged


def config(tmp_path, log, **more):
    return config_without(tmp_path, log, **{"lookback": {"days": 30}, **more})


class Told:
    """Documents of the sink's file: those of sensors, counted, and those of looking back."""

    def __init__(self, path):
        self.path, self.at, self.sensor, self.retro = path, 0, 0, []

    def read(self):
        if self.path.exists():
            with open(self.path, "rb") as lines:
                lines.seek(self.at)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self.at += len(line)
                    document = json.loads(line)
                    if document["event"]["dataset"] == "tapline.retro_match":
                        self.retro.append(document)
                    else:
                        assert document["event"].get("kind") != "pipeline_error", document
                        self.sensor += 1
        return self

    def of(self, name):
        return [document for document in self.read().retro if name == name_of(document)]


def name_of(document):
    return document["tapline"]["retro_match"]["indicator"]


@pytest.fixture
def conns(tmp_path):
    return Conns(tmp_path / "conn.log")


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "out.ndjson")




def test_what_was_seen_before_is_told_once(redis_server, runs, tmp_path, conns, told):
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    run = runs(path, "--json")
    run.wait_log("indicators that come from now on")
    conns.write(*([CLEAN, LATE] * 20))
    run.wait_for("all documents", lambda: told.read().sensor == 40)
    intel("add", LATE, "--confidence", "8", "-d", "C2 of case 42", path=path)
    added = time.monotonic()
    run.wait_for("what was seen before", lambda: told.of(LATE), PATIENCE_S)
    took = time.monotonic() - added
    assert took < WITHIN
    (document,) = told.of(LATE)
    assert document["tapline"]["retro_match"]["count"] == 20
    assert document["tapline"]["retro_match"]["ip"] == LATE
    assert len(document["tapline"]["retro_match"]["records"]) == 3
    assert document["event"]["start"] <= document["event"]["end"] <= document["@timestamp"]
    assert LATE in document["related"]["ip"] and len(document["zeek"]["session_id"]) == 3
    assert document["event"]["kind"] == "alert" and document["message"].startswith(f"new indicator: {LATE} was seen 20 times from ")
    assert not {"_path", "uids"} & document["tapline"]["retro_match"].keys()
    (found,) = enrichments(document)
    assert found["indicator"]["ip"] == LATE and found["indicator"]["description"] == "C2 of case 42"
    assert "intel_match" in document["tags"]

    # A network that holds it is another indicator; the same one again is not.
    intel("rm", LATE, path=path)
    intel("add", LATE, path=path)
    intel("add", NETWORK, path=path)
    run.wait_for("the network's", lambda: told.of(NETWORK), PATIENCE_S)
    time.sleep(1)
    assert len(told.of(LATE)) == 1 and len(told.of(NETWORK)) == 1
    run.stop()
    summary = json.loads(run.stdout)
    ledger = rig.tapline("ledger", "-c", path)  # our own log's records are in it as all others
    assert ledger.returncode == 0 and "retro_match" in ledger.stdout, ledger.stdout + ledger.stderr
    assert summary["counters"]["lookback.matches"] == 2 and summary["counters"]["lookback.seen"] >= 80

    # While nothing runs one comes: the next start looks for it.
    intel("add", CLEAN, path=path)
    again = runs(path, "--json")
    again.wait_for("what came meanwhile", lambda: told.of(CLEAN), PATIENCE_S)
    again.stop()
    assert [len(told.of(name)) for name in (LATE, NETWORK, CLEAN)] == [1, 1, 1]
    assert len({document["event"]["id"] for document in told.retro}) == len(told.retro) == 3


def test_files_of_this_process_that_change(runs, tmp_path, conns, told):
    listed = tmp_path / "list.txt"
    listed.write_text("192.0.2.1\n")
    path = config(tmp_path, conns.path, files=[str(listed)])
    run = runs(path)
    conns.write(*([CLEAN, LATE] * 20))
    run.wait_for("all documents", lambda: told.read().sensor == 40)
    listed.write_text("192.0.2.1\n" + LATE + "\n")
    run.wait_for("what was seen before", lambda: told.of(LATE), PATIENCE_S)
    run.stop()
    assert len(told.read().retro) == 1 and enrichments(told.retro[0])


def test_what_is_allowed_is_not_told(redis_server, runs, tmp_path, conns, told):
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    run = runs(path)
    run.wait_log("indicators that come from now on")
    conns.write(*([CLEAN, LATE] * 20))
    run.wait_for("all documents", lambda: told.read().sensor == 40)
    intel("allow", LATE, path=path)
    intel("add", NETWORK, path=path)
    intel("add", CLEAN, path=path)
    run.wait_for("the other", lambda: told.of(CLEAN), PATIENCE_S)
    run.stop()
    assert [name_of(document) for document in told.read().retro] == [CLEAN]


def test_the_sensor_is_named(redis_server, runs, tmp_path, told):
    """node.name, and what all inputs say alike, on what is told; one that an input says of itself alone is not."""
    inputs = []
    for i, more in enumerate(({"event.x": "one"}, {"event.x": "two"})):
        conns = Conns(tmp_path / f"conn{i}.log")
        conns.write(CLEAN, LATE)
        inputs.append({"type": "zeek", "paths": [str(conns.path)], "fields": {"labels.site": "north", **more}})
    sinks = {"file": {"path": str(tmp_path / "out.ndjson"), "sync_interval": "50ms"}}
    path = rig.config_write(tmp_path / "tapline.yml", inputs, sinks, intel=redis_at(redis_server))
    run = runs(path)
    run.wait_log("indicators that come from now on")
    run.wait_for("all documents", lambda: told.read().sensor == 4)
    intel("add", LATE, path=path)
    run.wait_for("what was seen before", lambda: told.of(LATE), PATIENCE_S)
    run.stop()
    (document,) = told.retro
    assert document["observer"]["name"] == json.loads(path.read_text())["node"]["name"] and document["observer"]["product"] == "tapline"
    assert document["labels"]["site"] == "north" and "x" not in document["event"]


def test_old_logs_are_not_looked_back_at_unless_asked(redis_server, tmp_path, conns):
    conns.write(*([CLEAN, LATE] * 20))
    for lookback, kept in ((None, False), ({"days": 30}, True)):
        state = tmp_path / f"state-{kept}"
        more = {} if lookback is None else {"lookback": lookback}
        path = rig.config_write(tmp_path / f"{kept}.yml", [{"type": "zeek", "paths": [str(conns.path)]}],
                                {"file": {"path": str(tmp_path / f"{kept}.ndjson")}}, node={"state": str(state)},
                                intel={**redis_at(redis_server), **more})
        done = rig.tapline("run", "--once", "-c", path)
        assert done.returncode == 0, done.stderr
        assert bool(list(state.glob("seen/*.seen"))) == kept


def seen_in(state):
    """(observables, how often they were seen), as the footers of all files say."""
    totals = [struct.unpack(">11Q", path.read_bytes()[-88:])[3:5] for path in state.glob("seen/*.seen")]
    return tuple(map(sum, zip(*totals)))


@pytest.mark.parametrize("memory", ["1MiB", "64MiB"])
def test_what_is_not_kept_is_said(tmp_path, conns, memory):
    """Thousands of new addresses a millisecond: what tables have no room for is counted, and nothing else is missing."""
    listed = tmp_path / "list.txt"
    listed.write_text("192.0.2.1\n")
    conns.write(*(f"100.64.{i >> 8}.{i & 255}" for i in range(60_000)))
    path = config(tmp_path, conns.path, files=[str(listed)], lookback={"days": 30, "memory": memory})
    done = rig.tapline("run", "--once", "--json", "-c", path)
    assert done.returncode == 0, done.stderr
    counters = json.loads(done.stdout)["counters"]
    different, times = seen_in(tmp_path / "state")
    left_out = counters["lookback.left_out"]
    assert counters["lookback.seen"] == 120_000 and times + left_out == 120_000
    assert different + left_out >= 60_000  # and those who ask
    assert left_out == 0 or memory == "1MiB"  # a disk that is quick enough keeps all even then
    assert (f"{left_out} observables are not kept for looking back" in done.stderr) == (left_out > 0)


def test_nothing_is_kept_if_nobody_wants_it(redis_server, runs, tmp_path, conns, told):
    path = config(tmp_path, conns.path, lookback={"days": 0}, **redis_at(redis_server))
    run = runs(path)
    conns.write(*([CLEAN, LATE] * 20))
    run.wait_for("all documents", lambda: told.read().sensor == 40)
    run.stop()
    assert not list(tmp_path.glob("**/seen")) and not list(tmp_path.glob("**/own"))


def test_killed_again_and_again(redis_server, runs, tmp_path, conns, told):
    """Ten indicators of what was seen before, one after the other, while the process is killed at any moment: each stands once
    in the log, and arrives."""
    path = config(tmp_path, conns.path, lookback={"write_every": "1s"}, **redis_at(redis_server))
    hosts = [str(host) for host in list(ipaddress.ip_network("203.0.113.0/24").hosts())[:10]]
    run = runs(path)
    run.wait_log("indicators that come from now on")
    conns.write(*(hosts * 10))
    run.wait_for("all documents", lambda: told.read().sensor == 100)
    run.wait_for("what was seen on the disk", lambda: seen_in(tmp_path / "state")[1:] == (200,))
    chance = random.Random(20261121)
    for host in hosts:
        intel("add", host, path=path)
        time.sleep(chance.uniform(0, 9))
        run.kill()
        run = runs(path)
    run.wait_for("all ten", lambda: all(told.of(host) for host in hosts), PATIENCE_S)
    run.wait_log("intelligence is ready")  # a stop before it begins would not be taken
    run.stop()
    lines = [json.loads(line) for log in tmp_path.glob("**/own/retro_match.log*") for line in log.read_text().splitlines()]
    assert sorted(line["indicator"] for line in lines) == sorted(hosts)
    assert len({line["id"] for line in lines}) == 10
    offsets = {(document["event"]["id"], document["log"]["offset"]) for document in told.read().retro}
    assert len(offsets) == 10  # the sink's file may have one twice after a kill; it is the same record then


def seen_addresses(count):
    return [str(ipaddress.ip_address("198.18.0.0") + i) for i in range(count)]


def test_ten_thousand_at_once(redis_server, runs, tmp_path, conns, told):
    """As many as are promised within a minute, of each of which something was seen: all are told in that time, each once."""
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    hosts = seen_addresses(10000)
    run = runs(path, "--json")
    run.wait_log("indicators that come from now on")
    conns.write(*(hosts + hosts))
    run.wait_for("all documents", lambda: told.read().sensor == 20000)
    (tmp_path / "list.txt").write_text("".join(host + "\n" for host in hosts))
    intel("load", str(tmp_path / "list.txt"), path=path)
    added = time.monotonic()
    run.wait_for("all of them", lambda: len(told.read().retro) >= len(hosts), WITHIN)
    print(f"10,000 new indicators: told within {time.monotonic() - added:.1f} s")
    time.sleep(1)
    run.stop()
    assert sorted(map(name_of, told.read().retro)) == sorted(hosts)
    for document in told.retro:
        assert document["tapline"]["retro_match"]["count"] == 2 and enrichments(document), document
    counters = json.loads(run.stdout)["counters"]
    assert counters["lookback.asked"] == 10000 and counters["lookback.unasked"] == counters["lookback.gaps"] == 0


def test_what_comes_while_it_is_down_is_the_first_that_ever_came(redis_server, runs, tmp_path, conns, told):
    """It began on a database without a key, so that there was no epoch yet, and is killed; then comes the first load of all."""
    path = config(tmp_path, conns.path, lookback={"write_every": "1s"}, sightings_every="0s", **redis_at(redis_server))
    hosts = seen_addresses(10)
    run = runs(path)
    run.wait_log("indicators that come from now on")
    conns.write(*hosts)
    run.wait_for("all documents", lambda: told.read().sensor == len(hosts))
    run.wait_for("what was seen on the disk", lambda: seen_in(tmp_path / "state")[1:] == (2 * len(hosts),))
    run.kill()
    (tmp_path / "list.txt").write_text("".join(host + "\n" for host in hosts))
    intel("load", str(tmp_path / "list.txt"), path=path)
    run = runs(path)
    run.wait_for("all of them", lambda: len(told.read().retro) >= len(hosts), PATIENCE_S)
    assert sorted(map(name_of, told.read().retro)) == sorted(hosts)


def test_killed_while_many_wait(redis_server, runs, tmp_path, conns, told):
    """Thirty thousand come at once, and the process is killed again and again while they wait, are looked for and are told: each
    of those that were seen stands once in the log."""
    path = config(tmp_path, conns.path, lookback={"write_every": "1s"}, sightings_every="0s", **redis_at(redis_server))
    hosts = seen_addresses(30000)
    seen = hosts[::10]
    run = runs(path)
    run.wait_log("indicators that come from now on")
    conns.write(*seen)
    run.wait_for("all documents", lambda: told.read().sensor == len(seen))
    run.wait_for("what was seen on the disk", lambda: seen_in(tmp_path / "state")[1:] == (2 * len(seen),))
    (tmp_path / "list.txt").write_text("".join(host + "\n" for host in hosts))
    intel("load", str(tmp_path / "list.txt"), path=path)
    chance = random.Random(20261122)
    for _ in range(8):
        run.kill()
        run = runs(path, "--json")
        run.wait_log("intelligence is ready")
        time.sleep(chance.uniform(0, 2.5))
    run.wait_for("all of them", lambda: len(set(map(name_of, told.read().retro))) == len(seen), PATIENCE_S)
    run.stop()
    lines = [json.loads(line) for log in tmp_path.glob("**/own/retro_match.log*") for line in log.read_text().splitlines()]
    assert sorted(line["indicator"] for line in lines) == sorted(seen)
    assert json.loads(run.stdout)["counters"]["lookback.gaps"] == 0
    offsets = {(document["event"]["id"], document["log"]["offset"]) for document in told.read().retro}
    assert len(offsets) == len(seen)


def test_a_burst_of_a_foreign_writer(redis_server, runs, tmp_path, conns, told):
    """Forty thousand as the reference says that others may write them, one change an entry, as fast as that goes, into a
    stream that keeps ten thousand: none is skipped."""
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    hosts = seen_addresses(40000)
    watched = hosts[::400]
    run = runs(path, "--json")
    run.wait_log("indicators that come from now on")
    conns.write(*watched)
    run.wait_for("all documents", lambda: told.read().sensor == len(watched))
    client = redis_server.client()
    for at in range(0, len(hosts), 500):
        pipe = client.pipeline(transaction=False)
        for host in hosts[at:at + 500]:
            pipe.hset(f"intel:ip:{host}", "other/feed", "{}")
            pipe.xadd("intel:changes", {"add": f"ip:{host}"}, maxlen=10000, approximate=True)
        pipe.execute()
        time.sleep(0.3)  # who follows may be five seconds without a core before the stream has gone past it
    run.wait_for("all that were seen", lambda: len(told.read().retro) >= len(watched), PATIENCE_S)
    run.stop()
    assert sorted(map(name_of, told.read().retro)) == sorted(watched)
    counters = json.loads(run.stdout)["counters"]
    assert counters["lookback.asked"] == 40000 and counters["lookback.gaps"] == 0
