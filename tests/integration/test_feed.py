"""`tapline feed` from a real Kafka to a real Elasticsearch and a real OpenSearch: each record is one document, once, under its
id, in the index of its own time; what the engine will not have is a dead letter with the engine's reason; offsets and the
ledger say what is there.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import re
import shutil
import time

import pytest

import rig
from feeding import DAILY, DAY_MS, LONG_SESSION, MONTHLY, Site, assert_same, document, iso, now_ms

HOUR_MS = 3_600_000


@pytest.fixture
def site(tmp_path, broker, engine):
    return Site(tmp_path, broker, engine, feed=LONG_SESSION).prepare()


@pytest.fixture
def one_site(tmp_path, broker, elasticsearch):
    """For what both products do alike."""
    return Site(tmp_path, broker, elasticsearch, feed=LONG_SESSION).prepare()


def assert_no_data_stream(site):
    assert not [name for name in site.engine.indices() if name.startswith(".ds-")]


# ---- delivery --------------------------------------------------------------------------------------------------------------


def test_each_record_is_one_document_under_its_id(site):
    wanted = site.put(DAILY, (document(DAILY, i) for i in range(700)))
    wanted.update(site.put(MONTHLY, (document(MONTHLY, i) for i in range(300))))
    site.once()
    hits = site.hits()
    assert_same(site.ids(), collections.Counter(list(wanted)))
    for name, hit in hits.items():
        sent, got = wanted[name], hit["_source"]
        dataset = sent["event"]["dataset"]
        assert got.pop("data_stream") == {"type": "logs", "dataset": dataset, "namespace": site.namespace}
        assert got == sent
        when = sent["@timestamp"]
        period = when[:10].replace("-", ".") if dataset == DAILY else when[:7].replace("-", ".")
        assert hit["_index"] == f"logs-{dataset}-{site.namespace}-{period}"
    assert_no_data_stream(site)
    assert site.ledger().assert_whole() == {"indexed": 1000}

    before = site.engine.counts(site.pattern())
    site.once()  # all is committed
    assert site.engine.counts(site.pattern()) == before
    assert site.ledger().assert_whole()["indexed"] == 1000


def test_what_is_there_already_counts_as_delivered(site):
    """Another group reads all of it again: as after a loss of all offsets."""
    wanted = site.put(MONTHLY, (document(MONTHLY, i) for i in range(500)))
    site.once()
    before = {name: (hit["_index"], hit["_source"]) for name, hit in site.hits().items()}
    site.group += "-again"
    site.config = site.write()
    site.once()
    assert {name: (hit["_index"], hit["_source"]) for name, hit in site.hits().items()} == before
    assert len(before) == len(wanted)
    assert site.ledger().assert_whole() == {"repeated": 500}
    assert not site.dead_letters()


def test_documents_appear_while_it_runs(site, feeds):
    feed = feeds(site.config)
    site.topic(MONTHLY)
    wanted = {}
    for turn in range(5):
        wanted.update(site.put(MONTHLY, (document(MONTHLY, turn * 100 + i) for i in range(100))))
        time.sleep(0.3)
    site.wait_ids(feed, wanted, rig.PATIENCE_S)
    site.wait_committed(feed, rig.PATIENCE_S)
    late = site.put("zeek.made_later", (document("zeek.made_later", i) for i in range(10)))  # a topic that was not there
    site.wait_ids(feed, {**wanted, **late}, rig.PATIENCE_S)
    feed.stop()
    assert site.ledger().assert_whole() == {"indexed": 510}


# ---- which index -----------------------------------------------------------------------------------------------------------


def test_the_index_is_that_of_the_events_own_time(site):
    """Over the ends of days, months and years, whatever the offset its time is written with."""
    cases = {
        "2026-10-31T23:59:59.999999999Z": "2026.10.31", "2026-11-01T00:00:00Z": "2026.11.01",
        "2026-11-01T00:00:00.000000Z": "2026.11.01", "2026-11-01T01:30:00+02:00": "2026.10.31",
        "2026-10-31T22:30:00-05:00": "2026.11.01", "2026-11-01T00:00:00.5Z": "2026.11.01"}
    accepted = 1_793_500_000_000  # 2026-11-01T02:26:40Z
    names = {}
    for number, (text, day) in enumerate(cases.items()):
        for dataset in (DAILY, MONTHLY):
            (name,) = site.put(dataset, [document(dataset, number, text)], at=accepted)
            names[name] = f"logs-{dataset}-{site.namespace}-{day if dataset == DAILY else day[:7]}"
    site.once()
    assert {name: hit["_index"] for name, hit in site.hits().items()} == names


def test_a_backlog_of_years_goes_where_it_belongs(site):
    """Kafka's timestamp is the measure, not today's clock."""
    at = 1_577_836_799_000  # 2019-12-31T23:59:59Z
    first, second = site.put(DAILY, [document(DAILY, 1, iso(at - 1000)), document(DAILY, 2, iso(at + 1000))], at=at)
    site.once()
    hits = site.hits()
    assert hits[first]["_index"].endswith("-2019.12.31")
    assert hits[second]["_index"].endswith("-2020.01.01")


def test_a_wild_clock_makes_no_thousand_indices(site):
    at = now_ms()
    far = [at - 30 * DAY_MS - HOUR_MS, at + DAY_MS + HOUR_MS, at - 3650 * DAY_MS, at + 3650 * DAY_MS]
    texts = [iso(one) for one in far] + ["1970-01-01T00:00:00Z", "2106-02-07T06:28:15.000000Z", "9999-12-31T23:59:59Z"]
    near = [iso(at - 30 * DAY_MS + HOUR_MS), iso(at + DAY_MS - HOUR_MS)]
    out = site.put(DAILY, [document(DAILY, i, text) for i, text in enumerate(texts)], at=at)
    within = site.put(DAILY, [document(DAILY, i, text) for i, text in enumerate(near)], at=at)
    site.once()
    hits = site.hits()
    assert {hits[name]["_index"] for name in out} == {f"logs-{DAILY}-{site.namespace}-outofrange"}
    assert [hits[name]["_index"].rsplit("-", 1)[1] for name in within] == [text[:10].replace("-", ".") for text in near]
    assert len(hits) == len(out) + len(within)
    assert_no_data_stream(site)


def test_documents_without_a_time_or_dataset_are_there_once(site):
    """Whatever index they get: it must be the same one at each try."""
    odd = [{"message": "no time"}, {"@timestamp": "yesterday", "event": {"dataset": MONTHLY}}, {"@timestamp": 17, "event": {"dataset": 3}},
           {"@timestamp": None, "event": None}, {"@timestamp": "2026-13-45T99:00:00Z", "event": {"dataset": ""}}, {"event": {"dataset": DAILY}}]
    wanted = site.put("odd", odd)
    site.once()
    letters = {letter["tapline"]["id"]: letter for letter in site.dead_letters()}
    found = {name: hit["_index"] for name, hit in site.hits().items()}
    assert set(wanted) - set(letters) <= set(found), letters
    site.group += "-again"
    site.config = site.write()
    site.once()
    again = {name: hit["_index"] for name, hit in site.hits().items()}
    assert {name: again[name] for name in wanted if name not in letters} == {name: found[name] for name in wanted if name not in letters}


@pytest.mark.parametrize("dataset, in_index", [
    ("Zeek.SSH", "zeek.ssh"), ("a-b-c", "a_b_c"), ("x/y\\z*?\"<>| ,#:", None), ("zeek._weird_", "zeek._weird_"), ("größe", None),
    ("..", None), ("d" * 300, None), ("-", None), ("_x", None)])
def test_a_dataset_of_any_name_has_an_index(one_site, dataset, in_index):
    """And each document is in it, or is a dead letter that says why; neighbours are."""
    odd = one_site.put("odd", [document(dataset, 1)])
    fine = one_site.put(MONTHLY, [document(MONTHLY, i) for i in range(3)])
    one_site.once()
    hits = one_site.hits()
    assert set(fine) <= set(hits)
    (name,) = odd
    if in_index:
        assert hits[name]["_index"] == f"logs-{in_index}-{one_site.namespace}-{iso(now_ms())[:7].replace('-', '.')}"
    assert name in hits or name in [letter["tapline"]["id"] for letter in one_site.dead_letters()]
    if name in hits:
        assert re.fullmatch(rf"logs-[^-]+-{one_site.namespace}-[^-]+", hits[name]["_index"])
        assert hits[name]["_source"]["event"]["dataset"] == dataset
    assert_no_data_stream(one_site)


# ---- what the engine will not have -----------------------------------------------------------------------------------------


def refused_documents():
    """What no mapping of ours can take, and a word of the reason that both engines give."""
    return {
        "a text where an object belongs": ({"event": {"dataset": MONTHLY}, "source": "10.0.0.1"}, "source"),
        "too many fields": ({"event": {"dataset": MONTHLY}, "x": {f"f{i}": 1 for i in range(9000)}}, "fields"),
        "too deep": ({"event": {"dataset": MONTHLY}, "deep": nested(40)}, "depth")}


def nested(depth):
    made = 1
    for _ in range(depth):
        made = {"o": made}
    return made


def test_what_is_refused_is_a_dead_letter_with_the_engines_reason(site):
    bad, words = {}, {}
    for what, (members, word) in refused_documents().items():
        sent = site.put(MONTHLY, [{"@timestamp": iso(now_ms()), **members}], partition=1)
        bad.update(sent)
        words.update(dict.fromkeys(sent, (what, word)))
    good = site.put(MONTHLY, (document(MONTHLY, i) for i in range(200)), partition=1)
    site.once()
    assert_same(site.ids(MONTHLY), collections.Counter(list(good)))
    letters = {letter["tapline"]["id"]: letter for letter in site.dead_letters()}
    assert set(letters) == set(bad)
    for name, letter in letters.items():
        what, word = words[name]
        assert word in letter["error"]["message"], (what, letter["error"])
        assert letter["event"]["kind"] == "pipeline_error" and letter["event"]["dataset"] == "tapline.deadletter"
        assert json.loads(letter["event"]["original"]) == bad[name], what
        assert letter["tapline"]["topic"] == f"{site.prefix}.{MONTHLY}" and letter["tapline"]["partition"] == 1
    site.once()  # dead letters are records of a topic, too
    sums = site.ledger().assert_whole()
    assert (sums["indexed"], sums["dead"]) == (200 + len(bad), len(bad))
    found = {hit["_source"]["tapline"]["id"]: hit for hit in site.hits("tapline.deadletter").values()}
    assert set(found) == set(bad)
    for name, hit in found.items():
        assert hit["_source"]["error"]["message"] == letters[name]["error"]["message"]
    assert len(site.dead_letters()) == len(bad), "a dead letter of a dead letter"
    assert_no_data_stream(site)


def test_a_refused_one_is_told_once_whatever_dies(tmp_path, broker, elasticsearch, feeds):
    """Its dead letter, the offset behind it and the ledger's row are one transaction."""
    one_site = Site(tmp_path, broker, elasticsearch).prepare()
    good, bad = {}, {}
    for turn in range(6):
        good.update(one_site.put(MONTHLY, (document(MONTHLY, turn * 50 + i) for i in range(50))))
        bad.update(one_site.put(MONTHLY, [document(MONTHLY, turn, source=f"text {turn}")]))
        feed = feeds(one_site.config)
        time.sleep(0.2 + 0.25 * turn)
        feed.kill()
    one_site.once()
    one_site.assert_ids(good, MONTHLY)
    letters = collections.Counter(letter["tapline"]["id"] for letter in one_site.dead_letters())
    assert letters == collections.Counter(list(bad))
    sums = one_site.ledger().assert_whole()
    assert sums["dead"] == len(bad) and sums["indexed"] + sums["repeated"] >= len(good)


