"""`tapline ledger --feed` against a real broker: topics and rows are written by a client that is not ours, so that each way in
which they may differ can be made. What feeders themselves write is judged where they run (test_feed.py and the storm).
SPDX-License-Identifier: Apache-2.0
"""
import json
import threading
import time

import pytest

import rig

DAY_MS = 86_400_000
TODAY = time.strftime("%Y-%m-%d", time.gmtime())
GROUP = "feeders"


class Site:
    """Topics of one prefix, a ledger topic, and the configuration of the feeders that read them."""

    def __init__(self, broker, folder, prefix):
        from confluent_kafka import Producer

        self.broker, self.prefix, self.ledger = broker, prefix, f"{prefix}feed"
        self.producer = Producer({"bootstrap.servers": broker.address, **rig.IDEMPOTENT})
        broker.create_topic(self.ledger, 3, **{"cleanup.policy": "compact"})
        self.config = folder / "feed.yml"
        self.config.write_text(json.dumps({
            "node": {"name": "feeder", "state": str(folder / "state")},
            "feed": {"group": GROUP, "topics": [f"^{prefix}.*"], "ledger_topic": self.ledger,
                     "dead_letter_topic": f"{prefix}dead", "checkpoint_topic": f"{prefix}checkpoint",
                     "rdkafka": {"bootstrap.servers": broker.address}},
            "sinks": {"file": {"path": str(folder / "out.ndjson")}}}))

    def topic(self, name, partitions=1, **config):
        self.broker.create_topic(self.prefix + name, partitions, **config)

    def records(self, name, count, dataset="zeek.dns", partition=0, value=None, days_ago=0, at=None):
        document = {"@timestamp": "2026-01-01T00:00:00Z", "event": {"dataset": dataset}}
        for _ in range(count):
            self.producer.produce(self.prefix + name, json.dumps(document) if value is None else value, partition=partition,
                                  timestamp=at or int(time.time() * 1000) - days_ago * DAY_MS)
        self.producer.flush()

    def row(self, name, start, end, days, partition=0, group=GROUP, key=None):
        key = key or f"{group}/{self.prefix}{name}/{partition}/{start}"
        value = json.dumps({"group": group, "topic": self.prefix + name, "partition": partition, "from": start, "to": end,
                            "node": "feeder", "instance": 0, "written": "2026-11-22T00:00:00Z", "days": days})
        self.producer.produce(self.ledger, value, key=key)
        self.producer.flush()

    def look(self, *options, code=0):
        done = rig.tapline("ledger", "--feed", "-c", self.config, "--json", *options)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout), done.stderr


def counts(indexed=0, repeated=0, dead=0):
    return {"indexed": indexed, "repeated": repeated, "dead": dead}


@pytest.fixture
def site(broker, tmp_path, request):
    return Site(broker, tmp_path, f"lf-{request.node.name.replace('_', '-')}.")


def test_all_adds_up_by_day_and_dataset(site):
    site.topic("dns", 2)
    site.topic("mixed")
    site.records("dns", 10)
    site.records("dns", 4, partition=1, days_ago=1)
    site.records("mixed", 3, "zeek.http")
    site.records("mixed", 2, value="no JSON")
    site.producer.produce(site.prefix + "mixed", None, key="gone", partition=0)
    site.records("mixed", 5)
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    site.row("dns", 0, 4, {TODAY: {"zeek.dns": counts(4)}})
    site.row("dns", 0, 7, {TODAY: {"zeek.dns": counts(7)}})  # the same row, later
    site.row("dns", 7, 10, {TODAY: {"zeek.dns": counts(1, 1, 1)}})
    site.row("dns", 0, 4, {yesterday: {"zeek.dns": counts(4)}}, partition=1)
    site.row("mixed", 0, 6, {TODAY: {"zeek.http": counts(3), "generic": counts(0, 0, 2)}})
    site.row("dns", 0, 2, {TODAY: {"zeek.dns": counts(99)}}, group="others")
    site.producer.produce(site.ledger, '{"state": "retried"}', key="dead/x/0/3")
    site.producer.flush()
    found, said = site.look()
    assert said == "" and found["complete"] and found["findings"] == [] and found["not_understood"] == 0
    assert found["days"][TODAY]["zeek.dns"] == {"accepted": 15, "deleted": 0, "indexed": 8, "repeated": 1, "dead": 1, "open": 5,
                                                "difference": 0}
    assert found["days"][TODAY]["generic"]["dead"] == found["days"][TODAY]["generic"]["accepted"] == 2
    assert found["days"][yesterday]["zeek.dns"]["indexed"] == 4
    assert found["all"]["accepted"] == 24 and found["all"]["open"] == 5 and found["tombstones"] == 1
    text = rig.tapline("ledger", "--feed", "-c", site.config)
    assert text.returncode == 0 and f"{TODAY}  zeek.http" in text.stdout and "DIFFERENCE" in text.stdout


