"""Several feeders of one group: they share the partitions, take over what one leaves behind, and together have each record
once. And what an operator reads who has made a mistake.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import signal
import threading
import time

import pytest

import rig
from feeding import LONG_SESSION, MONTHLY, PARTITIONS, Site, assert_same, document


@pytest.fixture
def site(tmp_path, broker, elasticsearch):
    return Site(tmp_path, broker, elasticsearch).prepare()


class Writer(threading.Thread):
    """Records, steadily, over all partitions of several topics, until it is told to stop. Several, since a member that joins is
    given so and so many partitions, first those of the topic whose name is first."""

    TOPICS = ("zeek.one", "zeek.other", MONTHLY)

    def __init__(self, site, pause=0.02):
        super().__init__(daemon=True)
        self.site, self.pause, self.wanted, self.stopped = site, pause, {}, threading.Event()
        for dataset in self.TOPICS:
            site.topic(dataset)
        self.start()

    def run(self):
        number = 0
        while not self.stopped.is_set():
            dataset = self.TOPICS[number // 50 % len(self.TOPICS)]
            self.wanted.update(self.site.put(dataset, (document(dataset, number + i) for i in range(50))))
            number += 50
            time.sleep(self.pause)

    def finish(self):
        self.stopped.set()
        self.join()
        return self.wanted


def both_at_work(site, ones):
    """Each has written rows of the ledger of its own. Rows name who wrote them."""
    return {(row["node"], row["instance"]) for row in site.ledger().rows.values()} >= set(ones)


def test_two_share_and_one_is_killed(site, feeds):
    writer = Writer(site)
    configs = [site.write(f"{name}.yml", node=name) for name in ("one", "two")]
    feeders = [feeds(config) for config in configs]
    rig.wait_for("both to be at work", lambda: both_at_work(site, [("one", 0), ("two", 0)]), rig.PATIENCE_S, 0.3)
    feeders[0].kill()
    time.sleep(1)
    wanted = writer.finish()
    site.wait_ids(feeders[1], wanted, rig.PATIENCE_S)
    site.wait_committed(feeders[1], rig.PATIENCE_S)
    feeders[1].stop()
    sums = site.ledger().assert_whole()
    assert sums.total() == len(wanted) and not sums["dead"]


def test_an_engine_that_hangs_holds_no_handover(site, feeds):
    """Who joins gets its partitions after five seconds at most; what the other had under way is sent again, and is there once."""
    site.feed = {"rdkafka": {"session.timeout.ms": "60000"}}
    configs = [site.write(f"{name}.yml", node=name) for name in ("one", "two")]
    writer = Writer(site)
    feeders = [feeds(configs[0])]
    rig.wait_for("it to be at work", lambda: both_at_work(site, [("one", 0)]), rig.PATIENCE_S, 0.3)
    engine = int((site.engine.folder / "pid").read_text())
    os.kill(engine, signal.SIGSTOP)
    try:
        time.sleep(1)
        feeders.append(feeds(configs[1]))
        feeders[0].wait_log("before all of them is committed", rig.PATIENCE_S)
    finally:
        os.kill(engine, signal.SIGCONT)
    wanted = writer.finish()
    site.wait_ids(feeders[1], wanted, rig.PATIENCE_S)
    site.wait_committed(feeders[1], rig.PATIENCE_S)
    for feeder in feeders:
        feeder.stop()
    sums = site.ledger().assert_whole()
    assert sums.total() == len(wanted) and not sums["dead"]


def test_one_that_ends_leaves_at_once_and_nothing_is_repeated_unsaid(site, feeds):
    """The other has its partitions long before it would be missed; what it had under way it has committed."""
    site.feed = {"rdkafka": {"session.timeout.ms": "600000", "max.poll.interval.ms": "600000"}}
    site.sections["pipeline"] = {"stop_timeout": "240s"}  # what is under way is given up behind it, and then repeated
    configs = [site.write(f"{name}.yml", node=name) for name in ("one", "two")]
    writer = Writer(site, 0.2)
    feeders = [feeds(config) for config in configs]
    rig.wait_for("both to be at work", lambda: both_at_work(site, [("one", 0), ("two", 0)]), rig.PATIENCE_S, 0.3)
    feeders[0].stop(250)
    ended = time.monotonic()
    wanted = writer.finish()
    site.wait_ids(feeders[1], wanted, 250)
    site.wait_committed(feeders[1], 250)
    assert time.monotonic() - ended < 300, "half of a session"
    feeders[1].stop()
    sums = site.ledger().assert_whole()
    assert sums.total() == len(wanted) and not sums["dead"]
    # Two things may make it be sent again, and both are said: an engine that takes more than five seconds for a bulk, as one on
    # a busy machine may at first, is not waited for; and a commit of the other that is under way when the group changes is refused.
    logs = "\n".join(feeder.log() for feeder in feeders)
    if "before all of them is committed" not in logs and "what was not committed is read again" not in logs:
        assert sums == {"indexed": len(wanted)}, f"a handover repeats nothing:\n{logs}"


def test_one_file_for_several_processes(site, feeds):
    """Of one configuration: each takes a place of its own in the state directory."""
    writer = Writer(site)
    feeders = [feeds(site.config) for _ in range(3)]
    name = json.loads(site.config.read_text())["node"]["name"]
    rig.wait_for("three to be at work", lambda: both_at_work(site, [(name, i) for i in range(3)]), rig.PATIENCE_S, 0.3)
    feeders[1].kill()
    feeders.append(feeds(site.config))  # has the place that is free
    wanted = writer.finish()
    site.wait_ids(feeders[0], wanted, rig.PATIENCE_S)
    site.wait_committed(feeders[0], rig.PATIENCE_S)
    for feed in (feeders[0], *feeders[2:]):
        feed.stop()
    sums = site.ledger().assert_whole()
    assert sums.total() == len(wanted)
    assert {row["instance"] for row in site.ledger().rows.values()} <= {0, 1, 2}


def test_a_feeder_that_slept_commits_nothing_of_what_others_took_over(site, feeds):
    writer = Writer(site)
    configs = [site.write(f"{name}.yml", node=name) for name in ("one", "two")]
    feeders = [feeds(config) for config in configs]
    rig.wait_for("both to be at work", lambda: both_at_work(site, [("one", 0), ("two", 0)]), rig.PATIENCE_S, 0.3)
    feeders[0].signal(19)
    time.sleep(5)  # longer than a session
    feeders[0].signal(18)
    time.sleep(2)
    wanted = writer.finish()
    site.wait_ids(feeders[1], wanted, rig.PATIENCE_S)
    site.wait_committed(feeders[1], rig.PATIENCE_S)
    for feed in feeders:
        feed.stop()
    assert site.ledger().assert_whole().total() == len(wanted)


def test_a_stop_while_partitions_are_dealt_does_not_hang(site, feeds):
    """A member that is being given partitions just then has an answer open, which it must give before it leaves."""
    site.sections["pipeline"] = {"stop_timeout": "100s"}  # what hangs hangs so long
    site.config = site.write()
    site.put(MONTHLY, (document(MONTHLY, i) for i in range(100)))
    first = feeds(site.config)
    rig.wait_for("the first to be at work", lambda: site.ledger().rows, rig.PATIENCE_S, 0.2)
    for pause in (0, 0.4, 1.0, 1.6, 2.2):
        other = feeds(site.config)
        other.wait_log("started")  # before, SIGTERM is nothing that it knows
        time.sleep(pause)
        since = time.monotonic()
        other.stop()
        assert time.monotonic() - since < 60, other.log()
    first.stop()


def test_an_engine_away_for_long_does_not_cost_the_place_in_the_group(tmp_path, broker, own_engine, feeds):
    """Longer than a poll may be away, and several sessions: the feeder still says that it is alive."""
    engine = own_engine("elasticsearch")
    site = Site(tmp_path, broker, engine, feed={"rdkafka": {"max.poll.interval.ms": "6000", "session.timeout.ms": "6000"}},
                sink={"timeout": "2s"}).prepare()
    feed = feeds(site.config)
    wanted = site.put(MONTHLY, (document(MONTHLY, i) for i in range(20_000)))
    feed.wait_for("it to be at work", lambda: engine.count(site.pattern()) > 0, rig.PATIENCE_S)
    engine.kill()
    wanted.update(site.put(MONTHLY, (document(MONTHLY, 20_000 + i) for i in range(20_000))))
    time.sleep(18)
    engine.start()
    site.wait_ids(feed, wanted, 300)
    site.wait_committed(feed, rig.PATIENCE_S)
    feed.stop()
    assert "max.poll" not in feed.log() and "expelled" not in feed.log(), feed.log()
    assert site.ledger().assert_whole().total() == len(wanted)


# ---- transactions of others -------------------------------------------------------------------------------------------------------


def test_what_was_aborted_is_never_indexed(site):
    """read_committed: a record of a transaction that came to nothing is none."""
    from confluent_kafka import Producer

    site.feed = LONG_SESSION
    site.config = site.write()
    topic = site.topic(MONTHLY)
    producer = Producer({"bootstrap.servers": site.broker.address, "transactional.id": site.prefix, "log_level": 2,
                         **rig.IDEMPOTENT})
    producer.init_transactions(60)
    wanted = collections.Counter()
    for turn in range(6):
        producer.begin_transaction()
        for number in range(20):
            name = f"{turn:02d}-{number:03d}"
            producer.produce(topic, json.dumps(document(MONTHLY, turn * 20 + number, message=name)), key=name)
        assert producer.flush(60) == 0  # the broker has them; what never came to it cannot be aborted
        if turn % 2:
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)
            wanted.update(f"{turn:02d}-{number:03d}" for number in range(20))
    assert sum(site.broker.ends([(topic, place) for place in range(PARTITIONS)]).values()) >= 120
    site.once()
    found = collections.Counter(source["message"] for source in site.engine.documents(site.pattern()))
    assert_same(found, wanted)
    assert site.ledger().assert_whole() == {"indexed": 60}


# ---- an operator's mistakes --------------------------------------------------------------------------------------------------------


def told(config, code, *words):
    """feed ends by itself with this exit code, and says these words on a line of an error."""
    feed = rig.Feed(config)
    try:
        assert feed.wait(rig.PATIENCE_S) == code, feed.log()
    finally:
        feed.kill()
    for word in words:
        assert word in feed.log(), f"no word of {word!r}:\n{feed.log()}"
    return feed


def test_without_templates_it_does_not_start(tmp_path, broker, own_engine):
    """The stock template would make data streams of all it wrote."""
    engine = own_engine("opensearch")
    site = Site(tmp_path, broker, engine)
    site.put(MONTHLY, [document()])
    told(site.config, 100, "tapline setup")
    assert engine.indices("logs-*") == []
    site.prepare()
    site.once()
    assert engine.count(site.pattern()) == 1


def test_a_host_that_is_wrong_is_waited_for_and_told(site, feeds):
    port = rig.free_port()
    site.config = site.write(hosts=[f"http://127.0.0.1:{port}"])
    site.put(MONTHLY, [document()])
    feed = feeds(site.config)
    feed.wait_for("the host in a message", lambda: f"127.0.0.1:{port}" in feed.log(), rig.PATIENCE_S)
    feed.stop()


def test_what_answers_is_no_search_engine(site):
    import engine_fault

    with engine_fault.Proxy(0, engine_fault.always(engine_fault.answer(200, {"hello": "world"}), lambda request: True)) as proxy:
        site.config = site.write(hosts=[proxy.url])
        told(site.config, 100, proxy.url)


@pytest.mark.parametrize("change, word", [
    (lambda c: c["sinks"].update(kafka={"rdkafka": {"bootstrap.servers": "127.0.0.1:1"}}), "kafka"),
    (lambda c: c["sinks"].pop("elasticsearch"), "sinks"),
    (lambda c: c.pop("feed"), "feed"),
    (lambda c: c["feed"]["rdkafka"].pop("bootstrap.servers"), "bootstrap.servers"),
    (lambda c: c["feed"]["rdkafka"].update({"isolation.level": "read_uncommitted"}), "isolation.level"),
    (lambda c: c["feed"].update(topics=["^(["]), "topics"),
    (lambda c: c["sinks"]["elasticsearch"].update(hosts=["http://user:pw@127.0.0.1:9200"]), "hosts"),
    (lambda c: c["sinks"]["elasticsearch"].update(hosts=["127.0.0.1:9200:x"]), "hosts"),
    (lambda c: c["sinks"]["elasticsearch"].update(api_key="a", username="u", password="p"), "api_key"),
    (lambda c: c["sinks"]["elasticsearch"].update(username="u"), "password"),
    (lambda c: c["sinks"]["elasticsearch"].update(namespace="a-b"), "namespace"),
    (lambda c: c["sinks"]["elasticsearch"].update(namespace="Upper"), "namespace"),
    (lambda c: c["sinks"]["elasticsearch"].update(cert_file="/nowhere"), "/nowhere"),
    (lambda c: c["sinks"]["elasticsearch"].update(bulk_byte="1MiB"), "bulk_bytes"),
], ids=["a sink of positions", "no sink", "no feed", "no brokers", "uncommitted", "pattern", "user in URL", "host", "both", "half",
        "dash", "case", "no file", "a slip"])
def test_a_mistake_in_the_file_is_named(site, change, word):
    config = json.loads(site.config.read_text())
    change(config)
    site.config.write_text(json.dumps(config, indent=1))
    feed = told(site.config, 100, word)
    is_of_the_world = word.startswith("/")  # a file that is not there is no slip in this one
    assert is_of_the_world or any(f"{site.config}:" in line for line in feed.lines), feed.log()


def test_inputs_in_the_file_are_none_of_its_business(site):
    config = json.loads(site.config.read_text())
    config["inputs"] = [{"type": "zeek", "paths": ["/nowhere/*.log"]}]
    site.config.write_text(json.dumps(config))
    wanted = site.put(MONTHLY, [document()])
    site.once()
    site.assert_ids(wanted)


def test_a_broker_that_is_away_at_the_start_is_waited_for(tmp_path, own_broker, elasticsearch, feeds):
    site = Site(tmp_path, own_broker, elasticsearch).prepare()
    wanted = site.put(MONTHLY, [document()])
    own_broker.stop()
    feed = feeds(site.config)
    feed.wait_for("the broker in a message", lambda: own_broker.address in feed.log(), rig.PATIENCE_S)
    own_broker.start()
    site.wait_ids(feed, wanted, rig.PATIENCE_S)
    feed.stop()


# ---- positions that are no more -------------------------------------------------------------------------------------------------


def make_anew(site, dataset):
    """Delete a topic and make it again, as soon as the brokers let us."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    topic, admin = site.topic(dataset), AdminClient({"bootstrap.servers": site.broker.address, "log_level": 2})
    site.leave()  # librdkafka 2.4 to 2.8, which the client is, dies of a topic whose id it knew otherwise
    admin.delete_topics([topic])[topic].result(30)

    def is_made():
        try:
            site.broker.create_topic(topic, PARTITIONS, **{"retention.ms": "-1"})
            return True
        except KafkaException:
            return False

    rig.wait_for(f"{topic} anew", is_made, rig.PATIENCE_S)


def test_a_topic_made_anew_is_read_from_its_beginning(site, feeds):
    """Its offsets begin anew, too, before the feeder has seen that the old one went."""
    feed = feeds(site.config)
    wanted = site.put(MONTHLY, (document(MONTHLY, i) for i in range(1000)))
    site.wait_ids(feed, wanted)
    site.wait_committed(feed)
    make_anew(site, MONTHLY)
    wanted.update(site.put(MONTHLY, (document(MONTHLY, 1000 + i) for i in range(100))))
    site.wait_ids(feed, wanted)
    site.wait_committed(feed)


def test_offsets_behind_the_end_of_a_partition_count_as_none(site):
    """As when a leader that knew less took over: what comes next has offsets that were committed before."""
    from confluent_kafka import Consumer, TopicPartition

    wanted = site.put(MONTHLY, (document(MONTHLY, i) for i in range(400)))
    consumer = Consumer({"bootstrap.servers": site.broker.address, "group.id": site.group})
    consumer.commit(offsets=[TopicPartition(site.topic(MONTHLY), place, 5000) for place in range(PARTITIONS)], asynchronous=False)
    consumer.close()
    site.once()
    site.assert_ids(wanted)
