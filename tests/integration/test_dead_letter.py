"""`tapline dead-letter list|show|retry` against a real broker. The letters are written by a foreign producer, in the words of
core/deadletter.h; but in the last test by a feeder, whose engine refuses and is then mended.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import hashlib
import itertools
import json
import os
import pathlib
import random
import subprocess
import time

import pytest

import feeding
import rig

DRIVER = pathlib.Path(os.environ.get("GROUP_DRIVER", rig.TAPLINE.parent.parent / "tests/integration/group_driver"))
SERIAL = itertools.count(time.time_ns() % 1_000_000)
REASON = "mapper_parsing_exception: failed to parse field [source.port] of type [long]. Preview of field's value: 'p{}'"


class Site:
    def __init__(self, broker, folder):
        from confluent_kafka import Producer

        self.broker, self.folder, self.name = broker, folder, f"dead{next(SERIAL)}"
        self.dead, self.ledger = f"{self.name}.deadletter", f"{self.name}.feed"
        self.topic = f"{self.name}.zeek.conn"
        self.config = folder / "feed.yml"
        self.config.write_text(json.dumps({
            "node": {"name": self.name, "state": str(folder / "state")},
            "feed": {"group": self.name, "dead_letter_topic": self.dead, "ledger_topic": self.ledger,
                     "topics": [f"^{self.name}\\..*"], "rdkafka": {"bootstrap.servers": broker.address}}}))
        self.producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 2, **rig.IDEMPOTENT})
        self.undelivered = []

    def make_topics(self, dead=2):
        for topic, partitions, config in ((self.dead, dead, {}), (self.topic, 3, {}), (self.ledger, 1, {"cleanup.policy": "compact"})):
            self.broker.create_topic(topic, partitions, **config)
            rig.listed(self.producer, topic)  # else it looks for the leaders a second later
        return self

    def put(self, letter, identity, key=b"k", topic=None):
        self.producer.produce(topic or self.dead, key=key, value=letter if isinstance(letter, bytes) else json.dumps(letter).encode(),
                              headers={"tapline": identity} if identity else None, on_delivery=self._delivered)

    def _delivered(self, error, message):
        if error is not None:
            self.undelivered.append((message.topic(), message.partition(), message.key(), str(error)))

    def refused(self, number, dataset="zeek.connection", **more):
        """A letter of a document that the engine refused; its own id and its document's."""
        document = json.dumps({"@timestamp": "2026-11-22T01:02:03.000000Z", "event": {"dataset": dataset}, "n": number})
        identity = hashlib.sha256(f"{self.name} {number}".encode()).digest()
        self.put({"@timestamp": "2026-11-22T01:03:00.000000Z", "ecs": {"version": "8.17.0"},
                  "event": {"kind": "pipeline_error", "module": "tapline", "dataset": "tapline.deadletter", "original": document},
                  "error": {"message": REASON.format(number)},
                  "tapline": {"id": identity[:16].hex(), "kind": "refused", "topic": self.topic, "partition": 1, "offset": number,
                              "dataset": dataset, **more}}, identity[16:], key=f"key-{number}".encode())
        return identity[16:].hex(), identity[:16].hex(), document

    def line(self):
        identity = hashlib.sha256(b"line").digest()[:16]
        self.put({"@timestamp": "2026-11-22T01:03:00.000000Z", "ecs": {"version": "8.17.0"},
                  "event": {"kind": "pipeline_error", "module": "tapline", "dataset": "tapline.deadletter", "original": "no\x1b[31m line"},
                  "error": {"message": "no map reads this \x1b[31m line"}, "log": {"file": {"path": "/data/conn.log", "line": 17}, "offset": 9},
                  "tapline": {"id": identity.hex(), "start": 9, "end": 21}}, identity + b"\0" * 8)
        return identity.hex()

    def flush(self):
        left = self.producer.flush(60)
        assert left == 0 and not self.undelivered, (left, len(self.undelivered), self.undelivered[:3])

    def run(self, word, *args, code=0):
        done = rig.tapline("dead-letter", word, "-c", self.config, *args)
        assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done

    def rows(self, word, *args, code=0):
        return [json.loads(line) for line in self.run(word, "--json", *args, code=code).stdout.splitlines()]

    def records(self, topic):
        found = []
        with rig.Reader(self.broker, lambda name: name == topic, found.append) as reader:
            assert reader.read()
        return found


@pytest.fixture
def site(broker, tmp_path):
    return Site(broker, tmp_path).make_topics()


def test_nothing_there_is_an_answer(broker, tmp_path):
    site = Site(broker, tmp_path)
    assert site.rows("list", code=1) == []
    assert "there is no dead letter 0/1" in site.run("show", "0/1", code=1).stderr
    assert "which ones" in site.run("retry", code=100).stderr
    assert "which one" in site.run("show", code=100).stderr
    assert "--since takes" in site.run("list", "--since", "2999-01-01", code=100).stderr
    assert "--limit takes" in site.run("list", "--limit", "0", code=100).stderr
    site.run("retry", "--all", code=1)


