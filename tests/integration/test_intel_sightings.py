"""Sightings: what was seen of indicators is counted once, in Redis and as events, over kills and a Redis that is away, and told
once to the servers of feeds that want it.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import random
import time

import pytest
import redis

import rig
from feeds import Cif3, Fault, FeedServer, Misp, misp_attribute
from redis_server import SENSOR, WRITER
from test_intel_run import Conns, enrichments, intel, redis_at
from test_intel_run import config as config_without
from test_intel_sync import Sync, cif_feed, iso, uuid

EVIL, WORSE, CLEAN = "203.0.113.66", "203.0.113.77", "198.51.100.1"
NETWORK = "203.0.113.64/29"  # with EVIL in it


def config(tmp_path, log, every="1s", **more):
    """every None: as it is by default."""
    path = config_without(tmp_path, log, sightings_every=every, **more)
    if every is None:
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "sightings_every" not in line))
    return path


class Seen:
    """The sink's documents: how often each indicator enriched one, by day; and what events of sightings say. A file gets some
    documents twice after a kill: they have the same place in their log, which is what their ids are made of."""

    def __init__(self, path):
        self.path, self.at, self.known = path, 0, set()
        self.records, self.matched, self.told, self.events = 0, collections.Counter(), collections.Counter(), []

    def read(self):
        if self.path.exists():
            with open(self.path, "rb") as lines:
                lines.seek(self.at)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self.at += len(line)
                    self.add(json.loads(line))
        return self

    def add(self, document):
        place = document["log"]["file"]["path"], document["log"]["offset"]
        if place in self.known:
            return
        self.known.add(place)
        if document["event"]["dataset"] == "tapline.sighting":
            said = document["tapline"]["sighting"]
            self.told[said["day"], f'{said["indicator_type"]}:{said["indicator"]}'] += said["count"]
            self.events.append(document)
            return
        assert document["event"].get("kind") != "pipeline_error", document
        self.records += 1
        day = document["@timestamp"][:10]
        self.matched.update({(day, found["matched"]["id"]) for found in enrichments(document)})


def counted(redis_server, prefix="intel:"):
    """What Redis has counted, as Seen.matched."""
    client = redis_server.client(decode_responses=True)
    days = client.scan_iter(f"{prefix}seen:*", 1000)
    return {(day[-10:], name): int(count) for day in days for name, count in client.hgetall(day).items()}


@pytest.fixture
def conns(tmp_path):
    return Conns(tmp_path / "conn.log")


@pytest.fixture
def seen(tmp_path):
    return Seen(tmp_path / "out.ndjson")


# ---- counting --------------------------------------------------------------------------------------------------------


def test_what_is_seen_is_counted_and_told(redis_server, runs, tmp_path, conns, seen):
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    intel("add", EVIL, "--confidence", "8", path=path)
    intel("add", NETWORK, path=path)
    intel("add", WORSE, path=path)
    run = runs(path, "--json")
    run.wait_log("intelligence is ready")
    conns.write(*([CLEAN, EVIL, EVIL, WORSE] * 25))
    run.wait_for("all documents", lambda: seen.read().records == 100)
    run.wait_for("what was seen", lambda: sum(seen.read().told.values()) == 50 + 50 + 25)
    assert seen.matched == seen.told
    assert {name: count for (_, name), count in seen.told.items()} == {f"ip:{EVIL}": 50, f"cidr:{NETWORK}": 50, f"ip:{WORSE}": 25}
    run.wait_for("Redis to have it", lambda: counted(redis_server) == dict(seen.matched))
    client = redis_server.client(decode_responses=True)
    assert all(0 < client.ttl(key) <= 400 * 86400 for key in client.scan_iter("intel:seen:*"))
    (event,) = [e for e in seen.events if e["threat"]["indicator"]["name"] == EVIL][:1]
    assert event["threat"]["feed"]["name"] == ["local"] and event["threat"]["indicator"]["ip"] == EVIL
    assert event["event"]["start"] <= event["event"]["end"] == event["@timestamp"]
    assert event["observer"]["name"] and event["event"]["kind"] == "event"
    assert "enrichments" not in event["threat"], "a sighting is not itself a sighting"

    stats = json.loads(intel("stats", "--json", path=path))["sightings"]
    (day,) = {day for day, _ in seen.matched}
    shown = stats.get(day)  # of the last seven days; the log's may be another
    assert len(stats) == 7 and (shown is None or shown["count"] == 125 and shown["indicators"] == 3
                                and shown["most"][-1] == {"type": "ip", "value": WORSE, "count": 25})

    before = len(seen.events)
    conns.write(*[EVIL] * 5)
    run.wait_for("five more", lambda: sum(seen.read().told.values()) == 125 + 10)
    told = [event["threat"]["indicator"]["name"] for event in seen.events[before:]]
    # One event for each indicator and interval, and nothing of those not seen; two where an interval was over between the records.
    assert set(told) == {EVIL, NETWORK} and len(told) <= 4, told
    run.stop()
    counters = json.loads(run.stdout)["counters"]
    assert counters["sightings.counted"] == 135 and counters["sightings.lost"] == counters["sightings.dropped"] == 0
    assert len({e["event"]["id"] for e in seen.events}) == len(seen.events)


def test_kills_lose_and_double_nothing(redis_server, runs, tmp_path, conns, seen):
    """Killed at any moment, again and again: what Redis has counted is what was delivered, and so is what events say."""
    chance = random.Random(3)  # its own: ports are drawn from the other, and must not be those of a run beside this one
    path = config(tmp_path, conns.path, every="300ms", **redis_at(redis_server))
    for name in (EVIL, NETWORK, WORSE):
        intel("add", name, path=path)
    total = 0
    for _ in range(10):
        run = runs(path)
        run.wait_log("intelligence is ready")
        for _ in range(4):
            total += len(conns.write(*chance.choices([CLEAN, EVIL, WORSE], k=250)))
            time.sleep(chance.uniform(0, 0.25))
        run.kill()
    run = runs(path, "--json")
    run.wait_for("all documents", lambda: seen.read().records == total)
    run.wait_for("all of it told", lambda: seen.read().told == seen.matched)
    run.wait_for("all of it counted", lambda: counted(redis_server) == dict(seen.matched))
    assert sum(seen.matched.values()) > 1000
    run.stop()
    assert len({e["event"]["id"] for e in seen.read().events}) == len(seen.events)
    assert seen.told == seen.matched and counted(redis_server) == dict(seen.matched)
    assert not [name for name in (tmp_path / "state" / "sightings").iterdir() if name.name != "marks"], "all journals are done"


@pytest.mark.parametrize("how", ["killed", "silent"])
def test_redis_that_is_away_is_told_later(redis_server, runs, tmp_path, conns, seen, how):
    """What was seen before Redis went is told as an event meanwhile, kept, and added when it is back, over a restart, too."""
    redis_server.client().config_set("appendfsync", "always")
    path = config(tmp_path, conns.path, every="20s", **redis_at(redis_server))
    intel("add", EVIL, path=path)
    run = runs(path)
    run.wait_log("intelligence is ready")
    conns.write(EVIL)
    run.wait_for("an interval's end", lambda: sum(counted(redis_server).values()) == 1)  # Redis is gone before the next
    conns.write(*[EVIL] * 40)
    run.wait_for("all documents", lambda: seen.read().records == 41 and sum(seen.matched.values()) == 41)
    (redis_server.kill if how == "killed" else redis_server.stop_answering)()
    run.wait_for("it is told all the same", lambda: sum(seen.read().told.values()) == 41)
    if how == "killed":
        run.wait_log("sightings are not counted in Redis until its primary answers again")
    started = time.monotonic()
    run.stop()
    assert time.monotonic() - started < 15, "a stop waits for Redis for two seconds at most"
    assert "does not let go" not in run.log(), "that is said after five"
    (redis_server.start if how == "killed" else redis_server.go_on)()
    assert sum(counted(redis_server).values()) == 1
    run = runs(path)
    run.wait_for("it is counted", lambda: counted(redis_server) == dict(seen.matched))
    run.stop()
    assert sum(seen.read().told.values()) == 41


COUNTING = "+role +multi +exec +unwatch (~intel:seen:* ~intel:once:* -@all +watch +get +set +hincrby +expireat)"


def test_redis_that_refuses_and_the_rights_that_are_enough(redis_servers, runs, tmp_path, conns, seen):
    """A sensor's user that may not write there: said, told as events, and nothing piles up. With the rights that the reference
    names it counts, and may still not touch an indicator."""
    server = redis_servers(acl=True)
    writer = config(tmp_path, conns.path, name="writer.yml", redis={"urls": [server.unix_url], "username": "writer", "password": WRITER})
    intel("add", EVIL, path=writer)
    path = config(tmp_path, conns.path, redis={"urls": [server.unix_url], "username": "sensor", "password": SENSOR})
    run = runs(path, "--json")
    run.wait_log("intelligence is ready")
    conns.write(*[EVIL] * 40)
    run.wait_for("it is told", lambda: sum(seen.read().told.values()) == 40)
    run.wait_log("sightings are not counted in Redis, it refuses them")
    refused = len(seen.events)  # one, or two if an interval was over between the records
    reference = (rig.TOP / "docs/reference/intel-keys.inc").read_text()
    assert " ".join(COUNTING.split()) in " ".join(reference.split())
    words = COUNTING.split(" (")
    server.client().execute_command("ACL", "SETUSER", "sensor", *words[0].split(), "(" + words[1])
    conns.write(*[EVIL] * 7)
    run.wait_for("it is counted", lambda: sum(counted(server).values()) == 7)
    run.wait_log("sightings are counted in Redis again")
    run.stop()
    assert json.loads(run.stdout)["counters"]["sightings.dropped"] == refused
    assert [name.name for name in (tmp_path / "state" / "sightings").iterdir()] == ["marks"]
    sensor = redis.Redis(port=server.port, username="sensor", password=SENSOR)
    with pytest.raises(redis.exceptions.NoPermissionError):
        sensor.set(f"intel:ip:{EVIL}", "x")


def test_without_redis_there_are_events(runs, tmp_path, conns, seen):
    (tmp_path / "list.txt").write_text(EVIL + "\n")
    path = config(tmp_path, conns.path, files=[str(tmp_path / "list.txt")])
    run = runs(path)
    run.wait_log("intelligence is ready")
    conns.write(*([CLEAN, EVIL] * 30))
    run.wait_for("what was seen", lambda: sum(seen.read().told.values()) == 30)
    run.stop()
    assert seen.told == seen.matched


def test_what_nobody_wants_is_not_counted(redis_server, runs, tmp_path, conns, seen):
    path = config(tmp_path, conns.path, every="0s", **redis_at(redis_server))
    intel("add", EVIL, path=path)
    run = runs(path)
    run.wait_log("intelligence is ready")
    conns.write(*[EVIL] * 40)
    run.wait_for("all documents", lambda: seen.read().records == 40)
    run.stop()
    assert not counted(redis_server) and not (tmp_path / "state" / "sightings").exists() and not (tmp_path / "state" / "own").exists()


def test_old_logs_are_counted_only_if_somebody_says_so(redis_server, tmp_path, conns, seen):
    path = config(tmp_path, conns.path, every=None, **redis_at(redis_server))
    intel("add", EVIL, path=path)
    conns.write(*[EVIL] * 40)
    rig.run_once(path)
    assert seen.read().records == 40 and not counted(redis_server)
    again = config(tmp_path, conns.path, name="again.yml", **redis_at(redis_server))
    conns.write(*[EVIL] * 30)
    rig.run_once(again)
    assert seen.read().records == 70 and sum(counted(redis_server).values()) == 30


# ---- told to servers -------------------------------------------------------------------------------------------------


@pytest.fixture
def sync(tmp_path, redis_server):
    return Sync(tmp_path, redis_server)


@pytest.fixture
def server():
    made = FeedServer().start()
    yield made
    made.close()


def today():
    return time.strftime("%Y-%m-%d", time.gmtime())


def yesterday():
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))


def see(redis_server, name, count, day=None):
    redis_server.client().hincrby(f"intel:seen:{day or today()}", name, count)


def test_a_cif_server_is_told_once(sync, server, redis_server):
    row = {"indicator": "192.0.2.7", "itype": "ipv4", "tags": ["botnet"], "provider": "csirtg.io", "confidence": 8, "tlp": "amber", "group": "everyone"}
    server.site = Cif3([{**row, "reporttime": iso(60), "lasttime": iso(60), "firsttime": iso(60)}], "sesame-7f3a-open")
    sync.feeds({**cif_feed(server, 3), "sightings": True})
    assert "sightings_told" not in sync.run(), "nothing was seen yet"
    see(redis_server, "ip:192.0.2.7", 5)
    see(redis_server, "ip:198.51.100.9", 3)  # another feed's
    for one in range(20):
        see(redis_server, f"domain:host{one}.example", 100 - (7 * one) % 20, yesterday())
    stats = json.loads(intel("stats", "--json", path=sync.config))["sightings"]
    assert stats[today()] == {"indicators": 2, "count": 8, "most": [{"type": "ip", "value": "192.0.2.7", "count": 5},
                                                                    {"type": "ip", "value": "198.51.100.9", "count": 3}]}
    assert stats[yesterday()]["indicators"] == 20 and [one["count"] for one in stats[yesterday()]["most"]] == list(range(100, 90, -1))
    assert "seen on " + today() in intel("stats", path=sync.config)
    see(redis_server, "ip:192.0.2.7", 2, yesterday())
    see(redis_server, "ip:192.0.2.7", 9, "2020-01-01")  # too long ago
    assert sync.run()["sightings_told"] == 2
    told = [(r["indicator"], r["count"], r["lasttime"][:10]) for r in server.site.reports]
    assert sorted(told) == sorted([("192.0.2.7", 5, today()), ("192.0.2.7", 2, yesterday())])
    assert "sightings_told" not in sync.run() and len(server.site.reports) == 2, "told once"
    see(redis_server, "ip:192.0.2.7", 1)
    assert sync.run()["sightings_told"] == 1 and server.site.reports[-1]["count"] == 1, "and what is new"
    assert redis_server.client(decode_responses=True).hgetall(f"intel:told:{cif_feed(server, 3)['name']}:{today()}") == {"ip:192.0.2.7": "6"}


def test_a_misp_server_is_told_once(sync, server, redis_server):
    server.site = Misp([misp_attribute(uuid(1), "ip-dst", "192.0.2.7"), misp_attribute(uuid(2), "url", "http://evil.example/a")], "misp-key")
    feed = {"name": "misp", "type": "misp", "url": server.url, "token": "misp-key"}
    sync.feeds({**feed, "sightings": True}).run()
    see(redis_server, "ip:192.0.2.7", 5)
    see(redis_server, "url:evil.example/a", 1)
    server.fault(Fault(500), after=2, times=50)  # the feed and the first sighting pass
    done = sync.run(code=111)
    assert done["result"] == "done" and done["sightings_told"] == 1, sync.said
    assert "not told to the server of feed misp; the next sync tells it" in sync.said
    server.faults.clear()
    del server.site.sightings[1:]  # what it answered with a mistake it has not kept
    assert sync.run()["sightings_told"] == 1
    assert sorted(value for value, _, _ in server.site.sightings) == ["192.0.2.7", "http://evil.example/a"]
    assert "sightings_told" not in sync.run() and len(server.site.sightings) == 2
    sync.feeds(feed).run()
    see(redis_server, "ip:192.0.2.7", 5)
    sync.run()
    assert len(server.site.sightings) == 2, "a feed that did not ask is told nothing"


def test_from_a_sensor_to_the_server(sync, server, redis_server, runs, tmp_path, conns, seen):
    """End to end: what a feed says is matched by a sensor that is killed meanwhile, and its server is told how often."""
    server.site = Misp([misp_attribute(uuid(1), "ip-dst", EVIL)], "misp-key")
    sync.config = tmp_path / "sync.yml"
    sync.feeds({"name": "misp", "type": "misp", "url": server.url, "token": "misp-key", "sightings": True}).run()
    path = config(tmp_path, conns.path, every="300ms", **redis_at(redis_server))
    for _ in range(3):
        run = runs(path)
        run.wait_log("intelligence is ready")
        conns.write(*([CLEAN, EVIL] * 100))
        time.sleep(0.4)
        run.kill()
    run = runs(path)
    run.wait_log("intelligence is ready")
    run.wait_for("all documents", lambda: seen.read().records == 600)
    run.wait_for("all of it counted", lambda: sum(counted(redis_server).values()) == 300)
    run.stop()
    sync.run()
    sync.run()
    days = {day for day, _ in counted(redis_server)}
    assert [value for value, _, _ in server.site.sightings] == [EVIL] * len(days)
