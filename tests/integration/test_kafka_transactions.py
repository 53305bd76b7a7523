"""Exactly once into a real broker: what a foreign read_committed client sees when a process dies in an open transaction, when
records are refused, when another instance takes the node over, when the process is stopped for too long.
SPDX-License-Identifier: Apache-2.0
"""
import itertools
import random
import re
import signal
import threading
import time

import pytest

import rig

SERIAL = itertools.count(time.time_ns() % 1_000_000)


class Node:
    """A node of its own on a broker that others use, too: its topics and its positions."""

    def __init__(self, broker, folder, **kafka):
        self.broker, self.folder, self.name = broker, folder, f"node-{next(SERIAL)}"
        self.log = folder / "conn.log"
        self.sink = {"topic": self.name + ".%{event.dataset}", "dead_letter_topic": self.name + ".dead",
                     "rdkafka": {"bootstrap.servers": broker.address}, "delivery": "exactly_once", **kafka}
        self.topic = f"{self.name}.zeek.connection"
        self.dead = f"{self.name}.dead"

    def config(self, name="tapline", **sections):
        state = self.folder / f"{name}-state"
        state.mkdir(exist_ok=True)
        node = {"name": self.name, "state": str(state)}
        return rig.config_write(self.folder / f"{name}.yml", [{"type": "zeek", "paths": [str(self.log)]}],
                                {"kafka": self.sink}, node=node, **sections)

    def serials(self):
        return [rig.serial_of(record.document) for record in self.broker.records(self.topic)]

    def assert_each_once(self, count):
        serials = self.serials()
        assert sorted(serials) == list(range(count)), rig.difference(serials, count)

    def positions(self):
        """Key to value of what the topic of positions holds of this node, tombstones left out."""
        found = {}

        def take(message):
            node, _, name = message.key().decode().rpartition("/")
            if node == self.name:
                self.partition = message.partition()
                found[name] = message.value() and message.value().decode()

        with rig.Reader(self.broker, lambda topic: False, take) as reader:
            partitions = rig.listed(self.broker._admin(), rig.CHECKPOINT)[rig.CHECKPOINT].partitions
            from confluent_kafka import TopicPartition, OFFSET_BEGINNING
            for partition in partitions:
                reader.consumer.incremental_assign([TopicPartition(rig.CHECKPOINT, partition, OFFSET_BEGINNING)])
                reader.at[(rig.CHECKPOINT, partition)] = 0
            reader.read()
        return {name: value for name, value in found.items() if value}


class Load(threading.Thread):
    """Writes a hundred lines every few milliseconds until it is told to finish: nobody finds the end of the log, so that a
    transaction stays open as long as it may."""

    def __init__(self, path, log, first):
        super().__init__(daemon=True)
        self.path, self.log, self.lines, self.is_finished = path, log, first, False
        self.start()

    def run(self):
        with open(self.path, "a") as out:
            while not self.is_finished:
                out.write(self.log.text(self.lines, self.lines + 100, header=False))
                out.flush()
                self.lines += 100
                time.sleep(0.004)

    def finish(self):
        self.is_finished = True
        self.join()
        return self.lines


def number(line, word):
    return int(re.search(rf" {word}=(\d+)", line).group(1))


def is_open(broker, topic, seconds=1.5):
    """Are there records that nobody has committed or aborted, for longer than a commit takes on a busy machine?"""
    partitions = rig.listed(broker._admin(), topic)[topic].partitions
    held, until = broker.ends([(topic, partition) for partition in partitions]), time.monotonic() + seconds
    while True:
        committed, every = broker.ends(held), broker.ends(held, is_committed=False)
        held = {place: end for place, end in held.items() if end == committed[place] < every[place]}
        if not held or time.monotonic() > until:
            return bool(held)
        time.sleep(0.05)


def test_records_and_positions_are_one(broker, runs, tmp_path, conn_log):
    node = Node(broker, tmp_path)
    node.log.write_text(conn_log.text(0, 5000) + "not a conn line\n" + conn_log.text(5000, 6000, header=False))
    assert runs(node.config(), "--once").wait(rig.PATIENCE_S) == 0
    node.assert_each_once(6000)
    assert broker.count(node.dead) == 1
    positions = node.positions()
    owner = positions.pop("owner")
    assert re.fullmatch(r"owner instance=[0-9a-f]{16} txn=[1-9]\d* host=\S+ pid=\d+ version=\S+ started=\S+Z", owner)
    (generation, line), = positions.items()
    assert line.startswith(f"file gen={generation} ") and "\n" not in line
    assert number(line, "pos") == number(line, "from") == node.log.stat().st_size
    assert [number(line, w) for w in ("records", "events", "dead", "dropped", "lost")] == [6001, 6000, 1, 0, 0]

    # Another machine with nothing but the log: it goes on where the topic says.
    with open(node.log, "a") as out:
        out.write(conn_log.text(6000, 7000, header=False))
    run = runs(node.config("other"), "--once")
    assert run.wait(rig.PATIENCE_S) == 0
    node.assert_each_once(7000)
    assert number(node.positions()[generation], "records") == 7001


