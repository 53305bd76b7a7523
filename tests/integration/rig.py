"""What the integration and fault tests share: a real broker, a `tapline run`, logs as a sensor writes them, and a foreign
client's view of what arrived. Nothing here is asked of tapline itself but its exit code and its log.

Environment: TAPLINE (the program), TAPLINE_STORM (multiplies loads and repetitions of the fault tests; 1 in CI).
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
TAPLINE = pathlib.Path(os.environ.get("TAPLINE", TOP / "build/dev/cmd/tapline"))
STORM = int(os.environ.get("TAPLINE_STORM", "1"))
SAMPLES = TOP / "configs/samples"
KAFKA = HERE / "kafka"

sys.path.insert(0, str(TOP / "tests/oracle"))
from community_id import community_id  # noqa: E402  (written from the specification, not from our C)


def wait_for(what, condition, timeout=30.0, pause=0.02):
    """Until condition() is true; its value. Fails with what it waited for."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout:.0f} s for {what}")
        time.sleep(pause)


# ---- the program ---------------------------------------------------------------------------------------------------


class Run:
    """One `tapline run`. Its log is read as it comes, so that a test can wait for a line of it."""

    def __init__(self, config, *options, check=None):
        self.config = config
        self.lines = []
        argv = [str(TAPLINE), "run", "-c", str(config), *options]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, cwd=pathlib.Path(config).parent)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.process.pid

    def cpu_ticks(self):
        """CPU it has used until now, user and system, in 1/100 s."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def log(self):
        return "\n".join(self.lines)

    def wait_log(self, text, timeout=20.0, count=1):
        wait_for(f"{text!r} in the log:\n{self.log()}", lambda: self.log().count(text) >= count or self._ended(text), timeout)

    def wait_for(self, what, condition, timeout=30.0):
        """wait_for(), but not in vain when the process has died."""
        def lives_and_holds():
            held = condition()
            assert held or self.process.poll() is None, f"waiting for {what}: ended with {self.process.returncode}:\n{self.log()}"
            return held

        return wait_for(what, lives_and_holds, timeout)

    def _ended(self, text):
        if self.process.poll() is not None and text not in self.log():
            self.reader.join()
            assert text in self.log(), f"ended with {self.process.returncode} without saying {text!r}:\n{self.log()}"
        return False

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=60.0):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {timeout} s:\n{self.log()}")
        self.reader.join()
        self.stdout = self.process.stdout.read()
        return self.process.returncode

    def stop(self, timeout=60.0):
        """SIGTERM, which must end it with 0."""
        assert self.process.poll() is None, f"ended by itself with {self.process.returncode}:\n{self.log()}"
        self.signal(signal.SIGTERM)
        code = self.wait(timeout)
        assert code == 0, f"exit {code} after SIGTERM:\n{self.log()}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()


def run_once(config, code=0, timeout=120.0):
    """`run --once --json` to its end; the summary."""
    run = Run(config, "--once", "--json")
    assert run.wait(timeout) == code, run.log()
    return json.loads(run.stdout) if run.stdout else None


def tapline(*args, stdin=None):
    """Any subcommand; the finished process."""
    return subprocess.run([str(TAPLINE), *map(str, args)], input=stdin, capture_output=True, text=True, timeout=120)


def config_write(path, inputs, sinks, **sections):
    """Write a config. JSON is YAML."""
    folder = pathlib.Path(path).parent
    config = {"node": {"name": "test-node", "state": str(folder / "state")}, "inputs": inputs, "sinks": sinks}
    config["normalize"] = {"maps": str(TOP / "configs")}
    for name, members in sections.items():
        config.setdefault(name, {}).update(members)
    text = json.dumps(config, indent=1)
    swap = pathlib.Path(str(path) + ".new")
    swap.write_text(text)
    swap.rename(path)
    return pathlib.Path(path)


# ---- logs as a sensor writes them ------------------------------------------------------------------------------------


class ConnLog:
    """Connections of our own capture (configs/samples/zeek/conn.log) over and over, each with its own uid and port. The
    uid carries a serial number, so that what arrived can be told record by record."""

    def __init__(self):
        lines = (SAMPLES / "zeek/conn.log").read_text().splitlines()
        self.header = "".join(line + "\n" for line in lines if line.startswith("#") and not line.startswith("#close"))
        fields = next(line for line in lines if line.startswith("#fields")).split("\t")[1:]
        self.at = {name: i for i, name in enumerate(fields)}
        self.rows = [line.split("\t") for line in lines if not line.startswith("#")]

    def line(self, serial):
        cells = list(self.rows[serial % len(self.rows)])
        at = self.at
        cells[at["uid"]] = f"C{serial:017d}"
        cells[at["community_id"]] = "-"
        if cells[at["proto"]] in ("tcp", "udp"):
            cells[at["id.orig_p"]] = str(1024 + serial % 50000)
        return "\t".join(cells) + "\n"

    def text(self, first, last, header=True):
        return (self.header if header else "") + "".join(self.line(i) for i in range(first, last))


def serial_of(document):
    """The serial number in a conn document."""
    return int(document["event"]["id"][1:])


class Documents:
    """The NDJSON files a file sink wrote, parsed; a line that is no JSON fails."""

    def __init__(self, *paths):
        self.all = []
        for path in paths:
            with open(path, encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    try:
                        self.all.append(json.loads(line))
                    except ValueError as error:
                        raise AssertionError(f"{path}:{number}: {error}: {line[:200]!r}")
        self.serials = [serial_of(d) for d in self.all if d["event"]["dataset"] == "zeek.connection"]

    def assert_each_once(self, count):
        assert sorted(self.serials) == list(range(count)), difference(self.serials, count)

    def assert_none_lost(self, count):
        assert set(self.serials) == set(range(count)), difference(self.serials, count)


def difference(serials, count):
    seen = set(serials)
    lost = [i for i in range(count) if i not in seen]
    odd = sorted(i for i in seen if i < 0 or i >= count)
    return f"{len(serials)} records, {len(seen)} distinct of {count}: lost {len(lost)} {lost[:5]}, unexpected {odd[:5]}"


# ---- the broker ------------------------------------------------------------------------------------------------------


def free_port_pair():
    """A port such that it and the next are free: the broker's and its controller's."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
                return port
            except OSError:
                continue


