"""What becomes of documents while the engine is busy, away, cut off, refuses or lies: nothing is lost, nothing is there twice,
no document waits for another's fault, and the log says what a person can do.

Faults come from a proxy before a real engine (engine_fault.py), or from real engines that are too small.
SPDX-License-Identifier: Apache-2.0
"""
import base64
import collections
import threading
import time

import pytest

import engine_fault as fault
import rig
from engine_fault import Proxy, always, first
from feeding import LONG_SESSION, MONTHLY, Site, document
from redis_server import make_certificates

WINDOW_MIN = 16  # a bulk is halved down to so many documents


@pytest.fixture
def proxied(tmp_path, broker, elasticsearch):
    """proxied(plan) -> site, proxy: a site whose feeder sees the engine through it. It is set up on the straight way."""
    made = []

    def start(plan=None, tls=None, engine=elasticsearch, feed=LONG_SESSION, **sink):
        proxy = Proxy(engine.port, tls=tls)
        made.append(proxy)
        site = Site(tmp_path, broker, engine, feed=feed).prepare()
        site.url, site.sink = proxy.url, sink
        site.config = site.write()
        proxy.plan = plan or proxy.plan
        return site, proxy

    yield start
    for proxy in made:
        proxy.close()


def times_sent(proxy):
    return collections.Counter(name for request in proxy.bulks for name in request.ids)


def put_some(site, count=100, first_serial=0, **options):
    return site.put(MONTHLY, (document(MONTHLY, first_serial + i) for i in range(count)), **options)


# ---- the whole request -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [
    fault.BUSY, fault.AWAY, fault.cut, fault.cut_behind, fault.cut_within, fault.items_lost,
    fault.answer(200, b"<html>it works!</html>"), fault.answer(200, {}), fault.answer(200, {"errors": False}),
    fault.answer(200, {"took": 1, "errors": False, "items": []}), fault.answer(204, b""), fault.answer(302, b"", location="/"),
    fault.answer(500, b"oops"), fault.answer(502, b"bad gateway"), fault.answer(504, b""), fault.answer(404, {"error": "no handler"}),
    fault.error(403, "cluster_block_exception", "index [logs-x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded];"),
], ids=["429", "503", "cut", "cut behind", "cut within", "items lost", "no JSON", "empty", "no items", "no item", "204", "302", "500",
        "502", "504", "404", "blocked"])
def test_a_bulk_that_fails_is_sent_again(proxied, what):
    """Delivered is what has an answer of its own, and nothing else."""
    site, proxy = proxied(first(3, what))
    wanted = put_some(site)
    site.once()
    site.assert_ids(wanted)
    assert not site.dead_letters()
    assert site.ledger().assert_whole().total() == len(wanted)


def next_try(bulks, refused):
    """The first bulk after a refused one that has its first document again. Others may come between: what is fetched comes in
    as many batches as it happens to."""
    return next(bulk for bulk in bulks[bulks.index(refused) + 1:] if refused.ids[0] in bulk.ids)


# 429: a bulk waits by itself, up to 10 s. 503: its node is away and rests, up to 5 s while there is no other.
@pytest.mark.parametrize("status, first_s, longest_s, tries", [(429, 0.1, 10, 8), (503, 1, 5, 6)])
def test_retries_wait_longer_each_time_and_bulks_become_smaller(proxied, status, first_s, longest_s, tries):
    site, proxy = proxied(first(tries, fault.error(status, "es_rejected_execution_exception", "busy")), connections=1)
    wanted = put_some(site, 1000)
    site.once()
    site.assert_ids(wanted)
    bulks = proxy.bulks
    if status == 429:  # an engine that is away needs time, not less at once
        sizes = [(len(bulk.ids), len(next_try(bulks, bulk).ids)) for bulk in bulks[:tries]]
        assert all(then <= max(WINDOW_MIN, size / 2) for size, then in sizes), sizes
    sent = [bulk.at for bulk in bulks if bulks[0].ids[0] in bulk.ids]
    waits = [after - before for before, after in zip(sent, sent[1:])]
    # Jitter takes up to half of what is due. How much later a busy machine is says nothing.
    least = [min(first_s * 2 ** i, longest_s) / 2 * 0.9 for i in range(len(waits))]
    assert len(waits) >= 3 and all(wait >= due for wait, due in zip(waits, least)), (waits, least)


