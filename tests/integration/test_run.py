"""What `run` and `check` promise beside delivery: signals, reload, one process at a time, --once, several sinks.
SPDX-License-Identifier: Apache-2.0
"""
import gzip
import json
import pathlib
import re
import shutil
import signal
import time

import pytest
from mmdb_writer import MMDBWriter

import rig


def file_config(tmp_path, paths, name="tapline.yml", sinks=None, **sections):
    sinks = sinks or {"file": {"path": str(tmp_path / "out.ndjson"), "sync_interval": "50ms"}}
    return rig.config_write(tmp_path / name, [{"type": "zeek", "paths": [str(p) for p in paths]}], sinks, **sections)


def lines_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kafka_sink(address, **options):
    return {"kafka": {"partitions": 2, "rdkafka": {"bootstrap.servers": address}, **options}}


def nowhere(**options):
    """A broker that is not there."""
    return kafka_sink(f"127.0.0.1:{rig.free_port()}", **options)


def maps_copy(tmp_path):
    """The maps of this repository, to be changed by a test."""
    maps = tmp_path / "configs"
    shutil.copytree(rig.TOP / "configs", maps)
    return maps


# ---- --once, stop, restart -------------------------------------------------------------------------------------------


def test_once_reads_what_is_there_then_ends_and_the_next_start_goes_on(tmp_path, conn_log):
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.text(0, 5000))
    path = file_config(tmp_path, [log])
    summary = rig.run_once(path)
    assert summary["accepted"] == 5000 and summary["datasets"] == {"zeek.connection": 5000}
    assert summary["sinks"] == [{"name": "file", "path": str(out)}]
    assert rig.run_once(path)["accepted"] == 0
    with open(log, "a") as more:
        more.write(conn_log.text(5000, 5100, header=False))
    assert rig.run_once(path)["accepted"] == 100
    rig.Documents(out).assert_each_once(5100)


def test_last_line_without_newline_waits_but_not_in_gz(tmp_path, conn_log):
    log, packed = tmp_path / "conn.log", tmp_path / "conn.2.log.gz"
    log.write_text(conn_log.text(0, 10).rstrip("\n"))
    packed.write_bytes(gzip.compress(conn_log.text(10, 20).rstrip("\n").encode()))
    path = file_config(tmp_path, [log, packed])
    assert rig.run_once(path)["accepted"] == 9 + 10
    with open(log, "a") as more:
        more.write("\n")
    assert rig.run_once(path)["accepted"] == 1
    rig.Documents(tmp_path / "out.ndjson").assert_each_once(20)


def test_sigterm_delivers_what_was_read_and_exits_0(tmp_path, runs, conn_log):
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.text(0, 40_000))
    path = file_config(tmp_path, [log], sinks={"file": {"path": str(out), "sync_interval": "1h"}})
    run = runs(path)
    run.wait_for("the first documents", lambda: lines_in(out) > 0)
    run.stop()
    accepted = int(re.search(r"accepted=(\d+)", run.log()).group(1))
    assert "outstanding_batches=0" in run.log()
    assert lines_in(out) == accepted, "each document that was written was accepted, and the other way round"
    assert rig.run_once(path)["accepted"] == 40_000 - accepted
    rig.Documents(out).assert_each_once(40_000)


def test_sigterm_reads_logs_that_were_begun_a_moment_ago(tmp_path, runs, conn_log):
    """A sensor that rotates right before it is stopped: the new file is there since less than names are looked at again."""
    logs, out = tmp_path / "logs", tmp_path / "out.ndjson"
    logs.mkdir()
    (logs / "a.log").write_text(conn_log.text(0, 10))
    run = runs(file_config(tmp_path, [logs / "*.log"]))
    run.wait_for("the first", lambda: lines_in(out) == 10)
    time.sleep(0.2)
    (logs / "b.log").write_text(conn_log.text(10, 20))
    run.wait_for("the second", lambda: lines_in(out) == 20)  # names were looked at just now
    (logs / "b.log").rename(logs / "b.1.log")
    (logs / "b.log").write_text(conn_log.text(20, 30))
    run.stop()
    assert lines_in(out) == 30, run.log()


