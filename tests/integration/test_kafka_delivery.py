"""A real broker, seen by a client that is not ours: each record once, in order, with the ids and positions promised.
SPDX-License-Identifier: Apache-2.0
"""
import threading
import time

import rig

EVENTS = 200_000
PARTITIONS = 4


def kafka_sink(broker, **options):
    return {"kafka": {"partitions": PARTITIONS, "rdkafka": {"bootstrap.servers": broker.address}, **options}}


def test_each_record_once_while_the_broker_stops_and_comes_back(own_broker, runs, tmp_path, conn_log):
    log = tmp_path / "conn.log"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}], kafka_sink(own_broker))
    run = runs(config)
    topic = "tapline.zeek.connection"
    step = EVENTS // 20
    with open(log, "w") as out:
        out.write(conn_log.header)
        for first in range(0, EVENTS, step):
            out.write(conn_log.text(first, first + step, header=False))
            out.flush()
            if first == EVENTS // 4:
                run.wait_for("the first records", lambda: own_broker.count(topic) > 0)
            if first == EVENTS // 2:
                own_broker.stop()
            if first == EVENTS * 3 // 4:
                time.sleep(3)
                own_broker.start()
    run.wait_for("all records", lambda: own_broker.count(topic) >= EVENTS, 120)
    run.stop()

    records = own_broker.records(topic)
    assert len(records) == EVENTS
    assert sorted(rig.serial_of(r.document) for r in records) == list(range(EVENTS))
    assert len({r.id for r in records}) == EVENTS
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


def test_kill_nine_twenty_times_loses_nothing(own_broker, runs, tmp_path, conn_log):
    """The load never pauses, so each kill finds batches under way; the checkpoint is written often, so that each run gets
    on from where the one before was."""
    kills = 20 * rig.STORM
    log = tmp_path / "conn.log"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}], kafka_sink(own_broker),
                              ingest={"checkpoint_interval": "50ms"})
    topic = "tapline.zeek.connection"
    writer = Writer(log, conn_log)
    writer.start()
    for kill in range(kills):
        run = runs(config)
        run.wait_log('"started"')
        time.sleep(0.05 + 0.3 * (kill % 7) / 6)
        run.kill()
    events = writer.finish()
    run = runs(config, "--once")
    assert run.wait() == 0, run.log()

    by_id, records = {}, own_broker.records(topic)
    for record in records:
        by_id.setdefault(record.id, set()).add((record.key, record.value, record.end))
    assert all(len(versions) == 1 for versions in by_id.values()), "the same id with two contents"
    serials = [int(value[value.index(b'"id":"C') + 7:][:17]) for versions in by_id.values() for _, value, _ in versions]
    assert len(serials) == events
    assert set(serials) == set(range(events)), rig.difference(serials, events)
    assert len(records) > events, "no kill hit a record under way: this test has shown nothing"