def test_a_dead_letter_that_is_refused_gets_no_other(one_site):
    """Or they would never end: it stays in its topic, and is told."""
    odd = {"@timestamp": iso(now_ms()), "event": {"dataset": "tapline.deadletter", "kind": "pipeline_error"}, "source": "a text"}
    (name,) = one_site.put("deadletter", [odd])
    summary = one_site.once()
    one_site.once()
    assert not one_site.ids() and len(one_site.dead_letters()) == 1
    assert one_site.ledger().assert_whole() == {"dead": 1}, summary
    assert name in [dict(message.headers())["tapline"][:16].hex() for message in one_site.records(one_site.dead_topic)]


def test_what_others_wrote_too_large_is_a_dead_letter_as_well(one_site):
    """A text that JSON writes six times as long, and a key that is nearly a record by itself: neither may come back for ever."""
    one_site.send(MONTHLY, b'{"a":"' + b"\x01" * 400_000 + b'"}', headers=None)
    one_site.send(MONTHLY, document(MONTHLY, 1, source="a text"), key="k" * 999_500, headers=None)
    good = one_site.put(MONTHLY, (document(MONTHLY, i) for i in range(2, 50)))
    one_site.once()
    one_site.assert_ids(good, MONTHLY)
    letters = one_site.dead_letters()
    assert len(letters) == 2, letters
    whole, = [letter for letter in letters if "original_bytes" not in letter["tapline"]]
    assert json.loads(whole["event"]["original"])["source"] == "a text"
    assert len(one_site.ids("tapline.deadletter")) == 2, "--once reads the dead letters that it wrote"
    assert one_site.ledger().assert_whole() == {"indexed": len(good) + 2, "dead": 2}