def test_what_differs_is_named(site):
    site.topic("dns")
    site.records("dns", 30)
    site.row("dns", 0, 10, {TODAY: {"zeek.dns": counts(9)}})
    site.row("dns", 12, 20, {TODAY: {"zeek.dns": counts(8)}})
    site.row("dns", 18, 25, {TODAY: {"zeek.dns": counts(7)}})
    site.row("gone", 0, 5, {TODAY: {"zeek.dns": counts(5)}})  # a topic that was deleted is as if retention had done it
    found, said = site.look(code=1)
    assert not found["complete"] and found["counts"] == {"gap": 1, "overlap": 1, "count": 1, "behind_the_end": 0}
    by_kind = {finding.pop("kind"): finding for finding in found["findings"]}
    place = {"topic": site.prefix + "dns", "partition": 0}
    assert by_kind["gap"] == {**place, "from": 10, "to": 12, "records": 2}
    assert by_kind["overlap"] == {**place, "from": 18, "to": 20}
    assert by_kind["count"] == {**place, "from": 0, "to": 10, "day": TODAY, "dataset": "zeek.dns", "ledger": 9, "records": 10}
    assert found["all"]["open"] == 5 and found["all"]["deleted"] == 5
    assert f"{place['topic']} partition 0 offsets 10 to 11: 2 records that no feeder has accounted for" in said


def test_microseconds_in_place_of_milliseconds_are_no_time(site):
    site.topic("dns", **{"message.timestamp.after.max.ms": str(2**63 - 1)})  # from 4.0 on brokers do not take them unasked
    site.records("dns", 3, at=time.time_ns() // 1000)
    site.records("dns", 2)
    site.row("dns", 0, 5, {"1970-01-01": {"zeek.dns": counts(3)}, TODAY: {"zeek.dns": counts(2)}})
    found, said = site.look()
    assert said == "" and found["complete"] and set(found["days"]) == {"1970-01-01", TODAY}


def test_a_topic_made_anew_is_told(site):
    site.topic("dns")
    site.records("dns", 3)
    site.row("dns", 0, 50, {TODAY: {"zeek.dns": counts(50)}})
    found, said = site.look(code=1)
    assert found["counts"]["behind_the_end"] == 1 and "was the topic deleted and made again" in said


def test_retention_is_not_held_against_anybody(site):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    site.topic("dns")
    site.records("dns", 20)
    site.row("dns", 0, 15, {TODAY: {"zeek.dns": counts(15)}})
    site.row("dns", 15, 20, {TODAY: {"zeek.dns": counts(5)}})
    admin = AdminClient({"bootstrap.servers": site.broker.address})
    place = TopicPartition(site.prefix + "dns", 0, 7)
    for future in admin.delete_records([place]).values():
        future.result()
    found, _ = site.look()
    assert found["all"] == {"accepted": 13, "deleted": 7, "indexed": 20, "repeated": 0, "dead": 0, "open": 0, "difference": 0}


def test_since_leaves_out_rows_of_old_days(site):
    site.topic("dns")
    site.records("dns", 10, days_ago=5)
    site.records("dns", 10)
    old = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 5 * 86400))
    site.row("dns", 0, 10, {old: {"zeek.dns": counts(3)}})  # it would be wrong
    site.row("dns", 10, 20, {TODAY: {"zeek.dns": counts(10)}})
    site.look(code=1)
    found, _ = site.look("--since", "48h")
    assert list(found["days"]) == [TODAY] and found["all"]["accepted"] == 10


def test_aborted_records_are_nobodys(site):
    from confluent_kafka import Producer

    site.topic("dns")
    writer = Producer({"bootstrap.servers": site.broker.address, "transactional.id": site.prefix, **rig.IDEMPOTENT})
    writer.init_transactions()
    for is_kept in (True, False, True):
        writer.begin_transaction()
        for _ in range(3):
            writer.produce(site.prefix + "dns", '{"event":{"dataset":"zeek.dns"}}', partition=0)
        writer.flush()
        writer.commit_transaction() if is_kept else writer.abort_transaction()
    site.row("dns", 0, 12, {TODAY: {"zeek.dns": counts(6)}})
    found, _ = site.look()
    assert found["all"]["accepted"] == 6 and found["all"]["open"] == 0


def test_rows_that_cannot_be_understood_are_told(site):
    site.topic("dns")
    site.records("dns", 1)
    site.row("dns", 0, 1, {TODAY: {"zeek.dns": counts(1)}})
    site.producer.produce(site.ledger, "{", key="x")
    site.producer.flush()
    found, said = site.look()
    assert found["not_understood"] == 1 and "no rows that this version understands" in said


