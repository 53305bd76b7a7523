"""What sinks, the feeder and intelligence tell of themselves is what foreign clients find: brokers, partitions written and read,
consumer lag in records and in time; a broker or a Redis that goes away is known within five seconds, by its address, and known
to be back; lines of the health log in Kafka are documents to the feeder, and nothing to those who count a sensor's records.
SPDX-License-Identifier: Apache-2.0
"""
import json
import socket
import time

import pytest

import feeding
import rig
from redis_server import redis_server  # noqa: F401

# Five seconds and a machine that has other things to do; what does not look by itself would learn it from a timeout of minutes.
SOON = 45.0
OVER = rig.PATIENCE_S  # a problem stays for three seconds more; a broker needs some to be one again


def document(socket_path):
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(30)
        one.connect(str(socket_path))
        one.sendall(b'{"jsonrpc":"2.0","id":1,"method":"health","params":{}}\n')
        return json.loads(one.makefile().readline())["result"]


class Watch:
    """A process's health document, by its socket."""

    def __init__(self, run, path):
        self.run, self.path = run, path

    def rows(self, kind, **labels):
        found = document(self.path)["rows"].get(kind, [])
        return [row for row in found if all(row.get(name) == value for name, value in labels.items())]

    def row(self, kind, **labels):
        found = self.rows(kind, **labels)
        return found[0] if len(found) == 1 else {}

    def problem(self, code):
        return next((one for one in document(self.path)["problems"] if one["code"] == code), None)

    def wait(self, what, condition, timeout=rig.PATIENCE_S):
        return self.run.wait_for(what, condition, timeout)


def watch_run(run, config):
    path = json.loads(config.read_text())["node"]["state"] + "/run.sock"
    watch = Watch(run, path)
    watch.wait("the control socket", lambda: is_listening(path))
    return watch


def is_listening(path):
    try:
        return document(path) is not None
    except OSError:
        return False


HEALTH = {"topic": "", "run": "off", "feed": "off"}


# ---- Kafka, written to --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_broker_that_goes_and_comes_is_known_by_name(own_broker, runs, tmp_path, conn_log, delivery):
    log = tmp_path / "conn.log"
    sink = {"kafka": {"partitions": 3, "delivery": delivery, "rdkafka": {"bootstrap.servers": own_broker.address}}}
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}], sink, health=HEALTH)
    run = runs(config)
    watch = watch_run(run, config)
    log.write_text(conn_log.text(0, 5000))
    topic = "tapline.zeek.connection"
    run.wait_for("all records", lambda: own_broker.count(topic) >= 5000, OVER)

    def produced():
        return sum(row["messages"] for row in watch.rows("producer_partition", topic=topic))

    watch.wait("each record counted at its partition", lambda: produced() >= 5000, OVER)  # what was aborted was sent, too
    assert {row["partition"] for row in watch.rows("producer_partition", topic=topic)} == {"0", "1", "2"}
    broker = watch.row("broker", client="kafka")
    assert broker["up"] == 1 and own_broker.address in broker["broker"]
    assert 0 < broker["rtt_mean_seconds"] < 30 and broker["rtt_p99_seconds"] > 0
    assert watch.row("sink", sink="kafka")["up"] == 1
    assert watch.problem("sink_unreachable") is None

    own_broker.kill()
    watch.wait("the sink down", lambda: watch.row("sink", sink="kafka").get("up") == 0, SOON)
    watch.wait("the broker down", lambda: watch.row("broker", client="kafka").get("up") == 0, SOON)
    problem = watch.wait("the problem", lambda: watch.problem("sink_unreachable"), SOON)
    assert own_broker.address in problem["text"], problem
    own_broker.start()
    watch.wait("the sink up", lambda: watch.row("sink", sink="kafka").get("up") == 1, OVER)
    watch.wait("no problem", lambda: watch.problem("sink_unreachable") is None, OVER)
    with open(log, "a") as out:
        out.write(conn_log.text(5000, 6000, header=False))
    run.wait_for("the rest", lambda: own_broker.count(topic) >= 6000, OVER)
    run.stop()


# ---- Kafka, read ------------------------------------------------------------------------------------------------------------


class Foreign:
    """Lag as confluent-kafka's client has it: committed offsets and watermarks."""

    def __init__(self, site):
        from confluent_kafka import Consumer

        self.site = site
        self.client = Consumer({"bootstrap.servers": site.broker.address, "group.id": site.group, "enable.auto.commit": False})

    def partitions(self, topic, count):
        from confluent_kafka import TopicPartition

        found = {}
        for place in self.client.committed([TopicPartition(topic, i) for i in range(count)], timeout=10):
            low, high = self.client.get_watermark_offsets(place, timeout=10)
            found[place.partition] = (max(place.offset, low), high)
        return found

    def taken_at(self, topic, partition, offset):
        """Kafka's time of a record, in seconds."""
        from confluent_kafka import Consumer, TopicPartition

        reader = Consumer({"bootstrap.servers": self.site.broker.address, "group.id": "other", "enable.auto.commit": False})
        reader.assign([TopicPartition(topic, partition, offset)])
        record = rig.wait_for("a record", lambda: reader.poll(5))
        reader.close()
        return record.timestamp()[1] / 1000


