"""What the tests of `tapline feed` share: a site of its own for each test (topics of a prefix, a group, a namespace in the
engine), records as `tapline run` or anybody else puts them into Kafka, and what a foreign client finds of the feeder's
offsets, dead letters and ledger.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import datetime
import hashlib
import itertools
import json
import pathlib
import random
import struct
import time

import rig

PARTITIONS = 4
DAY_MS = 86_400_000
YEAR_2262_MS = 9_214_646_400_000  # what is later is no time, the feeder's documentation says
DAILY = "zeek.connection"  # its index is a day's; the others' a month's
MONTHLY = "zeek.ssh"
SESSION = {"session.timeout.ms": "2000", "heartbeat.interval.ms": "500"}  # a feeder that was killed is missed soon
# feed= where nobody is killed: nor is anybody missed because the machine stands still, and nothing delivered twice.
LONG_SESSION = {"rdkafka": {"session.timeout.ms": "30000"}}


def now_ms():
    return time.time_ns() // 1_000_000


def iso(ms):
    at = datetime.datetime.fromtimestamp(ms // 1000, datetime.timezone.utc)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


def document(dataset=MONTHLY, serial=0, at=None, **more):
    """A small document of ours. at: milliseconds, or @timestamp's text."""
    when = at if isinstance(at, str) else iso(now_ms() if at is None else at)
    return {"@timestamp": when, "ecs": {"version": "8.17.0"}, "event": {"dataset": dataset, "module": dataset.split(".")[0],
            "id": f"C{serial:017d}"}, "source": {"ip": f"10.1.{serial // 250 % 250}.{serial % 250}", "port": 1024 + serial % 60000},
            "destination": {"ip": "192.0.2.7", "port": 53}, **more}


