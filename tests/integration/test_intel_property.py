"""Filter and Redis answer as a plain scan over all indicators does: for a million random observables, and while indicators come,
go and expire and Redis is killed. Indicators are written by a foreign client, as docs/reference/intel.rst says others may.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import functools
import ipaddress
import json
import random
import sys
import threading
import time

import redis

import rig
from redis_server import RedisServer

sys.path.insert(0, str(rig.TOP / "tests" / "oracle"))
import intel  # noqa: E402

OBSERVABLES = 1_000_000 * rig.STORM
PER_RECORD = 8  # two addresses, a name, five answers
LABELS = ["a", "bb", "ccc", "www", "mail", "x1", "cdn", "evil"]
IN_EFFECT_S = 8  # an indicator that was added, on a machine that stands still for a moment
BACK_S = 20      # after Redis is there again, until it is asked again
LIVE_S = 42      # while indicators change; longer where that is slow
CHANGES = 1000   # so many at least
SCANNED = 1500   # observables that are compared with every indicator, one by one


def address(rng):
    """Near others, so that networks and neighbours are met."""
    if rng.random() < 0.8:
        return "%d.%d.%d.%d" % (rng.choice([10, 100, 203]), rng.randrange(8), rng.randrange(16), rng.randrange(256))
    return str(ipaddress.ip_address(0x20010db8 << 96 | rng.randrange(16) << 80 | rng.randrange(4) << 64 | rng.randrange(64)))


def name(rng):
    return ".".join(rng.choice(LABELS) for _ in range(rng.randrange(1, 5))) + rng.choice([".example", ".test"])


def indicator(rng):
    kind = rng.choice(["ip", "ip", "cidr", "domain", "domain"])
    if kind == "domain":
        return kind, name(rng), rng.random() < 0.5
    one = address(rng)
    bits = rng.choice([12, 16, 20, 22, 24, 25, 28, 30]) if "." in one else rng.choice([36, 48, 64, 96, 123, 127])
    return (kind, one if kind == "ip" else str(ipaddress.ip_network(f"{one}/{bits}", strict=False)), False)


def record(rng, serial):
    """A line of dns.log and its observables."""
    source, server, query = address(rng), address(rng), name(rng)
    answers = [address(rng) for _ in range(PER_RECORD - 3)]
    line = {"_path": "dns", "ts": 1795000000 + serial / 1000, "uid": "C%017d" % serial, "id.orig_h": source, "id.orig_p": 4000,
            "id.resp_h": server, "id.resp_p": 53, "proto": "udp", "query": query, "answers": answers, "TTLs": [1.0] * len(answers)}
    return json.dumps(line) + "\n", [("ip", source), ("ip", server), ("domain", query)] + [("ip", one) for one in answers]


def matches(document):
    return {(one["matched"]["atomic"], one["matched"]["type"], one["indicator"]["name"])
            for one in document.get("threat", {}).get("enrichments", [])}


def is_marked(document):
    return document.get("labels", {}).get("intel") == "unavailable"


def config(tmp_path, server):
    """A Redis that syncs each write may wait seconds for a busy disk, and would be taken for one that is away."""
    sinks = {"file": {"path": str(tmp_path / "out.ndjson"), "sync_interval": "50ms"}}
    return rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(tmp_path / "dns.log")]}], sinks,
                            intel={"redis": {"urls": [server.unix_url], "connect_timeout": "20s"}, "lookback": {"days": 0},
                                   "timeout": "5s", "sightings_every": "0s"})


def write(client, changes):
    """[(kind, value, subdomains, expires or None; False: take it back)], in one transaction with its entry in the stream."""
    pipe = client.pipeline(transaction=True)
    entry = []
    for kind, value, subdomains, expires in changes:
        key = f"intel:{kind}:{value}"
        if expires is False:
            pipe.hdel(key, "mine/soc")
        else:
            said = {"subdomains": True} if subdomains else {}
            pipe.hset(key, "mine/soc", json.dumps(dict(said, expires=expires) if expires else said))
            pipe.expireat(key, expires) if expires else pipe.persist(key)
        entry += ["remove" if expires is False else "add", f"{kind}:{value}"]
    for at in range(0, len(entry), 1024):
        pipe.execute_command("XADD", "intel:changes", "MAXLEN", "~", "10000", "*", *entry[at:at + 1024])
    pipe.execute()


@functools.cache
def parsed(text):
    return ipaddress.ip_network(text) if "/" in text else ipaddress.ip_address(text)


def scanned(indicators, kind, text):
    """Every indicator is looked at."""
    found = set()
    for of, value, subdomains in indicators:
        is_hit = of == kind and value == text
        if of == "cidr" and kind == "ip":
            one, network = parsed(text), parsed(value)
            is_hit = one.version == network.version and one in network
        if is_hit or (of == kind == "domain" and subdomains and text.endswith("." + value)):
            found.add((text, of, value))
    return found


def test_a_million_observables(redis_server, tmp_path):
    rng = random.Random(61)
    indicators = {(kind, value): subdomains for kind, value, subdomains in (indicator(rng) for _ in range(6000))}
    rows = [(kind, value, subdomains) for (kind, value), subdomains in indicators.items()]
    client = redis_server.client()
    client.set("intel:epoch", "of the test")
    for at in range(0, len(rows), 500):
        write(client, [(*row, None) for row in rows[at:at + 500]])
    store = intel.Store([{"type": kind, "value": value, "subdomains": subdomains} for kind, value, subdomains in rows])
    asked = []
    with open(tmp_path / "dns.log", "w") as log:
        for serial in range(OBSERVABLES // PER_RECORD):
            line, observed = record(rng, serial)
            log.write(line)
            asked.append(observed)
    for observed in rng.sample(asked, SCANNED // PER_RECORD):
        for kind, text in observed:
            plain = {(text, *key) for key, _ in store.asked(kind, text)}
            assert plain == scanned(rows, kind, text)
    summary = rig.run_once(config(tmp_path, redis_server), timeout=600)
    assert summary["accepted"] == len(asked) and summary["counters"]["enrich.unavailable"] == 0
    hits = 0
    with open(tmp_path / "out.ndjson", "rb") as lines:
        for line in lines:
            document = json.loads(line)
            observed = asked[int(document["event"]["id"][1:])]
            want = {(text, *key) for kind, text in observed for key, _ in store.asked(kind, text)}
            found = matches(document)
            assert found == want or (len(want) > intel.MAXIMUM and found < want), (line, found ^ want)
            hits += len(found)
    assert hits > OBSERVABLES // 10


# ---- while it changes ------------------------------------------------------------------------------------------------


class World:
    """What was true of each indicator, when: spans of time in which it surely was there, and in which it surely was not."""

    def __init__(self, pool):
        self.there = collections.defaultdict(list)  # key -> [[from, to]], to is grown
        self.gone = collections.defaultdict(lambda: [[0.0, float("inf")]])
        self.known = {row[:2] for row in pool}
        self.store = intel.Store([{"type": kind, "value": value, "subdomains": subdomains} for kind, value, subdomains in pool])

    def added(self, key, began, done, expires):
        if self.gone[key] and self.gone[key][-1][1] == float("inf"):
            self.gone[key][-1][1] = began
        if self.there[key] and self.there[key][-1][1] == float("inf"):
            self.there[key][-1][1] = began
        self.there[key].append([done, float("inf") if expires is None else float(expires)])
        if expires is not None:
            self.gone[key].append([expires + 1.0, float("inf")])

    def removed(self, key, began, done):
        if self.there[key]:
            self.there[key][-1][1] = min(self.there[key][-1][1], began)
        self.gone[key] = [[start, min(end, began)] for start, end in self.gone[key] if start < began] + [[done, float("inf")]]

    def was(self, spans, start, end):
        return any(one[0] <= start and end <= one[1] for one in spans)

    def keys_of(self, kind, text):
        """Of all indicators that ever were, those that name it."""
        return [key for key, _ in self.store.asked(kind, text)]


class Changes(threading.Thread):
    """Adds, takes back and lets expire, until it is told to stop; waits while Redis is away."""

    def __init__(self, server, world, pool, rng):
        super().__init__()
        self.server, self.world, self.pool, self.rng = server, world, pool, rng
        self.client = server.client(socket_timeout=5)
        self.is_stopped, self.count = False, 0

    def change(self):
        chosen = {row[:2]: row for row in self.rng.sample(self.pool, 12)}
        began, ends = time.time(), int(time.time()) + 3
        changes = [(*row, self.rng.choice([None, None, False, False, ends])) for row in chosen.values()]
        return began, changes

    def run(self):
        while not self.is_stopped:
            began, changes = self.change()
            for attempt in range(200):  # a transaction that failed half-way may have been done: it is done again
                try:
                    write(self.client, changes)
                    break
                except (redis.ConnectionError, redis.TimeoutError):
                    time.sleep(0.05)
            else:
                raise AssertionError("Redis did not come back")
            done = time.time()
            for kind, value, _, expires in changes:
                if expires is False:
                    self.world.removed((kind, value), began, done)
                else:
                    self.world.added((kind, value), began, done, expires)
            self.count += len(changes)
            time.sleep(0.05)


def test_while_indicators_come_go_and_expire_and_redis_is_killed(runs, tmp_path):
    rng = random.Random(62)
    server = RedisServer(tmp_path / "redis", appendfsync="always").start()
    try:
        judge_live(rng, server, runs, tmp_path)
    finally:
        server.close()


def judge_live(rng, server, runs, tmp_path):
    pool = [(kind, value, subdomains) for (kind, value), subdomains in {row[:2]: row[2] for row in (indicator(rng) for _ in range(1500))}.items()]
    world = World(pool)
    server.client().set("intel:epoch", "of the test")
    first = pool[::2]
    began = time.time()
    write(server.client(), [(*row, None) for row in first])
    for row in first:
        world.added(row[:2], began, time.time(), None)
    log = tmp_path / "dns.log"
    log.write_text("")
    run = runs(config(tmp_path, server), "--json")
    run.wait_log("the filter of indicators is built")
    time.sleep(1)
    changes = Changes(server, world, pool, random.Random(63))
    changes.start()
    written, arrived, begin = {}, {}, time.monotonic()
    killed = up = None  # when
    reader = open_when_there(tmp_path / "out.ndjson")
    try:
        while (now := time.monotonic() - begin) < LIVE_S or (changes.count <= CHANGES and now < 4 * LIVE_S):
            lines = []
            for serial in range(len(written), len(written) + 30):
                line, observed = record(rng, serial)
                lines.append(line)
                written[serial] = (time.time(), observed)
            with open(log, "a") as out:
                out.write("".join(lines))
            time.sleep(0.05)
            reader.read_into(arrived)
            if not killed and now > 12:
                killed = time.time()
                server.kill()
            if killed and not up and now > 14:
                server.start()
                up = time.time()
    finally:
        changes.is_stopped = True
        changes.join()
    run.wait_for("all documents", lambda: reader.read_into(arrived) or len(arrived) == len(written), timeout=90)
    run.stop()
    judge(world, written, arrived, changes, (killed, up + BACK_S))


def open_when_there(path):
    class Reader:
        at = 0

        def read_into(self, arrived):
            if path.exists():
                with open(path, "rb") as lines:
                    lines.seek(self.at)
                    for line in lines:
                        if not line.endswith(b"\n"):
                            break
                        self.at += len(line)
                        document = json.loads(line)
                        arrived[int(document["event"]["id"][1:])] = (time.time(), document)

    return Reader()


def judge(world, written, arrived, changes, outage):
    sure = marked = there = 0
    wrong = []
    for serial, (wrote, observed) in written.items():
        read, document = arrived[serial]
        if is_marked(document):
            marked += 1
            may_be = read >= outage[0] and wrote <= outage[1]
            if not may_be or not any(world.keys_of(*one) for one in observed):  # what is certainly no hit goes on as ever
                wrong.append(("marked", serial, observed, wrote, read, outage))
            continue
        found = matches(document)
        for kind, text in observed:
            for key in world.keys_of(kind, text):
                is_found = (text, *key) in found
                if world.was(world.there[key], wrote - IN_EFFECT_S, read):
                    sure, there = sure + 1, there + 1
                    if not is_found:
                        wrong.append(("missed", serial, text, key, wrote, read, world.there[key][-2:]))
                elif world.was(world.gone[key], wrote, read):
                    sure += 1
                    if is_found:
                        wrong.append(("too much", serial, text, key, wrote, read, world.gone[key][-2:]))
        unknown = {one for one in found if one[1:] not in world.known}
        if unknown:
            wrong.append(("unknown", serial, unknown))
    assert not wrong, f"{len(wrong)} of {sure}: {wrong[:6]}"
    assert changes.count > CHANGES and there > 2000 and sure > 2 * there, (changes.count, there, sure)
    assert marked > 0, "Redis was away, and no document says so"