def test_stop_timeout_says_what_is_outstanding_and_nothing_is_lost(tmp_path, runs, conn_log):
    """A broker that is not there accepts nothing; stop must not hang on it."""
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.text(0, 1000))
    path = file_config(tmp_path, [log], sinks=nowhere(delivery="at_least_once"), pipeline={"stop_timeout": "1s"})
    run = runs(path)
    run.wait_log('"started"')
    time.sleep(2)
    began = time.monotonic()
    run.stop()
    assert 0.9 < time.monotonic() - began < 20
    assert re.search(r"stop_timeout is over.*outstanding_batches=[1-9]", run.log()), run.log()
    # the sinks changed, the checkpoint did not move: all comes
    assert rig.run_once(file_config(tmp_path, [log]))["accepted"] == 1000
    rig.Documents(out).assert_each_once(1000)


def test_stop_while_the_broker_has_not_told_the_positions(tmp_path, runs, conn_log):
    """Before the positions are known nothing is read, so there is nothing to wait for."""
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.text(0, 1000))
    run = runs(file_config(tmp_path, [log], sinks=nowhere(delivery="exactly_once"), pipeline={"stop_timeout": "60s"}))
    run.wait_log('"started"')
    time.sleep(1)
    began = time.monotonic()
    run.stop()
    assert time.monotonic() - began < 30
    assert "outstanding_batches=0 accepted=0" in run.log(), run.log()
    assert rig.run_once(file_config(tmp_path, [log]))["accepted"] == 1000
    rig.Documents(out).assert_each_once(1000)


def test_second_sigterm_ends_at_once(tmp_path, runs, conn_log):
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 10))
    run = runs(file_config(tmp_path, [log], sinks=nowhere(delivery="at_least_once"), pipeline={"stop_timeout": "60s"}))
    run.wait_log('"started"')
    time.sleep(0.3)
    run.signal(signal.SIGTERM)
    run.wait_log("stopping")
    run.signal(signal.SIGTERM)
    assert run.wait(timeout=30) == 0
    assert "second signal" in run.log()


def test_idle_run_sleeps(tmp_path, runs, conn_log):
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 1000))
    run = runs(file_config(tmp_path, [log]))
    run.wait_for("the documents", lambda: lines_in(tmp_path / "out.ndjson") == 1000)
    run.wait_idle(0.02)
    run.stop()


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_once_sleeps_while_its_sink_cannot_deliver(tmp_path, runs, conn_log, delivery):
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 1000))
    run = runs(file_config(tmp_path, [log], sinks=nowhere(delivery=delivery), pipeline={"stop_timeout": "100ms"}), "--once")
    run.wait_log('"started"')
    time.sleep(1)
    run.wait_idle(0.05)
    run.stop()


# ---- one process at a time ---------------------------------------------------------------------------------------------


def test_second_process_on_the_same_state_is_refused_with_the_pid_of_the_first(tmp_path, runs, conn_log):
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 10))
    path = file_config(tmp_path, [log])
    first = runs(path)
    first.wait_log('"started"')
    second = runs(path)
    assert second.wait() == 100
    assert f"process {first.pid} " in second.log()
    first.kill()  # the lock dies with its holder
    assert rig.Run(path, "--once").wait() == 0


def test_state_directory_without_a_parent_is_refused(tmp_path, conn_log):
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 1))
    path = file_config(tmp_path, [log], node={"state": str(tmp_path / "no/such/state")})
    run = rig.Run(path, "--once")
    assert run.wait() == 111
    assert "no/such/state" in run.log()
    assert not (tmp_path / "no").exists()


def test_a_sink_that_cannot_open_is_said_at_start(tmp_path, conn_log):
    log, blocker = tmp_path / "conn.log", tmp_path / "file"
    log.write_text(conn_log.text(0, 1))
    blocker.write_text("no folder")
    run = rig.Run(file_config(tmp_path, [log], sinks={"file": {"path": str(blocker / "out.ndjson")}}), "--once")
    assert run.wait() == 111
    assert str(blocker) in run.log()


# ---- reload ------------------------------------------------------------------------------------------------------------


