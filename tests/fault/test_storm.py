"""The storm: a sensor writes as fast as it can, while tapline is killed by SIGKILL at random and brokers stop, die and come
back. Each record is there once, in order, with spans that join. And who is the node's one and only instance.

In CI: 300 thousand records, 12 kills, two restarts of a broker and one of three killed. `make storm` (TAPLINE_LONG=1): ten
million records, 100 kills, ten restarts. TAPLINE_SEED repeats a storm as far as chance goes.
SPDX-License-Identifier: Apache-2.0
"""
import os
import random
import signal
import threading
import time

import pytest

import judge
import rig
from fast_sensor import BLOCK, Sensor

RECORDS = 10_000_000 if rig.IS_LONG else 300_000
KILLS = 100 if rig.IS_LONG else 12
RESTARTS = 10 if rig.IS_LONG else 2
FILE_BLOCKS = 250 if rig.IS_LONG else 25  # of a file before it is rotated
ALIVE = 5.0  # seconds a process lives at most


def config_of(folder, logs, broker, prefix, node=None, **options):
    folder.mkdir(exist_ok=True)
    return rig.config_write(
        folder / "tapline.yml", [{"type": "zeek", "paths": [str(logs / "conn*.log")]}],
        judge.kafka_sink(broker, prefix, **options), ingest={"checkpoint_interval": "50ms"},
        **({"node": {"name": node}} if node else {}))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    """Three nodes for all tests here; each leaves them all up."""
    from fixtures import broker_made

    made = broker_made(tmp_path_factory.mktemp("cluster"), 3).start()
    yield made
    made.close()


@pytest.fixture
def sensor(tmp_path):
    (tmp_path / "logs").mkdir()
    made = Sensor(tmp_path / "logs", FILE_BLOCKS)
    made.start()
    yield made
    made.finish()


def seed():
    number = int(os.environ.get("TAPLINE_SEED", random.randrange(2**32)))
    print("TAPLINE_SEED", number)
    return random.Random(number)


class Weather(threading.Thread):
    """What happens to the brokers of a cluster meanwhile: one node is killed and stays away for a while, others are stopped
    and started, one at a time, evenly over the kills."""

    def __init__(self, cluster, chance):
        super().__init__(daemon=True)
        self.cluster, self.chance, self.kills, self.restarts, self.error = cluster, chance, 0, 0, None

    def run(self):
        try:
            for number in range(RESTARTS + 1):
                while self.kills < (number + 1) * KILLS // (RESTARTS + 2):
                    time.sleep(0.05)
                node = self.chance.choice(list(self.cluster.nodes))
                self.cluster.kill(node) if number == 0 else self.cluster.stop(node)
                time.sleep(self.chance.uniform(0.5, 3))
                self.cluster.start(node)
                time.sleep(3)  # until it has caught up: two of three must be in sync
                self.restarts += 1
        except Exception as error:  # told by the test
            self.error = error


