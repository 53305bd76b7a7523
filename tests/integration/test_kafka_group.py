"""Members of a consumer group that copy records exactly once (group_driver.c) against a real broker: they are killed, stopped,
joined by others; each record must be copied once, as a foreign read_committed client counts it.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import itertools
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

import rig

DRIVER = pathlib.Path(os.environ.get("GROUP_DRIVER", rig.TAPLINE.parent.parent / "tests/integration/group_driver"))
SERIAL = itertools.count(time.time_ns() % 1_000_000)


class Member:
    def __init__(self, site, txn_id, *options):
        site.logs += 1
        self.log = site.folder / f"{site.logs}-{txn_id}.log"
        with open(self.log, "w") as out:
            self.process = subprocess.Popen(
                [str(DRIVER), site.broker.address, site.name, f"{site.name}-{txn_id}", site.out, f"^{site.name}\\.in\\..*",
                 "session.timeout.ms=6000", "heartbeat.interval.ms=1000", "transaction.timeout.ms=10000", *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def lines(self, *words):
        return [line for line in self.log.read_text().splitlines() if line.split()[:1] and line.split()[0] in words]

    def wait_line(self, word, count=1, timeout=rig.PATIENCE_S):
        rig.wait_for(f"{count} times {word} in {self.log}", lambda: len(self.lines(word)) >= count, timeout)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(rig.PATIENCE_S) == 0, self.log.read_text()[-2000:]


class Site:
    """Topics, a group and its members."""

    def __init__(self, broker, folder):
        from confluent_kafka import Producer

        self.broker, self.folder, self.name, self.logs = broker, folder, f"group{next(SERIAL)}", 0
        self.out = f"{self.name}.out"
        self.members, self.places = [], []
        self.producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 2, **rig.IDEMPOTENT})
        for topic, partitions in ((self.topic("a"), 4), (self.topic("b"), 2)):
            broker.create_topic(topic, partitions)
            rig.listed(self.producer, topic)  # else it looks for the leaders a second later
        broker.create_topic(self.out, 2)

    def topic(self, name):
        return f"{self.name}.in.{name}"

    def start(self, txn_id, *options):
        self.members.append(Member(self, txn_id, *options))
        return self.members[-1]

    def produce(self, count):
        def take(error, message):
            assert error is None, error
            self.places.append(f"{message.topic()}/{message.partition()}/{message.offset()}")

        for i in range(count):
            self.producer.produce(self.topic("ab"[i % 3 == 0]), key=str(i), value=b"x" * 100, headers={"tapline": b"h"},
                                  on_delivery=take)
        assert self.producer.flush(60) == 0

    def left(self):
        return len(self.places) - self.broker.count(self.out)

    def wait_at_work(self, what, condition, least):
        """Until it holds, while so many records at least are left to copy."""
        def holds():
            if self.left() < least:
                self.produce(least)
            return condition()

        rig.wait_for(what, holds)

    def assert_each_once(self, timeout=rig.PATIENCE_S):
        """A transaction that a killed member left open hides what is behind it until it is given up."""
        want = set(self.places)
        rig.wait_for("the copies", lambda: self.broker.count(self.out) >= len(want), timeout)
        found = collections.Counter()
        with rig.Reader(self.broker, lambda name: name == self.out, lambda message: found.update([message.value().decode()])) as reader:
            assert reader.read()
        assert set(found) == want, f"{len(want - set(found))} lost, {len(set(found) - want)} strange"
        doubled = {place: times for place, times in found.items() if times > 1}
        assert not doubled, doubled


@pytest.fixture
def site(broker, tmp_path):
    made = Site(broker, tmp_path)
    yield made
    for member in made.members:
        member.kill()


def test_a_second_member_takes_a_part_and_gives_it_back(site):
    site.produce(3000)
    first = site.start("one")
    rig.wait_for("copies from each partition", lambda: site.broker.count(site.out) == 3000, rig.PATIENCE_S)
    site.produce(3000)
    second = site.start("two")
    rig.wait_for("a share for the second", lambda: any(len(line.split()) > 1 for line in second.lines("gained")), rig.PATIENCE_S)
    given_up = [place for line in first.lines("losing") for place in line.split()[1:]]
    assert len(given_up) == 3, "of six partitions a second member gets three, and only those are let go"
    offsets = [int(place.rsplit("/", 1)[1]) for line in second.lines("gained") for place in line.split()[1:]]
    assert all(offset > 0 for offset in offsets), "they begin at what the first committed while it was losing them"
    site.produce(3000)
    second.end()
    assert second.lines("left")
    rig.wait_for("all partitions", lambda: sum(len(line.split()) - 1 for line in first.lines("gained")) == 9, rig.PATIENCE_S)
    site.produce(300)
    site.assert_each_once()
    ends = {line.split()[1].rsplit("/", 1)[0] for line in first.lines("end")}
    assert len(ends) == 6 and all(line.endswith("lag 0") for line in first.lines("end"))
    assert not first.lines("lost", "anew", "died"), first.log.read_text()
    first.end()


def test_a_rebalance_while_records_are_taken_loses_none(site):
    """librdkafka before 2.1.0 forgets what it has collected for a batch when a rebalance comes, and goes on behind it."""
    slow = f"plugin.library.paths={DRIVER.with_name('libslow_consume.so')}"
    site.produce(12000)
    first = site.start("one", slow)
    first.wait_line("committed")
    for turn in range(1, 4):
        second = site.start(f"two-{turn}", slow)
        site.wait_at_work("a share for the second", lambda: any(len(line.split()) > 1 for line in second.lines("gained")), 12000)
        site.wait_at_work("its commit", lambda: second.lines("committed"), 12000)
        second.end()
        site.wait_at_work("all partitions", lambda: len(first.lines("gained")) >= 1 + turn, 12000)
        assert site.left() > 0, "it was over before the rebalance, which says nothing"
    site.assert_each_once()


def test_offsets_of_an_open_transaction_are_waited_for(site):
    """Killed between the offsets and the commit: nobody may read on from the offsets before, and then see these committed;
    and none that joins later doubles anything."""
    site.produce(500)
    killed = site.start("one", "commit_wait_ms=60000")
    killed.wait_line("holds")
    killed.kill()
    start = time.monotonic()
    other = site.start("two")
    other.wait_line("committed")
    waited = time.monotonic() - start
    assert any("transaction" in line for line in other.lines("trouble")) or waited > 5, other.log.read_text()
    site.produce(500)
    site.assert_each_once()


def test_a_member_that_slept_too_long_commits_nothing(site):
    """It wakes with records copied and offsets to commit, of partitions that another has taken over meanwhile."""
    site.produce(2000)
    sleeper = site.start("one", "slow_ms=2", "transaction.timeout.ms=120000")
    sleeper.wait_line("committed")
    sleeper.process.send_signal(signal.SIGSTOP)
    other = site.start("two")
    rig.wait_for("all partitions", lambda: sum(len(line.split()) - 1 for line in other.lines("gained")) == 6, rig.PATIENCE_S)
    site.produce(500)
    other.wait_line("committed")
    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.wait_line("anew")
    site.produce(500)
    site.assert_each_once()


@pytest.mark.parametrize("seed", [1])
def test_kills_at_any_moment_lose_and_double_nothing(site, seed):
    chance = random.Random(seed)
    members = {name: site.start(name) for name in ("one", "two", "three")}
    members["one"].wait_line("gained")
    for _ in range(8):
        site.produce(chance.randrange(200, 2000))
        time.sleep(chance.uniform(0.1, 1.5))
        name = chance.choice(sorted(members))
        members[name].kill()
        members[name] = site.start(name)
    site.produce(1000)
    site.assert_each_once()
    for member in members.values():
        member.end()