def test_retry_after_is_respected(proxied):
    site, proxy = proxied(first(1, fault.error(429, "es_rejected_execution_exception", "busy", **{"retry-after": "2"})), connections=1)
    wanted = put_some(site)
    site.once()
    site.assert_ids(wanted)
    assert next_try(proxy.bulks, proxy.bulks[0]).at - proxy.bulks[0].at > 1.8


def test_too_large_bulks_are_split(proxied):
    site, proxy = proxied(always(fault.too_large(20_000)), connections=1)
    wanted = put_some(site, 500)
    site.once()
    site.assert_ids(wanted)
    assert any(request.status == 413 for request in proxy.bulks)
    assert not site.dead_letters()


def test_one_that_is_too_large_alone_is_a_dead_letter(proxied):
    site, proxy = proxied(always(fault.too_large(20_000)))
    wanted = put_some(site, 50, partition=0)
    (big,) = site.put(MONTHLY, [document(MONTHLY, 99, message="m" * 30_000)], partition=0)
    wanted.update(put_some(site, 50, first_serial=200, partition=0))
    site.once()
    site.assert_ids(wanted, MONTHLY)
    (letter,) = site.dead_letters()
    assert letter["tapline"]["id"] == big and "413" in letter["error"]["message"], letter["error"]


def test_a_bulk_that_hangs_is_given_up_and_sent_again(proxied):
    site, proxy = proxied(first(1, fault.slow(5)), timeout="1s")
    wanted = put_some(site)
    site.once()
    site.assert_ids(wanted)
    assert len(proxy.bulks) >= 2


# ---- single items --------------------------------------------------------------------------------------------------------------


class Some:
    """Chosen by serial number, for the first times that each is sent."""

    def __init__(self, serials, times):
        self.serials, self.times, self.told = set(serials), times, collections.Counter()

    def __call__(self, name, sent):
        serial = rig.serial_of(sent) if "id" in sent.get("event", {}) else None
        if serial not in self.serials or self.told[name] >= self.times:
            return False
        self.told[name] += 1
        return True


@pytest.mark.parametrize("told", [fault.ITEM_BUSY, fault.ITEM_AWAY, fault.item_error(500, "internal", "x"), fault.item_error(504, "t", "y"),
                                  fault.ITEM_BLOCKED, fault.ITEM_SHARDS, fault.item_error(404, "index_not_found_exception", "no such index [x] "
                                  "and [action.auto_create_index] is false")],
                         ids=["429", "503", "500", "504", "blocked", "shards", "no index"])
def test_only_items_that_fail_are_sent_again(proxied, told):
    chosen = Some(range(0, 100, 7), 2)
    site, proxy = proxied(always(fault.items(chosen, told)))
    wanted = put_some(site)
    site.once()
    site.assert_ids(wanted)
    assert not site.dead_letters(), site.dead_letters()[0]["error"]
    sent = times_sent(proxy)
    again = {name for name, times in sent.items() if times > 1}
    assert again == set(chosen.told) and all(sent[name] == 3 for name in again), sent.most_common(3)
    assert site.ledger().assert_whole() == {"indexed": 100}


def test_what_a_failure_store_took_is_not_in_the_index(proxied):
    """Elasticsearch 8.19 and 9: 201, and yet no search will find it."""
    site, proxy = proxied(always(fault.items(Some({5}, 1), fault.STORED_AS_FAILURE)))
    wanted = put_some(site)
    site.once()
    (lost,) = set(wanted) - set(site.ids(MONTHLY))
    (letter,) = site.dead_letters()
    assert letter["tapline"]["id"] == lost and "failure store" in letter["error"]["message"], letter["error"]
    sums = site.ledger().assert_whole()
    assert sums["dead"] == 1 and sums["indexed"] in (99, 100), "its dead letter may be there, too"


def test_a_failure_store_that_failed_too_is_a_plain_refusal(proxied):
    site, proxy = proxied(always(fault.items(Some({5}, 1), fault.FAILURE_STORE_FAILED)))
    put_some(site)
    site.once()
    (letter,) = site.dead_letters()
    assert "failed to parse field" in letter["error"]["message"]


