"""Looking back: what a new indicator names of what was seen before is told, once, also over kills, restarts and re-adds.
SPDX-License-Identifier: Apache-2.0
"""
import ipaddress
import json
import random
import time

import pytest

import rig
from test_intel_run import Conns, enrichments, intel, redis_at
from test_intel_run import config as config_without

LATE, NETWORK, CLEAN = "203.0.113.77", "203.0.113.64/27", "198.51.100.1"
WITHIN = 60  # seconds, as promised


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
    run.wait_for("what was seen before", lambda: told.of(LATE), WITHIN)
    took = time.monotonic() - added
    assert took < WITHIN
    (document,) = told.of(LATE)
    assert document["tapline"]["retro_match"]["count"] == 20
    assert document["tapline"]["retro_match"]["ip"] == LATE
    assert len(document["tapline"]["retro_match"]["records"]) == 3
    assert document["event"]["start"] <= document["event"]["end"] <= document["@timestamp"]
    assert LATE in document["related"]["ip"] and len(document["zeek"]["session_id"]) == 3
    (found,) = enrichments(document)
    assert found["indicator"]["ip"] == LATE and found["indicator"]["description"] == "C2 of case 42"
    assert "intel_match" in document["tags"]

    # A network that holds it is another indicator; the same one again is not.
    intel("rm", LATE, path=path)
    intel("add", LATE, path=path)
    intel("add", NETWORK, path=path)
    run.wait_for("the network's", lambda: told.of(NETWORK), WITHIN)
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
    again.wait_for("what came meanwhile", lambda: told.of(CLEAN), WITHIN)
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
    run.wait_for("what was seen before", lambda: told.of(LATE), WITHIN)
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
    run.wait_for("the other", lambda: told.of(CLEAN), WITHIN)
    run.stop()
    assert [name_of(document) for document in told.read().retro] == [CLEAN]


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
    time.sleep(3)  # more than write_every: on the disk
    chance = random.Random(20261121)
    for host in hosts:
        intel("add", host, path=path)
        time.sleep(chance.uniform(0, 9))
        run.kill()
        run = runs(path)
    run.wait_for("all ten", lambda: all(told.of(host) for host in hosts), 2 * WITHIN)
    run.stop()
    lines = [json.loads(line) for log in tmp_path.glob("**/own/retro_match.log*") for line in log.read_text().splitlines()]
    assert sorted(line["indicator"] for line in lines) == sorted(hosts)
    assert len({line["id"] for line in lines}) == 10
    offsets = {(document["event"]["id"], document["log"]["offset"]) for document in told.read().retro}
    assert len(offsets) == 10  # the sink's file may have one twice after a kill; it is the same record then