def test_sighup_takes_new_inputs_and_fields_without_losing_a_record(tmp_path, runs, conn_log):
    one, two, out = tmp_path / "conn.log", tmp_path / "conn.more.log", tmp_path / "out.ndjson"
    one.write_text(conn_log.text(0, 1000))
    two.write_text(conn_log.text(2000, 3000))
    path = file_config(tmp_path, [one])
    run = runs(path)
    run.wait_for("the first file", lambda: lines_in(out) == 1000)
    rig.config_write(path, [{"type": "zeek", "paths": [str(one), str(two)], "fields": {"observer.name": "tap-9"}}],
                     {"file": {"path": str(out), "sync_interval": "50ms"}})
    run.signal(signal.SIGHUP)
    run.wait_log("config reloaded")
    with open(one, "a") as more:
        more.write(conn_log.text(1000, 2000, header=False))
    run.wait_for("both files", lambda: lines_in(out) == 3000)
    run.stop()
    documents = rig.Documents(out)
    documents.assert_each_once(3000)
    named = {rig.serial_of(d) for d in documents.all if d.get("observer", {}).get("name") == "tap-9"}
    assert named >= set(range(2000, 3000)), "the new file has the new field"
    assert named.isdisjoint(range(1000)), "what was read before has not"


def test_sighup_under_load_reaches_a_file_that_is_being_read(tmp_path, runs, conn_log):
    """Batches with the old fields are still on their way when the new ones are taken: what follows has the new ones."""
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.text(0, 100_000))
    sinks = {"file": {"path": str(out), "sync_interval": "50ms"}}
    config = tmp_path / "tapline.yml"

    def inputs(name):
        return [{"type": "zeek", "paths": [str(log)], "fields": {"observer.name": name}}]

    rig.config_write(config, inputs("old"), sinks)
    run = runs(config)
    run.wait_for("the first documents", lambda: lines_in(out) > 0)
    rig.config_write(config, inputs("new"), sinks)
    run.signal(signal.SIGHUP)
    run.wait_log("config reloaded")
    run.wait_for("the whole file", lambda: lines_in(out) == 100_000)
    with open(log, "a") as more:
        more.write(conn_log.text(100_000, 100_100, header=False))
    run.wait_for("all records", lambda: lines_in(out) == 100_100)
    run.stop()
    documents = rig.Documents(out)
    documents.assert_each_once(100_100)
    named = [d["observer"]["name"] for d in sorted(documents.all, key=rig.serial_of)]
    assert named[0] == "old" and set(named[100_000:]) == {"new"}
    assert named == sorted(named, reverse=True), "once new, never old again"


BREAKS = [
    ("a syntax error", lambda text: text.replace("{", "{{", 1), r"tapline\.yml:\d+:\d+"),
    ("an unknown key", lambda text: text.replace('"paths"', '"pathz"'), r"tapline\.yml:\d+:\d+.*did you mean .*paths"),
    ("maps that are not there", lambda text: text.replace(str(rig.TOP / "configs"), "/no/maps"), r"/no/maps"),
    ("another state directory", lambda text: text.replace("/state", "/other"), r"node\.state.*restart"),
    ("another sink path", lambda text: text.replace("out.ndjson", "else.ndjson"), r"sinks\.file\.path.*restart"),
    ("more workers", lambda text: text.replace('"maps"', '"workers": 3, "maps"'), r"normalize\.workers.*restart"),
]


@pytest.mark.parametrize("what,broken,reason", BREAKS, ids=[b[0] for b in BREAKS])
def test_sighup_with_a_bad_config_is_refused_with_its_reason_and_the_old_one_stays(tmp_path, runs, conn_log, what, broken,
                                                                                 reason):
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.text(0, 100))
    path = file_config(tmp_path, [log])
    run = runs(path)
    run.wait_for("the first records", lambda: lines_in(out) == 100)
    text = path.read_text()
    assert broken(text) != text
    path.write_text(broken(text))
    run.signal(signal.SIGHUP)
    run.wait_log("the old config stays")
    assert re.search(reason, run.log()), run.log()
    with open(log, "a") as more:
        more.write(conn_log.text(100, 200, header=False))
    run.wait_for("records after the refusal", lambda: lines_in(out) == 200)
    path.write_text(text)
    run.signal(signal.SIGHUP)
    run.wait_log("config reloaded")
    run.stop()
    rig.Documents(out).assert_each_once(200)


