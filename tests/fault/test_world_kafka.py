"""The world fails under exactly-once delivery into a real broker: each kind once (the other tests show each in every way, into
files). Nothing lost, nothing doubled at a consumer that sees only what is committed, a kill or not.
SPDX-License-Identifier: Apache-2.0
"""
import errno
import os
import random
import time

import pytest

import judge
import rig
import worlds
from worlds import DAY, starts, world  # noqa: F401  (fixtures)

COUNT = 300
HALF_HOUR = 1800


@pytest.fixture
def prefix(request):
    return "world-" + "".join(c if c.isalnum() else "-" for c in request.node.name)


@pytest.fixture
def arrived(broker, prefix):
    """What a foreign client sees by now."""
    with judge.Judge(broker, prefix) as made:
        def count():
            made.read()
            return made.records
        made.count = count
        yield made


def stop_in_time(run):
    """By itself: not because it was given up after stop_timeout."""
    run.stop()
    assert "stop_timeout is over" not in run.log(), run.log()


def config_of(folder, logs, broker, prefix, delivery="exactly_once", **ingest):
    return rig.config_write(folder / "tapline.yml", [{"type": "zeek", "paths": [str(logs / "conn*.log")]}],
                            judge.kafka_sink(broker, prefix, delivery),
                            ingest={"checkpoint_interval": "20ms", "scan_interval": "100ms", **ingest})


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_the_clock_jumps_and_the_broker_takes_it(broker, prefix, arrived, tmp_path, world, starts, conn_log, how):
    """To and fro, under load: transactions end, new ones begin, and neither a restart nor the owner's record minds. (A clock
    that is ahead by more than an hour is the test below.)"""
    log, done = tmp_path / "conn.log", 0
    config = config_of(tmp_path, tmp_path, broker, prefix)
    run = starts(config, env=world.env())
    for jump in [0, -DAY, 0, -3600, HALF_HOUR, -30 * DAY, 0]:
        worlds.append(log, conn_log, done, done + COUNT)    # some of it is on its way when the clock jumps
        world.clock(jump)
        worlds.append(log, conn_log, done + COUNT, done + 2 * COUNT)
        done += 2 * COUNT
        worlds.wait_with_log(run, f"records after a jump to {jump}", lambda: arrived.count() >= done, timeout=60)
        if how == "killed":
            run.kill()
            run = starts(config, env=world.env())
    run.wait_log('"started"', timeout=60)
    stop_in_time(run)
    assert arrived.count() == done
    arrived.assert_whole(done)
    assert rig.run_once(config)["accepted"] == 0


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_the_clock_is_a_day_ahead(broker, prefix, arrived, tmp_path, world, starts, conn_log, delivery):
    """A broker takes no record from more than an hour ahead of itself. That is no record's fault: none becomes a dead letter,
    or is dropped; they wait until the clock is right again."""
    log = tmp_path / "conn.log"
    config = config_of(tmp_path, tmp_path, broker, prefix, delivery)
    worlds.append(log, conn_log, 0, COUNT)
    run = starts(config, env=world.env())
    run.wait_for("the first", lambda: arrived.count() >= COUNT)
    world.clock(DAY)
    worlds.append(log, conn_log, COUNT, 2 * COUNT)
    line = worlds.wait_said(run, "this machine's clock is ahead of the broker's", "see to the clock")
    assert "nothing is lost" in line, line
    time.sleep(2)
    assert arrived.count() == COUNT
    world.clock(0)
    worlds.wait_with_log(run, "the rest", lambda: arrived.count() >= 2 * COUNT, timeout=60)
    stop_in_time(run)
    arrived.count()
    arrived.assert_whole(2 * COUNT)


def test_the_clock_goes_back_a_day_while_librdkafka_waits(broker, prefix, arrived, tmp_path, world, starts, conn_log):
    """Its threads wait by that clock (core/steady_wait.c): a wait of 100 ms within an abort must not become one of a day."""
    log, done = tmp_path / "conn.log", 0
    run = starts(config_of(tmp_path, tmp_path, broker, prefix), env=world.env())
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    for i in range(4 * rig.STORM):
        world.clock(DAY)        # the broker refuses, transactions are aborted and tried again
        worlds.append(log, conn_log, done, done + COUNT)
        done += COUNT
        time.sleep(chance.uniform(0.05, 1.0))
        world.clock(0)
        worlds.wait_with_log(run, f"records of round {i}", lambda: arrived.count() >= done, timeout=60)
    stop_in_time(run)
    arrived.count()
    arrived.assert_whole(done)


@pytest.mark.parametrize("jump", [-DAY, HALF_HOUR], ids=["back", "forward"])
def test_the_clock_jumps_while_nothing_happens(broker, prefix, arrived, tmp_path, world, starts, conn_log, jump):
    """All threads sleep, some until a moment of the clock that is now a day away; what comes then comes at once."""
    log = tmp_path / "conn.log"
    config = config_of(tmp_path, tmp_path, broker, prefix)
    worlds.append(log, conn_log, 0, COUNT)
    run = starts(config, env=world.env())
    run.wait_for("the first", lambda: arrived.count() >= COUNT)
    time.sleep(1)
    world.clock(jump)
    time.sleep(1)
    worlds.append(log, conn_log, COUNT, 2 * COUNT)
    worlds.wait_with_log(run, "the next", lambda: arrived.count() >= 2 * COUNT, timeout=60)
    stop_in_time(run)
    arrived.count()
    arrived.assert_whole(2 * COUNT)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS], ids=["full", "read_only"])