# ---- records that others wrote -----------------------------------------------------------------------------------------------


FOREIGN = {
    "pretty printed": json.dumps(document(MONTHLY, 1), indent=2).encode(),
    "with carriage returns": json.dumps(document(MONTHLY, 2), indent=1).replace("\n", "\r\n").encode(),
    "newline at its end": json.dumps(document(MONTHLY, 3)).encode() + b"\n",
    "blanks before": b" \n\t " + json.dumps(document(MONTHLY, 4)).encode(),
    "an empty object": b"{}",
    "not a document of ours": b'{"level":"info","msg":"hello"}',
    "has a data_stream already": json.dumps(document(MONTHLY, 5, data_stream={"type": "x", "dataset": "y", "namespace": "z"})).encode(),
    "no JSON": b"connection from 10.0.0.1",
    "an array": b"[1,2]",
    "a number": b"7",
    "nothing": b"",
    "no text": bytes(range(256)),
    "two documents": b'{"a":1}\n{"b":2}',
    "an action of a bulk": b'{"a":1}\n{"delete":{"_index":"logs-victim","_id":"1"}}',
    "cut": b'{"@timestamp":"2026-11-01T00:00:00Z","event":{"dataset":"zeek.dns"',
    "a doubled brace": b'{"a":1}}',
    "no UTF-8 in a text": b'{"message":"\xff\xfe"}',
    "a NUL in it": b'{"message":"a\x00b"}',
    "a raw newline in a text": b'{"message":"a\nb"}',
    "a big one": json.dumps(document(MONTHLY, 6, message="m" * 900_000)).encode(),
    "an _id of its own": json.dumps(document(MONTHLY, 7, _id="mine")).encode(),
    "deep": b'{"a":' * 200 + b"1" + b"}" * 200,
    "empty names": b'{"":1,"a":{"":2}}',
    "dots": b'{"a.b":1,"a":{"b":2},".":3}',
}
TAKEN = ["pretty printed", "with carriage returns", "newline at its end", "blanks before", "an empty object", "not a document of ours", "a big one"]


