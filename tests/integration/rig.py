"""What the integration and fault tests share: a real broker, a `tapline run`, logs as a sensor writes them, and a foreign
client's view of what arrived. Nothing here is asked of tapline itself but its exit code and its log.

Environment: TAPLINE (the program), TAPLINE_STORM (multiplies loads and repetitions of the fault tests; 1 in CI),
TAPLINE_LONG=1 (the long storm and the long outages; `make storm` sets it).
SPDX-License-Identifier: Apache-2.0
"""
import hashlib
import json
import os
import pathlib
import random
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
PATIENCE_S = 120.0  # for what takes a moment, on a machine that has other things to do
# Of a foreign producer. One request at a time: the first batch for a topic made a moment ago may be refused while the second,
# under way already, is taken, and then librdkafka says of both that they are there (KAFKA-15591, in brokers before 4.5).
IDEMPOTENT = {"enable.idempotence": True, "max.in.flight.requests.per.connection": 1}
IS_LONG = os.environ.get("TAPLINE_LONG") == "1"
SAMPLES = TOP / "configs/samples"
KAFKA = HERE / "kafka"

sys.path.insert(0, str(TOP / "tests/oracle"))
from community_id import community_id  # noqa: E402  (written from the specification, not from our C)


def own_time():
    """Seconds, for patience: a clock that stands still while a virtual machine's host gives its processors to others. Where
    it does so for most of the time, all takes several times as long, and nothing is wrong."""
    with open("/proc/stat") as lines:
        stolen = [int(line.split()[8]) for line in lines if re.match(r"cpu\d", line)]
    return time.monotonic() - max(stolen) / os.sysconf("SC_CLK_TCK")


def wait_for(what, condition, timeout=PATIENCE_S, pause=0.02):
    """Until condition() is true; its value. Fails with what it waited for."""
    end = own_time() + timeout
    while True:
        value = condition()
        if value:
            return value
        if own_time() > end:
            raise AssertionError(f"waited {timeout:.0f} s for {what}")
        time.sleep(pause)


# ---- the program ---------------------------------------------------------------------------------------------------


class Run:
    """One `tapline run`. Its log is read as it comes, so that a test can wait for a line of it."""

    COMMAND = "run"

    def __init__(self, config, *options, check=None):
        self.config = config
        self.lines = []
        argv = [str(TAPLINE), self.COMMAND, "-c", str(config), *options]
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

    def wait_idle(self, share, window_s=2.0, timeout=60.0):
        """Until it uses no more than this share of a CPU. What spins never does; a busy machine, or the end of a start, may make
        one window larger."""
        end, used = time.monotonic() + timeout, []
        while not used or used[-1] > share:
            assert time.monotonic() < end, f"more than {share:.0%} of a CPU in each of {len(used)} times {window_s:.0f} s: {used}"
            before, since = self.cpu_ticks(), time.monotonic()
            time.sleep(window_s)
            used.append((self.cpu_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - since))

    def log(self):
        return "\n".join(self.lines)

    def wait_log(self, text, timeout=PATIENCE_S, count=1):
        wait_for(f"{text!r} in the log:\n{self.log()}", lambda: self.log().count(text) >= count or self._ended(text), timeout)

    def wait_for(self, what, condition, timeout=PATIENCE_S):
        """wait_for(), but not in vain when the process has died."""
        def lives_and_holds():
            held = condition()
            assert held or self.process.poll() is None, f"waiting for {what}: ended with {self.process.returncode}:\n{self.log()}"
            return held

        return wait_for(what, lives_and_holds, timeout)

    def wait_accepted(self, count, timeout=PATIENCE_S):
        """Until the state directory has it that so many were accepted: what is killed or broken from here on does not take
        them back. That documents can be seen says less."""
        def accepted():
            done = tapline("ledger", "-c", self.config, "--json")
            return json.loads(done.stdout)["all"]["accepted"] if done.returncode == 0 else None

        self.wait_for(f"{count} accepted", lambda: accepted() == count, timeout)

    def _ended(self, text):
        if self.process.poll() is not None and text not in self.log():
            self.reader.join()
            assert text in self.log(), f"ended with {self.process.returncode} without saying {text!r}:\n{self.log()}"
        return False

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=PATIENCE_S):
        try:
            wait_for("its end", lambda: self.process.poll() is not None, timeout, 0.01)
        except AssertionError:
            self.kill()
            raise AssertionError(f"still running after {timeout} s:\n{self.log()}")
        self.reader.join()
        self.stdout = self.process.stdout.read()
        return self.process.returncode

    def stop(self, timeout=PATIENCE_S):
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