def test_maps_that_change_twice_while_a_file_is_idle(tmp_path, runs, conn_log):
    """The next record goes by the newest maps: nothing that is kept for a file between its lines points to older ones."""
    log, out, maps = tmp_path / "conn.log", tmp_path / "out.ndjson", maps_copy(tmp_path)
    conn = maps / "maps/zeek.conn.map"
    rows = conn.read_text()
    packets = next(line for line in rows.splitlines() if "source.packets" in line)
    log.write_text(conn_log.text(0, 100))
    run = runs(file_config(tmp_path, [log], normalize={"maps": str(maps)}))
    run.wait_for("the first records", lambda: lines_in(out) == 100)
    for reload, text in ((1, rows + "# another comment\n"), (2, rows.replace(packets, ""))):
        conn.write_text(text)
        run.signal(signal.SIGHUP)
        run.wait_log(f"reload={reload} ")
    with open(log, "a") as more:
        more.write(conn_log.text(100, 200, header=False))
    run.wait_for("all records", lambda: lines_in(out) == 200)
    run.stop()
    documents = rig.Documents(out)
    documents.assert_each_once(200)
    for document in documents.all:
        is_new = rig.serial_of(document) >= 100
        assert ("packets" in document["source"]) != is_new, document
        assert ("orig_pkts" in document["zeek"]["connection"]) == is_new, document


def test_sighup_reads_the_sites_own_maps(tmp_path, runs, conn_log):
    """A site's map adds to ours, a mistake in it leaves the old ones, and without it ours are as they were."""
    log, out, site = tmp_path / "conn.log", tmp_path / "out.ndjson", tmp_path / "site"
    (site / "maps").mkdir(parents=True)
    mine = site / "maps" / "zeek.conn.map"
    log.write_text(conn_log.text(0, 100))
    run = runs(file_config(tmp_path, [log], normalize={"site_maps": str(site)}))
    rows = "log zeek.conn\ninclude zeek.conn\n- const labels.site here\n"
    (site / "schema.tsv").write_text("")
    run.wait_for("the first records", lambda: lines_in(out) == 100)
    mine.write_text(rows)
    run.signal(signal.SIGHUP)
    run.wait_log("the old config stays")
    assert '"labels.site" is not in schema.tsv' in run.log().replace('\\"', '"') and "site/maps/zeek.conn.map:3:9" in run.log()
    (site / "schema.tsv").write_text("labels.site\tkeyword\t\twhere it is\n")
    for first, reload in ((100, 2), (200, 3)):
        run.signal(signal.SIGHUP)
        run.wait_log(f"reload={reload} ")
        with open(log, "a") as more:
            more.write(conn_log.text(first, first + 100, header=False))
        run.wait_for("more records", lambda: lines_in(out) == first + 100)
        mine.unlink(missing_ok=True)
    run.stop()
    documents = rig.Documents(out)
    documents.assert_each_once(300)
    named = {rig.serial_of(d) for d in documents.all if d.get("labels") == {"site": "here"}}
    assert named == set(range(100, 200))


def test_a_storm_of_reloads_under_load_loses_nothing(tmp_path, runs, conn_log):
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.header)
    path = file_config(tmp_path, [log], normalize={"workers": 2})
    run = runs(path)
    run.wait_log('"started"')
    with open(log, "a") as more:
        for i in range(30):
            more.write(conn_log.text(i * 1000, (i + 1) * 1000, header=False))
            more.flush()
            run.signal(signal.SIGHUP)
            time.sleep(0.03)
    run.wait_for("all records", lambda: lines_in(out) == 30_000)
    run.stop()
    rig.Documents(out).assert_each_once(30_000)


