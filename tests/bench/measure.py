"""What a finished process cost, by the operating system's own accounting, and a real broker to run into.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import threading
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

POLL_S = 0.01
SETTLE_S = 2.0
PARTITIONS = 4
LEADER_TRIES = 100


def settle(path):
    """Before a run that is measured: it would pay for what the run before left to be written, and for reading a file that the
    system no longer has in memory."""
    os.sync()
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


class Failed(Exception):
    """The measured thing did not do its work; what it said is in the text."""


class Process:
    """A started program. cpu_s is user + system time of the whole process, rss_mib the most it ever had resident."""

    def __init__(self, argv, log, stdin=None, stdout=None, cpu=None, env=None):
        self.argv, self.log = [str(a) for a in argv], pathlib.Path(log)
        pin = (lambda: os.sched_setaffinity(0, {cpu})) if cpu is not None else None
        with open(self.log, "wb") as err:
            self.started = time.monotonic()
            self.popen = subprocess.Popen(
                self.argv, stdin=stdin or subprocess.DEVNULL, stdout=stdout or err, stderr=err, preexec_fn=pin, env=env
            )
        self.cpu_s = self.wall_s = self.rss_mib = 0.0

    def look(self):
        """True while it runs. Peak memory is read from the kernel's own high-water mark: getrusage's would include
        what the Python process had before exec()."""
        if os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            self.wall_s = self.wall_s or time.monotonic() - self.started
            return False
        try:
            status = pathlib.Path(f"/proc/{self.popen.pid}/status").read_text()
        except OSError:
            return True
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        if peak:
            self.rss_mib = max(self.rss_mib, int(peak.group(1)) / 1024)
        return True

    def wait(self, timeout_s=900):
        deadline = time.monotonic() + timeout_s
        while self.look():
            if time.monotonic() > deadline:
                self.popen.kill()
                os.wait4(self.popen.pid, 0)
                raise Failed(f"{self.argv[0]} was not done after {timeout_s} s: {self.said()}")
            time.sleep(POLL_S)
        _, status, usage = os.wait4(self.popen.pid, 0)
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s = usage.ru_utime + usage.ru_stime
        return self

    def stop(self, timeout_s=60):
        self.popen.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def must_be_done(self):
        if self.popen.returncode != 0:
            raise Failed(f"{self.argv[0]} ended with {self.popen.returncode}: {self.said()}")
        return self

    def said(self):
        return self.log.read_text(errors="replace")[-2000:]


def free_port_pair():
    """Two neighbouring ports nobody listens on: the broker's and its controller's."""
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
    """One real Kafka broker on 127.0.0.1, from the integration tests' own scripts."""

    def __init__(self, scripts, folder):
        self.scripts, self.folder = pathlib.Path(scripts), pathlib.Path(folder)
        port = free_port_pair()
        self.address = f"127.0.0.1:{port}"
        # Node i listens on BASEPORT + 10 i.
        self._run("gen-node.sh", self.folder, 1, port - 10, 1)
        self._run("kafka.sh", "format", self.folder)
        self._run("kafka.sh", "start", self.folder)
        self._run("kafka.sh", "ready", self.address)
        self.admin = AdminClient({"bootstrap.servers": self.address})
        self.consumer = Consumer({"bootstrap.servers": self.address, "group.id": "bench", "log_level": 3})

    def _run(self, script, *args):
        done = subprocess.run(
            ["bash", str(self.scripts / script), *map(str, args)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if script != "kafka.sh" or args[0] != "start" else None,
            stderr=subprocess.STDOUT, text=True,
        )
        if done.returncode != 0:
            raise Failed(f"{script} {args[0]} failed: {done.stdout}")

    def create(self, topic):
        self.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
        while len(self.consumer.list_topics(topic, 10).topics[topic].partitions) != PARTITIONS:
            time.sleep(0.1)
        self.records(topic)

    def delete(self, topic):
        self.admin.delete_topics([topic])[topic].result(30)

    def records(self, topic):
        """How many records the topic holds by now. A topic just made may have no leader yet: then a little later."""
        for tries_left in range(LEADER_TRIES, -1, -1):
            try:
                marks = [self.consumer.get_watermark_offsets(TopicPartition(topic, p), 10) for p in range(PARTITIONS)]
                return sum(high - low for low, high in marks)
            except KafkaException as failed:
                if tries_left == 0:
                    raise Failed(f"the broker does not say how long {topic} is: {failed}") from failed
                time.sleep(0.2)
                self.consumer.list_topics(topic, 10)  # it keeps "unknown" for long unless it is made to ask

    def close(self):
        self.consumer.close()
        # Clients that outlive the broker would complain about it.
        del self.consumer, self.admin
        self._run("kafka.sh", "stop", self.folder)


class Trickle:
    """A log that grows by so many lines a second. measure() says how long each line took to a consumer, in milliseconds. The
    record's header says which bytes of the log it is, so that each document finds its line."""

    def __init__(self, source, path):
        with open(source, "rb") as lines:
            head = [line for line, _ in zip(lines, range(5000))]
        self.header = b"".join(line for line in head if line.startswith(b"#"))
        self.lines = [line for line in head if not line.startswith(b"#")]
        self.path = pathlib.Path(path)
        self.written = {}  # position of a line's end: when it was written
        self.came = {}

    def __enter__(self):
        self.file = open(self.path, "wb", buffering=0)
        self.file.write(self.header)
        self.at = len(self.header)
        return self

    def __exit__(self, *_):
        self.file.close()

    def _write(self, number):
        line = self.lines[number % len(self.lines)]
        self.at += len(line)
        self.written[self.at] = time.monotonic()
        self.file.write(line)

    def _write_all(self, per_s, seconds):
        began = time.monotonic()
        for number in range(1, per_s * seconds):
            wait = began + number / per_s - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self._write(number)

    def _take(self, consumer, until, timeout_s):
        deadline = time.monotonic() + timeout_s
        while not until():
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                _, _, end = struct.unpack(">QQQ", dict(message.headers())["tapline"][:24])
                self.came[end] = time.monotonic()
            if time.monotonic() > deadline:
                raise Failed(f"{len(self.came)} of {len(self.written)} lines came within {timeout_s} s")

    def measure(self, broker, topic, per_s, seconds):
        consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "trickle", "isolation.level": "read_committed",
                             "enable.auto.commit": False, "fetch.wait.max.ms": 5, "log_level": 3})
        consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
        try:
            self._write(0)
            self._take(consumer, lambda: len(self.came) == 1, 60)  # everything has started
            time.sleep(SETTLE_S)
            self.written.clear()
            self.came.clear()
            writer = threading.Thread(target=self._write_all, args=(per_s, seconds))
            writer.start()
            self._take(consumer, lambda: len(self.came) == per_s * seconds - 1, seconds + 60)
            writer.join()
        finally:
            consumer.close()
        return [(self.came[end] - at) * 1000 for end, at in self.written.items()]
