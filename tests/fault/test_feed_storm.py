"""The storm over the feeder: two of a group, of which one at a time is killed by SIGKILL at a random moment, while the engine and
the broker die and come back, and the records' own time goes over the end of a day, a month and a year. Each record is one
document, or one dead letter, and the ledger says so.

In CI: 8 kills, one death each of engine and broker. `make storm` (TAPLINE_LONG=1): 30 kills, three deaths each, five times the
records. TAPLINE_SEED repeats a storm as far as chance goes.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import os
import random
import threading
import time

import pytest

import rig
from feeding import DAILY, MONTHLY, Site, assert_same, document, iso, now_ms

KILLS = 30 if rig.IS_LONG else 8
DEATHS = 3 if rig.IS_LONG else 1
RECORDS = 300_000 if rig.IS_LONG else 60_000
REFUSED_EACH = 500  # one of so many is what no mapping takes
ALIVE = 5.0  # seconds at most until the next kill


def seed():
    number = int(os.environ.get("TAPLINE_SEED", random.randrange(2**32)))
    print("TAPLINE_SEED", number)
    return random.Random(number)


class Writer(threading.Thread):
    """Records of two datasets, at a pace that lasts for all kills. Their times go from an hour before to an hour after the
    last new year; Kafka's timestamps are theirs, as if they came then."""

    def __init__(self, site, kills):
        super().__init__(daemon=True)
        self.site, self.good, self.bad, self.error = site, {}, {}, None
        self.pace, self.is_hurried = RECORDS / (kills * ALIVE / 2), threading.Event()
        year = int(iso(now_ms())[:4])
        self.new_year = int(time.mktime((year, 1, 1, 0, 0, 0, 0, 0, 0)) - time.timezone) * 1000
        for dataset in (DAILY, MONTHLY):
            site.topic(dataset)

    def run(self):
        try:
            began = time.monotonic()
            for number in range(RECORDS):
                self._one(number)
                if number % 100 == 0 and not self.is_hurried.is_set():
                    ahead = number / self.pace - (time.monotonic() - began)
                    if ahead > 0:
                        time.sleep(ahead)
            self.site.flush()
        except Exception as error:  # told by the test
            self.error = error

    def _one(self, number):
        dataset = (DAILY, MONTHLY)[number % 3 == 0]
        at = self.new_year - 3_600_000 + number * 7_200_000 // RECORDS
        is_bad = number % REFUSED_EACH == REFUSED_EACH - 1
        one = document(dataset, number, at, **({"source": "a text"} if is_bad else {}))
        while True:
            try:
                name = self.site.send(dataset, one, key=f"k{number % 89}", at=at)
                break
            except BufferError:  # the broker is away
                self.site.producer.poll(0.1)
        (self.bad if is_bad else self.good)[name] = (dataset, at)


def die(what, chance):
    """Killed, away for a moment, and back."""
    what.kill()
    time.sleep(chance.uniform(0.2, 2))
    what.start()


@pytest.mark.parametrize("product", ["elasticsearch", "opensearch"] if rig.IS_LONG else ["elasticsearch"])
def test_storm(product, tmp_path, own_broker, own_engine, feeds):
    chance, engine = seed(), own_engine(product)
    site = Site(tmp_path, own_broker, engine, sink={"bulk_events": 500, "timeout": "10s", "daily": [DAILY]}).prepare()
    writer = Writer(site, KILLS)
    writer.start()
    began, feeders, deaths = time.monotonic(), [feeds(site.config), feeds(site.config)], 0
    for kill in range(KILLS):
        time.sleep(chance.uniform(0.2, ALIVE))
        victim = chance.randrange(2)
        if kill * (DEATHS + 1) >= (deaths + 1) * KILLS:
            die(engine, chance)
            die(own_broker, chance)
            deaths += 1
        assert feeders[victim].process.poll() is None, f"ended by itself:\n{feeders[victim].log()}"
        feeders[victim].kill()
        feeders[victim] = feeds(site.config)
    writer.is_hurried.set()
    writer.join(600)
    assert not writer.is_alive() and writer.error is None, writer.error
    wanted = len(writer.good) + len(writer.bad)
    assert wanted == RECORDS
    site.wait_committed(feeders[0], 600)
    for feed in feeders:
        feed.stop()
    site.once()
    print(f"storm: {RECORDS} records, {KILLS} kills, {deaths} deaths of engine and broker, {time.monotonic() - began:.0f} s")
    judge(site, writer)


def judge(site, writer):
    """By id, by index, by dead letter and by ledger."""
    places = collections.defaultdict(collections.Counter)
    for hit in site.engine.hits(site.pattern(), source=False):
        places[hit["_index"]][hit["_id"]] += 1
    dead = places.pop(f"logs-tapline.deadletter-{site.namespace}-{iso(now_ms())[:7].replace('-', '.')}")
    assert_same(sum(places.values(), collections.Counter()), collections.Counter(list(writer.good)))
    for name, (dataset, at) in writer.good.items():
        period = iso(at)[:10 if dataset == DAILY else 7].replace("-", ".")
        assert places[f"logs-{dataset}-{site.namespace}-{period}"][name] == 1
    assert len(places) == 4, "two ends of a year, by day and by month"
    letters = collections.Counter(letter["tapline"]["id"] for letter in site.dead_letters())
    assert_same(letters, collections.Counter(list(writer.bad)))
    assert dead.total() == len(dead) == len(letters)
    sums = site.ledger().assert_whole()
    assert sums["dead"] == len(letters) and sums.total() == RECORDS + len(letters), sums