# ---- several sinks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_record_is_accepted_when_every_sink_has_accepted_it(own_broker, tmp_path, runs, conn_log, delivery):
    """With the broker away the file has all documents, and still nothing is accepted: after a kill all of it comes again."""
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    log.write_text(conn_log.text(0, 1))
    sinks = {"file": {"path": str(out), "sync_interval": "20ms"}, **kafka_sink(own_broker.address, delivery=delivery)}
    path = file_config(tmp_path, [log], sinks=sinks, ingest={"checkpoint_interval": "50ms"})
    run = runs(path)
    run.wait_for("the first record", lambda: own_broker.count("tapline.zeek.connection") == 1)
    run.wait_accepted(1)
    own_broker.stop()
    with open(log, "a") as more:
        more.write(conn_log.text(1, 3000, header=False))
    run.wait_for("the documents in the file", lambda: lines_in(out) == 3000)
    time.sleep(1)
    run.kill()
    own_broker.start()
    summary = rig.run_once(path)
    assert summary["accepted"] == 2999, "the file's word alone has moved the checkpoint"
    assert sorted(rig.serial_of(r.document) for r in own_broker.records("tapline.zeek.connection")) == list(range(3000))
    documents = rig.Documents(out)
    assert sorted(documents.serials) == sorted([0] + list(range(1, 3000)) * 2)


# ---- exactly once: the positions are in Kafka ----------------------------------------------------------------------------


def serials(broker, topic):
    return sorted(rig.serial_of(record.document) for record in broker.records(topic))


def assert_complete(config):
    verified = rig.tapline("verify", "-c", config)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def assert_each_once(broker, topic, count):
    found = serials(broker, topic)
    assert found == list(range(count)), rig.difference(found, count)


def test_kafka_comes_after_a_file_and_has_each_record_once_whatever_is_killed(broker, tmp_path, runs, conn_log):
    """The file was asked for last and is filled first; it has all records, some twice; Kafka has each once."""
    log, out, topic, step = tmp_path / "conn.log", tmp_path / "out.ndjson", "run-two-sinks", 4000
    sinks = {**kafka_sink(broker.address, topic=topic), "file": {"path": str(out), "sync_interval": "20ms"}}
    path = file_config(tmp_path, [log], sinks=sinks)
    checked = rig.tapline("check", "-c", path)
    assert "sinks in their order: file, kafka (keeps the files' positions" in checked.stderr
    log.write_text(conn_log.header)
    for part in range(5):
        with open(log, "a") as more:
            more.write(conn_log.text(part * step, (part + 1) * step, header=False))
        before = lines_in(out)
        run = runs(path)
        run.wait_for("documents in the file", lambda: lines_in(out) > before)
        run.kill()
    assert 'sinks=file,kafka positions=kafka' in run.log()
    rig.run_once(path)
    assert_each_once(broker, topic, 5 * step)
    rig.Documents(out).assert_none_lost(5 * step)


def test_sighup_under_transactions(broker, tmp_path, runs, conn_log):
    log, late, topic = tmp_path / "conn.log", tmp_path / "conn.late.log", "run-reload"
    log.write_text(conn_log.header)
    sinks = kafka_sink(broker.address, topic=topic, transaction_interval="20ms")
    path = file_config(tmp_path, [log], sinks=sinks, normalize={"workers": 2})
    run = runs(path)
    run.wait_log('"started"')
    with open(log, "a") as more:
        for i in range(20):
            more.write(conn_log.text(i * 1000, (i + 1) * 1000, header=False))
            more.flush()
            run.signal(signal.SIGHUP)
            time.sleep(0.05)
    late.write_text(conn_log.text(20_000, 21_000))
    file_config(tmp_path, [log, late], sinks=sinks, normalize={"workers": 2})
    run.signal(signal.SIGHUP)
    run.wait_for("all records", lambda: broker.count(topic) >= 21_000)
    file_config(tmp_path, [log, late], sinks=kafka_sink(broker.address, topic=topic, transaction_interval="30ms"),
                normalize={"workers": 2})
    run.signal(signal.SIGHUP)
    run.wait_log("sinks.kafka.transaction_interval")  # needs a restart
    run.stop()
    assert_each_once(broker, topic, 21_000)


def test_from_at_least_once_to_exactly_once_and_back(broker, tmp_path, conn_log):
    """Only the local file knows the positions first; then Kafka does, too; the file is never behind for long."""
    log, topic = tmp_path / "conn.log", "run-upgrade"
    log.write_text(conn_log.header)
    for part, delivery in enumerate(["at_least_once", "exactly_once", "exactly_once", "at_least_once", "auto"]):
        with open(log, "a") as more:
            more.write(conn_log.text(part * 1000, (part + 1) * 1000, header=False))
        path = file_config(tmp_path, [log], sinks=kafka_sink(broker.address, topic=topic, delivery=delivery))
        assert rig.run_once(path)["accepted"] == 1000, delivery
        assert_each_once(broker, topic, (part + 1) * 1000)
        if delivery != "at_least_once":
            assert_complete(path)


