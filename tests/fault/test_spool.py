"""Kafka is away, the sensor goes on, and rotation takes away what was not read: the spool's copies may be all that is left of
it. They outlive a kill -9 and a start while Kafka is still away, and what is in them arrives once.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import signal
import time

import pytest

import judge
import rig
from fast_sensor import BLOCK, Sensor

COPIED = "rotated file copied to the spool"
FILE_BLOCKS = 5  # 1.6 MB, more than a batch
ROTATED = 8      # files, much more than four batches hold


@pytest.fixture
def sensor(tmp_path):
    (tmp_path / "logs").mkdir()
    made = Sensor(tmp_path / "logs", FILE_BLOCKS)
    made.start()
    yield made
    made.finish()


def write(sensor, blocks):
    wanted = sensor.records + blocks * BLOCK
    sensor.wanted.put(blocks)
    rig.wait_for("the sensor", lambda: sensor.records == wanted)


def logs_open(run, folder):
    """The names of the logs that it holds open; one that is gone has " (deleted)" behind it."""
    links = [os.path.realpath(fd) for fd in pathlib.Path(f"/proc/{run.pid}/fd").iterdir()]
    return {pathlib.Path(link).name for link in links if link.startswith(f"{folder}/")}


def copies_in(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_size) for path in folder.glob("*.gz")}


class Outage:
    """A tapline, a broker that was killed under load, and files that were rotated since, all of them open and none of them
    committed to its end."""

    def __init__(self, broker, sensor, folder, runs, seen):
        self.broker, self.sensor, self.runs, self.seen, self.logs = broker, sensor, runs, seen, sensor.folder
        self.spool = folder / "state/spool"
        self.config = rig.config_write(
            folder / "tapline.yml", [{"type": "zeek", "paths": [str(self.logs / "conn*.log")]}],
            judge.kafka_sink(broker, "spool"), pipeline={"batches": 4}, spool={"after": "1s"},
            ingest={"checkpoint_interval": "50ms", "scan_interval": "100ms", "close_after": "300ms"})
        self.run = runs(self.config)
        write(sensor, 1)
        self.wait_records(BLOCK)
        write(sensor, FILE_BLOCKS - 2)
        time.sleep(0.03)  # so that a transaction is under way
        os.kill(broker.pid(), signal.SIGKILL)
        write(sensor, ROTATED * FILE_BLOCKS - sensor.records // BLOCK)
        broker.kill()
        rig.wait_for("the last rotation", lambda: len(list(self.logs.glob("conn.*.log"))) == ROTATED)
        self.rotated = sorted(self.logs.glob("conn.*.log"))
        names = {path.name for path in self.rotated}
        self.run.wait_for("all that was rotated to be open", lambda: names <= logs_open(self.run, self.logs))

    def wait_records(self, count):
        def have_come():
            self.seen.read(settle=0)
            return self.seen.distinct() >= count

        self.run.wait_for(f"{count} records", have_come, 90)

    def kill_and_start(self):
        """While Kafka is still away."""
        self.run.kill()
        print(self.run.log())  # shown if the test fails
        before = copies_in(self.spool)
        assert before
        self.run = self.runs(self.config)
        self.run.wait_log("broker trouble")
        write(self.sensor, 2 * FILE_BLOCKS)
        time.sleep(1.5)
        assert copies_in(self.spool) == before, "Kafka has not answered yet: no copy comes or goes"

    def end(self):
        """Kafka is back: all is there once, tapline itself proves it, and the spool is empty."""
        self.broker.start()
        records = self.sensor.finish()
        self.wait_records(records)
        self.run.wait_for("an empty spool", lambda: not list(self.spool.iterdir()), 60)
        self.run.stop()
        self.seen.read()
        self.seen.assert_whole(records)
        assert sorted(file.end for file in self.seen.generations.values()) == sorted(self.sensor.sizes())
        proof = rig.tapline("verify", "-c", self.config)
        assert proof.returncode == 0, proof.stdout + proof.stderr
        rig.run_once(self.config)
        self.seen.read()
        assert self.seen.records == records, "another start delivered something again"


@pytest.fixture
def outage(own_broker, sensor, tmp_path, runs):
    with judge.Judge(own_broker, "spool") as seen:
        made = Outage(own_broker, sensor, tmp_path, runs, seen)
        yield made
        print(made.run.log())


def test_what_was_deleted_arrives_once_from_its_copy(outage):
    for path in outage.rotated:
        path.unlink()
    outage.run.wait_log(COPIED)
    outage.run.wait_for(f"{ROTATED} copies", lambda: len(copies_in(outage.spool)) == ROTATED, 60)
    outage.run.wait_for("their disk space to be free", lambda: logs_open(outage.run, outage.logs) == {"conn.log"}, 60)
    outage.kill_and_start()
    outage.end()


def test_killed_between_copies_what_was_renamed_arrives_once(outage):
    """Some have a copy, some not, one may have a half; all are still there, under names that no glob matches."""
    for path in outage.rotated:
        path.rename(path.with_name("old-" + path.name))
    outage.run.wait_log(COPIED)
    outage.kill_and_start()
    outage.end()