@pytest.mark.parametrize("headers", [True, None, [("other", b"x")], [("tapline", b"short")]], ids=["ours", "none", "another", "short"])
def test_records_of_others_never_break_their_neighbours(site, headers):
    wanted = {}
    for number, value in enumerate(FOREIGN.values()):
        wanted[site.send("mixed", document(MONTHLY, number), partition=0)] = number
        site.send("mixed", value, partition=0, headers=headers)
    site.send("mixed", None, key="k", partition=0, headers=headers)  # a tombstone
    wanted[site.send("mixed", document(MONTHLY, 99), partition=0)] = 99
    site.flush()
    site.once()
    letters, everything = site.dead_letters(), site.hits()
    hits = {name: hit for name, hit in everything.items() if hit["_source"].get("event", {}).get("dataset") != "tapline.deadletter"}
    assert set(wanted) <= set(hits)
    assert len(hits) + len(letters) == len(wanted) + len(FOREIGN), [letter["error"]["message"] for letter in letters]
    for letter in letters:
        assert letter["error"]["message"] and letter["tapline"]["topic"] == f"{site.prefix}.mixed"
    sources = [hit["_source"] for name, hit in hits.items() if name not in wanted]
    for what in TAKEN:
        read = json.loads(FOREIGN[what])
        assert any({k: v for k, v in source.items() if k != "data_stream"} == read for source in sources), what
    site.once()  # their dead letters, if it was done before they came
    sums = site.ledger().assert_whole()
    assert sums["indexed"] == len(hits) + len(letters) and sums["dead"] == len(letters)
    site.group += "-again"  # ids that tapline had to make are the same again
    site.config = site.write()
    site.once()
    assert set(hits) == set(site.ids()) - set(site.ids("tapline.deadletter"))
    assert not site.engine.indices("logs-victim*")


