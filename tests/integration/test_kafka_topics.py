"""Topics, partitions and dead letters, against a real broker.
SPDX-License-Identifier: Apache-2.0
"""
import base64
import hashlib
import json
import pathlib
import time

import pytest

import rig

PARTITIONS = 5
SAMPLES = rig.SAMPLES


def config(tmp_path, broker, inputs, prefix, **options):
    """Each test has topics of its own on the shared broker, by the prefix."""
    sink = {"topic": prefix + ".%{event.dataset}", "dead_letter_topic": prefix + ".deadletter", "partitions": PARTITIONS,
            "rdkafka": {"bootstrap.servers": broker.address}, **options}
    return rig.config_write(tmp_path / "tapline.yml", inputs, {"kafka": sink})


def test_default_topics_are_made_with_equal_partition_counts(broker, tmp_path):
    bad = tmp_path / "broken.log"
    bad.write_text("this is no record of any sensor\n")
    path = rig.config_write(
        tmp_path / "tapline.yml",
        [{"type": "zeek", "paths": [str(SAMPLES / "zeek/*.log"), str(bad)]},
         {"type": "snort", "paths": [str(SAMPLES / "snort/alert_json.txt")]}],
        {"kafka": {"rdkafka": {"bootstrap.servers": broker.address}, "partitions": PARTITIONS}})
    summary = rig.run_once(path)
    topics, counts = broker.topics(), broker.counts()
    for dataset, count in summary["datasets"].items():
        topic = "tapline." + dataset.removeprefix("tapline.")
        assert topics[topic] == PARTITIONS, topics
        assert counts[topic] == count
    assert summary["datasets"]["tapline.deadletter"] >= 1
    letters = [record.document for record in broker.records("tapline.deadletter")]
    letter = next(one for one in letters if one["log"]["file"]["path"] == str(bad))
    assert letter["event"]["original"] == "this is no record of any sensor"
    assert letter["event"]["kind"] == "pipeline_error" and letter["error"]["message"]


def test_zeek_and_snort_records_of_a_flow_share_a_partition_number(broker, tmp_path):
    inputs = [{"type": "zeek", "paths": [str(SAMPLES / "zeek/conn.log"), str(SAMPLES / "zeek/http.log")]},
              {"type": "snort", "paths": [str(SAMPLES / "snort/alert_json.txt")]}]
    rig.run_once(config(tmp_path, broker, inputs, "flows"))
    partitions, sensors = {}, {}
    for dataset in ("zeek.connection", "zeek.http", "snort.log"):
        for record in broker.records("flows." + dataset):
            document = record.document
            flow = document.get("network", {}).get("community_id")
            if flow is None:
                continue
            assert record.key.decode() == flow
            partitions.setdefault(flow, set()).add(record.partition)
            sensors.setdefault(flow, set()).add(document["event"]["module"])
    shared = [flow for flow, names in sensors.items() if names == {"zeek", "snort"}]
    assert len(shared) > 10, "the samples hold many flows that both saw"
    assert all(len(partitions[flow]) == 1 for flow in partitions)


def test_record_the_broker_refuses_becomes_a_cut_dead_letter(broker, tmp_path, conn_log):
    broker.create_topic("small.zeek.connection", PARTITIONS, **{"max.message.bytes": "3000"})
    row = conn_log.line(1).rstrip("\n").split("\t")
    row[conn_log.at["history"]] = "ShADadFf" * 12000  # the document is far beyond 3000 bytes, lz4 or not
    row[conn_log.at["history"]] += "".join(hashlib.sha256(str(i).encode()).hexdigest() for i in range(1500))
    log = tmp_path / "conn.log"
    log.write_text(conn_log.header + conn_log.line(0) + "\t".join(row) + "\n" + conn_log.line(2))
    inputs = [{"type": "zeek", "paths": [str(log)]}]
    summary = rig.run_once(config(tmp_path, broker, inputs, "small"))
    assert summary["counters"]["sink.refused"] == 1, summary
    assert sorted(rig.serial_of(r.document) for r in broker.records("small.zeek.connection")) == [0, 2]
    (record,) = broker.records("small.deadletter")
    letter = record.document
    assert letter["tapline"]["original_bytes"] > 64 * 1024
    assert len(letter["tapline"]["original_sha256"]) == 64
    kept = letter["event"].get("original") or base64.b64decode(letter["tapline"]["original_base64"]).decode()
    assert 0 < len(kept) <= 64 * 1024
    assert f"C{1:017d}" in kept
    raw = log.read_bytes()
    assert b"C%017d" % 1 in raw[record.start:record.end], "the dead letter keeps the record's id and positions"
    assert "broker" in letter["error"]["message"].lower() or "too large" in letter["error"]["message"].lower()


def test_without_create_topics_a_missing_topic_gives_dead_letters_and_no_stall(broker, tmp_path, conn_log):
    broker.create_topic("fixed.zeek.dns", PARTITIONS)
    broker.create_topic("fixed.deadletter", PARTITIONS)
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 300))
    inputs = [{"type": "zeek", "paths": [str(log), str(SAMPLES / "zeek/dns.log")]}]
    begun = time.monotonic()
    summary = rig.run_once(config(tmp_path, broker, inputs, "fixed", create_topics=False))
    assert time.monotonic() - begun < 29, "librdkafka's 30 s for topics made a moment ago"
    assert broker.count("fixed.zeek.dns") == summary["datasets"]["zeek.dns"]
    assert "fixed.zeek.connection" not in broker.topics()
    letters = broker.records("fixed.deadletter")
    originals = [json.loads(r.document["event"]["original"]) for r in letters]
    assert sorted(rig.serial_of(document) for document in originals) == list(range(300))
    assert all("fixed.zeek.connection" in r.document["error"]["message"] for r in letters[:10])


def test_check_connect_reaches_the_broker_and_says_when_it_cannot(broker, tmp_path):
    inputs = [{"type": "zeek", "paths": ["/nowhere/*.log"]}]
    path = config(tmp_path, broker, inputs, "check")
    reached = rig.tapline("check", "-c", path, "--connect")
    assert reached.returncode == 0, reached.stderr
    port = rig.free_port()
    text = pathlib.Path(path).read_text().replace(broker.address, f"127.0.0.1:{port}")
    pathlib.Path(path).write_text(text)
    assert rig.tapline("check", "-c", path).returncode == 0, "without --connect the world is not touched"
    refused = rig.tapline("check", "-c", path, "--connect")
    assert refused.returncode == 111
    assert f"127.0.0.1:{port}" in refused.stderr


@pytest.mark.parametrize("key,value", [("acks", "1"), ("enable.idempotence", "false"), ("message.timeout.ms", "1000"),
                                       ("no.such.property", "1"), ("compression.codec", "lz5")])
def test_a_property_that_weakens_delivery_or_is_none_is_refused_with_its_line(tmp_path, key, value):
    path = tmp_path / "tapline.yml"
    path.write_text("inputs:\n  - paths: [/nowhere/*.log]\nsinks:\n  kafka:\n    rdkafka:\n"
                    f"      bootstrap.servers: 127.0.0.1:9\n      {key}: {value}\n")
    done = rig.tapline("check", "-c", path)
    assert done.returncode == 100
    assert f"{path}:7:" in done.stderr and key in done.stderr, done.stderr
