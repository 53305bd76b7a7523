"""A real broker, seen by a client that is not ours: each record once, in order, with the ids and positions promised.
SPDX-License-Identifier: Apache-2.0
"""
import threading
import time

import pytest

import rig

EVENTS = 200_000
PARTITIONS = 4


def kafka_sink(broker, **options):
    return {"kafka": {"partitions": PARTITIONS, "rdkafka": {"bootstrap.servers": broker.address}, **options}}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_each_record_once_while_the_broker_goes_and_comes_back(own_broker, runs, tmp_path, conn_log, how):
    events = EVENTS if how == "stop" else EVENTS // 4
    log = tmp_path / "conn.log"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}], kafka_sink(own_broker))
    run = runs(config)
    topic = "tapline.zeek.connection"
    step = events // 20
    with open(log, "w") as out:
        out.write(conn_log.header)
        for part in range(20):
            out.write(conn_log.text(part * step, (part + 1) * step, header=False))
            out.flush()
            if part == 5:
                run.wait_for("the first records", lambda: own_broker.count(topic) > 0, 120)
            if part == 10:
                getattr(own_broker, how)()
            if part == 15:
                time.sleep(3)
                own_broker.start()
    run.wait_for("all records", lambda: own_broker.count(topic) >= events, 300)
    run.stop()

    records = own_broker.records(topic)
    assert len(records) == events
    assert sorted(rig.serial_of(r.document) for r in records) == list(range(events))
    assert len({r.id for r in records}) == events
    rig.assert_positions(records, log)
    rig.assert_keys(records, PARTITIONS)
    assert own_broker.count("tapline.deadletter") == 0


class Writer(threading.Thread):
    """A sensor that writes BLOCK lines at a time until it is told to finish; lines_len is how many are in the file."""

    BLOCK = 400
    PAUSE = 0.01

    def __init__(self, path, log):
        super().__init__(daemon=True)
        self.path, self.log, self.lines_len, self.is_finished = path, log, 0, False

    def run(self):
        with open(self.path, "w") as out:
            out.write(self.log.header)
            while not self.is_finished:
                out.write(self.log.text(self.lines_len, self.lines_len + self.BLOCK, header=False))
                out.flush()
                self.lines_len += self.BLOCK
                time.sleep(self.PAUSE)

    def finish(self):
        self.is_finished = True
        self.join()
        return self.lines_len


def all_that_was_written(broker, topic):
    """How many records a client has that does not wait for commits."""
    from confluent_kafka import Consumer, KafkaError, OFFSET_BEGINNING, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "loose", "isolation.level": "read_uncommitted",
                         "enable.auto.commit": False, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    found, ended, until = 0, set(), time.monotonic() + 240
    while len(ended) < PARTITIONS:
        assert time.monotonic() < until
        for message in consumer.consume(5000, 0.5):
            if message.error() is None:
                found += 1
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
    consumer.close()
    return found


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_kill_nine_twenty_times_loses_nothing(own_broker, runs, tmp_path, conn_log, delivery):
    """The load never pauses, so that kills find batches under way; the checkpoint is written often, so that each run gets
    on from where the one before was. Exactly once, what was under way is there a second time, and no reader of committed
    records sees it."""
    kills = 20 * rig.STORM
    log = tmp_path / "conn.log"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                              kafka_sink(own_broker, delivery=delivery), ingest={"checkpoint_interval": "50ms"})
    topic = "tapline.zeek.connection"
    writer = Writer(log, conn_log)
    writer.start()
    for kill in range(kills):
        run = runs(config)
        run.wait_log("positions recovered" if delivery == "exactly_once" else '"started"', 120)
        time.sleep(0.05 + 0.3 * (kill % 7) / 6 + 0.2 * (kill // 7 % 3))  # on a slow machine the longer ones hit something
        run.kill()
    events = writer.finish()
    run = runs(config, "--once")
    assert run.wait(600) == 0, run.log()

    by_id, records = {}, own_broker.records(topic)
    for record in records:
        by_id.setdefault(record.id, set()).add((record.key, record.value, record.end))
    assert all(len(versions) == 1 for versions in by_id.values()), "the same id with two contents"
    serials = [int(value[value.index(b'"id":"C') + 7:][:17]) for versions in by_id.values() for _, value, _ in versions]
    assert len(serials) == events
    assert set(serials) == set(range(events)), rig.difference(serials, events)
    assert delivery == "at_least_once" or len(records) == events, "a record came twice"
    assert all_that_was_written(own_broker, topic) > events, "no kill hit a record under way: this test has shown nothing"
