"""What `tapline run` makes of intelligence, against a real Redis that stops, dies, forgets and comes back, and with files of
its own. Each connection goes to an address that the test chose, so that it knows which documents must be enriched.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import signal
import threading
import time

import pytest

import rig
from redis_server import RedisServer

EVIL, LATE, CLEAN = "203.0.113.66", "203.0.113.77", "198.51.100.1"


class Conns(rig.ConnLog):
    """Connections to an address of the test's choice, on a live log."""

    def __init__(self, path):
        super().__init__()
        self.path, self.count, self.servers = path, 0, []
        self.rows = [row for row in self.rows if ":" not in row[self.at["id.resp_h"]]]
        path.write_text(self.header)

    def write(self, *servers):
        lines = []
        for server in servers:
            cells = self.line(self.count).split("\t")
            cells[self.at["id.resp_h"]] = server
            lines.append("\t".join(cells))
            self.servers.append(server)
            self.count += 1
        with open(self.path, "a") as out:
            out.write("".join(lines))
        return range(self.count - len(servers), self.count)


class Arrived:
    """What the file of documents holds by now, by serial number."""

    def __init__(self, path):
        self.path, self.at, self.documents, self.doubled = path, 0, {}, 0

    def read(self):
        if self.path.exists():
            with open(self.path, "rb") as lines:
                lines.seek(self.at)
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self.at += len(line)
                    document = json.loads(line)
                    if document["event"]["dataset"] != "zeek.connection":
                        continue  # what looking back found
                    serial = rig.serial_of(document)
                    self.doubled += serial in self.documents
                    self.documents[serial] = document
        return self.documents

    def has(self, serials):
        return all(serial in self.read() for serial in serials)


def enrichments(document):
    return document.get("threat", {}).get("enrichments", [])


def is_marked(document):
    return document.get("labels", {}).get("intel") == "unavailable"


def config(tmp_path, log, name="tapline.yml", sinks=None, pipeline=None, looks_back=False, **intel):
    """Looking back and sightings make documents of their own (test_lookback.py, test_intel_sightings.py). Redis may take its time:
    on a machine that stands still for a moment it would be taken for one that is away."""
    intel = {"timeout": "5s", **intel}
    intel = intel if looks_back else {"lookback": {"days": 0}, "sightings_every": "0s", **intel}
    sinks = sinks or {"file": {"path": str(tmp_path / "out.ndjson"), "sync_interval": "50ms"}}
    return rig.config_write(tmp_path / name, [{"type": "zeek", "paths": [str(log)]}], sinks, intel=intel,
                            pipeline=pipeline or {})


def redis_at(server, **more):
    return {"redis": {"urls": [server.unix_url], "connect_timeout": "20s", **more}}


def intel(*args, path, code=0):
    done = rig.tapline("intel", args[0], "-c", path, *args[1:])
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def conns(tmp_path):
    return Conns(tmp_path / "conn.log")


@pytest.fixture
def arrived(tmp_path):
    return Arrived(tmp_path / "out.ndjson")


def summary_of(run):
    """Stop it; what its --json said. Its counters agree with themselves."""
    run.stop()
    summary = json.loads(run.stdout)
    assert summary["outstanding_batches"] == 0
    return summary


# ---- hits ------------------------------------------------------------------------------------------------------------


def test_an_indicator_is_in_effect_within_five_seconds_and_no_longer_when_it_is_gone(redis_server, runs, tmp_path, conns, arrived):
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    intel("add", EVIL, "--confidence", "8", "--tlp", "AMBER", "-d", "C2 of case 42", path=path)
    run = runs(path, "--json")
    first = conns.write(*([CLEAN, EVIL] * 500))
    run.wait_for("all documents", lambda: arrived.has(first))
    for serial in first:
        found = enrichments(arrived.documents[serial])
        assert len(found) == (conns.servers[serial] == EVIL), arrived.documents[serial]
        assert not is_marked(arrived.documents[serial])
    document = arrived.documents[first[1]]
    (found,) = enrichments(document)
    assert found["indicator"]["ip"] == found["matched"]["atomic"] == EVIL
    assert found["matched"]["field"] == "destination.ip" and found["feed"]["name"] == "local"
    assert found["indicator"]["description"] == "C2 of case 42" and found["indicator"]["confidence"] == "High"
    assert found["indicator"]["marking"]["tlp"] == "AMBER"
    assert "intel_match" in document["tags"] and document["threat"]["indicator"]["ip"] in (EVIL, [EVIL])

    intel("add", LATE, path=path)
    added = time.monotonic()
    while time.monotonic() < added + 5:
        conns.write(LATE)
        time.sleep(0.1)
    late = conns.write(*[LATE] * 50)
    run.wait_for("the late ones", lambda: arrived.has(late))
    assert all(enrichments(arrived.documents[serial]) for serial in late), "not in effect 5 s after it was added"

    intel("rm", LATE, path=path)
    time.sleep(0.5)  # what was asked before may still be under way
    gone = conns.write(*[LATE, EVIL] * 50)
    run.wait_for("those after it was taken back", lambda: arrived.has(gone))
    for serial in gone:
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL)
    run.signal(signal.SIGUSR1)
    run.wait_log('"intelligence" state=ready indicators=')
    summary = summary_of(run)
    enriched = sum(bool(enrichments(document)) for document in arrived.read().values())
    assert summary["counters"]["enrich.events"] == enriched and summary["counters"]["enrich.unavailable"] == 0
    assert summary["intel"]["state"] == "ready" and arrived.doubled == 0