# ---- the other way to index, and the sink of its own ----------------------------------------------------------------------------


def test_data_streams_for_those_who_want_them(tmp_path, broker, own_engine):
    engine = own_engine("opensearch")
    site = Site(tmp_path, broker, engine, sink={"index_mode": "data_stream"}).prepare()
    wanted = site.put(MONTHLY, (document(MONTHLY, i) for i in range(100)))
    site.once()
    found = engine.ask("GET", f"/_data_stream/logs-{MONTHLY}-{site.namespace}")["data_streams"]
    assert len(found) == 1 and engine.count(f"logs-{MONTHLY}-{site.namespace}") == 100
    ids = engine.ids(f"logs-{MONTHLY}-{site.namespace}")
    assert_same(ids, collections.Counter(list(wanted)))
    site.group += "-again"
    site.config = site.write()
    site.once()
    assert engine.ids(f"logs-{MONTHLY}-{site.namespace}") == ids, "the same backing index: repeats"


def run_config(site, logs, **sink):
    config = rig.config_write(
        site.folder / "run.yml", [{"type": "zeek", "paths": [str(logs / "*.log")]}],
        {"elasticsearch": {"hosts": [site.url], "namespace": site.namespace, **sink}})
    return config


def test_without_kafka_behind_run(site, conn_log, tmp_path):
    """The same ids as by way of Kafka, so that a second run from deleted state finds all of it there."""
    logs = tmp_path / "logs"
    logs.mkdir()
    count = 1200
    (logs / "conn.log").write_text(conn_log.text(0, count))
    config = run_config(site, logs)
    assert rig.run_once(config)["accepted"] == count
    serials = sorted(rig.serial_of(source) for source in site.engine.documents(site.pattern()))
    assert serials == list(range(count))
    before = site.ids()
    assert len(before) == count and all(re.fullmatch("[0-9a-f]{32}", name) for name in before)
    shutil.rmtree(tmp_path / "state")
    assert rig.run_once(config)["accepted"] == count
    assert site.ids() == before
    assert_no_data_stream(site)


def test_behind_run_what_is_refused_is_in_the_index_of_dead_letters(site, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    good = '{"_path":"conn","ts":%.6f,"uid":"C1","id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"10.0.0.2","id.resp_p":2,"proto":"tcp"}\n'
    now = time.time()
    text = "".join(good % (now + i) for i in range(20))
    text += json.dumps({"_path": "conn", "ts": now, "uid": "C2", "extra": {f"f{i}": 1 for i in range(9000)}}) + "\n"
    text += "{this is no JSON\n" + good % now
    (logs / "conn.log").write_text(text)
    rig.run_once(run_config(site, logs))
    kept = site.engine.documents(site.pattern(DAILY))
    dead = site.engine.documents(site.pattern("tapline.deadletter"))
    assert len(kept) == 21 and len(dead) == 2, [one["error"] for one in dead]
    assert any("fields" in one["error"]["message"] for one in dead)