def test_letters_are_listed_shown_and_summed_up(site):
    refused = [site.refused(number) for number in range(4)]
    other = site.refused(9, dataset="zeek.http")
    line = site.line()
    site.put({"strange": True}, None)
    site.put(b"no JSON", None)
    site.put({"error": {"message": "no document"}, "event": {}, "tapline": {"id": "0" * 32, "kind": "unreadable", "topic": "t",
                                                                          "partition": 0, "offset": 1}}, b"u" * 16)
    site.flush()
    rows = site.rows("list")
    assert len(rows) == 9
    by_id = {row["id"]: row for row in rows}
    first = by_id[refused[0][0]]
    assert (first["state"], first["kind"], first["dataset"], first["document"]) == ("open", "refused", "zeek.connection", refused[0][1])
    assert first["from"] == {"partition": 1, "offset": 0, "topic": site.topic} and first["reason"] == REASON.format(0)
    assert by_id[line]["state"] == "stays" and by_id[line]["path"] == "/data/conn.log" and by_id[line]["line"] == 17
    assert collections.Counter(row["kind"] for row in rows) == {"refused": 5, "line": 2, "unknown": 1, "unreadable": 1}
    assert {row["id"] for row in site.rows("list", "--dataset", "zeek.http")} == {other[0]}
    assert {row["id"] for row in site.rows("list", "--reason", "FAILED to parse")} == {one[0] for one in [*refused, other]}
    assert {row["id"] for row in site.rows("list", refused[2][1])} == {refused[2][0]}, "a document's id is as good"
    assert len(site.rows("list", "--limit", "2")) == 2
    assert len(site.rows("list", "--since", "1h")) == 9 and site.rows("list", "--since", "2199-01-01", code=1) == []
    sums = site.rows("list", "--by-reason")
    assert [(row["count"], row["open"], row["dataset"]) for row in sums if "dataset" in row] == [
        (4, 4, "zeek.connection"), (1, 1, "zeek.http")], "what differs from document to document is no other reason"
    text = site.run("list").stdout + site.run("show", line).stdout
    assert "\x1b" not in text and "/data/conn.log:17" in text
    shown = site.run("show", refused[1][0]).stdout
    assert refused[1][2] in shown and site.topic in shown and REASON.format(1) in shown
    (letter,) = site.rows("show", refused[1][1])
    assert letter["letter"]["event"]["original"] == refused[1][2]


def test_what_is_put_back_is_the_same_record_and_is_listed_no_more(site):
    letters = [site.refused(number) for number in range(3)]
    cut = site.refused(7, original_bytes=400000)
    line = site.line()
    site.flush()
    told = site.rows("retry", letters[0][0])
    assert told == [{"id": letters[0][0], "state": "retried", "topic": site.topic}]
    (record,) = site.records(site.topic)
    assert record.value().decode() == letters[0][2] and record.key() == b"key-0"
    assert dict(record.headers()) == {"tapline": bytes.fromhex(letters[0][1])}
    assert {row["id"] for row in site.rows("list")} == {letters[1][0], letters[2][0], cut[0], line}
    assert {row["id"]: row["state"] for row in site.rows("list", "--all")}[letters[0][0]] == "retried"
    assert site.rows("retry", letters[0][0])[0]["obstacle"] == "it was put back before"
    told = site.rows("retry", "--all", code=1)
    assert sorted((row["state"], row["id"]) for row in told) == sorted(
        [("retried", letters[1][0]), ("retried", letters[2][0]), ("stays", cut[0]), ("stays", line)])
    assert "too long" in next(row["obstacle"] for row in told if row["id"] == cut[0])
    assert len(site.records(site.topic)) == 3
    assert {row["id"] for row in site.rows("list")} == {cut[0], line}
    again = site.refused(100)  # refused once more: another letter, another record in its topic
    site.flush()
    assert {row["id"] for row in site.rows("list", "--reason", "failed")} == {again[0], cut[0]}


def test_limit_takes_some(site):
    for number in range(10):
        site.refused(number)
    site.flush()
    assert len(site.rows("retry", "--all", "--limit", "4")) == 4
    assert len(site.rows("list")) == 6 and len(site.records(site.topic)) == 4