def test_a_refused_one_never_stalls_its_partition(proxied, feeds):
    """How long each good record takes from Kafka to the engine, with a bad one before each of them: below a second. Who stalled
    for a bad one would delay all; a machine that stands still for a moment delays some."""
    site, proxy = proxied()
    feed = feeds(site.config)
    warm = put_some(site, 20, first_serial=5000)
    site.wait_ids(feed, warm)
    sent_at, bad = {}, []
    for number in range(60):
        bad.append(site.send(MONTHLY, document(MONTHLY, number, source="a text"), partition=0))
        name = site.send(MONTHLY, document(MONTHLY, number), partition=0)
        site.flush()
        sent_at[name] = time.monotonic()
        time.sleep(0.05)
    feed.wait_for("all good ones", lambda: set(sent_at) <= set(times_sent(proxy)), rig.PATIENCE_S)
    arrived = {}
    for request in proxy.bulks:
        for name in request.ids:
            arrived.setdefault(name, request.at)
    late = sorted(arrived[name] - at for name, at in sent_at.items())
    site.wait_committed(feed)
    feed.stop()
    print(f"latest {late[-1]:.3f} s")
    assert late[len(late) * 3 // 4] < 1.0 and late[-1] < 15, late
    sent = times_sent(proxy)
    assert all(sent[name] == 1 for name in bad), "one try"
    assert {letter["tapline"]["id"] for letter in site.dead_letters()} == set(bad)


# ---- offsets -------------------------------------------------------------------------------------------------------------------


def test_an_offset_waits_for_the_item_that_waits(proxied, feeds):
    """One document is turned away again and again: its neighbours are indexed, what is behind it in its partition is not
    committed, and after a kill it comes again."""
    chosen = Some({50}, 1 << 30)
    site, proxy = proxied(always(fault.items(chosen, fault.ITEM_BUSY)), feed=None)
    wanted = put_some(site, 100, partition=0)
    feed = feeds(site.config)
    feed.wait_for("its neighbours", lambda: site.engine.count(site.pattern()) == 99, rig.PATIENCE_S)
    time.sleep(1.5)
    assert site.committed().get((f"{site.prefix}.{MONTHLY}", 0), 0) <= 50
    feed.kill()
    assert site.committed().get((f"{site.prefix}.{MONTHLY}", 0), 0) <= 50
    proxy.plan = lambda request: None
    site.once()
    site.assert_ids(wanted)
    assert site.ledger().assert_whole().total() == 100


def test_the_committed_offset_is_never_ahead_of_the_index(proxied, feeds):
    """Killed at random moments: what is behind the offsets is in the index or among the dead letters."""
    site, proxy = proxied(lambda request: fault.slow(0.02) if request.is_bulk else None, feed=None, bulk_events=50)
    wanted, bad = {}, []
    for kill in range(5):
        wanted.update(put_some(site, 2000, first_serial=kill * 2000))
        bad += site.put(MONTHLY, [document(MONTHLY, 1, source="text")])
        feed, bulks = feeds(site.config), len(proxy.bulks)
        feed.wait_for("it to be at work", lambda: len(proxy.bulks) > bulks + 3 * kill, rig.PATIENCE_S)
        feed.kill()
        committed = site.committed()
        there = set(site.ids()) | {letter["tapline"]["id"] for letter in site.dead_letters()}
        for message in site.records():
            name = dict(message.headers())["tapline"][:16].hex()
            if message.topic() != site.dead_topic and message.offset() < committed.get((message.topic(), message.partition()), 0):
                assert name in there, f"committed, and not there: {message.topic()}/{message.partition()}/{message.offset()}"
    proxy.plan = lambda request: None
    site.once()
    site.assert_ids(wanted, MONTHLY)
    sums = site.ledger().assert_whole()
    assert sums["dead"] == len(bad), sums


# ---- credentials ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [fault.UNAUTHORIZED, fault.FORBIDDEN, fault.items(Some({5}, 1 << 30), fault.ITEM_FORBIDDEN)],
                         ids=["401", "403", "an item"])
def test_credentials_refused_stop_it_and_lose_nothing(proxied, what):
    site, proxy = proxied(always(what), username="tapline", password="s3cret-word")
    wanted = put_some(site)
    feed = rig.Feed(site.config)
    assert feed.wait() == 100, feed.log()
    errors = [line for line in feed.lines if " error " in line]
    assert any("tapline" in line and ("401" in line or "403" in line or "security_exception" in line) for line in errors), feed.log()
    assert "s3cret-word" not in feed.log() and base64.b64encode(b"tapline:s3cret-word").decode() not in feed.log()
    proxy.plan = lambda request: None
    site.once()
    site.assert_ids(wanted)
    assert site.ledger().assert_whole().total() == 100


