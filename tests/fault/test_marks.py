"""A broker that is killed between its answer to a commit and the marks that end the transaction can forget these marks when it
is back (Kafka 4.3.1 on a single broker, KAFKA-20734): the coordinator holds the transaction for done, and its records stay open
until the next mark of the same producer. That is a tapline's, which was killed, too, and it must not undo what was committed.

The marks are cut off the broker's own files while it is down, so that it does not depend on a moment.
SPDX-License-Identifier: Apache-2.0
"""
import re
import time

import rig
from test_kafka_transactions import Node

BATCH_HEAD, LENGTH_AT, ATTRIBUTES_AT, IS_CONTROL = 12, 8, 21, 0x20


def cut_last_mark(folder):
    """Off a partition's log; what Kafka can make anew goes, too. Was there one at its end?"""
    log = folder / ("0" * 20 + ".log")
    raw, at, last = log.read_bytes(), 0, None
    while at + BATCH_HEAD < len(raw):
        last = at
        at += BATCH_HEAD + int.from_bytes(raw[at + LENGTH_AT:at + LENGTH_AT + 4], "big")
    if last is None or not raw[last + ATTRIBUTES_AT + 1] & IS_CONTROL:
        return False
    log.write_bytes(raw[:last])
    for name in ("*.index", "*.timeindex", "*.txnindex", "*.snapshot"):
        for path in folder.glob(name):
            path.unlink()
    return True


def lose_marks(broker, *topics):
    """kill -9 the broker; when it is back, these topics' last marks were never written. A coordinator that had not yet written down
    that all is done makes them anew; it has written it the next time."""
    for _ in range(4):
        time.sleep(2)
        if are_lost(broker, topics):
            return
    raise AssertionError(f"the coordinator goes on writing the marks of {topics}")


def are_lost(broker, topics):
    """Cut them off, and see whether they stay away."""
    broker.kill()
    data = broker.folder / "data"
    places = []
    for topic in topics:
        folders = [folder for folder in data.iterdir() if re.fullmatch(re.escape(topic) + r"-\d+", folder.name)]
        cut = [(topic, int(folder.name.rpartition("-")[2])) for folder in folders if cut_last_mark(folder)]
        assert cut, topic
        places += cut
    (data / "recovery-point-offset-checkpoint").unlink()
    broker.start()
    written = broker.ends(places, is_committed=False)  # waits until the partitions have their leader again
    time.sleep(3)  # in which a coordinator that has not done would write them
    return all(shown < written[place] for place, shown in broker.ends(places).items())


def delivered(own_broker, runs, folder, conn_log):
    """A node that was killed when all it had read was committed."""
    node = Node(own_broker, folder)
    node.log.write_text(conn_log.text(0, 3000))
    config = node.config()
    run = runs(config)
    run.wait_for("the records", lambda: own_broker.count(node.topic) == 3000)
    run.kill()
    return node, config


def test_what_was_committed_stays_committed(own_broker, runs, tmp_path, conn_log):
    node, config = delivered(own_broker, runs, tmp_path, conn_log)
    lose_marks(own_broker, node.topic, rig.CHECKPOINT)
    with open(node.log, "a") as out:
        out.write(conn_log.text(3000, 4000, header=False))
    run = runs(config, "--once")
    assert run.wait() == 0, run.log()
    assert "committing what a dead process of this node had committed" in run.log(), run.log()
    node.assert_each_once(4000)
    proof = rig.tapline("verify", "-c", config)
    assert proof.returncode == 0, proof.stdout + proof.stderr


def test_what_was_read_and_deleted_stays_committed(own_broker, runs, tmp_path, conn_log):
    """The sensor's next file is all there is."""
    node, config = delivered(own_broker, runs, tmp_path, conn_log)
    lose_marks(own_broker, node.topic, rig.CHECKPOINT)
    node.log.unlink()
    node.log.write_text(conn_log.text(3000, 4000))
    run = runs(config, "--once")
    assert run.wait() == 0, run.log()
    node.assert_each_once(4000)
    proof = rig.tapline("verify", "-c", config)
    assert proof.returncode == 0, proof.stdout + proof.stderr


def test_positions_that_nobody_committed_are_aborted(own_broker, runs, tmp_path, conn_log):
    """Without an owner record behind them no commit was ever asked for."""
    from confluent_kafka import Producer

    node, config = delivered(own_broker, runs, tmp_path, conn_log)
    positions = node.positions()
    (generation, line), = [item for item in positions.items() if item[0] != "owner"]
    with open(node.log, "a") as out:
        out.write(conn_log.text(3000, 4000, header=False))
    dead = Producer({"bootstrap.servers": own_broker.address, "transactional.id": f"tapline/{node.name}"})
    dead.init_transactions(60)
    dead.begin_transaction()
    dead.produce(rig.CHECKPOINT, partition=node.partition, key=f"{node.name}/{generation}",
                 value=re.sub(r" pos=\d+", f" pos={node.log.stat().st_size}", line))
    dead.commit_transaction(20)
    lose_marks(own_broker, rig.CHECKPOINT)
    run = runs(config, "--once")
    assert run.wait() == 0, run.log()
    assert "aborting what a dead process of this node may have left open" in run.log(), run.log()
    node.assert_each_once(4000)
