"""Reported lag is the truth: a writer of known rate, a sink that is slow, and in each reading of a minute the lag of the log is
what was written less what was accepted, within what is written in a second and 1 %, and its age is that of the first byte
that is not accepted, within a second: in /metrics and in the health document, across a rotation, and after a restart with a
backlog. What is accepted is what arrived, but for the batches that the sink has in hand (four, here).

A machine that stands still for a moment makes readings older than that, ours as well as tapline's: by how much is seen at the
writer, which means to write fifty times a second. One reading in fifty may be late all the same, if the next is right.
SPDX-License-Identifier: Apache-2.0
"""
import bisect
import fcntl
import json
import re
import socket
import threading
import time
import urllib.request

import pytest

import rig

LINES_S = 4000  # written
TAKEN_S = 1500  # taken by the slow reader
LINE = '{"ts":%.6f,"uid":"C%017d","id.orig_h":"10.1.2.3","id.orig_p":40000,"id.resp_h":"10.3.2.1","id.resp_p":53,"proto":"udp"}\n'
BATCH_LINES = 2048
F_SETPIPE_SZ = 1031
SECOND = 1.0
PAUSE = 0.02
SHARE = 0.01


class Writer(threading.Thread):
    """Appends lines to conn.log at a known rate, and knows when it wrote which byte."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = path
        self.lock = threading.Lock()
        self.file = open(path, "ab", buffering=0)
        self.times, self.totals = [time.time()], [0]
        self.serial = 0
        self.rotated_at = 0  # bytes in the file that was renamed
        self.stopped = threading.Event()

    def run(self):
        begun = time.monotonic()
        while not self.stopped.wait(PAUSE):
            with self.lock:
                wanted = int((time.monotonic() - begun) * LINES_S)
                now = time.time()
                text = "".join(LINE % (now, serial) for serial in range(self.serial, wanted)).encode()
                self.serial = wanted
                self.file.write(text)
                self.times.append(time.time())
                self.totals.append(self.totals[-1] + len(text))

    def rotate(self, to):
        with self.lock:
            self.path.rename(to)
            self.renamed = to
            self.rotated_at = self.totals[-1]
            self.file.close()
            self.file = open(self.path, "ab", buffering=0)

    def total_at(self, when):
        """Bytes that were written until then, in all files."""
        with self.lock:
            return self.totals[max(bisect.bisect_right(self.times, when) - 1, 0)]

    def stood_still(self, since):
        """The longest that it was kept from writing since then, beyond its pause."""
        with self.lock:
            times = self.times[max(bisect.bisect_right(self.times, since) - 1, 0):] + [time.time()]
        return max(max((after - before for before, after in zip(times, times[1:])), default=0) - 2 * PAUSE, 0)

    def time_of(self, byte):
        """When this byte was written."""
        with self.lock:
            return self.times[min(bisect.bisect_right(self.totals, byte), len(self.times) - 1)]


class SlowReader(threading.Thread):
    """Takes documents out of a pipe at a known rate, and counts them."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe = pipe
        self.taken = 0
        self.rate = TAKEN_S
        fcntl.fcntl(pipe.fileno(), F_SETPIPE_SZ, 4096)

    def run(self):
        begun, base = time.monotonic(), 0
        for _ in self.pipe:
            self.taken += 1
            base += 1
            ahead = base / self.rate - (time.monotonic() - begun) if self.rate else 0
            if ahead > 0.01:
                time.sleep(ahead)


def document(state):
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(10)
        one.connect(str(state / "run.sock"))
        one.sendall(b'{"jsonrpc":"2.0","id":1,"method":"health","params":{}}\n')
        return json.loads(one.makefile().readline())["result"]


def row_of_document(state, path):
    rows = [row for row in document(state)["rows"].get("file", []) if row["path"] == path]
    return rows[0] if rows else None


def row_of_metrics(port, path):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    found = re.findall(r'^tapline_file_(\w+)\{path="%s"\} (\S+)$' % re.escape(path), text, re.M)
    return {name: float(value) for name, value in found} or None