def feed_site(tmp_path, broker, feed=feeding.LONG_SESSION):
    """A feeder whose documents go to stdout, which nobody reads: it stands still as soon as the pipe is full."""
    site = feeding.Site(tmp_path / "site", broker, type("none", (), {"url": "http://127.0.0.1:1"}), feed=feed, health=HEALTH)
    config = json.loads(site.config.read_text())
    config["sinks"] = {"stdout": {}}
    site.config.write_text(json.dumps(config))
    return site


def watch_feed(run, site):
    path = json.loads(site.config.read_text())["node"]["state"] + "/feed-0.sock"
    watch = Watch(run, path)
    watch.wait("the control socket", lambda: is_listening(path))
    return watch


def test_consumer_lag_is_the_truth(broker, feeds, tmp_path):
    site = feed_site(tmp_path, broker)
    topic = site.topic(feeding.MONTHLY)
    begun = feeding.now_ms() - 300_000
    for serial in range(20_000):  # taken by Kafka over five minutes, until now
        site.send(feeding.MONTHLY, feeding.document(serial=serial), partition=serial % 4, at=begun + serial * 15)
    site.flush()
    feed = feeds(site.config)
    watch, foreign = watch_feed(feed, site), Foreign(site)

    def by_partition():
        return {int(row["partition"]): row for row in watch.rows("consumer_partition", group=site.group, topic=topic)}

    def is_true():
        rows = by_partition()
        truth = foreign.partitions(topic, 4)
        return set(rows) == set(truth) and all(
            (rows[i].get("position"), rows[i].get("end"), rows[i].get("lag_records")) == (position, end, end - position)
            for i, (position, end) in truth.items()) and truth

    truth = watch.wait("lag as the foreign client has it", is_true, OVER)
    assert sum(end - position for position, end in truth.values()) > 10_000
    taken_at = {partition: foreign.taken_at(topic, partition, position) for partition, (position, _) in truth.items()}

    def is_true_in_time():
        """A look may be cut in two by whoever else wants the machine; another one is not."""
        now, rows = time.time(), by_partition()
        off = {partition: now - taken_at[partition] - row["lag_seconds"] for partition, row in rows.items()}
        return all(abs(seconds) < 1 for seconds in off.values()) and {i: row["position"] for i, row in rows.items()} == {
            i: position for i, (position, _) in truth.items()}

    watch.wait("lag in time as Kafka's stamps have it", is_true_in_time, OVER)

    site.put(feeding.MONTHLY, [feeding.document(serial=serial) for serial in range(20_000, 22_000)])  # it stands still, and lag grows
    watch.wait("lag that grew", lambda: is_true() and sum(row["lag_records"] for row in by_partition().values()) > 12_000, OVER)

    taken = 0
    while taken < 22_000:  # now somebody reads
        assert json.loads(feed.process.stdout.readline())["event"]["dataset"] == feeding.MONTHLY
        taken += 1
    watch.wait("no lag", lambda: all(row["lag_records"] == 0 and row["lag_seconds"] == 0 for row in by_partition().values()), OVER)
    watch.wait("no lag as the foreign client has it", is_true, OVER)
    assert watch.row("broker", client="feed")["up"] == 1
    feed.stop()


def test_brokers_away_from_the_feeder(own_broker, feeds, tmp_path):
    # As sites have it: a member that the group has given up waits some seconds for its coordinator, and tells nothing new then.
    site = feed_site(tmp_path, own_broker, feed={"rdkafka": {"session.timeout.ms": "10000", "heartbeat.interval.ms": "3000"}})
    site.put(feeding.MONTHLY, [feeding.document(serial=serial) for serial in range(10)])
    feed = feeds(site.config)
    watch = watch_feed(feed, site)
    watch.wait("the broker", lambda: watch.row("broker", client="feed").get("up") == 1, OVER)
    assert watch.problem("brokers_away") is None
    own_broker.kill()
    problem = watch.wait("the problem", lambda: watch.problem("brokers_away"), SOON)
    assert own_broker.address in problem["text"]
    own_broker.start()
    watch.wait("no problem", lambda: watch.problem("brokers_away") is None, OVER)
    feed.kill()