def test_once_waits_until_the_filter_is_there(redis_server, tmp_path, conns, arrived):
    many = tmp_path / "many.txt"
    many.write_text("".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}\n" for i in range(30000, 80000)) + EVIL + "\n")
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    intel("load", "--type", "ip", str(many), path=path)
    serials = conns.write(*[EVIL] * 5000)
    summary = rig.run_once(path)
    assert summary["accepted"] == summary["counters"]["enrich.events"] == 5000
    assert summary["intel"]["state"] == "ready" and summary["intel"]["indicators"] == 50001
    assert arrived.has(serials) and all(enrichments(document) for document in arrived.documents.values())


# ---- Redis away ------------------------------------------------------------------------------------------------------


def test_without_redis_it_starts_says_so_and_recovers(runs, tmp_path, conns, arrived):
    server = RedisServer(tmp_path / "redis")
    path = config(tmp_path, conns.path, **redis_at(server))
    run = runs(path, "--json")
    try:
        run.wait_log("intelligence is missing")
        before = conns.write(*[EVIL, CLEAN] * 100)
        run.wait_for("documents without intelligence", lambda: arrived.has(before))
        assert all(is_marked(arrived.documents[serial]) for serial in before)
        server.start()
        intel("add", EVIL, path=path)
        run.wait_log("intelligence is ready", timeout=60)
        run.wait_for("a hit", lambda: enrichments(written_and_read(run, conns, arrived, EVIL)), timeout=60)
        after = conns.write(*[EVIL, CLEAN] * 100)
        run.wait_for("documents with intelligence", lambda: arrived.has(after))
        for serial in after:
            assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL)
            assert not is_marked(arrived.documents[serial])
        summary = summary_of(run)
        marked = sum(is_marked(document) for document in arrived.read().values())
        assert summary["counters"]["enrich.unavailable"] == marked >= len(before) and arrived.doubled == 0
    finally:
        server.close()


def test_a_short_run_without_redis_waits_no_longer_than_start_wait(tmp_path, conns):
    server = RedisServer(tmp_path / "redis")
    conns.write(*[EVIL] * 10)
    path = config(tmp_path, conns.path, start_wait="2s", **redis_at(server))
    began = time.monotonic()
    summary = rig.run_once(path)
    assert 2 <= time.monotonic() - began < 20  # it is half a minute by itself
    assert summary["accepted"] == summary["counters"]["enrich.unavailable"] == 10
    assert summary["intel"]["state"] == "unavailable"