class Site:
    """broker, engine: shared ones; url: the engine's, or a proxy's before it. sink, feed: more of their sections."""

    numbers = itertools.count()

    def __init__(self, folder, broker, engine, url=None, sink=None, feed=None, **sections):
        self.folder, self.broker, self.engine = pathlib.Path(folder), broker, engine
        self.folder.mkdir(exist_ok=True)
        token = hashlib.sha256(f"{folder} {next(self.numbers)} {time.time_ns()}".encode()).hexdigest()[:10]
        self.namespace, self.prefix, self.group = f"n{token}", f"t{token}", f"g{token}"
        self.dead_topic, self.ledger_topic = f"{self.prefix}.deadletter", f"{self.prefix}.feed"
        self.sink, self.feed, self.sections, self.url = dict(sink or {}), dict(feed or {}), sections, url or engine.url
        self.generation, self.starts = random.getrandbits(64), itertools.count(0, 100)
        self.made, self._producer, self.undelivered = set(), None, []
        self.config = self.write()

    def write(self, name="feed.yml", node=None, **changes):
        """A configuration for one more feeder of the site. changes: of the elasticsearch sink."""
        rdkafka = {"bootstrap.servers": self.broker.address, **SESSION, **self.feed.get("rdkafka", {})}
        config = {
            "node": {"name": node or f"node-{self.prefix}", "state": str(self.folder / f"state-{node or 'feed'}")},
            "feed": {"group": self.group, "topics": [rf"^{self.prefix}\..*"], "dead_letter_topic": self.dead_topic,
                     "ledger_topic": self.ledger_topic, "commit_interval": "200ms", "replication_factor": 1,
                     **self.feed, "rdkafka": rdkafka},
            "sinks": {"elasticsearch": {"hosts": [self.url], "namespace": self.namespace, **self.sink, **changes}},
            "setup": {"replicas": 0, "shards": 1, "topics": False},
            **self.sections}
        path = self.folder / name
        path.write_text(json.dumps(config, indent=1))
        return path

    def prepare(self):
        """`tapline setup`, once for an engine and a mode of indexing."""
        mode = self.sink.get("index_mode", "index")
        if getattr(self.engine, "prepared_for", None) != mode:
            self.engine.setup(self.config)
            self.engine.prepared_for = mode
        return self

    # ---- records ---------------------------------------------------------------------------------------------------------

    def topic(self, dataset, partitions=PARTITIONS):
        name = f"{self.prefix}.{dataset}"
        if name not in self.made:
            # Tests give records times of long ago, which are Kafka's measure of what it may delete.
            self.broker.create_topic(name, partitions, **{"retention.ms": "-1"})
            rig.listed(self.producer, name)  # else it looks for the leaders a second later
            self.made.add(name)
        return name

    @property
    def producer(self):
        from confluent_kafka import Producer

        if self._producer is None:
            self._producer = Producer({"bootstrap.servers": self.broker.address, "linger.ms": 1, "log_level": 2,
                                       **rig.IDEMPOTENT})
        return self._producer

    def leave(self):
        """Be no client of the broker any more; what is next begins with others."""
        self._producer = None
        self.broker.leave()

    def send(self, dataset, value, key=None, partition=None, at=None, start=None, headers=True):
        """One record; its id, or None without a header. headers: what else than ours it has. at: its timestamp in Kafka."""
        start = next(self.starts) if start is None else start
        header = struct.pack(">QQQ", self.generation, start, start + 90)
        value = value if isinstance(value, bytes) or value is None else json.dumps(value, separators=(",", ":")).encode()
        where = {} if partition is None else {"partition": partition}
        self.producer.produce(self.topic(dataset), value, key=key, timestamp=at or now_ms(), on_delivery=self._delivered,
                              headers=[("tapline", header)] if headers is True else headers, **where)
        self.producer.poll(0)
        return header[:16].hex() if headers is True else None

    def put(self, dataset, documents, **options):
        """Records, all in Kafka when this returns. id to document."""
        sent = {}
        for number, one in enumerate(documents):
            sent[self.send(dataset, one, key=f"k{number % 97}", **options)] = one
        self.flush()
        return sent

    def _delivered(self, error, message):
        if error is not None:
            self.undelivered.append((message.topic(), message.partition(), message.key(), str(error)))

    def flush(self):
        left = self.producer.flush(60)
        assert left == 0 and not self.undelivered, (left, len(self.undelivered), self.undelivered[:3])

    # ---- the feeder -------------------------------------------------------------------------------------------------------

    def once(self, code=0, timeout=rig.PATIENCE_S):
        """`feed --once --json`; its summary."""
        return rig.run_once(self.config, code, timeout, kind=rig.Feed)

    def pattern(self, dataset="*", period="*"):
        return f"logs-{dataset}-{self.namespace}-{period}"

    def ids(self, dataset="*"):
        return self.engine.ids(self.pattern(dataset))

    def hits(self, dataset="*"):
        return {hit["_id"]: hit for hit in self.engine.hits(self.pattern(dataset))}

    def wait_ids(self, feed, wanted, timeout=rig.PATIENCE_S):
        """Until these ids, and no other, can be found, each once."""
        def there():
            try:
                return self.engine.count(self.pattern()) >= len(wanted)
            except Exception as error:
                if getattr(error, "status_code", None) == 503:  # its shards are not back yet
                    return False
                raise

        feed.wait_for(f"{len(wanted)} documents", there, timeout)
        self.assert_ids(wanted)

    def assert_ids(self, wanted, dataset="*"):
        found, wanted = self.ids(dataset), collections.Counter(list(wanted))
        if found != wanted:
            lost = wanted - found
            print(f"of {lost.total()} lost ones Kafka has {sum(name in lost for name in map(name_of, self.records()))}")
        assert_same(found, wanted)

    # ---- what the feeder leaves in Kafka ----------------------------------------------------------------------------------

    def committed(self):
        """(topic, partition) to the group's committed offset."""
        from confluent_kafka import ConsumerGroupTopicPartitions
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.broker.address, "log_level": 2})
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(self.group)], require_stable=True)
        found = asked[self.group].result(30).topic_partitions
        return {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def records(self, topic=None):
        """All that is committed: of a topic, or of all those the feeder reads."""
        found = []
        wanted = (lambda name: name == topic) if topic else (
            lambda name: name.startswith(self.prefix + ".") and name != self.ledger_topic)
        with rig.Reader(self.broker, wanted, found.append) as reader:
            reader.read()
        return found

    def dead_letters(self):
        return [json.loads(message.value()) for message in self.records(self.dead_topic)]

    def wait_committed(self, feed, timeout=rig.PATIENCE_S):
        """Until nothing is left to read: the committed offsets are behind the last record of each partition."""
        lasts = {}
        for message in self.records():
            place = (message.topic(), message.partition())
            lasts[place] = max(lasts.get(place, -1), message.offset())
        def behind_all():
            committed = self.committed()
            return all(committed.get(place, 0) > last for place, last in lasts.items())
        feed.wait_for(f"offsets behind {lasts}", behind_all, timeout)

    def ledger(self):
        return Ledger(self)


def name_of(message):
    """The id that a record of Kafka has in its header; "" without one."""
    return dict(message.headers() or []).get("tapline", b"")[:16].hex()


def assert_same(found, wanted):
    lost, more = wanted - found, found - wanted
    assert not lost and not more, (f"{found.total()} found, {wanted.total()} wanted; lost {lost.total()}: {sorted(lost)[:3]}; "
                                   f"doubled or unknown {more.total()}: {sorted(more.items())[:3]}")


class Ledger:
    """Rows of the feeder's ledger as it documents them: the last value of each key counts."""

    def __init__(self, site):
        self.site, self.rows = site, {}
        for message in site.records(site.ledger_topic):
            key = message.key().decode()
            if not key.startswith(site.group + "/"):
                continue
            row = json.loads(message.value())
            assert key == f"{row['group']}/{row['topic']}/{row['partition']}/{row['from']}", (key, row)
            assert key not in self.rows or self.rows[key]["to"] <= row["to"], "a row shrank"
            self.rows[key] = row

    def assert_whole(self):
        """Rows of a partition join, from the first record to the committed offset; each says of its records what a foreign
        client counts in the topic. Returns the sums: fate to number."""
        committed, sums = self.site.committed(), collections.Counter()
        by_place = collections.defaultdict(list)
        for row in self.rows.values():
            by_place[row["topic"], row["partition"]].append(row)
        counted = self._counted()
        for place, rows in by_place.items():
            rows.sort(key=lambda row: row["from"])
            # A partition may begin with what was aborted: nobody sees that, and no row speaks of it.
            unspoken = [offset for offset, _ in counted.get(place, ()) if offset < rows[0]["from"]]
            assert not unspoken, f"{place}: nothing speaks of {unspoken[:3]}: {rows[0]}"
            for before, after in zip(rows, rows[1:]):
                assert before["to"] == after["from"], f"{place}: rows do not join: {before}, {after}"
            assert rows[-1]["to"] == committed[place], f"{place}: the ledger ends at {rows[-1]['to']}, offsets at {committed[place]}"
            for row in rows:
                told = collections.Counter()
                for day, datasets in row["days"].items():
                    for dataset, fates in datasets.items():
                        told[day, dataset] += sum(fates.get(fate, 0) for fate in ("indexed", "repeated", "dead"))
                        sums.update(fates)
                have = collections.Counter()
                for offset, name in counted.get(place, ()):
                    if row["from"] <= offset < row["to"]:
                        have[name] += 1
                assert +told == have, f"{place}: {row}: {have}"
        assert set(by_place) >= {place for place, offset in committed.items() if counted.get(place)}, "a partition without rows"
        return +sums

    def _counted(self):
        """Place to (offset, (day, dataset)) of each record that is no tombstone."""
        found = collections.defaultdict(list)
        for message in self.site.records():
            if message.value() is None:
                continue
            at = message.timestamp()[1]
            day = iso(at if 0 <= at < YEAR_2262_MS else 0)[:10]
            found[message.topic(), message.partition()].append((message.offset(), (day, dataset_of(message.value()))))
        return found


def dataset_of(value):
    """event.dataset as a document's reader understands it; "generic" without one."""
    try:
        read = json.loads(value)
    except ValueError:
        return "generic"
    event = read.get("event") if isinstance(read, dict) else None
    name = event.get("dataset") if isinstance(event, dict) else read.get("event.dataset") if isinstance(read, dict) else None
    return name if isinstance(name, str) and name else "generic"