class Feed(Run):
    """One `tapline feed`."""

    COMMAND = "feed"


def run_once(config, code=0, timeout=PATIENCE_S, kind=Run):
    """`run --once --json` to its end; the summary."""
    run = kind(config, "--once", "--json")
    assert run.wait(timeout) == code, run.log()
    return json.loads(run.stdout) if run.stdout else None


def tapline(*args, stdin=None, timeout=3 * PATIENCE_S):
    """Any subcommand; the finished process."""
    return subprocess.run([str(TAPLINE), *map(str, args)], input=stdin, capture_output=True, text=True, timeout=timeout)


def config_write(path, inputs, sinks, **sections):
    """Write a config. JSON is YAML. The node is named after the folder."""
    folder = pathlib.Path(path).parent
    # A node's positions are in the broker, so that tests that share one must not share a name.
    name = "node-" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    config = {"node": {"name": name, "state": str(folder / "state")}, "inputs": inputs, "sinks": sinks}
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


def free_port(count=1, nodes=1):
    """The first of so many ports in a row that are free; for more nodes each 10 higher, too. Below those that the kernel gives to
    connections: one of these would take it before the server does."""
    while True:
        port = random.randrange(12000, 32000)
        try:
            for taken in (port + 10 * node + at for node in range(nodes) for at in range(count)):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", taken))
            return port
        except OSError:
            continue