def test_kill_in_an_open_transaction(broker, runs, tmp_path, conn_log):
    """A load that never pauses; the next process ends the transaction before it reads the positions."""
    node = Node(broker, tmp_path, transaction_interval="60s", transaction_bytes="1GiB")
    node.log.write_text(conn_log.text(0, 3000))
    config = node.config()
    run = runs(config)
    run.wait_for("its first commit", lambda: broker.count(node.topic) > 0, rig.PATIENCE_S)
    load = Load(node.log, conn_log, 3000)
    for _ in range(20):
        run.wait_for("an open transaction", lambda: is_open(broker, node.topic, 0), rig.PATIENCE_S)
        run.kill()
        if is_open(broker, node.topic):
            break
        run = runs(config)
        run.wait_log("positions recovered", rig.PATIENCE_S)
    lines = load.finish()
    assert is_open(broker, node.topic), "no kill hit an open transaction: this test has shown nothing"
    run = runs(config, "--once")
    assert run.wait(rig.PATIENCE_S) == 0, run.log()
    node.assert_each_once(lines)


def test_positions_behind_another_nodes_open_transaction(broker, runs, tmp_path, conn_log):
    """Nodes share partitions of the topic of positions: what is committed behind a transaction that another one left open is
    not shown until that ends. A start waits for it."""
    from confluent_kafka import Producer

    node = Node(broker, tmp_path)
    node.log.write_text(conn_log.text(0, 1000))
    config = node.config()
    run = runs(config)
    run.wait_for("the first records", lambda: broker.count(node.topic) == 1000, rig.PATIENCE_S)
    assert "owner" in node.positions()
    other = Producer({"bootstrap.servers": broker.address, "transactional.id": f"tapline/other-{node.name}",
                      "transaction.timeout.ms": 600000})
    other.init_transactions(60)
    other.begin_transaction()
    other.produce(rig.CHECKPOINT, partition=node.partition, key="other/0123456789abcdef", value="file gen=0123456789abcdef")
    assert other.flush(60) == 0
    with open(node.log, "a") as out:
        out.write(conn_log.text(1000, 2000, header=False))
    run.wait_for("records behind it", lambda: broker.count(node.topic) == 2000, rig.PATIENCE_S)
    run.kill()
    assert is_open(broker, rig.CHECKPOINT)
    with open(node.log, "a") as out:
        out.write(conn_log.text(2000, 3000, header=False))
    run = runs(config, "--once")
    run.wait_log("another node's transaction is open", rig.PATIENCE_S)
    run.wait_log("committing what a dead process of this node had committed", rig.PATIENCE_S)  # it might have been its own that is open
    other.abort_transaction(60)
    assert run.wait(rig.PATIENCE_S) == 0, run.log()
    node.assert_each_once(3000)
    assert f"partition={node.partition} " in run.log()


