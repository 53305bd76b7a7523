"""`tapline verify` and `tapline ledger --topics` against a real broker: what `tapline run` delivered is proven complete, and
what a foreign client then leaves out, doubles or lets retention delete is found, with its bytes, and not more than that.
SPDX-License-Identifier: Apache-2.0
"""
import json
import random
import shutil
import subprocess
import threading
import time

import pytest

import rig

RECORDS = 1500
BAD = 7  # lines of it that become dead letters


def sink_of(broker, prefix, of, **options):
    """Topics of a prefix; the positions are those of the prefix `of`. No broker: options name one."""
    return {"kafka": {"topic": prefix + ".%{event.dataset}", "dead_letter_topic": prefix + ".deadletter", "partitions": 4,
                      "checkpoint_topic": of + ".checkpoint", "delivery": "exactly_once", "transaction_interval": "50ms",
                      **({"rdkafka": {"bootstrap.servers": broker.address}} if broker else {}), **options}}


class Site:
    """A node's logs, its config, and what became of them in topics of its own."""

    def __init__(self, broker, folder, maps=None):
        self.broker, self.folder, self.name = broker, folder, "s" + random.randbytes(4).hex()
        self.is_fixed, self.known = False, {}  # topics that nobody writes to any more are read once
        self.log = folder / "logs/conn.log"
        self.log.parent.mkdir(exist_ok=True)
        self.sections = {"normalize": {"maps": maps}} if maps else {}
        self.config = self.config_for(self.name)

    def config_for(self, prefix):
        """A config whose topics are those of a prefix, and whose positions are ours."""
        return rig.config_write(self.folder / f"{prefix}.yml", [{"type": "zeek", "paths": [str(self.folder / "logs/*.log")]}],
                                sink_of(self.broker, prefix, self.name), **self.sections)

    def write(self, first, last):
        """Records of conn, a few of them no records."""
        lines = rig.ConnLog()
        step = RECORDS // BAD
        with open(self.log, "a") as out:
            if first == 0:
                out.write(lines.header)
            for i in range(first, last):
                out.write(lines.line(i) if i % step != step // 2 else f"1.0\tbad {i}\n")

    def delivered(self):
        self.write(0, RECORDS)
        shutil.copy(rig.SAMPLES / "zeek/dns.log", self.log.parent)
        rig.run_once(self.config)
        self.is_fixed = True
        return self

    def topics(self):
        return [name for name in self.broker.topics() if name.startswith(self.name + ".") and not name.endswith(".checkpoint")]

    def records(self, kind):
        """Of one topic, in the order of the file."""
        if kind not in self.known or not self.is_fixed:
            self.known[kind] = sorted(self.broker.records(f"{self.name}.{kind}"), key=lambda record: record.start)
        return list(self.known[kind])

    def copy(self, change=None, seconds=0.0):
        """All topics again under another prefix, as any client would: keys, partitions, headers kept. change(kind, records)
        returns what is to be written of a topic. seconds: how long it took to produce all of conn. Returns the new config."""
        prefix = self.name + "c" + random.randbytes(2).hex()
        client = Client(self.broker)
        size = self.log.stat().st_size
        for topic in self.topics():
            kind = topic[len(self.name) + 1:]
            self.broker.create_topic(f"{prefix}.{kind}", 4)
            rig.listed(client.producer, f"{prefix}.{kind}")  # else it looks for the leaders a second later
            records = self.records(kind)
            for record in records:
                record.made = int((time.time() - seconds * (size - record.start) / size) * 1000)
            for record in change(kind, records) if change else records:
                client.send(f"{prefix}.{kind}", record, partition=record.partition, timestamp=record.made)
        client.flush()
        return self.config_for(prefix)


class Client:
    """Any client that writes records of ours."""

    def __init__(self, broker):
        from confluent_kafka import Producer

        self.producer = Producer({"bootstrap.servers": broker.address, **rig.IDEMPOTENT})
        self.undelivered = []

    def send(self, topic, record, **where):
        self.producer.produce(topic, key=record.key, value=record.value, headers=[("tapline", record.header)],
                              on_delivery=self._delivered, **where)

    def _delivered(self, error, message):
        if error is not None:
            self.undelivered.append((message.topic(), message.partition(), message.key(), str(error)))

    def flush(self):
        left = self.producer.flush(60)
        assert left == 0 and not self.undelivered, (left, len(self.undelivered), self.undelivered[:3])


@pytest.fixture(scope="module")
def site(broker, tmp_path_factory):
    """Delivered once; tests copy its topics."""
    return Site(broker, tmp_path_factory.mktemp("site")).delivered()


@pytest.fixture(scope="module", autouse=True)
def unanswered(tmp_path_factory):
    """A verify whose broker is not there. It asks for 15 s, beside the first tests."""
    folder = tmp_path_factory.mktemp("unanswered")
    away = sink_of(None, "x", "x", rdkafka={"bootstrap.servers": f"127.0.0.1:{rig.free_port()}"})
    config = rig.config_write(folder / "tapline.yml", [{"paths": [str(folder / "*.log")]}], away)
    asking = subprocess.Popen([str(rig.TAPLINE), "verify", "-c", str(config)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    yield asking
    asking.kill()
    asking.wait()


def verify(config, *options, code=0):
    done = rig.tapline("verify", "-c", config, "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def less(kind, *places):
    """A change that leaves out records of a topic, by their place in the file."""
    return lambda at, records: [r for i, r in enumerate(records) if at != kind or i not in places]


# ---- complete ------------------------------------------------------------------------------------------------------------


def test_what_run_delivered_is_complete(site):
    answer = verify(site.config)
    assert answer["complete"] and answer["findings"] == [] and answer["generations"] == 2
    dead, conn, dns = (len(site.records(kind)) for kind in ("deadletter", "zeek.connection", "zeek.dns"))
    assert dead == BAD and conn == RECORDS - BAD and dns > 0
    assert answer["records"] == dead + conn + dns
    assert answer["bytes"] == sum(r.end - r.span_from for kind in ("deadletter", "zeek.connection", "zeek.dns") for r in site.records(kind))
    done = rig.tapline("verify", "-c", site.config)
    assert done.returncode == 0 and "\ncomplete: " in done.stdout and "MISSING" not in done.stdout


def test_a_faithful_copy_is_complete_as_well(site):
    assert verify(site.copy())["complete"]


def test_dropped_records_are_no_gap(broker, tmp_path):
    maps = tmp_path / "configs"
    shutil.copytree(rig.TOP / "configs", maps)
    conn = maps / "maps/zeek.conn.map"
    conn.write_text(conn.read_text() + "drop when proto = udp\n")
    here = Site(broker, tmp_path, str(maps)).delivered()
    assert any(len(record.header) == 32 for record in here.records("zeek.connection")), "nothing was dropped before a record"
    assert verify(here.config)["complete"]
    rows = json.loads(rig.tapline("ledger", "-c", here.config, "--topics", "--json").stdout)
    assert rows["all"]["dropped"] > 0 and rows["all"]["difference"] == 0
    assert rows["all"]["in_topics"] == rows["all"]["accepted"] + rows["all"]["dead"]
    # and a record before which others were dropped takes their bytes with it
    place = next(i for i, record in enumerate(here.records("zeek.connection")) if len(record.header) == 32 and i > 9)
    gone = here.records("zeek.connection")[place]
    [gap] = verify(here.copy(less("zeek.connection", place)), code=1)["findings"]
    assert (gap["from"], gap["end"]) == (gone.span_from, gone.end)


def test_beside_a_run_that_is_killed_and_started_again(broker, tmp_path, runs):
    """Whatever moment it is: what is committed is complete."""
    here = Site(broker, tmp_path)
    here.write(0, 10)
    rig.run_once(here.config)
    is_over = threading.Event()

    def sensor():
        at = 10
        while not is_over.is_set():
            here.write(at, at + 200)
            at += 200
            time.sleep(0.02)

    writer = threading.Thread(target=sensor)
    writer.start()
    try:
        for _ in range(4 * rig.STORM):
            run = runs(here.config)
            run.wait_log('"started"')
            time.sleep(0.5)
            assert verify(here.config)["complete"]
            run.kill()
            assert verify(here.config)["complete"]
    finally:
        is_over.set()
        writer.join()
    rig.run_once(here.config, timeout=600)
    answer = verify(here.config)
    lines = sum(1 for line in open(here.log) if not line.startswith("#"))
    assert answer["records"] == lines and answer["newer"] == 0


# ---- not complete --------------------------------------------------------------------------------------------------------


def test_a_record_taken_out_of_the_middle_is_named(site):
    gone = site.records("zeek.connection")[RECORDS // 2]
    copy = site.copy(less("zeek.connection", RECORDS // 2))
    answer = verify(copy, code=1)
    assert not answer["complete"] and answer["counts"]["gap"] == 1
    [gap] = answer["findings"]
    assert (gap["kind"], gap["from"], gap["end"], gap["records"]) == ("gap", gone.start, gone.end, 1)
    assert gap["generation"] == gone.id[:16] and gap["path"] == str(site.log)
    assert gap["before"]["end"] == gone.start and gap["after"]["start"] == gone.end
    assert gap["before"]["topic"].endswith(".zeek.connection")
    # the words lead to the bytes
    done = rig.tapline("verify", "-c", copy)
    assert done.returncode == 1 and f"bytes {gone.start}-{gone.end} " in done.stdout and "NOT complete: 1 missing" in done.stdout
    command = done.stdout.split("has them: ")[1].split("\n")[0]
    found = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, check=True).stdout
    assert found == site.log.read_bytes()[gone.start:gone.end]
    assert json.loads(gone.value)["event"]["id"].encode() in found
    # and the ledger raises it
    done = rig.tapline("ledger", "-c", copy, "--topics")
    assert done.returncode == 1 and f"bytes {gone.start}-{gone.end} " in done.stderr
    assert rig.tapline("ledger", "-c", site.config, "--topics").returncode == 0


def test_records_taken_from_the_ends_and_together_are_named(site):
    conn = site.records("zeek.connection")
    last = len(conn) - 1
    answer = verify(site.copy(less("zeek.connection", 0, 100, 101, 102, last)), code=1)
    assert [(f["kind"], f["from"], f["end"]) for f in answer["findings"]] == [
        ("gap", 0, conn[0].end), ("gap", conn[100].start, conn[102].end), ("gap", conn[last].start, conn[last].end)]
    assert "before" not in answer["findings"][0] and "after" not in answer["findings"][2]


def test_a_dead_letter_taken_out_is_named(site):
    gone = site.records("deadletter")[3]
    [gap] = verify(site.copy(less("deadletter", 3)), code=1)["findings"]
    assert (gap["kind"], gap["from"], gap["end"], gap["records"]) == ("gap", gone.start, gone.end, 1)


def test_a_whole_file_of_which_nothing_is_there_is_named(site):
    answer = verify(site.copy(lambda kind, records: [] if kind == "zeek.dns" else records), code=1)
    [gap] = answer["findings"]
    assert gap["from"] == 0 and gap["path"].endswith("/dns.log") and gap["records"] == len(site.records("zeek.dns"))


def test_doubled_records_are_counted(site):
    conn = site.records("zeek.connection")
    twice = lambda kind, records: records + (records[50:53] + records[51:52] if kind == "zeek.connection" else [])  # noqa: E731
    answer = verify(site.copy(twice), code=1)
    [doubled] = answer["findings"]
    assert (doubled["kind"], doubled["from"], doubled["end"], doubled["records"]) == ("doubled", conn[50].start, conn[52].end, 4)
    assert answer["counts"] == {**dict.fromkeys(answer["counts"], 0), "doubled": 1}


def test_a_record_of_other_bytes_is_an_overlap(site):
    """Such as another client's, or of a state directory put back from a copy."""
    def forged(kind, records):
        if kind == "zeek.connection":
            one = next(r for r in records[200:] if len(r.header) == 24)
            other = type("Copy", (), dict(vars(one)))()
            other.header = one.header[:8] + (one.start + 5).to_bytes(8, "big") + (one.end + 5).to_bytes(8, "big")
            records = records + [other]
        return records

    answer = verify(site.copy(forged), code=1)
    assert answer["counts"]["overlap"] == 1 and answer["counts"]["gap"] == 0


def test_records_that_are_not_ours_are_counted_only(site):
    def with_others(kind, records):
        strange = type("Copy", (), dict(vars(records[0])))()
        strange.header = b"x"
        other = type("Copy", (), dict(vars(records[0])))()
        other.header = b"\0" * 7 + records[0].header[7:]
        return records + [strange, other]

    answer = verify(site.copy(with_others))
    assert answer["complete"] and answer["read"]["without_header"] == answer["read"]["other_generations"] == len(site.topics())


# ---- retention -----------------------------------------------------------------------------------------------------------


def delete_before(broker, topic, partition, offset):
    from confluent_kafka import TopicPartition

    admin = broker._admin()
    if hasattr(admin, "delete_records"):
        admin.delete_records([TopicPartition(topic, partition, offset)])[TopicPartition(topic, partition)].result(30)
        return
    plan = broker.folder / "delete.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": partition, "offset": offset}]}))
    jars = str(rig.TOP / "build/kafka/*")
    done = subprocess.run(["java", "-cp", jars, "org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server",
                           broker.address, "--offset-json-file", str(plan)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0 and "low_watermark" in done.stdout, done.stdout


def test_what_retention_deleted_is_not_judged_and_what_is_younger_is(site, broker):
    """Records about a second apart; one partition loses its older half. One record is left out of the older half, one of the younger."""
    old, young = RECORDS // 10, RECORDS * 9 // 10
    conn = site.records("zeek.connection")
    copy = site.copy(less("zeek.connection", old, young), seconds=RECORDS)
    topic = f"{copy.stem}.zeek.connection"
    before = verify(copy, code=1)
    assert before["counts"]["gap"] == 2 and "horizon" not in before
    delete_before(broker, topic, 1, sum(r.partition == 1 for r in conn) // 2)
    answer = verify(copy, code=1)
    assert answer["counts"]["gap"] == 1 and answer["counts"]["not_judged"] > 1 and "horizon" in answer
    [gap] = [finding for finding in answer["findings"] if finding["kind"] == "gap"]
    assert (gap["from"], gap["end"]) == (conn[young].start, conn[young].end)
    done = rig.tapline("verify", "-c", copy)
    assert "not judged" in done.stdout and "NOT complete: 1 missing" in done.stdout
    # without the young one's absence it is complete as far as can be said
    whole = site.copy(less("zeek.connection", old), seconds=RECORDS)
    delete_before(broker, f"{whole.stem}.zeek.connection", 1, sum(r.partition == 1 for r in conn) // 2)
    answer = verify(whole)
    assert answer["complete"] and answer["counts"]["not_judged"] > 1


# ---- the ledger that stays -------------------------------------------------------------------------------------------------


class Watch:
    def __init__(self, config, *options):
        self.process = subprocess.Popen([str(rig.TAPLINE), "ledger", "-c", str(config), "--topics", "--watch", *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.out, self.err = [], []
        self.readers = [threading.Thread(target=lambda to=to, stream=stream: to.extend(stream), daemon=True)
                        for to, stream in ((self.out, self.process.stdout), (self.err, self.process.stderr))]
        for reader in self.readers:
            reader.start()

    def wait(self, text, lines, timeout):
        begin = time.monotonic()
        rig.wait_for(f"{text!r} in {lines}, {self.err}", lambda: any(text in line for line in lines), timeout)
        return time.monotonic() - begin

    def end(self):
        self.process.terminate()
        code = self.process.wait(60)
        for reader in self.readers:
            reader.join()
        return code


def test_the_ledger_raises_an_alarm_within_a_minute(broker, tmp_path):
    """A foreign client copies what is delivered as it comes; of the second part it leaves one record out, then adds it. A
    look and another that finds it again: at 10 s between them that is 20 s sooner than at the 30 s that are the most."""
    here = Site(broker, tmp_path)
    here.write(0, RECORDS // 2)
    rig.run_once(here.config)
    copy = here.copy()
    watch = Watch(copy, "10s")
    try:
        watch.wait('"watching"', watch.err, 60)
        known = {record.id for record in here.records("zeek.connection")}
        here.write(RECORDS // 2, RECORDS)
        rig.run_once(here.config)
        client = Client(broker)

        def send(kind, record):
            client.send(f"{copy.stem}.{kind}", record, partition=record.partition)

        new = [record for record in here.records("zeek.connection") if record.id not in known]
        gone = new[len(new) // 2]
        for record in new:
            if record is not gone:
                send("zeek.connection", record)
        for record in here.records("deadletter"):
            if record.start > min(r.start for r in new):
                send("deadletter", record)
        client.flush()
        took = watch.wait("ALARM", watch.out, 60)  # about 20 s, and what a busy machine needs for two looks
        print(f"alarm after {took:.1f} s")
        assert watch.out[0].count(f"from={gone.start} end={gone.end} ") == 1 and "kind=gap" in watch.out[0]
        rig.wait_for("the same in the log, which comes after it",
                     lambda: any(" error ledger " in line and f"from={gone.start} " in line for line in watch.err))
        send("zeek.connection", gone)
        client.flush()
        watch.wait(" over ", watch.out, 60)
        assert len(watch.out) == 2, watch.out
    finally:
        code = watch.end()
    assert code == 0


def test_the_ledger_waits_for_brokers_that_are_away(own_broker, tmp_path):
    here = Site(own_broker, tmp_path).delivered()
    copy = here.copy()
    conn = here.records("zeek.connection")[20]
    watch = Watch(copy, "1s", "--json")
    try:
        watch.wait('"watching"', watch.err, 60)
        own_broker.kill()
        watch.wait("a look failed", watch.err, 60)
        own_broker.start()
        client = Client(own_broker)
        client.send(f"{copy.stem}.zeek.connection", conn)
        client.flush()
        watch.wait("ALARM", watch.out, 60)
        [alarm] = map(json.loads, watch.out)
        assert alarm["state"] == "ALARM" and "kind=doubled" in alarm["text"] and f"from={conn.start} " in alarm["text"]
    finally:
        assert watch.end() == 1, "the alarm stands"


# ---- called wrongly, and a world that failed ---------------------------------------------------------------------------------


def test_what_cannot_be_verified_says_why(site, broker, tmp_path, unanswered):
    inputs = [{"paths": [str(tmp_path / "*.log")]}]
    done = rig.tapline("verify", "-c", site.config, "--node", "nobody")
    node = json.loads(site.config.read_text())["node"]["name"]
    assert done.returncode == 100 and "nobody" in done.stderr and node in done.stderr
    other = rig.config_write(tmp_path / "a.yml", inputs, sink_of(broker, "x", "no-such"))
    done = rig.tapline("verify", "-c", other)
    assert done.returncode == 100 and "no-such.checkpoint" in done.stderr and "no such topic" in done.stderr
    loose = rig.config_write(tmp_path / "b.yml", inputs, sink_of(broker, site.name, site.name, delivery="at_least_once"))
    done = rig.tapline("verify", "-c", loose)
    assert done.returncode == 100 and "at_least_once" in done.stderr
    out, err = unanswered.communicate(timeout=120)
    assert unanswered.returncode == 111 and out == "" and "efused" in err, err