class Broker:
    """One real Kafka node on 127.0.0.1; stopped by its pid."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        port = free_port_pair()
        self.address = f"127.0.0.1:{port}"
        self._script("gen-node.sh", self.folder, 1, port - 10, 1)
        self._script("kafka.sh", "format", self.folder)
        self.is_up = False

    def _script(self, name, *args):
        log = self.folder / "scripts.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as out:
            done = subprocess.run([str(KAFKA / name), *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        assert done.returncode == 0, f"{name} {args}: see {log}:\n{log.read_text()[-2000:]}"

    def start(self):
        self._script("kafka.sh", "start", self.folder)
        self._script("kafka.sh", "ready", self.address)
        self.is_up = True
        return self

    def stop(self):
        self.is_up = False
        self._script("kafka.sh", "stop", self.folder)

    def kill(self):
        self.is_up = False
        self._script("kafka.sh", "kill", self.folder)

    def close(self):
        if self.is_up:
            self.kill()

    def create_topic(self, topic, partitions=4, **config):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})  # must outlive its futures
        admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
        wait_for(f"topic {topic}", lambda: topic in self.topics())

    def topics(self):
        """Name to number of partitions."""
        from confluent_kafka.admin import AdminClient

        found = AdminClient({"bootstrap.servers": self.address}).list_topics(timeout=20).topics
        return {name: len(topic.partitions) for name, topic in found.items() if not name.startswith("__")}

    def counts(self):
        """Topic to the number of records it holds by now."""
        from confluent_kafka import Consumer

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "count"})
        counts = {}
        for topic, partitions in self.topics().items():
            counts[topic] = sum(high - low for low, high in (marks(consumer, topic, p) for p in range(partitions)))
        consumer.close()
        return counts

    def count(self, topic):
        return self.counts().get(topic, 0)

    def records(self, topic):
        """Everything the topic holds, partition by partition in the order of offsets."""
        from confluent_kafka import Consumer, TopicPartition, OFFSET_BEGINNING, KafkaError

        partitions = self.topics()[topic]
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "look", "enable.auto.commit": False,
                             "enable.partition.eof": True, "fetch.wait.max.ms": 10, "fetch.message.max.bytes": 20_000_000})
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        found, open_partitions, end = [], set(range(partitions)), time.monotonic() + 120
        while open_partitions:
            assert time.monotonic() < end, f"{topic}: no end of partitions {open_partitions}"
            for message in consumer.consume(5000, 0.1):
                if message.error() is None:
                    found.append(Record(message))
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    open_partitions.discard(message.partition())
                else:
                    raise AssertionError(str(message.error()))
        consumer.close()
        found.sort(key=lambda record: (record.partition, record.offset))
        return found


def marks(consumer, topic, partition):
    """The first offset and the one after the last. A broker names the leader of a new partition before that leader
    knows of it, and any client is told to ask again meanwhile."""
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    again = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
    end = time.monotonic() + 30
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), 20)
        except KafkaException as refused:
            if refused.args[0].code() not in again or time.monotonic() > end:
                raise
            time.sleep(0.05)


class Record:
    """A record as the consumer sees it, the header taken apart."""

    def __init__(self, message):
        self.partition, self.offset, self.key, self.value = message.partition(), message.offset(), message.key(), message.value()
        headers = message.headers() or []
        assert [name for name, _ in headers] == ["tapline"], headers
        self.header = headers[0][1]
        assert len(self.header) == 24, self.header
        self.generation, self.start, self.end = struct.unpack(">QQQ", self.header)
        self.id = self.header[:16].hex()

    @property
    def document(self):
        return json.loads(self.value)


def murmur2(key):
    """Kafka's own hash of keys, from the Java client's definition."""
    m, length = 0x5BD1E995, len(key)
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    for i in range(0, length - length % 4, 4):
        k = int.from_bytes(key[i:i + 4], "little") * m & 0xFFFFFFFF
        k = (k ^ (k >> 24)) * m & 0xFFFFFFFF
        h = (h * m & 0xFFFFFFFF) ^ k
    tail = key[length - length % 4:]
    if tail:
        h = ((h ^ int.from_bytes(tail, "little")) * m) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * m) & 0xFFFFFFFF
    return h ^ (h >> 15)


def partition_of(key, partitions):
    return (murmur2(key) & 0x7FFFFFFF) % partitions


# ---- what must hold of every record --------------------------------------------------------------------------------


def expected_key(document):
    """The community id by the specification, from the document's own endpoints."""
    network, zeek = document.get("network", {}), document.get("zeek", {}).get("connection", {})
    icmp = zeek.get("icmp")
    made = community_id(document["source"]["ip"], document["destination"]["ip"], network["transport"],
                        document["source"].get("port"), document["destination"].get("port"),
                        (icmp.get("type"), icmp.get("code")) if icmp else None)
    return made or document["event"]["id"]


def assert_positions(records, path):
    """Header positions are those of the file: contiguous from 0 to its end, and each names its own record's bytes."""
    assert len({record.generation for record in records}) == 1
    raw = pathlib.Path(path).read_bytes()
    at = 0
    for record in sorted(records, key=lambda record: record.start):
        assert record.start == at, f"{path}: a record starts at {record.start}, the one before ends at {at}"
        uid = re.search(rb"\"id\":\"(C\d{17})\"", record.value).group(1)
        assert uid in raw[record.start:record.end], f"{path}:{record.start}: not the bytes of {uid}"
        at = record.end
    assert at == len(raw), f"{path}: positions end at {at}, the file at {len(raw)}"


def assert_keys(records, partitions):
    """Key = community id; partition = murmur2(key); order within a key is the file's."""
    last = {}
    for record in records:
        document = record.document
        assert record.key.decode() == expected_key(document), document
        assert record.partition == partition_of(record.key, partitions)
        assert last.get(record.key, -1) < serial_of(document), f"key {record.key}: out of order"
        last[record.key] = serial_of(document)