def test_a_question_at_the_start_refused_is_the_same(proxied):
    site, proxy = proxied(always(fault.UNAUTHORIZED, lambda request: True), username="tapline", password="wrong")
    feed = rig.Feed(site.config)
    assert feed.wait() == 100 and "401" in feed.log() and "wrong" not in feed.log(), feed.log()


def test_an_engine_that_does_not_know_us_yet_is_waited_for(proxied, feeds):
    """It comes up again, and answers before the index with its users is open."""
    site, proxy = proxied()
    feed = feeds(site.config)
    wanted = put_some(site)
    site.wait_ids(feed, wanted)
    cut, told = [], []

    def waking(request):
        """No bulk comes through before it knows us: a bulk that it refused would be a mistake in our credentials."""
        if len(told) < 3 and (request.is_bulk or len(cut) < 5):
            cut.append(request)
            return fault.cut
        if len(told) < 3:
            told.append(request)
            return fault.UNAUTHORIZED
        return None

    proxy.plan = waking
    wanted.update(put_some(site, first_serial=200))
    site.wait_ids(feed, wanted)
    assert len(told) == 3 and any(request.is_bulk for request in cut)


@pytest.mark.parametrize("sink, header", [
    ({"api_key": "aWQ6a2V5"}, "ApiKey aWQ6a2V5"),
    ({"username": "u", "password": "p:ä"}, "Basic " + base64.b64encode("u:p:ä".encode()).decode()), ({}, None)],
    ids=["api key", "basic", "none"])
def test_credentials_go_with_each_request(proxied, sink, header):
    site, proxy = proxied(**sink)
    wanted = put_some(site, 10)
    site.once()
    site.assert_ids(wanted)
    assert {request.headers.get("authorization") for request in proxy.requests} == {header}
    assert all(request.headers["content-type"].startswith("application/") for request in proxy.bulks)


def test_secrets_may_stand_in_a_file(proxied, tmp_path):
    secret = tmp_path / "key"
    secret.write_text("aWQ6a2V5\n")
    secret.chmod(0o600)
    site, proxy = proxied(api_key=f"@{secret}")
    put_some(site, 1)
    site.once()
    assert proxy.bulks[0].headers["authorization"] == "ApiKey aWQ6a2V5"


# ---- the way there ---------------------------------------------------------------------------------------------------------------


def test_gzip(proxied):
    site, proxy = proxied(compression="gzip")
    wanted = put_some(site, 2000)
    site.once()
    site.assert_ids(wanted)
    assert all(request.is_gzip for request in proxy.bulks)
    assert sum(len(r.raw) for r in proxy.bulks) < sum(len(r.body) for r in proxy.bulks) / 3


def test_connections_are_kept_and_there_are_several(proxied):
    site, proxy = proxied(lambda request: fault.slow(0.1) if request.is_bulk else None, connections=3, bulk_events=100)
    wanted = put_some(site, 3000)
    site.once()
    site.assert_ids(wanted)
    connections = collections.Counter(request.connection for request in proxy.bulks)
    assert len(connections) == 3 and len(proxy.bulks) >= 30, connections
    assert all(len(request.ids) <= 100 for request in proxy.bulks)


@pytest.mark.parametrize("wants_client", [False, True], ids=["own CA", "client certificate"])
def test_tls(proxied, tmp_path, wants_client):
    certs = make_certificates(tmp_path / "certs")
    mine = {"cert_file": str(certs / "client.crt"), "key_file": str(certs / "client.key")} if wants_client else {}
    site, proxy = proxied(tls=fault.tls_context(certs, wants_client), ca_file=str(certs / "ca.crt"), **mine)
    wanted = put_some(site)
    site.once()
    site.assert_ids(wanted)


def test_a_server_of_another_ca_gets_nothing(proxied, tmp_path, feeds):
    certs = make_certificates(tmp_path / "certs")
    site, proxy = proxied(tls=fault.tls_context(certs), ca_file=str(certs / "other-ca.crt"))
    put_some(site, 5)
    feed = feeds(site.config)
    feed.wait_for("a word about the certificate", lambda: "certificate" in feed.log(), rig.PATIENCE_S)
    assert not proxy.requests