def test_kafka_answers_for_what_it_was_given(broker, tmp_path, conn_log):
    """A node that wrote to a file before goes on into Kafka, and later into other topics: nothing is missed of what was
    never to be there."""
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 1000))
    rig.run_once(file_config(tmp_path, [log], sinks={"file": {"path": str(tmp_path / "out.ndjson")}}))
    for part, topic in enumerate(["run-after-file", "run-after-kafka"], 1):
        with open(log, "a") as more:
            more.write(conn_log.text(part * 1000, (part + 1) * 1000, header=False))
        sinks = kafka_sink(broker.address, topic=topic, checkpoint_topic=topic + ".positions")
        path = file_config(tmp_path, [log], sinks=sinks)
        assert rig.run_once(path)["accepted"] == 1000
        assert serials(broker, topic) == list(range(part * 1000, part * 1000 + 1000))
        assert_complete(path)


def test_the_state_directory_is_lost_and_kafka_knows_all(broker, tmp_path, conn_log):
    log, done, topic = tmp_path / "conn.log", tmp_path / "conn.old.log", "run-state-lost"
    done.write_text(conn_log.text(0, 1000))
    log.write_text(conn_log.text(1000, 2000))
    path = file_config(tmp_path, [tmp_path / "conn*.log"], sinks=kafka_sink(broker.address, topic=topic))
    assert rig.run_once(path)["accepted"] == 2000
    for part in (2, 3):
        shutil.rmtree(tmp_path / "state")
        with open(log, "a") as more:
            more.write(conn_log.text(part * 1000, (part + 1) * 1000, header=False))
        assert rig.run_once(path)["accepted"] == 1000
    assert_each_once(broker, topic, 4000)


def test_a_node_moves_to_another_machine(broker, tmp_path, conn_log):
    """Its files are copied: other inodes, other births; one was finished, one is in the middle, one went into an archive
    unread. node.state stays behind."""
    topic, here, there = "run-moved", tmp_path / "logs", tmp_path / "copy"
    here.mkdir()
    for name, first, last in (("conn.1.log", 0, 1000), ("conn.2.log", 1000, 2000), ("conn.3.log", 2000, 3000)):
        (here / name).write_text(conn_log.text(first, last))
    sinks = kafka_sink(broker.address, topic=topic)
    inputs = [{"type": "zeek", "paths": [str(here / "conn*.log")], "archive": [str(tmp_path / "archive/*.gz")]}]
    path = rig.config_write(tmp_path / "tapline.yml", inputs, sinks)
    assert rig.run_once(path)["accepted"] == 3000
    for name, first, last in (("conn.2.log", 3000, 4000), ("conn.3.log", 4000, 5000)):
        with open(here / name, "a") as more:
            more.write(conn_log.text(first, last, header=False))
    shutil.copytree(here, there, copy_function=shutil.copyfile)
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/conn.3.log.gz").write_bytes(gzip.compress((there / "conn.3.log").read_bytes()))
    (there / "conn.3.log").unlink()
    shutil.rmtree(here)
    shutil.rmtree(tmp_path / "state")
    there.rename(here)
    assert rig.run_once(path)["accepted"] == 2000
    assert_each_once(broker, topic, 5000)


def test_a_stale_state_directory_does_not_double(broker, tmp_path, conn_log):
    """An old copy of node.state put back, as from a backup: Kafka's word counts."""
    log, topic = tmp_path / "conn.log", "run-state-stale"
    log.write_text(conn_log.text(0, 1000))
    path = file_config(tmp_path, [log], sinks=kafka_sink(broker.address, topic=topic))
    assert rig.run_once(path)["accepted"] == 1000
    shutil.copytree(tmp_path / "state", tmp_path / "backup")
    for part in (1, 2):
        with open(log, "a") as more:
            more.write(conn_log.text(part * 1000, (part + 1) * 1000, header=False))
        assert rig.run_once(path)["accepted"] == 1000
        shutil.rmtree(tmp_path / "state")
        shutil.copytree(tmp_path / "backup", tmp_path / "state")
    assert rig.run_once(path)["accepted"] == 0
    assert_each_once(broker, topic, 3000)


