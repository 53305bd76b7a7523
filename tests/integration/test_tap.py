"""`tapline tap`: what passes a stage is shown within a second, exactly as it passes; filters, rates and counts hold; whoever
does not read, or dies, holds up nothing and leaves nothing behind.
SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
import types

import pytest

import rig
from feeding import DAILY, LONG_SESSION, MONTHLY, Site, document
from rig import TAPLINE, wait_for

WATCHERS_MAX = 8
PATIENCE_S = 60
GARBAGE = "this is no record\n"


class Tap:
    """A `tapline tap`; what it shows is read as it comes, each line with the time at which it came."""

    def __init__(self, config, *options):
        self.shown, self.said = [], []
        self.process = subprocess.Popen([str(TAPLINE), "tap", "-c", str(config), *options], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.readers = [threading.Thread(target=self._read, args=(self.process.stdout, self.shown), daemon=True),
                        threading.Thread(target=self._read, args=(self.process.stderr, self.said), daemon=True)]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append((line.rstrip("\n"), time.monotonic()))

    def lines(self):
        return [line for line, _ in self.shown]

    def documents(self):
        return [json.loads(line) for line in self.lines()]

    def errors(self):
        return "\n".join(line for line, _ in self.said)

    def wait(self, timeout=PATIENCE_S):
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for reader in self.readers:
            reader.join()
        return code

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.wait()


class Watched:
    """A `tapline run` on a log, into a file."""

    def __init__(self, folder, runs):
        self.folder = folder
        self.log, self.out = folder / "conn.log", folder / "out.ndjson"
        self.conn = rig.ConnLog()
        self.log.write_text(self.conn.text(0, 1))
        self.next = 1
        self.config = rig.config_write(folder / "tapline.yml", [{"type": "zeek", "paths": [str(folder / "*.log")]}],
                                       {"file": {"path": str(self.out), "sync_interval": "50ms"}})
        self.run = runs(self.config)
        self.socket = folder / "state/run.sock"
        self.taps = []
        wait_for("the control socket", self.socket.exists)
        self.run.wait_accepted(1)  # no watcher sees it any more

    def write(self, count=1, text=None):
        with open(self.log, "a") as log:
            log.write(text if text is not None else self.conn.text(self.next, self.next + count, header=False))
        self.next += count if text is None else 0
        return time.monotonic()

    def tap(self, *options, is_watching=True):
        before = self.watchers("somebody watches what passes")
        self.taps.append(Tap(self.config, *options))
        if is_watching:
            wait_for("the watcher to be known", lambda: self.watchers("somebody watches what passes") > before)
        return self.taps[-1]

    def assert_prompt(self, tap, text=None, times=5):
        """Write a line so many times, each when the one before is shown. A busy machine may hold up some of them for a while;
        what is kept back until a batch is full, or until a linger is over, is late each time."""
        late = []
        for i in range(times):
            wrote = self.write(text=text)
            wait_for("the line to be shown", lambda: len(tap.shown) > i, timeout=PATIENCE_S, pause=0.005)
            late.append(tap.shown[i][1] - wrote)
        assert sorted(late)[times // 2] < 1.0, late

    def watchers(self, words):
        """Lines of the log with these words, those that were folded counted too."""
        return self.run.log().count(words)

    def written(self):
        return self.out.read_text().splitlines() if self.out.exists() else []


@pytest.fixture
def watched(runs):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tlt-", dir="/tmp"))  # short: a socket's path has 107 bytes
    made = Watched(folder, runs)
    yield made
    for tap in made.taps:
        tap.process.kill()
        tap.process.wait()
    made.run.kill()
    shutil.rmtree(folder)


@pytest.mark.parametrize("stage", ["raw", "record", "event", "sent"])
def test_what_passes_is_shown_within_a_second(watched, stage):
    tap = watched.tap("--stage", stage)
    watched.assert_prompt(tap)
    assert tap.stop() == 0
    if stage == "raw":
        assert tap.lines() == [watched.conn.line(i).rstrip("\n") for i in range(1, 6)]
    elif stage == "record":
        assert [record["uid"] for record in tap.documents()] == [f"C{i:017d}" for i in range(1, 6)]
        cells = watched.conn.line(1).rstrip("\n").split("\t")
        assert all(cells[watched.conn.at[name]] == value for name, value in tap.documents()[0].items() if isinstance(value, str))
    else:
        wait_for("the file", lambda: len(watched.written()) == 6)
        assert tap.lines() == watched.written()[1:]


def test_dead_letters(watched):
    tap = watched.tap("--stage", "dead", "--count", "5")
    watched.write(3)
    watched.assert_prompt(tap, GARBAGE)
    assert tap.wait() == 0
    assert len(tap.documents()) == 5
    for letter in tap.documents():
        assert letter["event"]["kind"] == "pipeline_error" and letter["event"]["original"] == GARBAGE.rstrip()
        assert letter["log"]["file"]["path"] == str(watched.log)


def test_only_what_fits(watched):
    wanted = watched.tap("--dataset", "zeek.connection", "--match", f"event.id=C{7:017d}", "--match", "event.module=zeek")
    other = watched.tap("--dataset", "zeek.dns")
    of_list = watched.tap("--match", "related.ip=" + watched.conn.line(7).split("\t")[watched.conn.at["id.orig_h"]], "--rate", "1000/s")
    record = watched.tap("--stage", "record", "--match", f"uid=C{8:017d}")
    raw = watched.tap("--stage", "raw", "--match", f"C{9:017d}")
    watched.write(20)
    wait_for("the file", lambda: len(watched.written()) == 21)
    wait_for("what fits", lambda: wanted.shown and of_list.shown and record.shown and raw.shown)
    for tap in (wanted, other, of_list, record, raw):
        assert tap.stop() == 0, tap.errors()
    assert [document["event"]["id"] for document in wanted.documents()] == [f"C{7:017d}"]
    assert other.lines() == []
    address = watched.conn.line(7).split("\t")[watched.conn.at["id.orig_h"]]
    expected = [line for line in watched.written()[1:] if address in json.loads(line)["related"]["ip"]]
    assert of_list.lines() == expected and expected
    assert [document["uid"] for document in record.documents()] == [f"C{8:017d}"]
    assert raw.lines() == [watched.conn.line(9).rstrip("\n")]


def test_the_rate_holds_and_what_is_not_shown_is_told(watched):
    tap = watched.tap("--rate", "10/s")
    record = watched.tap("--stage", "record", "--rate", "10")
    begin = time.monotonic()
    for _ in range(20):
        watched.write(100)
        time.sleep(0.1)
    wait_for("the file", lambda: len(watched.written()) == 2001)

    def left_out(one):
        told = [line for line in one.errors().splitlines() if "not shown" in line]  # every 10 s, and at the end
        return int(told[-1].split()[2]) if told else 0

    for one in (tap, record):
        wait_for("what is shown and what is not", lambda: len(one.shown) + left_out(one) == 2000)
        assert one.stop() == 0
        seconds = one.shown[-1][1] - begin
        assert 10 <= len(one.shown) <= 10 + 10 * seconds + 1
        assert left_out(one) == 2000 - len(one.shown), one.errors()


def test_a_long_document_is_counted_and_a_long_line_cut(watched):
    events, lines = watched.tap("--count", "1"), watched.tap("--stage", "raw")
    cells = watched.conn.line(0).rstrip("\n").split("\t")
    cells[watched.conn.at["history"]] = "S" * 200_000
    watched.write(text="\t".join(cells) + "\n")
    watched.write(1)
    wait_for("the second one", lambda: len(events.shown) == 1 and len(lines.shown) == 2)
    assert events.wait() == 0 and lines.stop() == 0  # an end by itself says what was left out, without a wait for the next telling
    assert "1 were not shown because they are longer than 128 KiB" in events.errors()
    assert lines.lines()[0].endswith(" …") and lines.lines()[0].startswith(cells[0]) and len(lines.lines()[0]) == 128 * 1024 + 2


def test_at_most_so_many_watch_and_who_is_killed_makes_room(watched):
    taps = [watched.tap() for _ in range(WATCHERS_MAX)]
    refused = watched.tap(is_watching=False)
    assert refused.wait() == 1 and "8 watch here already" in refused.errors()
    watched.write(3)
    wait_for("all to see it", lambda: all(len(tap.shown) == 3 for tap in taps))
    taps[3].process.kill()
    wait_for("it to be forgotten", lambda: "nobody watches here any more" in watched.run.log())
    more = watched.tap()
    watched.write(1)
    wait_for("the new one to see it", lambda: len(more.shown) == 1)
    watched.run.stop()  # ends whoever watches
    assert more.wait() == 0


def test_who_does_not_read_holds_up_nobody_and_is_let_go(watched):
    with socket.socket(socket.AF_UNIX) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(str(watched.socket))
        client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"tap","params":{"stage":"event","rate":100000}}\n')
        wait_for("the watcher to be known", lambda: "somebody watches what passes" in watched.run.log())
        for _ in range(30):
            watched.write(1000)
            time.sleep(0.02)
        wait_for("everything to be delivered", lambda: len(watched.written()) == 30_001, timeout=120)
        wait_for("the watcher to be let go", lambda: "nobody watches here any more" in watched.run.log(), timeout=PATIENCE_S)
        got = 0
        while more := client.recv(1 << 20):
            got += len(more)
    assert got < 30_000 * 900, "it was let go before it had all"
    rig.Documents(watched.out).assert_each_once(30_001)
    tap = watched.tap()
    watched.write(1)
    wait_for("another one to see what comes", lambda: len(tap.shown) == 1)
    watched.run.stop()


@pytest.mark.parametrize("options, code, words", [
    (["--stage", "enriched"], 100, "no intelligence is configured"),
    (["--stage", "raw", "--dataset", "zeek.dns"], 100, "has no dataset yet"),
    (["--stage", "cooked"], 100, "--stage is raw, record"),
    (["--match", "nonsense"], 100, "no field=value"),
    (["--rate", "0"], 100, "--rate is 1 to"),
    (["--count", "-1"], 100, "--count a number above 0"),
    (["--process", "feed-0"], 111, "no process feed-0 listens"),
    (["word"], 100, '"word" was given'),
])
def test_refusals(watched, options, code, words):
    tap = watched.tap(*options, is_watching=False)
    assert tap.wait() == code and words in tap.errors(), tap.errors()
    assert tap.lines() == []


def test_only_its_group_may_speak(watched):
    mode = watched.socket.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660


def test_a_feeder_is_watched_too(broker, feeds):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tlt-", dir="/tmp"))
    out = folder / "out.ndjson"
    site = Site(folder, broker, types.SimpleNamespace(url=""), feed=LONG_SESSION,
                sinks={"file": {"path": str(out), "sync_interval": "50ms"}})
    site.put(MONTHLY, [document(MONTHLY, 0)])
    feed = feeds(site.config)
    taps = []
    try:
        wait_for("a first document", lambda: out.exists() and out.read_text().count("\n") == 1, timeout=60)
        refused = Tap(site.config, "--stage", "raw")
        assert refused.wait() == 100 and "a feeder reads documents, no lines" in refused.errors()
        taps = [Tap(site.config, "--process", "feed-0"), Tap(site.config, "--stage", "sent", "--dataset", DAILY)]
        wait_for("both to be known", lambda: feed.log().count("somebody watches what passes") == 2)
        site.put(DAILY, (document(DAILY, i) for i in range(1, 4)))
        site.put(MONTHLY, [document(MONTHLY, 4)])
        wait_for("the documents", lambda: len(taps[0].shown) == 4 and len(taps[1].shown) == 3)
        wait_for("the file", lambda: out.read_text().count("\n") == 5)
        written = out.read_text().splitlines()[1:]
        assert sorted(taps[0].lines()) == sorted(written)
        assert sorted(taps[1].lines()) == sorted(line for line in written if json.loads(line)["event"]["dataset"] == DAILY)
        assert [tap.stop() for tap in taps] == [0, 0]
    finally:
        for tap in taps:
            tap.process.kill()
            tap.process.wait()
        feed.kill()
        shutil.rmtree(folder)