def test_redis_that_answers_nothing_for_thirty_seconds(redis_server, runs, tmp_path, conns, arrived):
    """SIGSTOP: connections stay open and are silent. A document waits for intel.timeout at most; after intel.stale_after
    nothing is believed any more."""
    path = config(tmp_path, conns.path, timeout="200ms", stale_after="10s", **redis_at(redis_server))
    intel("add", EVIL, path=path)
    run = runs(path, "--json")
    run.wait_log("intelligence is ready")
    run.wait_for("a hit", lambda: enrichments(written_and_read(run, conns, arrived, EVIL)))
    redis_server.stop_answering()
    stopped, waits, silent = time.monotonic(), [], []
    try:
        while time.monotonic() < stopped + 30:
            serials = conns.write(EVIL, CLEAN)
            wrote = time.monotonic()
            run.wait_for("documents while Redis is silent", lambda: arrived.has(serials))
            there = time.monotonic()
            waits.append(there - wrote)
            silent.append((wrote - stopped, there - stopped, serials))
            time.sleep(0.05)
    finally:
        redis_server.go_on()
    # The reader's and the sink's turns are in it; a machine that stands still makes some late, a program that waits makes all so.
    waits.sort()
    assert waits[len(waits) * 3 // 4] < 2 and waits[-1] < 10, f"documents waited for {waits[len(waits) // 2]:.1f} to {waits[-1]:.1f} s"
    for after, there, (evil, clean) in silent:
        assert is_marked(arrived.documents[evil]) and not enrichments(arrived.documents[evil])
        if after > 15:
            assert is_marked(arrived.documents[clean]), f"{after:.0f} s without a word, and it was believed"
        elif there < 6:
            assert not is_marked(arrived.documents[clean])

    def is_asked_again():
        evil, clean = conns.write(EVIL, CLEAN)
        run.wait_for("documents again", lambda: arrived.has([evil, clean]))
        return enrichments(arrived.documents[evil]) and not is_marked(arrived.documents[clean])

    run.wait_for("hits again, and nothing marked", is_asked_again)
    summary = summary_of(run)
    marked = sum(is_marked(document) for document in arrived.read().values())
    assert summary["counters"]["enrich.unavailable"] == marked and arrived.doubled == 0
    assert len(arrived.documents) == conns.count


def written_and_read(run, conns, arrived, server):
    (serial,) = conns.write(server)
    run.wait_for("one document", lambda: arrived.has([serial]))
    return arrived.documents[serial]


def test_flushall(redis_server, runs, tmp_path, conns, arrived):
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    intel("add", EVIL, path=path)
    run = runs(path)
    run.wait_log("intelligence is ready")
    assert enrichments(written_and_read(run, conns, arrived, EVIL))
    redis_server.client().flushall()
    assert not enrichments(written_and_read(run, conns, arrived, EVIL)), "Redis's answer decides"
    intel("add", LATE, path=path)
    run.wait_for("what came afterwards", lambda: enrichments(written_and_read(run, conns, arrived, LATE)))
    assert not enrichments(written_and_read(run, conns, arrived, EVIL))
    run.stop()


def test_wait_holds_and_loses_nothing(redis_server, runs, tmp_path, conns, arrived):
    redis_server.client().config_set("appendfsync", "always")  # what it said OK to is there after it is killed
    path = config(tmp_path, conns.path, on_unavailable="wait", pipeline={"stop_timeout": "1s"}, **redis_at(redis_server))
    intel("add", EVIL, path=path)
    run = runs(path)
    run.wait_log("intelligence is ready")
    assert enrichments(written_and_read(run, conns, arrived, EVIL))
    redis_server.kill()
    held = conns.write(*[CLEAN, EVIL] * 3000)
    time.sleep(3)
    assert held[-1] not in arrived.read() and held[1] not in arrived.documents
    began = time.monotonic()
    run.signal(signal.SIGTERM)
    assert run.wait() == 0 and time.monotonic() - began < 30
    assert held[1] not in arrived.read()

    run = runs(path, "--json")
    run.wait_log("intelligence is missing")
    time.sleep(2)
    assert held[1] not in arrived.read()
    redis_server.start()
    run.wait_for("all that was held", lambda: arrived.has(range(conns.count)), timeout=60)
    summary = summary_of(run)
    assert summary["counters"]["enrich.unavailable"] == 0
    for serial in range(conns.count):
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL)
        assert not is_marked(arrived.documents[serial])


# ---- without Redis ---------------------------------------------------------------------------------------------------


def test_files_in_the_process_are_read_again_when_they_change(runs, tmp_path, conns, arrived):
    block = tmp_path / "block.txt"
    block.write_text(EVIL + "\n")
    path = config(tmp_path, conns.path, files=[str(block)])
    first = conns.write(*[EVIL, LATE, CLEAN] * 200)
    run = runs(path)
    run.wait_for("the first", lambda: arrived.has(first))
    for serial in first:
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL)
        assert not is_marked(arrived.documents[serial])
    swap = tmp_path / "block.new"
    swap.write_text(LATE + "\n")
    swap.rename(block)
    run.wait_for("the new file", lambda: enrichments(written_and_read(run, conns, arrived, LATE)))
    second = conns.write(*[EVIL, LATE, CLEAN] * 200)
    run.wait_for("the second", lambda: arrived.has(second))
    for serial in second:
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == LATE)
    run.stop()