def test_a_mark_goes_with_its_letter(site):
    """Letters that retention has deleted leave no marks behind."""
    from confluent_kafka import TopicPartition

    for number in range(5):
        site.refused(number)
    site.flush()
    site.rows("retry", "--all")
    marks = [record for record in site.records(site.ledger) if record.key().startswith(b"dead/")]
    assert len(marks) == 5
    ends = site.broker.ends([(site.dead, partition) for partition in range(2)])
    for future in site.broker._admin().delete_records([TopicPartition(*place, end) for place, end in ends.items()]).values():
        future.result(30)
    site.rows("retry", "--all", code=1)
    last = {record.key(): record.value() for record in site.records(site.ledger)}
    assert len(last) == 5 and not any(last.values()), last


def test_killed_anywhere_nothing_is_lost_or_doubled(site):
    chance = random.Random(11)
    count = 6000
    letters = [site.refused(number) for number in range(count)]
    site.flush()
    kills = 0
    for _ in range(60):
        process = subprocess.Popen([str(rig.TAPLINE), "dead-letter", "retry", "-c", str(site.config), "--all"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait((1 + kills) * chance.uniform(0.02, 0.12))  # sooner than it can be done, then later each time
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert kills >= 3
    done = rig.tapline("dead-letter", "retry", "-c", site.config, "--all")
    assert done.returncode in (0, 1), done.stderr
    found = collections.Counter(record.headers()[0][1].hex() for record in site.records(site.topic))
    assert set(found) == {letter[1] for letter in letters}
    assert set(found.values()) == {1}, "a document goes back once"
    assert site.rows("list", code=1) == []


def test_a_transaction_is_not_open_while_many_letters_are_passed_over(broker, tmp_path):
    """Brokers end an old transaction, and who reads the topic waits behind an open one. Each letter takes a millisecond to be
    read, so that there are more than six seconds between the two that are wanted: two transactions, with a mark of the first
    one's end between them."""
    site = Site(broker, tmp_path).make_topics(dead=1)
    first = site.refused(0)
    for number in range(6000):
        site.refused(1 + number, dataset="zeek.http")
    last = site.refused(7000)
    site.flush()
    config = json.loads(site.config.read_text())
    config["feed"]["rdkafka"]["plugin.library.paths"] = str(DRIVER.with_name("libslow_consume.so"))
    site.config.write_text(json.dumps(config))
    told = site.rows("retry", "--dataset", "zeek.connection")
    assert [(row["state"], row["id"]) for row in told] == [("retried", first[0]), ("retried", last[0])]
    assert [record.offset() for record in site.records(site.ledger)] == [0, 2]


def test_two_at_once_put_nothing_back_twice(site):
    count = 2000
    for number in range(count):
        site.refused(number)
    site.flush()
    both = [subprocess.Popen([str(rig.TAPLINE), "dead-letter", "retry", "-c", str(site.config), "--all"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert {process.returncode for process in both} <= {0, 1, 100, 111}, said
    assert any(process.returncode == 0 for process in both) or site.rows("list", code=1) == [], said
    found = collections.Counter(record.headers()[0][1] for record in site.records(site.topic))
    assert len(found) == count and set(found.values()) == {1}, said


def test_what_was_mended_is_indexed_and_what_was_not_is_a_new_letter(broker, elasticsearch, tmp_path):
    site = feeding.Site(tmp_path, broker, elasticsearch).prepare()
    dataset = feeding.MONTHLY
    good = site.put(dataset, [feeding.document(dataset, i) for i in range(20)])
    site.once()
    (index,) = site.engine.indices(site.pattern(dataset))
    site.engine.ask("PUT", f"/{index}/_settings", {"index.mapping.total_fields.limit": 10}, code=200)  # there are more
    (mended,) = site.put(dataset, [feeding.document(dataset, 21, one_more=1)])
    (hopeless,) = site.put(dataset, [feeding.document(dataset, 22, source="10.0.0.1")])
    site.once()
    listed = rig.tapline("dead-letter", "list", "-c", site.config, "--json")
    rows = {row["document"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert set(rows) == {mended, hopeless} and {row["state"] for row in rows.values()} == {"open"}, listed.stderr
    site.engine.ask("PUT", f"/{index}/_settings", {"index.mapping.total_fields.limit": 5000}, code=200)
    retried = rig.tapline("dead-letter", "retry", "-c", site.config, "--all")
    assert retried.returncode == 0 and retried.stdout.count("retried") == 2, retried.stderr
    site.once()
    feeding.assert_same(site.ids(dataset), collections.Counter([mended, *good]))
    listed = rig.tapline("dead-letter", "list", "-c", site.config, "--json")
    (again,) = map(json.loads, listed.stdout.splitlines())
    assert again["document"] == hopeless and again["id"] != rows[hopeless]["id"], "another record, another letter"
    letters = {hit["_id"] for hit in site.hits("tapline.deadletter").values()}
    assert {row["id"] for row in rows.values()} <= letters, "a letter's id is its _id"
    sums = site.ledger().assert_whole()
    assert sums["dead"] == 3 and sums["indexed"] + sums["repeated"] >= len(good) + 1 + 2