def test_stop_in_a_transaction_that_cannot_be_committed(own_broker, tmp_path, runs, conn_log):
    """The broker has gone and records are under way; the stop waits for stop_timeout, no longer, and says what is left."""
    log, topic = tmp_path / "conn.log", "tapline.zeek.connection"
    log.write_text(conn_log.text(0, 1000))
    path = file_config(tmp_path, [log], sinks=kafka_sink(own_broker.address),
                       pipeline={"stop_timeout": "1s"}, ingest={"checkpoint_interval": "50ms"})
    run = runs(path)
    run.wait_accepted(1000)
    own_broker.kill()
    with open(log, "a") as more:
        more.write(conn_log.text(1000, 3000, header=False))
    time.sleep(0.5)
    began = time.monotonic()
    run.stop()
    assert 0.9 < time.monotonic() - began < 20
    assert re.search(r"stop_timeout is over.*outstanding_batches=[1-9]", run.log()), run.log()
    assert " accepted=1000" in run.log(), run.log()
    own_broker.start()
    assert rig.run_once(path)["accepted"] == 2000
    assert_each_once(own_broker, topic, 3000)


def test_at_least_once_stays_as_it_was(own_broker, tmp_path, conn_log):
    """No transactions, no topic of positions: the local file alone counts."""
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 1000))
    path = file_config(tmp_path, [log], sinks=kafka_sink(own_broker.address, delivery="at_least_once"))
    assert "sinks in their order" not in rig.tapline("check", "-c", path).stderr
    run = rig.Run(path, "--once")
    assert run.wait() == 0 and "sinks=kafka positions=state" in run.log()
    assert own_broker.count("tapline.zeek.connection") == 1000
    assert rig.CHECKPOINT not in rig.listed(own_broker._admin())
    assert rig.run_once(path)["accepted"] == 0
    shutil.rmtree(tmp_path / "state")
    assert rig.run_once(path)["accepted"] == 1000
    assert len(own_broker.records("tapline.zeek.connection")) == 2000, "nobody else knew"


# ---- check -------------------------------------------------------------------------------------------------------------


def test_check_lists_every_mistake_with_its_place_in_order(tmp_path):
    path = tmp_path / "tapline.yml"
    path.write_text("nodee: {}\nnode: {nam: x}\ninputs:\n  - type: zek\n    paths: [/a]\npipeline: {batches: 2, stop_timeout: 30}\n"
                    "sinks:\n  fil: {path: x}\n")
    done = rig.tapline("check", "-c", path, "--json")
    assert done.returncode == 100
    found = [(m["line"], m["text"]) for m in json.loads(done.stdout)["mistakes"]]
    assert [line for line, _ in found] == [1, 2, 4, 6, 6, 8]
    for (_, text), part in zip(found, ['did you mean "node"', 'did you mean "name"', "zeek", "at least 4", "unit", "file"]):
        assert part in text
    assert [line.split(": ")[0].rsplit(":", 1)[0] for line in done.stderr.splitlines()] == [f"{path}:{n}" for n in (1, 2, 4, 6, 6, 8)]
    run = rig.Run(path)
    assert run.wait() == 100
    assert "did you mean" in run.log()


def test_check_finds_mistakes_in_maps(tmp_path):
    maps = maps_copy(tmp_path)
    conn = maps / "maps/zeek.conn.map"
    lines = conn.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "source.bytes" in line)
    lines[at] = lines[at].replace("source.bytes", "source.bytez", 1)
    conn.write_text("\n".join(lines) + "\n")
    path = file_config(tmp_path, ["/a/*.log"], normalize={"maps": str(maps)})
    done = rig.tapline("check", "-c", path)
    assert done.returncode == 100
    assert re.search(rf"zeek\.conn\.map:{at + 1}:\d+: .*source\.bytez", done.stderr), done.stderr