def test_the_state_directory_fails_and_tapline_is_killed(broker, prefix, arrived, tmp_path, world, starts, conn_log, error):
    """The local checkpoint is only a cache: what was delivered since it could be written does not come again."""
    state = tmp_path / "state"
    config = config_of(tmp_path, tmp_path, broker, prefix)
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    run = starts(config, env=world.env())
    run.wait_for("the first", lambda: arrived.count() >= COUNT)
    run.wait_accepted(COUNT)
    world.fail((worlds.OPEN | worlds.WRITE, error, f"{state}/checkpoint.tmp"), (worlds.OPEN, error, "checkpoint.tmp"))
    worlds.append(tmp_path / "conn.log", conn_log, COUNT, 3 * COUNT)
    line = worlds.wait_said(run, "the checkpoint was not written", state, os.strerror(error))
    assert "Nothing is lost" in line and "would deliver again" not in line and "tried again" in line, line
    run.wait_for("the rest", lambda: arrived.count() >= 3 * COUNT)
    run.kill()
    worlds.append(tmp_path / "conn.log", conn_log, 3 * COUNT, 4 * COUNT)
    world.fail()
    rig.run_once(config)
    arrived.count()
    arrived.assert_whole(4 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


def test_logs_fail_and_tapline_is_killed(broker, prefix, arrived, tmp_path, world, starts, conn_log):
    """A sector that cannot be read, its neighbours go on, kills, and it can be read again."""
    bad, good = tmp_path / "conn.bad.log", tmp_path / "conn.good.log"
    config = config_of(tmp_path, tmp_path, broker, prefix)
    worlds.append(bad, conn_log, 0, COUNT)
    at = len(conn_log.text(0, COUNT // 2)) + 30
    world.fail((worlds.READ, errno.EIO, "conn.bad.log", at))
    for i in range(1, 4):
        worlds.append(good, conn_log, i * COUNT, (i + 1) * COUNT)
        run = starts(config, env=world.env())
        worlds.wait_said(run, "cannot read a file", bad, os.strerror(errno.EIO))
        run.wait_for("the neighbour", lambda: arrived.count() >= i * COUNT + COUNT // 2)
        run.kill()
    world.fail()
    rig.run_once(config)
    arrived.count()
    arrived.assert_whole(4 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


def test_permission_is_lost_and_tapline_is_killed(broker, prefix, arrived, tmp_path, starts, conn_log):
    """The directory of logs may not be looked into, before and after a kill."""
    logs = tmp_path / "logs"
    logs.mkdir()
    config = config_of(tmp_path, logs, broker, prefix, close_after="300ms")
    worlds.append(logs / "conn.log", conn_log, 0, COUNT)
    run = starts(config, before=worlds.bound_by_modes())
    run.wait_for("the first", lambda: arrived.count() >= COUNT)
    with open(logs / "conn.log", "a") as sensor:
        logs.chmod(0)
        worlds.wait_said(run, logs, "Permission denied")
        sensor.write(conn_log.text(COUNT, 2 * COUNT, header=False))
        time.sleep(1)
        run.kill()
        run = starts(config, before=worlds.bound_by_modes())
        worlds.wait_said(run, logs, "Permission denied")
        sensor.write(conn_log.text(2 * COUNT, 3 * COUNT, header=False))
    time.sleep(0.5)
    logs.chmod(0o755)
    run.wait_for("all", lambda: arrived.count() >= 3 * COUNT)
    run.stop()
    arrived.count()
    arrived.assert_whole(3 * COUNT)
    assert rig.run_once(config)["accepted"] == 0


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"][:1 if rig.STORM == 1 else 2])
def test_the_topic_of_dead_letters_is_missing_too(broker, prefix, arrived, tmp_path, starts, conn_log, delivery):
    """Neither the records' own topic nor the other is there, and none may be made: what has no place waits, and the log says for
    what. When somebody makes it, all go there, once."""
    broker.create_topic(f"positions-{prefix}", 1, **{"cleanup.policy": "compact"})
    sinks = judge.kafka_sink(broker, prefix, delivery, create_topics=False, checkpoint_topic=f"positions-{prefix}")
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(tmp_path / "conn.log")]}], sinks)
    worlds.append(tmp_path / "conn.log", conn_log, 0, COUNT)
    run = starts(config)
    worlds.wait_said(run, "topic not to be had; its records become dead letters", f"{prefix}.zeek.connection", "create_topics")
    line = worlds.wait_said(run, "topic of dead letters not to be had", f"{prefix}.deadletter")
    assert "waits" in line and "Make the topic" in line, line
    broker.create_topic(f"{prefix}.deadletter", judge.PARTITIONS)
    worlds.wait_with_log(run, "dead letters", lambda: arrived.count() >= COUNT, timeout=60)
    run.stop()
    arrived.count()
    assert len(arrived.dead) == arrived.records == COUNT
    assert rig.run_once(config)["accepted"] == 0
