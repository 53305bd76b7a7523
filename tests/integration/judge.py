"""The judge of the fault tests: what arrived, as a foreign client that sees only what is committed has it. It takes a
record's serial number out of the document and its place out of the header, and keeps nothing else, so that ten million
records are no trouble.
SPDX-License-Identifier: Apache-2.0
"""
import array
import collections

import rig

PARTITIONS = 4
SERIAL = b'"id":"C'


def kafka_sink(broker, prefix, delivery="exactly_once", **options):
    """Topics of one's own, and transactions that end soon."""
    sink = {"topic": prefix + ".%{event.dataset}", "dead_letter_topic": prefix + ".deadletter", "partitions": PARTITIONS,
            "delivery": delivery, "rdkafka": {"bootstrap.servers": broker.address, **options.pop("rdkafka", {})}, **options}
    if delivery == "exactly_once":
        sink.setdefault("transaction_interval", "200ms")
    return {"kafka": sink}


class Generation:
    """A file's spans, in the order of arrival, and the name of its first record."""

    def __init__(self):
        self.froms, self.ends = array.array("Q"), array.array("Q")
        self.name, self.sample, self.disorder, self._last = None, None, [], {}

    def take(self, partition, start, begin, end):
        """A record; order must hold within a topic's partition."""
        if self._last.get(partition, -1) >= start:
            self.disorder.append((partition, self._last[partition], start))
        self._last[partition] = start
        self.froms.append(begin)
        self.ends.append(end)

    def mistakes(self):
        """Where its spans do not join, from 0 on. As each span ends behind its beginning, they join if and only if, in
        order, each end is the next beginning."""
        froms, ends = sorted(self.froms), sorted(self.ends)
        wrong = [] if froms[0] == 0 else [f"begins at {froms[0]}"]
        gaps = [(end, begin) for end, begin in zip(ends, froms[1:]) if end != begin]
        if gaps:
            wrong.append(f"{len(gaps)} spans of {len(froms)} do not join, the first (end, begin) {gaps[:3]}")
        return wrong

    @property
    def end(self):
        return max(self.ends)


def serial_of(value):
    """The serial number that rig.ConnLog gave a connection."""
    at = value.index(SERIAL) + len(SERIAL)
    return int(value[at:at + 17])


class Judge(rig.Reader):
    """Reads all topics of a prefix. records: how many; dead: the dead letters; generations; seen: how often each came, by
    what name_of() makes of a document: its serial number, if nothing else is said."""

    def __init__(self, broker, prefix, name_of=serial_of):
        super().__init__(broker, lambda topic: topic.startswith(prefix + "."), self._take)
        self.name_of, self.records, self.dead, self.seen = name_of, 0, [], collections.Counter()
        self.generations = collections.defaultdict(Generation)

    def _take(self, message):
        self.records += 1
        value = message.value()
        (name, header), = message.headers()
        assert name == "tapline", name
        generation, start, end, begin = rig.header_of(header)
        file = self.generations[generation]
        file.take((message.topic(), message.partition()), start, begin, end)
        if file.sample is None:
            file.sample = value
        if message.topic().endswith(".deadletter"):
            self.dead.append(value)
            return
        name = self.name_of(value)
        self.seen[name] += 1
        if file.name is None:
            file.name = name

    def distinct(self):
        return len(self.seen)

    def assert_whole(self, expected):
        """Each serial number as often as it was written (a Counter, or how many from 0 on), all spans of all files join,
        nothing is a dead letter, and order is kept."""
        if isinstance(expected, int):
            expected = collections.Counter(range(expected))
        verdict(self, self.seen, expected, list(self.generations.values()))
        assert self.records == expected.total()


def verdict(judge, seen, expected, generations):
    lost, doubled = expected - seen, seen - expected
    assert not lost and not doubled, (
        f"{judge.records} records: lost {lost.total()} {sorted(lost)[:3]}…{sorted(lost)[-2:]}, "
        f"doubled {doubled.total()} {sorted(doubled)[:3]}…{sorted(doubled)[-2:]}, dead {judge.dead[:2]}")
    wrong = {str(file.sample[-300:]): file.mistakes() for file in generations if file.mistakes()}
    assert not wrong, f"spans: {wrong}"
    assert not judge.dead, f"{len(judge.dead)} dead letters: {judge.dead[:2]}"
    disorder = [one for file in generations for one in file.disorder]
    assert not disorder, f"{len(disorder)} out of order (where, start before, start): {disorder[:3]}"