class Broker:
    """Real Kafka nodes on 127.0.0.1, each stopped by its pid: one, or a cluster (three replicas, two in sync at least).
    Nodes are counted from 1; where none is named, all are meant."""

    HEAP = {1: "256m", 3: "192m"}

    def __init__(self, folder, nodes=1):
        self.folder = pathlib.Path(folder)
        port = free_port(2, nodes)  # a broker's and its controller's
        self.nodes = range(1, nodes + 1)
        self.addresses = {node: f"127.0.0.1:{port + 10 * (node - 1)}" for node in self.nodes}
        self.address = ",".join(self.addresses.values())
        for node in self.nodes:
            self._script("gen-node.sh", self._folder_of(node), node, port - 10, nodes)
            self._script("kafka.sh", "format", self._folder_of(node))
        self.up = set()
        self._counter = None
        self._admin_client = None

    def _folder_of(self, node):
        return self.folder if len(self.nodes) == 1 else self.folder / str(node)

    def _script(self, name, *args):
        log = self.folder / "scripts.log"
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as out:
            done = subprocess.run([str(KAFKA / name), *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  env={"TAPLINE_KAFKA_HEAP": self.HEAP[len(self.nodes)], **os.environ})
        assert done.returncode == 0, f"{name} {args}: see {log}:\n{log.read_text()[-2000:]}"

    def pid(self, node=1):
        return int((self._folder_of(node) / "pid").read_text())

    @property
    def is_up(self):
        return bool(self.up)

    def start(self, node=None):
        which = [node] if node else list(self.nodes)
        for one in which:
            self._script("kafka.sh", "start", self._folder_of(one))
            self.up.add(one)
        for one in which:
            self._script("kafka.sh", "ready", self.addresses[one])
        return self

    def stop(self, node=None):
        self._end("stop", node)

    def kill(self, node=None):
        self._end("kill", node)

    def _end(self, how, node):
        for one in [node] if node else sorted(self.up):
            self.up.discard(one)
            self._script("kafka.sh", how, self._folder_of(one))

    def close(self):
        if self._counter is not None:
            self._counter.close()
        self.kill()

    def _admin(self):
        from confluent_kafka.admin import AdminClient

        if self._admin_client is None:  # it must outlive its futures
            self._admin_client = AdminClient({"bootstrap.servers": self.address, "log_level": 2})
        return self._admin_client

    def leave(self):
        """Forget what was learned of topics."""
        self._admin_client = None

    def create_topic(self, topic, partitions=4, **config):
        from confluent_kafka.admin import NewTopic

        self._admin().create_topics([NewTopic(topic, partitions, min(3, len(self.nodes)), config=config)])[topic].result(PATIENCE_S)
        wait_for(f"topic {topic}", lambda: topic in self.topics())

    def topics(self):
        """Name to number of partitions; the topics of positions, which hold no records of ours, are left out."""
        found = listed(self._admin())
        return {name: len(topic.partitions) for name, topic in found.items() if not name.startswith("__") and name != CHECKPOINT}

    def ends(self, places, is_committed=True):
        """(topic, partition) to the offset behind its last record, or its last committed one. A broker names the leader of a
        new partition before that leader knows of it, and any client is told to ask again meanwhile; so it is when a node
        has gone."""
        from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
        from confluent_kafka.admin import OffsetSpec

        level = IsolationLevel.READ_COMMITTED if is_committed else IsolationLevel.READ_UNCOMMITTED
        found, end = {}, own_time() + 60
        while len(found) < len(places):
            is_stale = False
            asked = self._admin().list_offsets({TopicPartition(*place): OffsetSpec.latest() for place in places
                                                if place not in found}, isolation_level=level, request_timeout=5)
            for place, answer in asked.items():
                try:
                    found[(place.topic, place.partition)] = answer.result(PATIENCE_S).offset
                except KafkaException as refused:
                    if not is_passing(refused.args[0]) or own_time() > end:
                        raise
                    is_stale = is_stale or refused.args[0].code() in (KafkaError._NOENT, KafkaError.FENCED_LEADER_EPOCH)
                    time.sleep(0.01)
            if is_stale:  # what this client keeps of partitions' leaders it may keep for minutes; all is answered
                self.leave()
        return found

    def counts(self):
        """Topic to the number of records that are committed in it by now. They are read: offsets count the ends of
        transactions, and what was aborted, too."""
        if self._counter is None:
            self._counter = Counter(self)
        return self._counter.counts()

    def count(self, topic):
        return self.counts().get(topic, 0)

    def records(self, topic):
        """Everything committed in the topic, partition by partition in the order of offsets."""
        found = []
        with Reader(self, lambda name: name == topic, lambda message: found.append(Record(message))) as reader:
            assert reader.read(), f"no topic {topic}"
        found.sort(key=lambda record: (record.partition, record.offset))
        return found


CHECKPOINT = "tapline.checkpoint"


class Reader:
    """A foreign client: it sees only what is committed, and goes on where it was when asked again. each(message) is called
    for every record of the topics that wanted(name) names; order holds within a partition."""

    def __init__(self, broker, wanted, each):
        from confluent_kafka import Consumer

        self.broker, self.wanted, self.each = broker, wanted, each
        self.at = {}  # (topic, partition) to the offset that is read next
        self.consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "judge", "enable.auto.commit": False,
                                  "isolation.level": "read_committed", "enable.partition.eof": True, "fetch.wait.max.ms": 10,
                                  "fetch.message.max.bytes": 20_000_000, "queued.max.messages.kbytes": 65536, "log_level": 2})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.consumer.close()

    def _join_new(self):
        from confluent_kafka import TopicPartition, OFFSET_BEGINNING

        new = [(topic, partition) for topic, partitions in self.broker.topics().items() if self.wanted(topic)
               for partition in range(partitions) if (topic, partition) not in self.at]
        if new:
            for topic in {topic for topic, _ in new}:
                listed(self.consumer, topic)  # else it looks for the leaders a second later
            self.consumer.incremental_assign([TopicPartition(*one, OFFSET_BEGINNING) for one in new])
            self.at.update(dict.fromkeys(new, 0))

    def _behind(self, settle):
        """Where reading must get to. A commit is answered a moment before the logs have its marks, so that a transaction
        that seems open is waited for, a little."""
        until = time.monotonic() + settle
        ends = self.broker.ends(self.at)
        while settle and ends != self.broker.ends(self.at, is_committed=False) and time.monotonic() < until:
            time.sleep(0.01)
            ends = self.broker.ends(self.at)
        return {place: end for place, end in ends.items() if self.at[place] < end}

    def read(self, timeout=120.0, settle=0.5):
        """To the end of what is committed by now, however much that is: `timeout` is for how long nothing may come. Returns how
        many partitions there are."""
        from confluent_kafka import KafkaError

        self._join_new()
        behind = self._behind(settle)
        until = own_time() + timeout
        while behind:
            assert own_time() < until, f"nothing came for {timeout} s: {behind}, at {self.at}"
            for message in self.consumer.consume(5000, 0.05):
                error = message.error()
                if error is None:
                    self.each(message)
                    until = own_time() + timeout
                elif error.code() != KafkaError._PARTITION_EOF:
                    assert is_passing(error), str(error)
                    continue
                place = (message.topic(), message.partition())
                self.at[place] = message.offset() + (error is None)
                if self.at[place] >= behind.get(place, 1 << 63):
                    del behind[place]
        return len(self.at)