def test_normalize_and_run_say_the_same(tmp_path, conns, arrived):
    block = tmp_path / "block.txt"
    block.write_text(f"{EVIL}\n10.20.0.0/16\n")
    serials = conns.write(*[EVIL, CLEAN] * 2000)
    assert rig.run_once(config(tmp_path, conns.path, files=[str(block)]))["accepted"] == 4000
    for jobs in ("1", "3"):
        done = rig.tapline("normalize", "--maps", rig.TOP / "configs", "--intel", block, "--jobs", jobs, conns.path)
        assert done.returncode == 0, done.stderr
        documents = {rig.serial_of(document): document for document in map(json.loads, done.stdout.splitlines())}
        assert arrived.has(serials) and set(documents) == set(serials)
        for serial in serials:
            for member in ("threat", "tags", "labels"):
                assert documents[serial].get(member) == arrived.documents[serial].get(member)
            assert enrichments(documents[serial]) or conns.servers[serial] == CLEAN
    done = rig.tapline("normalize", "--maps", rig.TOP / "configs", "--intel", tmp_path / "nowhere", conns.path)
    assert done.returncode == 100 and done.stdout == "" and "nowhere" in done.stderr


# ---- the config ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("providers", [20, 30])
def test_much_is_known_of_a_busy_address(tmp_path, conns, providers):
    """Providers with much to say of the address of each record: of twenty all of it is said, on every document; of thirty it would be
    more than a document may grow by, so all are named, without their descriptions, and the document says so."""
    fat = tmp_path / "fat.dat"
    fat.write_text("#fields\tindicator\tindicator_type\tmeta.source\tmeta.desc\tmeta.url\n" + "".join(
        "\t".join([EVIL, "Intel::ADDR", f"s{one}", "d" * 900, f"https://a.example/{one}/" + "u" * 800]) + "\n" for one in range(providers)))
    conns.write(*([EVIL] * 4000))
    plain = rig.tapline("normalize", "--maps", rig.TOP / "configs", conns.path).stdout.splitlines()
    done = rig.tapline("normalize", "--maps", rig.TOP / "configs", "--intel", fat, conns.path)
    assert done.returncode == 0 and "hits of intelligence, on 4000 documents" in done.stderr, done.stderr
    for before, line in zip(plain, done.stdout.splitlines(), strict=True):
        document = json.loads(line)
        assert "intel_match" in document["tags"] and len(line) <= len(before) + 128 * 1024
        said = enrichments(document)
        assert {one["indicator"]["provider"] for one in said} == {f"s{one}" for one in range(providers)}
        assert all(("description" in one["indicator"]) == (providers == 20) for one in said)
        assert document.get("labels", {}).get("intel") == (None if providers == 20 else "partial")


def test_sighup_refuses_keys_of_intel_and_takes_feeds(redis_server, runs, tmp_path, conns, arrived):
    path = config(tmp_path, conns.path, looks_back=True, **redis_at(redis_server))
    intel("add", EVIL, path=path)
    run = runs(path)
    run.wait_log("intelligence is ready")
    config(tmp_path, conns.path, looks_back=True, timeout="300ms", **redis_at(redis_server))
    run.signal(signal.SIGHUP)
    run.wait_log("key=intel.timeout")
    config(tmp_path, conns.path, looks_back=True, **redis_at(redis_server, prefix="other:"))
    run.signal(signal.SIGHUP)
    run.wait_log("key=intel.redis.prefix")
    for count in (1, 2):
        feeds = [{"name": f"corp{i}", "type": "list", "path": "/nowhere/*.txt"} for i in range(count)]
        config(tmp_path, conns.path, looks_back=True, feeds=feeds, **redis_at(redis_server))
        run.signal(signal.SIGHUP)
        run.wait_log("config reloaded", count=count)
    redis_server.kill()  # what the stage connects again with is the first config's
    redis_server.start()
    run.wait_for("hits again", lambda: enrichments(written_and_read(run, conns, arrived, EVIL)), timeout=60)
    run.stop()


def test_check_connect_reaches_redis(redis_server, tmp_path, conns):
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    done = rig.tapline("check", "--connect", "-c", path)
    assert done.returncode == 0 and 'reached, 0 indicators under "intel:"' in done.stderr
    assert "nothing would ever match" in done.stderr
    intel("add", EVIL, path=path)
    done = rig.tapline("check", "--connect", "--json", "-c", path)
    assert done.returncode == 0 and 'reached, 1 indicator under "intel:"' in done.stderr and "warning" not in done.stderr
    assert json.loads(done.stdout)["intel"] == [{"where": redis_server.unix_url, "indicators": 1, "is_all": True}]
    other = config(tmp_path, conns.path, "other.yml", **redis_at(redis_server, prefix="other:"))
    assert 'reached, 0 indicators under "other:"' in rig.tapline("check", "--connect", "-c", other).stderr
    redis_server.kill()
    done = rig.tapline("check", "--connect", "--json", "-c", path)
    (unreachable,) = json.loads(done.stdout)["unreachable"]
    assert done.returncode == 111 and redis_server.socket in unreachable["where"]