def test_the_example_that_ships_has_no_mistakes_even_with_all_of_it_switched_on(tmp_path):
    example = (rig.TOP / "configs/tapline.yml.example").read_text()
    keys = "name|maps|networks|networks_file|geo_databases|site_maps|log_dir|otlp|metrics_url|elasticsearch|kafka"
    whole = re.sub(rf"(?m)^( +)# (?=  |- |({keys}):)", r"\1", example)
    intel, syncs = (re.sub(r"(?m)^# ", "", block) for block in re.findall(r"(?m)^# intel:\n(?:# .*\n)+", whole))
    files = "intel:\n  " + re.search(r"(?m)^  # (files: .*\n)", intel)[1]  # instead of redis
    whole = re.sub(r"(?m)^# intel:\n(?:# .*\n)+", "", whole)
    assert not re.search(r"(?m)^ *# *\w+: ", whole), "a key is still switched off"
    contents = {"/etc/tapline/kafka.password": "secret\n", "/etc/tapline/redis.password": "secret\n",
                "/etc/tapline/redis-writer.password": "secret\n", "/etc/tapline/engine.key": "secret\n",
                "/opt/zeek/etc/networks.cfg": "10.0.0.0/8  private\n",
                "/etc/snort/sid-msg.map": "1000001 || LOCAL ping\n", "/etc/snort/gen-msg.map": "116 || 1 || decoder\n",
                "/etc/snort/classification.config": "config classification: misc-activity,Misc activity,3\n"}
    for path, content in contents.items():
        (tmp_path / pathlib.Path(path).name).write_text(content)
    for name in ("GeoLite2-City", "GeoLite2-ASN"):
        MMDBWriter(ip_version=4, database_type=name).to_db_file(tmp_path / f"{name}.mmdb")
        contents[f"/var/lib/GeoIP/{name}.mmdb"] = None
    (tmp_path / "site").mkdir()
    texts = {"whole.yml": whole + intel, "files.yml": whole + files, "syncs.yml": syncs}
    for path in [*contents, "/etc/tapline/site"]:
        assert any(path in text for text in texts.values())
        texts = {name: text.replace(path, str(tmp_path / pathlib.Path(path).name)) for name, text in texts.items()}
    for name, text in {"example.yml": example, **texts}.items():
        text = text.replace("/usr/local/share/tapline", str(rig.TOP / "configs")) if name != "example.yml" else text
        (tmp_path / name).write_text(text)
        done = rig.tapline("check", "-c", tmp_path / name)
        assert done.returncode == 0, done.stderr


def test_the_feeders_example_has_no_mistakes_even_with_all_of_it_switched_on(tmp_path):
    example = (rig.TOP / "configs/feed.yml.example").read_text()
    whole = re.sub(r"(?m)^( *)# (?= *\w[\w.]*:( |$))(?!feed.yml)", r"\1", example)
    whole = re.sub(r"(?m)^.*/ca\.pem\n", "", whole)  # no certificate is at hand
    assert not re.search(r"(?m)^ *# *(?!feed.yml)[\w.]+: ", whole), "a key is still switched off"
    for path in ("kafka.password", "engine.key", "kibana.key"):
        assert f"/etc/tapline/{path}" in whole
        whole = whole.replace(f"/etc/tapline/{path}", str(tmp_path / path))
        (tmp_path / path).write_text("c2VjcmV0\n")
    for name, text in {"example.yml": example, "whole.yml": whole}.items():
        (tmp_path / name).write_text(text)
        done = rig.tapline("check", "-c", tmp_path / name)
        assert done.returncode == 0, done.stderr
    shown = rig.tapline("config", "show", "-c", tmp_path / "whole.yml").stdout
    assert "secret" not in shown and "c2VjcmV0" not in shown and 'name: "feeder-1"' in shown


def test_check_touches_nothing(tmp_path):
    path = file_config(tmp_path, [tmp_path / "*.log"])
    before = sorted(tmp_path.rglob("*"))
    assert rig.tapline("check", "-c", path).returncode == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("argv", [["run"], ["check"], ["run", "-c", "/no/such.yml"], ["check", "-c", "/no/such.yml"],
                                  ["run", "--onse"]])
def test_wrong_usage_is_100(argv):
    done = rig.tapline(*argv)
    assert done.returncode == 100 and done.stderr