def test_storm_on_three_nodes(nodes, sensor, tmp_path, runs):
    chance = seed()
    config = config_of(tmp_path, sensor.folder, nodes, "storm")
    weather = Weather(nodes, chance)
    weather.start()
    began, blocks = time.monotonic(), RECORDS // BLOCK
    for kill in range(KILLS):
        run, life = runs(config), chance.uniform(0, ALIVE)
        first, last = blocks * kill // KILLS, blocks * (kill + 1) // KILLS
        for part in range(5):  # so that there is something under way whenever it dies
            sensor.wanted.put((last - first) * (part + 1) // 5 - (last - first) * part // 5)
            time.sleep(life / 5)
        assert run.process.poll() is None, f"ended by itself with {run.process.returncode}:\n{run.log()}"
        run.kill()
        weather.kills += 1
    weather.join(180)
    assert not weather.is_alive() and weather.error is None, weather.error
    assert sensor.finish() == RECORDS
    run = runs(config, "--once")
    assert run.wait(timeout=1200) == 0, run.log()
    took = time.monotonic() - began
    with judge.Judge(nodes, "storm") as seen:
        seen.read()
        print(f"storm: {RECORDS} records, {seen.records} seen, {KILLS} kills, {weather.restarts} restarts, "
              f"{len(sensor.files)} files, {took:.0f} s")
        seen.assert_whole(RECORDS)
        assert sorted(file.end for file in seen.generations.values()) == sorted(sensor.sizes())
        rig.run_once(config)
        seen.read()
        assert seen.records == RECORDS, "another start delivered something again"
    proven(config, "verify")
    proven(config, "ledger", "--topics")


def proven(config, command, *options):
    """tapline's own proof finds what the judge finds."""
    done = rig.tapline(command, "-c", config, *options, timeout=120 + RECORDS / 20_000)
    assert done.returncode == 0, f"tapline {command}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr}"


def test_a_restart_of_each_node_in_turn_is_outlived(nodes, sensor, tmp_path, runs):
    """Coordinators and leaders move under one process that is never restarted."""
    run = runs(config_of(tmp_path, sensor.folder, nodes, "rolling"))
    for node in nodes.nodes:
        for how in ("stop", "start"):
            sensor.wanted.put(5)
            time.sleep(0.3)
            getattr(nodes, how)(node)
            sensor.wanted.put(5)
            time.sleep(1.5)
    records = sensor.finish()
    assert records == 6 * 10 * BLOCK
    arrive(nodes, "rolling", run, records)
    run.stop()


def arrive(nodes, prefix, run, records):
    """Wait until all is there, and judge."""
    with judge.Judge(nodes, prefix) as seen:
        def all_there():
            seen.read(settle=0)
            return seen.distinct() >= records

        try:
            run.wait_for(f"{records} records", all_there, 120)
        finally:
            print(run.log())
        time.sleep(0.5)
        seen.read()
        seen.assert_whole(records)


def begun(nodes, prefix, run, before=0):
    """Wait until it has delivered something: it is the node's instance now. Returns how many records there are."""
    with judge.Judge(nodes, prefix) as seen:
        def is_more():
            seen.read(settle=0)
            return seen.distinct() > before

        run.wait_for("the first records", is_more, 120)
        return seen.distinct()


# ---- the one and only instance -----------------------------------------------------------------------------------------------


def test_the_newer_instance_wins_and_the_older_one_says_who_it_was(nodes, sensor, tmp_path, runs):
    """Two machines, or two state directories, and one node name: no restart war, and nothing twice."""
    configs = [config_of(tmp_path / name, sensor.folder, nodes, "fenced", node="one-and-only") for name in "ab"]
    sensor.wanted.put(5)
    older = runs(configs[0])
    begun(nodes, "fenced", older)
    for turn in range(4):  # each in its turn is the newer one
        sensor.wanted.put(10)
        time.sleep(1.5)
        newer = runs(configs[(turn + 1) % 2])
        sensor.wanted.put(10)
        told_who(older, newer)
        print(older.log())
        older = newer
    arrive(nodes, "fenced", newer, sensor.finish())
    newer.stop()


def told_who(older, newer):
    try:
        code = older.wait(timeout=120)
    except AssertionError as error:
        raise AssertionError(f"{error}\nthe newer one's log:\n{newer.log()}") from None
    logs = f"{older.log()}\nthe newer one's log:\n{newer.log()}"
    assert code == 100, logs
    assert str(newer.pid) in older.log() and os.uname().nodename in older.log(), logs
    assert newer.process.poll() is None, logs
    for run in older, newer:
        assert "unread bytes" not in run.log(), f"a loss is told where nothing is lost:\n{logs}"


def test_one_that_froze_while_another_took_over(nodes, sensor, tmp_path, runs):
    configs = [config_of(tmp_path / name, sensor.folder, nodes, "frozen", node="sleeper") for name in "ab"]
    older = runs(configs[0])
    sensor.wanted.put(20)
    begun(nodes, "frozen", older)
    sensor.wanted.put(5)
    time.sleep(0.2)
    older.signal(signal.SIGSTOP)
    before = begun(nodes, "frozen", older)
    newer = runs(configs[1])
    sensor.wanted.put(20)
    begun(nodes, "frozen", newer, before)
    older.signal(signal.SIGCONT)
    told_who(older, newer)
    arrive(nodes, "frozen", newer, sensor.finish())
    newer.stop()


def test_a_transaction_that_runs_out_of_time_is_no_other_instance(nodes, sensor, tmp_path, runs):
    """It sleeps for longer than its transaction may last, so that the broker ends that and fences it. It must see that
    nobody else is there, and go on."""
    run = runs(config_of(tmp_path, sensor.folder, nodes, "late", transaction_timeout="5s"))
    sensor.wanted.put(30)
    begun(nodes, "late", run)
    sensor.wanted.put(30)
    time.sleep(random.uniform(0.05, 0.3))
    run.signal(signal.SIGSTOP)
    time.sleep(11)  # gen-node.sh: brokers look for such transactions every 5 s
    run.signal(signal.SIGCONT)
    sensor.wanted.put(10)
    arrive(nodes, "late", run, sensor.finish())
    run.stop()