def test_check_connect_tells_each_url(redis_server, tmp_path, conns):
    """The first answers; the second is dead, the third wants a password, and is a replica like any other until it is needed."""
    dead = f"unix://{tmp_path}/nobody.sock"
    shut = RedisServer(tmp_path / "shut", acl=True).start()
    urls = [redis_server.unix_url, dead, shut.unix_url]
    try:
        path = config(tmp_path, conns.path, redis={"urls": urls, "connect_timeout": "20s"})
        done = rig.tapline("check", "--connect", "--json", "-c", path)
    finally:
        shut.close()
    said = json.loads(done.stdout)
    assert done.returncode == 111 and [store["where"] for store in said["intel"]] == urls[:1]
    assert len(said["unreachable"]) == 2 and "nobody.sock" in said["unreachable"][0]["where"]
    assert "NOAUTH" in said["unreachable"][1]["text"]


def test_check_connect_reads_files(tmp_path, conns):
    (tmp_path / "a.dat").write_text(f"#fields\tindicator\tindicator_type\tmeta.source\n{EVIL}\tIntel::ADDR\tx\nfoo\tIntel::ADDR\tx\n")
    (tmp_path / "b.txt").write_text("192.0.2.1\n192.0.2.2\n")
    files = [str(tmp_path / "*.dat"), str(tmp_path / "b.txt")]
    done = rig.tapline("check", "--connect", "--json", "-c", config(tmp_path, conns.path, files=files))
    assert done.returncode == 0 and "intel.files: read, 3 indicators" in done.stderr
    lines = [line for line in done.stderr.splitlines() if "indicators read" in line]
    assert "a.dat indicators=1 refused=1" in lines[0] and "b.txt indicators=2 refused=0" in lines[1]
    assert json.loads(done.stdout)["intel"] == [{"where": "intel.files", "indicators": 3, "is_all": True}]
    done = rig.tapline("check", "--connect", "-c", config(tmp_path, conns.path, files=[str(tmp_path / "*.nothing")]))
    assert done.returncode == 0 and "nothing would ever match" in done.stderr
    done = rig.tapline("check", "--connect", "--json", "-c", config(tmp_path, conns.path, files=[*files, "/nowhere.dat"]))
    (unreadable,) = json.loads(done.stdout)["unreachable"]
    assert done.returncode == 111 and unreadable["where"] == "/nowhere.dat" and not json.loads(done.stdout)["intel"]


def test_files_and_redis_together_are_a_mistake(tmp_path, conns):
    path = config(tmp_path, conns.path, files=["/nowhere"], redis={"urls": ["unix:///nowhere"]})
    done = rig.tapline("check", "-c", path)
    assert done.returncode == 100 and "intel.files and intel.redis.urls are both there" in done.stderr


# ---- crash -----------------------------------------------------------------------------------------------------------


def test_kill_nine_with_exactly_once_each_record_once_and_enriched(broker, redis_server, runs, tmp_path, conns):
    topic = f"intel-{os.getpid()}-{time.time_ns()}"
    kafka = {"kafka": {"topic": topic + ".%{event.dataset}", "dead_letter_topic": topic + ".dead", "delivery": "exactly_once",
                       "rdkafka": {"bootstrap.servers": broker.address}, "transaction_interval": "200ms"}}
    path = config(tmp_path, conns.path, sinks=kafka, looks_back=True, **redis_at(redis_server))
    intel("add", EVIL, path=path)
    is_over = threading.Event()

    def load():
        while not is_over.is_set():
            conns.write(*[CLEAN, EVIL] * 50)
            time.sleep(0.05)

    writer = threading.Thread(target=load, daemon=True)
    writer.start()
    for _ in range(6 * rig.STORM):
        run = runs(path)
        run.wait_log("intelligence is ready")
        time.sleep(random.uniform(0.2, 1.5))
        run.kill()
    is_over.set()
    writer.join()
    run = runs(path, "--once")
    assert run.wait() == 0, run.log()
    serials = []
    for record in broker.records(topic + ".zeek.connection"):
        serial = rig.serial_of(record.document)
        serials.append(serial)
        assert bool(enrichments(record.document)) == (conns.servers[serial] == EVIL), record.document
        assert not is_marked(record.document)
    assert sorted(serials) == list(range(conns.count)), rig.difference(serials, conns.count)