class Counter(Reader):
    """How many records topics hold; none is kept."""

    def __init__(self, broker):
        super().__init__(broker, lambda topic: True, self._count)
        self.found = {}

    def _count(self, message):
        self.found[message.topic()] = self.found.get(message.topic(), 0) + 1  # it may be newer than the list

    def counts(self):
        for topic in self.broker.topics():
            self.found.setdefault(topic, 0)
        self.read()
        return dict(self.found)


def is_passing(error):
    """Is it an answer on which any client tries again, such as that a node has gone?"""
    from confluent_kafka import KafkaError

    return error.retriable() or error.code() in (
        KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._NOENT,
        KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH)


def listed(client, topic=None):
    """A client's topics, or this one of them. It is not asked again by the client itself, which drops the connection it began
    with as soon as it knows the brokers."""
    from confluent_kafka import KafkaException

    end = own_time() + 60
    while True:
        try:
            return client.list_topics(topic, 20).topics
        except KafkaException as refused:
            if not is_passing(refused.args[0]) or own_time() > end:
                raise
        time.sleep(0.05)


def header_of(header):
    """Generation, start, end, and where the record's span begins: with drops just before it that is not its start."""
    assert len(header) in (24, 32), header
    numbers = struct.unpack(f">{len(header) // 8}Q", header)
    assert len(numbers) == 3 or numbers[3] < numbers[1], f"from is not before start: {numbers}"
    assert numbers[1] < numbers[2], f"no bytes: {numbers}"
    return (*numbers[:3], numbers[-1] if len(numbers) == 4 else numbers[1])


class Record:
    """A record as the consumer sees it, the header taken apart."""

    def __init__(self, message):
        self.partition, self.offset, self.key, self.value = message.partition(), message.offset(), message.key(), message.value()
        headers = message.headers() or []
        assert [name for name, _ in headers] == ["tapline"], headers
        self.header = headers[0][1]
        self.generation, self.start, self.end, self.span_from = header_of(self.header)
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
    """Header positions are those of the file: spans that join from 0 to its end, and each holds its own record's bytes."""
    assert len({record.generation for record in records}) == 1
    raw = pathlib.Path(path).read_bytes()
    at = 0
    for record in sorted(records, key=lambda record: record.start):
        assert record.span_from == at, f"{path}: a span begins at {record.span_from}, the one before ends at {at}"
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