# ---- intelligence -----------------------------------------------------------------------------------------------------------


def test_redis_killed_and_back(redis_server, runs, tmp_path, conn_log):  # noqa: F811
    log = tmp_path / "conn.log"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}], {"stdout": {}}, health=HEALTH,
                              intel={"redis": {"urls": [redis_server.url]}})
    for address in ("10.1.1.1", "10.1.1.2"):
        done = rig.tapline("intel", "add", "-c", config, address)
        assert done.returncode == 0, done.stderr
    run = runs(config)
    watch = watch_run(run, config)
    watch.wait("the filter", lambda: watch.row("intel").get("state") == 2, OVER)
    row = watch.row("intel")
    assert row["store_up"] == 1 and row["indicators"] == 2 and row["filter_bytes"] > 0 and row["behind_seconds"] < 10
    address = redis_server.url.split("//")[1].split("/")[0]
    redis_server.kill()
    watch.wait("the store down", lambda: watch.row("intel")["store_up"] == 0, SOON)
    problem = watch.wait("the problem", lambda: watch.problem("intel_unavailable"), SOON)
    assert address in problem["text"] and "labels.intel" in problem["text"], problem
    redis_server.start()
    watch.wait("the store up", lambda: watch.row("intel")["store_up"] == 1, OVER)
    watch.wait("no problem", lambda: watch.problem("intel_unavailable") is None, OVER)
    run.kill()


# ---- lines of the health log in Kafka, and a second header --------------------------------------------------------------------


def headers_of(broker, topic):
    """The headers of each record of a topic."""
    found = []
    with rig.Reader(broker, lambda name: name == topic, lambda message: found.append(dict(message.headers() or []))) as reader:
        assert reader.read(), f"no topic {topic}"
    return found


def test_health_lines_and_traces_disturb_nobody_who_counts(own_broker, runs, feeds, tmp_path, conn_log):
    """Each batch is traced (to a collector that is not there), and each second a health line goes to Kafka in between."""
    log, out = tmp_path / "conn.log", tmp_path / "indexed.ndjson"
    address = {"bootstrap.servers": own_broker.address}
    config = rig.config_write(
        tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
        {"kafka": {"partitions": 2, "delivery": "exactly_once", "transaction_interval": "200ms", "rdkafka": address}},
        health={"run": "off", "interval": "1s", "otlp": "http://127.0.0.1:1", "otlp_share": 1})
    run = runs(config)
    log.write_text(conn_log.text(0, 3000))
    run.wait_for("all records", lambda: own_broker.count("tapline.zeek.connection") >= 3000, OVER)
    run.wait_for("health lines", lambda: own_broker.count("tapline.health") >= 3, OVER)
    run.wait_accepted(3000)
    run.stop()  # one line more
    lines = [json.loads(line) for line in (tmp_path / "state/health-run.ndjson").read_text().splitlines()]
    assert own_broker.count("tapline.health") == len(lines)

    traced = headers_of(own_broker, "tapline.zeek.connection")
    assert len(traced) == 3000 and all(set(one) == {"tapline", "traceparent"} for one in traced)
    assert all(len(one["traceparent"]) == 55 and one["traceparent"].startswith(b"00-") for one in traced)
    assert all(set(one) == {"tapline"} for one in headers_of(own_broker, "tapline.health"))

    done = rig.tapline("verify", "-c", config, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["complete"]
    done = rig.tapline("ledger", "--topics", "-c", config, "--json")
    assert done.returncode == 0, done.stdout + done.stderr

    feed_config = tmp_path / "feed.yml"
    feed_config.write_text(json.dumps({
        "node": {"name": "feeder", "state": str(tmp_path / "state-feed")},
        "feed": {"commit_interval": "200ms", "replication_factor": 1, "rdkafka": address},
        "sinks": {"file": {"path": str(out), "sync_interval": "10ms"}},
        "health": {"feed": "off", "topic": ""}}))
    rig.run_once(feed_config, kind=rig.Feed)
    documents = [json.loads(line) for line in out.read_text().splitlines()]
    datasets = [document["event"]["dataset"] for document in documents]
    assert datasets.count("zeek.connection") == 3000 and datasets.count("tapline.health") == len(lines)
    health = sorted((one for one in documents if one["event"]["dataset"] == "tapline.health"), key=lambda one: one["@timestamp"])
    assert health == sorted(lines, key=lambda one: one["@timestamp"])
    assert not out.with_name(out.name + ".deadletter").exists()

    done = rig.tapline("ledger", "--feed", "-c", feed_config, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"tapline.health"' in done.stdout
    rig.run_once(feed_config, kind=rig.Feed)  # nothing is left
    assert len(out.read_text().splitlines()) == len(documents)
