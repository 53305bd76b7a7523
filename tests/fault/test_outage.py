"""Kafka is away for long, while the sensor goes on: the log on disk is the buffer. Memory stays inside its cap, waiting costs
no CPU, the transaction that was open runs out of time at the broker, and afterwards all is there, once.

90 s in CI; with TAPLINE_LONG=1 (`make storm`) 10 minutes and an hour.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import signal
import statistics
import threading
import time

import pytest

import judge
import rig
from fast_sensor import BLOCK, Sensor

OUTAGES = [600, 3600] if rig.IS_LONG else [90]
BATCHES = 16  # pipeline.batches, by default
# docs/guide.rst, Sizing: a batch is at most 1.3 MiB of text read and the documents made of it (here below 5 MiB); what is not
# a batch (maps, librdkafka, the program) is below 64 MiB.
RSS_CAP_KIB = (BATCHES * 13 // 10 + BATCHES * 5 + 64) * 1024
CPU_CAP = 0.05  # of one


class Gauge(threading.Thread):
    """The most memory a process has had, looked at often."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_of, self.highest, self.is_over = run, 0, False

    def now(self):
        text = pathlib.Path(f"/proc/{self.run_of.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1))

    def run(self):
        while not self.is_over and self.run_of.process.poll() is None:
            self.highest = max(self.highest, self.now())
            time.sleep(0.1)

    def end(self):
        self.is_over = True
        self.join()


class Load(threading.Thread):
    """A block every `pause` seconds until told to halt."""

    def __init__(self, sensor, pause):
        super().__init__(daemon=True)
        self.sensor, self.pause, self.halt = sensor, pause, threading.Event()

    def run(self):
        while not self.halt.wait(self.pause):
            self.sensor.wanted.put(1)

    def end(self):
        self.halt.set()
        self.join()
        return self.sensor.finish()


@pytest.fixture
def sensor(tmp_path):
    (tmp_path / "logs").mkdir()
    made = Sensor(tmp_path / "logs", 100)
    made.start()
    yield made
    made.finish()


def outage_config(folder, broker, prefix, timeout="20s"):
    return rig.config_write(folder / "tapline.yml", [{"type": "zeek", "paths": [str(folder / "logs/conn*.log")]}],
                            judge.kafka_sink(broker, prefix, transaction_timeout=timeout))


def all_there(seen, records):
    seen.read(settle=0)
    return seen.distinct() >= records


def cpu_share(run, seconds):
    """Of one CPU, that it uses during so many seconds."""
    began, before = time.monotonic(), run.cpu_ticks()
    time.sleep(seconds)
    return (run.cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)


@pytest.mark.parametrize("seconds", OUTAGES)
def test_kafka_is_away_and_the_log_on_disk_is_the_buffer(own_broker, sensor, tmp_path, runs, seconds):
    run = runs(outage_config(tmp_path, own_broker, "outage"))
    run.wait_log('"started"')
    gauge = Gauge(run)
    time.sleep(1)
    rest = gauge.now()
    gauge.start()
    load = Load(sensor, 0.25)
    load.start()
    with judge.Judge(own_broker, "outage") as seen:
        run.wait_for("the first records", lambda: all_there(seen, 5 * BLOCK), 60)
        for _ in range(20):  # a burst, so that a transaction is open when the broker goes
            sensor.wanted.put(1)
        time.sleep(0.3)
        loaded = gauge.highest
        own_broker.kill()
        began = time.monotonic()
        while time.monotonic() < began + seconds / 3:
            time.sleep(0.5)
            assert run.process.poll() is None, f"ended by itself with {run.process.returncode}:\n{run.log()}"
        cpu = statistics.median(cpu_share(run, seconds / 9) for _ in range(6))
        assert run.process.poll() is None, f"ended by itself with {run.process.returncode}:\n{run.log()}"
        away = gauge.highest
        own_broker.start()
        back = time.monotonic()
        records = load.end()
        run.wait_for(f"{records} records", lambda: all_there(seen, records), 120 + seconds / 2)
        took = time.monotonic() - back
        run.stop()
        gauge.end()
        seen.read()
        print(f"outage of {seconds} s: {records} records, {seen.records} seen, all there {took:.0f} s after; RSS KiB: {rest} at "
              f"rest, {loaded} under load, {away} while away, {gauge.highest} at most, cap {RSS_CAP_KIB}; CPU while away {cpu:.4f}")
        print(run.log())
        seen.assert_whole(records)
    assert gauge.highest <= RSS_CAP_KIB
    assert cpu <= CPU_CAP


def test_a_broker_that_answers_nobody_for_longer_than_a_transaction_lasts(own_broker, sensor, tmp_path, runs):
    """It is there, but frozen: connections stay open, requests run out of time."""
    run = runs(outage_config(tmp_path, own_broker, "numb", "8s"))
    load = Load(sensor, 0.25)
    load.start()
    with judge.Judge(own_broker, "numb") as seen:
        run.wait_for("the first records", lambda: all_there(seen, 5 * BLOCK), 60)
        os.kill(own_broker.pid(), signal.SIGSTOP)
        time.sleep(14)
        os.kill(own_broker.pid(), signal.SIGCONT)
        records = load.end()
        run.wait_for(f"{records} records", lambda: all_there(seen, records), 120)
        run.stop()
        seen.read()
        seen.assert_whole(records)


def test_started_while_kafka_is_away(own_broker, sensor, tmp_path, runs):
    """It waits, says so, and begins by itself; what was written before is not forgotten, nor what an earlier run delivered."""
    config = outage_config(tmp_path, own_broker, "late")
    sensor.wanted.put(5)
    rig.wait_for("the log", lambda: sensor.records >= 5 * BLOCK)
    rig.run_once(config)
    own_broker.kill()
    sensor.wanted.put(5)
    run = runs(config)
    run.wait_log(own_broker.address.rsplit(":", 1)[1], timeout=60)  # who it waits for
    # A busy machine makes all of it dearer for a while, and its start may not be over; who spins does so each time.
    shares = []
    while not shares or len(shares) < 6 and shares[-1] > CPU_CAP:
        shares.append(cpu_share(run, 3))
    assert shares[-1] <= CPU_CAP, shares
    own_broker.start()
    records = sensor.finish()
    with judge.Judge(own_broker, "late") as seen:
        run.wait_for(f"{records} records", lambda: all_there(seen, records), 120)
        run.stop()
        seen.read()
        seen.assert_whole(records)