class Judge:
    """Compares a row with the truth, and remembers how wrong rows were at most."""

    def __init__(self, writer, config):
        self.writer = writer
        self.config = config
        self.positions = []  # (when, the first byte that was not accepted then)
        self.readings = self.late = 0
        self.worst_bytes = self.worst_seconds = 0.0

    def look(self, take, path):
        before = time.time()
        row = take(path)
        after = time.time()
        if row is None:
            return None
        # Files that were renamed away count with the new one until they are done with; so do their positions.
        gone = 0 if self.writer.total_at(before - 2 * SECOND) <= row["size_bytes"] else self.writer.rotated_at
        accepted = gone + row["accepted_position_bytes"]
        due = SECOND + self.writer.stood_still(before - 2 * SECOND)
        low = self.writer.total_at(before - due) - accepted
        high = self.writer.total_at(after) - accepted
        lag = row["lag_bytes"]
        wrong = max(low - lag, lag - high, 0)
        self.worst_bytes = max(self.worst_bytes, wrong / max(high, 1))
        assert wrong <= SHARE * max(high, 1), f"lag {lag} bytes, but {low} … {high} are not accepted: {row}"
        if lag > 0:
            first, last = self.oldest_between(accepted)
            oldest, newest = after - self.writer.time_of(first), before - self.writer.time_of(last)
            error = max(newest - row["lag_seconds"], row["lag_seconds"] - oldest, 0)
            self.worst_seconds = max(self.worst_seconds, error)
            assert error <= due, f"oldest byte is {newest:.2f} … {oldest:.2f} s old, not {row['lag_seconds']}: {row}"
        self.readings += 1
        assert self.late <= 1 + self.readings / 50, f"{self.late} readings of {self.readings} were late"
        return accepted, lag, row["lag_seconds"]

    def look_again(self, take, path):
        """Like look(), but one that is late is followed by one that must not be."""
        try:
            return self.look(take, path)
        except AssertionError:
            self.late += 1
            time.sleep(SECOND / 3)
            return self.look(take, path)

    def oldest_between(self, accepted):
        """Which byte is the first that is not accepted. Of one file the row says it. Of two the checkpoint has where each
        stands; the row may be a second older than that."""
        if not self.writer.rotated_at:
            return accepted, accepted
        done = rig.tapline("ledger", "-c", self.config, "--json")
        at = {row["path"]: row["position"] for row in json.loads(done.stdout)["rows"]}
        old = at.get(str(self.writer.renamed), self.writer.rotated_at)
        new = at.get(str(self.writer.path), 0)
        asked = time.time()
        self.positions.append((asked, old if old < self.writer.rotated_at else self.writer.rotated_at + new))
        while len(self.positions) > 1 and self.positions[1][0] < asked - SECOND:
            self.positions.pop(0)
        return self.positions[0][1], self.positions[-1][1]


@pytest.fixture
def writer(tmp_path):
    one = Writer(tmp_path / "conn.log")
    one.start()
    yield one
    one.stopped.set()
    one.join()


def start(runs, config):
    run = runs(config)
    reader = SlowReader(run.process.stdout)
    reader.start()
    state = config.parent / "state"

    def has_row():
        try:
            return row_of_document(state, str(config.parent / "conn.log")) is not None
        except (FileNotFoundError, ConnectionRefusedError):  # it has only begun
            return False

    run.wait_for("a row", has_row)
    return run, reader


def follow(judge, port, state, path, seconds, run, reader=None):
    """Look at both for so long. With a reader: what is accepted is what arrived, less the batches that the sink has in hand."""
    end = time.monotonic() + seconds
    line_bytes = len(LINE % (time.time(), 0))
    last = None
    while time.monotonic() < end:
        assert run.process.poll() is None, run.log()
        for take in (lambda path: row_of_metrics(port, path), lambda path: row_of_document(state, path)):
            low = reader.taken if reader else 0
            last = judge.look_again(take, path) or last
            if reader and last:
                lines = last[0] / line_bytes
                assert low - 5 * BATCH_LINES - TAKEN_S <= lines <= reader.taken + BATCH_LINES, (low, lines, reader.taken)
        time.sleep(0.2)
    assert last is not None, run.log()
    return last


def test_lag_is_the_truth(tmp_path, runs, writer):
    port, state, path = rig.free_port(), tmp_path / "state", str(tmp_path / "conn.log")
    inputs = [{"type": "zeek", "paths": [path]}]
    config = rig.config_write(tmp_path / "tapline.yml", inputs, {"stdout": {}}, ingest={"close_after": "2s", "checkpoint_interval": "50ms"},
                              pipeline={"batches": 4, "stop_timeout": "1s"}, health={"run": f"127.0.0.1:{port}", "lag_max": "1h"})
    run, reader = start(runs, config)
    judge = Judge(writer, config)

    # A minute in which the lag grows.
    _, lag, age = follow(judge, port, state, path, 60, run, reader)
    assert lag > 60 * (LINES_S - TAKEN_S) * 100 * 0.8 and age > 20
    assert judge.readings >= 100

    # The log is rotated: both files have bytes that nobody has accepted, and one row tells of both.
    writer.rotate(tmp_path / "conn.1.log")
    time.sleep(1.5)
    follow(judge, port, state, path, 8, run)
    row = row_of_document(state, path)
    assert row["rotations"] == 1 and row["lag_bytes"] > lag

    # A restart with a backlog in both files: how old it is is known from when they began and were last written to.
    run.signal(15)
    run.wait()
    run, reader = start(runs, config)
    time.sleep(1.5)
    judge.positions.clear()
    follow(judge, port, state, path, 15, run)

    # The sink is quick again: the lag goes down to none, past the end of the file that was renamed.
    reader.rate = 0
    run.wait_for("the backlog to be gone", lambda: (judge.look_again(lambda p: row_of_document(state, p), path) or (0, 1))[1] < 2e6, 120)
    writer.stopped.set()
    writer.join()
    run.wait_for("no lag", lambda: row_of_document(state, path)["lag_bytes"] == 0, 30)
    row = row_of_document(state, path)
    assert row["lag_seconds"] == 0 and row["accepted_position_bytes"] == row["size_bytes"]
    print(f"{judge.readings} readings, {judge.late} late, at most {judge.worst_bytes:.4%} and {judge.worst_seconds:.2f} s wrong")
    run.stop()