def test_rows_of_feeders_that_are_killed_add_up(site, feeds):
    """Documents go nowhere (a file that keeps nothing), so that only the ledger says what was done."""
    config = json.loads(site.config.read_text())
    config["sinks"]["file"]["path"] = "/dev/null"
    config["feed"]["commit_interval"] = "100ms"
    config["feed"]["rdkafka"]["session.timeout.ms"] = 6000
    site.config.write_text(json.dumps(config))
    for name in ("dns", "http"):
        site.topic(name, 3)
    written = 0

    def write():
        nonlocal written
        for name in ("dns", "http"):
            for partition in range(3):
                site.records(name, 400, f"zeek.{name}", partition)
                written += 400
        site.producer.produce(site.prefix + "dns", value="[]", partition=1)
        site.producer.flush()
        written += 1

    write()
    one, other = feeds(site.config), feeds(site.config)
    for _ in range(2):
        write()
        rig.wait_for("some to be committed", lambda: site.look()[0]["all"]["indexed"] > written // 3)
        one.kill()
        write()
        one = feeds(site.config)
        one.wait_log("started")
    one.stop()
    other.stop()
    assert rig.run_once(site.config, kind=rig.Feed) is not None
    found, said = site.look()
    assert said == "" and found["complete"]
    # The dead letters of the five that are no documents are records, too.
    assert found["all"] == {"accepted": written + 5, "deleted": 0, "indexed": written, "repeated": 0, "dead": 5, "open": 0,
                            "difference": 0}


class Stranger(threading.Thread):
    """Another member of the group, not ours: it keeps its partitions and does nothing for them until it leaves, or works, when it
    commits that it has done the first hundred records of each."""

    def __init__(self, site):
        from confluent_kafka import Consumer

        super().__init__(daemon=True)
        self.topics, self.leaves, self.has = [site.prefix + "dns"], threading.Event(), set()
        self.works = threading.Event()
        self.consumer = Consumer({"bootstrap.servers": site.broker.address, "group.id": GROUP, "enable.auto.commit": False,
                                  "partition.assignment.strategy": "cooperative-sticky", "auto.offset.reset": "earliest"})

    def run(self):
        from confluent_kafka import KafkaException, TopicPartition

        self.consumer.subscribe(self.topics)
        while not self.leaves.is_set():
            self.consumer.poll(0.05)
            self.has = {(one.topic, one.partition) for one in self.consumer.assignment()}
            if self.works.is_set() and self.has:
                try:
                    self.consumer.commit(offsets=[TopicPartition(*place, 100) for place in self.has], asynchronous=False)
                except KafkaException:
                    pass  # partitions are just being shared anew
        self.consumer.close()


@pytest.fixture
def stranger(site):
    one = Stranger(site)
    yield one
    one.leaves.set()
    if one.is_alive():
        one.join()


WAITED_FOR = "partitions of others in the group are not"
MANY = 12  # partitions: more than the topic of dead letters has, so that two members share them


def test_once_waits_for_what_others_of_the_group_have_not_done(site, feeds, stranger):
    """Its own share is not all that there is: who has the rest may have been killed a moment ago."""
    site.topic("dns", MANY)
    for partition in range(MANY):
        site.records("dns", 100, partition=partition)
    stranger.start()
    rig.wait_for("the stranger's share", lambda: len(stranger.has) == MANY)
    feed = feeds(site.config, "--once")
    feed.wait_log(WAITED_FOR)  # at first it may be given nothing at all
    rig.wait_for("a share of its own", lambda: 0 < len(stranger.has) < MANY)
    rig.wait_for("its own share to be done", lambda: site.look()[0]["all"]["indexed"] == (MANY - len(stranger.has)) * 100)
    time.sleep(2)
    assert feed.process.poll() is None
    stranger.leaves.set()
    assert feed.wait() == 0
    found = site.look()[0]["all"]
    assert found["indexed"] == found["accepted"] == 100 * MANY and found["open"] == 0


def test_once_ends_when_others_have_done_theirs(site, feeds, stranger):
    """Behind the last record of a partition may be marks of transactions, which nobody commits: they are not waited for."""
    from confluent_kafka import Producer

    site.topic("dns", MANY)
    writer = Producer({"bootstrap.servers": site.broker.address, "transactional.id": site.prefix, **rig.IDEMPOTENT})
    writer.init_transactions()
    writer.begin_transaction()
    for partition in range(MANY):
        for _ in range(100):
            writer.produce(site.prefix + "dns", '{"event":{"dataset":"zeek.dns"}}', partition=partition)
    writer.commit_transaction()
    stranger.start()
    rig.wait_for("the stranger's share", lambda: len(stranger.has) == MANY)
    feed = feeds(site.config, "--once")
    rig.wait_for("a share of its own", lambda: 0 < len(stranger.has) < MANY)
    feed.wait_log(WAITED_FOR)
    stranger.works.set()
    assert feed.wait() == 0 and stranger.is_alive()
    indexed = site.look()[0]["all"]["indexed"]
    assert indexed % 100 == 0 and 0 < indexed < 100 * MANY


def test_without_a_ledger_nothing_is_proven(broker, tmp_path):
    site = Site(broker, tmp_path, "lf-none.")
    config = json.loads(site.config.read_text())
    config["feed"]["ledger_topic"] = "lf-none.never"
    site.config.write_text(json.dumps(config))
    done = rig.tapline("ledger", "--feed", "-c", site.config)
    assert done.returncode == 100 and "no feeder has written down" in done.stderr
    for options in (["--topics"], ["--watch", "10s"]):
        assert rig.tapline("ledger", "--feed", "-c", site.config, *options).returncode == 100
    assert rig.tapline("ledger", "--feed").returncode == 100