def test_a_node_that_is_dead_is_left_out(proxied, elasticsearch):
    site, proxy = proxied()
    dead = f"http://127.0.0.1:{rig.free_port()}"
    site.config = site.write(hosts=[dead, proxy.url], bulk_events=50)
    wanted = put_some(site, 500)
    site.once()
    site.assert_ids(wanted)
    assert len(proxy.bulks) >= 10 and proxy.bulks[-1].at - proxy.bulks[0].at < 15


def test_a_node_that_dies_and_comes_back(proxied, feeds, elasticsearch):
    site, proxy = proxied()
    with Proxy(elasticsearch.port) as other:
        site.config = site.write(hosts=[proxy.url, other.url], bulk_events=20)
        feed = feeds(site.config)
        wanted = put_some(site, 400)
        site.wait_ids(feed, wanted)
        assert proxy.bulks and other.bulks, "requests go to both"
        proxy.plan = always(fault.cut, lambda request: True)
        wanted.update(put_some(site, 400, 1000))
        site.wait_ids(feed, wanted)
        proxy.plan = lambda request: None
        seen = len(proxy.bulks)
        deadline = time.monotonic() + rig.PATIENCE_S
        number = 2000
        while len([bulk for bulk in proxy.bulks[seen:] if bulk.status == 200]) == 0:
            assert time.monotonic() < deadline, feed.log()
            wanted.update(put_some(site, 40, number))
            number += 40
            time.sleep(0.2)
        site.wait_ids(feed, wanted)
        feed.stop()


# ---- real engines in trouble -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("product, settings", [
    ("elasticsearch", ["thread_pool.write.queue_size=1", "node.processors=1"]), ("opensearch", ["indexing_pressure.memory.limit=24kb"])],
    ids=["items", "requests"])
def test_an_engine_that_is_too_small(tmp_path, broker, own_engine, product, settings):
    """429s of its own, for items or for whole requests: all of it is there in the end, with no dead letter."""
    engine = own_engine(product, *settings)
    with Proxy(engine.port) as proxy:
        site = Site(tmp_path, broker, engine, sink={"connections": 8, "bulk_events": 200}).prepare()
        site.url = proxy.url
        site.config = site.write()
        wanted = {}
        for dataset in (f"zeek.kind{i}" for i in range(6)):
            wanted.update(site.put(dataset, (document(dataset, i) for i in range(500))))
        site.once()
        site.assert_ids(wanted)
        assert not site.dead_letters()
        busy = [r for r in proxy.bulks if r.status == 429 or b'"status":429' in (r.answer or b"")]
        print(f"{len(proxy.bulks)} bulks, {len(busy)} with 429")
        assert busy, "this engine was large enough: the test says nothing"


@pytest.mark.parametrize("product, how", [("elasticsearch", "kill"), ("opensearch", "stop")])
def test_an_engine_that_restarts(tmp_path, broker, own_engine, feeds, product, how):
    engine = own_engine(product)
    site = Site(tmp_path, broker, engine, sink={"bulk_events": 100, "timeout": "10s"}).prepare()
    feed = feeds(site.config)
    wanted, stop = {}, threading.Event()

    def write():
        number = 0
        while not stop.is_set():
            wanted.update(put_some(site, 50, number))
            number += 50
            time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        time.sleep(1.5)
        getattr(engine, how)()
        time.sleep(1.5)
        engine.start()
        time.sleep(1)
    finally:
        stop.set()
        writer.join()
    site.wait_ids(feed, wanted)
    feed.stop()
    assert not site.dead_letters()
    assert site.ledger().assert_whole().total() == len(wanted)
    assert len([line for line in feed.lines if " error " in line or " warn " in line]) < 30, feed.log()


def test_a_broker_that_restarts(tmp_path, own_broker, elasticsearch, feeds):
    site = Site(tmp_path, own_broker, elasticsearch).prepare()
    feed = feeds(site.config)
    wanted = put_some(site, 500)
    site.wait_ids(feed, wanted)
    own_broker.kill()
    time.sleep(1)
    own_broker.start()
    wanted.update(put_some(site, 500, len(wanted)))
    site.wait_ids(feed, wanted)
    site.wait_committed(feed)
    feed.stop()
    assert site.ledger().assert_whole().total() == len(wanted)