def test_a_refused_record_is_a_dead_letter_once(broker, runs, tmp_path, conn_log):
    node = Node(broker, tmp_path, create_topics=True)
    broker.create_topic(node.topic, 2, **{"max.message.bytes": "60000"})
    fat = conn_log.line(777_777).split("\t")
    fat[conn_log.at["history"]] = "".join(random.Random(5).choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", k=200_000))
    lines = [conn_log.line(i) for i in range(3000)]
    lines.insert(1500, "\t".join(fat))
    lines.insert(2500, "\t".join(fat).replace("C00000000000777777", "C00000000000777778"))
    node.log.write_text(conn_log.header + "".join(lines))
    run = runs(node.config(), "--once")
    assert run.wait(rig.PATIENCE_S) == 0, run.log()
    serials = node.serials()
    assert sorted(serials) == list(range(3000)), rig.difference(serials, 3000)
    dead = [record.document for record in broker.records(node.dead)]
    assert len(dead) == 2
    assert all("refused the document for good" in str(document["error"]["message"]) for document in dead)
    line, = (value for name, value in node.positions().items() if name != "owner")
    assert [number(line, w) for w in ("records", "events", "dead", "lost")] == [3002, 3000, 2, 0]
    assert "transaction aborted" in run.log()
    assert "sent one by one" in run.log()


def test_a_topic_that_takes_less_than_a_batch(broker, runs, tmp_path, conn_log):
    """Nothing is guilty: batches become smaller until the topic takes them, and no record is a dead letter."""
    node = Node(broker, tmp_path)
    node.sink["rdkafka"]["compression.codec"] = "none"
    broker.create_topic(node.topic, 1, **{"max.message.bytes": "30000"})
    node.log.write_text(conn_log.text(0, 4000))
    run = runs(node.config(), "--once")
    assert run.wait(rig.PATIENCE_S) == 0, run.log()
    node.assert_each_once(4000)
    assert broker.count(node.dead) == 0
    assert "smaller batches" in run.log()


def test_another_instance_takes_over(broker, runs, tmp_path, conn_log):
    node = Node(broker, tmp_path)
    node.log.write_text(conn_log.text(0, 1000))
    first = runs(node.config("first"))
    first.wait_for("the first records", lambda: broker.count(node.topic) == 1000, rig.PATIENCE_S)
    second = runs(node.config("second"))
    second.wait_log("positions recovered", rig.PATIENCE_S)
    with open(node.log, "a") as out:
        out.write(conn_log.text(1000, 2000, header=False))
    assert first.wait(rig.PATIENCE_S) == 100, first.log()
    assert "another tapline has taken over node" in first.log()
    assert f"pid {second.pid}" in first.log()
    second.wait_for("all records", lambda: broker.count(node.topic) >= 2000, rig.PATIENCE_S)
    with open(node.log, "a") as out:
        out.write(conn_log.text(2000, 3000, header=False))
    second.wait_for("all records", lambda: broker.count(node.topic) >= 3000, rig.PATIENCE_S)
    second.stop()
    node.assert_each_once(3000)


def test_an_idle_instance_sees_that_another_took_over(broker, runs, tmp_path, conn_log):
    """It has nothing to send, so that no broker tells it; and nothing comes that would make it ask."""
    node = Node(broker, tmp_path)
    node.log.write_text(conn_log.text(0, 1000))
    first = runs(node.config("first"))
    first.wait_for("the first records", lambda: broker.count(node.topic) == 1000, rig.PATIENCE_S)
    time.sleep(1.5)
    second = runs(node.config("second"))
    assert first.wait(rig.PATIENCE_S) == 100, first.log() + second.log()
    assert f"pid {second.pid}" in first.log()
    assert "producer shut out" not in first.log()
    second.stop()
    node.assert_each_once(1000)


@pytest.mark.parametrize("moment", ["idle", "busy"])
def test_stopped_for_longer_than_a_transaction_may_be_open(broker, runs, tmp_path, conn_log, moment):
    """The broker ends the transaction and shuts the producer out; the process makes a new one and goes on."""
    node = Node(broker, tmp_path, transaction_timeout="5s", transaction_interval="4s" if moment == "busy" else "100ms")
    node.log.write_text(conn_log.text(0, 1000))
    run = runs(node.config())
    run.wait_for("the first records", lambda: broker.count(node.topic) == 1000, rig.PATIENCE_S)
    load = None
    if moment == "busy":
        load = Load(node.log, conn_log, 1000)
        time.sleep(1.5)
    run.signal(signal.SIGSTOP)
    while load and not is_open(broker, node.topic):
        run.signal(signal.SIGCONT)
        time.sleep(0.7)
        run.signal(signal.SIGSTOP)
    lines = load.finish() if load else 1000
    time.sleep(6)  # longer than a transaction may be open; the broker looks for old ones every five seconds
    rig.wait_for("the broker to end it", lambda: not is_open(broker, node.topic), rig.PATIENCE_S)
    with open(node.log, "a") as out:
        out.write(conn_log.text(lines, lines + 1000, header=False))
    run.signal(signal.SIGCONT)
    run.wait_for("all records", lambda: broker.count(node.topic) >= lines + 1000, rig.PATIENCE_S)
    run.stop()
    node.assert_each_once(lines + 1000)
    if moment == "busy":
        assert "producer shut out" in run.log() or "transaction aborted" in run.log()
        assert "producer shut out" not in run.log() or "a lost transaction may have left open" in run.log()


def test_the_broker_goes_in_the_middle(own_broker, runs, tmp_path, conn_log):
    """Killed in the middle of transactions under load, twice: nothing lost, nothing doubled."""
    node = Node(own_broker, tmp_path)
    run = runs(node.config())
    with open(node.log, "w") as out:
        out.write(conn_log.header)
        for part in range(40):
            out.write(conn_log.text(part * 500, part * 500 + 500, header=False))
            out.flush()
            time.sleep(0.05)
            if part == 5:
                run.wait_for("the first records", lambda: own_broker.count(node.topic) > 0, rig.PATIENCE_S)
            if part in (10, 25):
                own_broker.kill()
            if part in (18, 32):
                own_broker.start()
    run.wait_for("all records", lambda: own_broker.count(node.topic) >= 20_000, 120)
    run.stop()
    node.assert_each_once(20_000)


def test_away_for_longer_than_a_transaction_may_be_open(own_broker, runs, tmp_path, conn_log):
    """The broker goes in an open transaction and comes back when that is long too old."""
    node = Node(own_broker, tmp_path, transaction_timeout="5s")
    node.log.write_text(conn_log.text(0, 1000))
    run = runs(node.config())
    run.wait_for("the first records", lambda: own_broker.count(node.topic) == 1000, rig.PATIENCE_S)
    load = Load(node.log, conn_log, 1000)
    time.sleep(0.8)
    own_broker.kill()
    time.sleep(1)
    lines = load.finish()
    time.sleep(14)
    own_broker.start()
    run.wait_for("all records", lambda: own_broker.count(node.topic) >= lines, 90)
    run.stop()
    node.assert_each_once(lines)


def test_stopped_while_it_starts(broker, runs, tmp_path, conn_log):
    """SIGTERM at any moment of the start, that of the claim too: it ends well, and leaves nothing open that others wait for."""
    node = Node(broker, tmp_path, checkpoint_topic=f"stopped-{next(SERIAL)}", partitions=1)
    node.log.write_text(conn_log.text(0, 1000))
    config = node.config()
    assert runs(config, "--once").wait(rig.PATIENCE_S) == 0
    for step in range(12):
        run = runs(config)
        run.wait_log('"started"', rig.PATIENCE_S)
        time.sleep(0.025 * step)
        run.stop()
        # Sooner than the broker would end it, after transaction_timeout.
        rig.wait_for("the end of what was open", lambda: not is_open(broker, node.sink["checkpoint_topic"]), 30)
    assert runs(config, "--once").wait(rig.PATIENCE_S) == 0
    node.assert_each_once(1000)


def test_stop_without_a_broker_then_go_on(own_broker, runs, tmp_path, conn_log):
    """SIGTERM while no broker answers: it ends in time, and the next start goes on without loss or double."""
    node = Node(own_broker, tmp_path)
    node.log.write_text(conn_log.text(0, 2000))
    config = node.config(pipeline={"stop_timeout": "2s"})
    run = runs(config)
    run.wait_for("the first records", lambda: own_broker.count(node.topic) == 2000, rig.PATIENCE_S)
    own_broker.kill()
    with open(node.log, "a") as out:
        out.write(conn_log.text(2000, 4000, header=False))
    time.sleep(1)
    run.signal(signal.SIGTERM)
    assert run.wait(25) == 0, run.log()  # sooner than by the default's 30 s
    own_broker.start()
    run = runs(config, "--once")
    assert run.wait(rig.PATIENCE_S) == 0, run.log()
    node.assert_each_once(4000)


def test_the_checkpoint_topic_grows(broker, runs, tmp_path, conn_log):
    """More partitions: the node's lines are elsewhere than its name says; they are found, and written anew."""
    from confluent_kafka.admin import NewPartitions

    node = Node(broker, tmp_path, checkpoint_topic=f"grown-{next(SERIAL)}", partitions=1)
    node.log.write_text(conn_log.text(0, 1000))
    assert runs(node.config("a"), "--once").wait(rig.PATIENCE_S) == 0
    topic = node.sink["checkpoint_topic"]
    admin = broker._admin()
    admin.create_partitions([NewPartitions(topic, 13)])[topic].result(30)
    rig.wait_for("the partitions", lambda: len(rig.listed(admin)[topic].partitions) == 13, rig.PATIENCE_S)
    for name in ("b", "c"):  # each on a machine without any state of its own
        run = runs(node.config(name), "--once")
        assert run.wait(rig.PATIENCE_S) == 0, run.log()
    node.assert_each_once(1000)


def test_without_the_topic_of_positions(broker, runs, tmp_path, conn_log):
    """create_topics is off and nobody made it: exactly_once says so and ends; auto goes on at least once, and says so."""
    node = Node(broker, tmp_path, checkpoint_topic=f"missing-{next(SERIAL)}", create_topics=False)
    broker.create_topic(node.topic, 1)
    broker.create_topic(node.dead, 1)
    node.log.write_text(conn_log.text(0, 500))
    run = runs(node.config(), "--once")
    assert run.wait(rig.PATIENCE_S) == 100, run.log()
    assert "exactly_once cannot be had" in run.log()
    node.sink["delivery"] = "auto"
    run = runs(node.config(), "--once")
    assert run.wait(rig.PATIENCE_S) == 0, run.log()
    assert "at_least_once is used" in run.log()
    node.assert_each_once(500)
