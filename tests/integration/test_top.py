"""`tapline top` on a terminal: what is wrong is read first, every view and key does what help says, it fits 80x24 and whatever the
terminal is resized to, and the terminal is as it was when it ends, however it ends.

Most is shown a stand-in's documents, which say exactly what a test wants; the last ones a real `tapline run`.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import json
import os
import re
import shutil
import signal
import tempfile
import termios
import time

import pytest

import controlling
import rig
from controlling import TAPLINE
from terminal import BACKSPACE, DOWN, END, ENTER, ESCAPE, HOME, TAB, Terminal

VIEWS = ("Overview", "Sensors", "Logs", "Stages", "Sinks", "Partitions", "Intel")
SILENT_S = 40  # after ten seconds without an answer it is said
# Ten seconds as is promised, of which a few are needed; and as many for what else a machine has to do. What is only told with the
# next line of the health log comes later than that.
SHOWN_S = 20
UNSTYLED = {"fg": "default", "bg": "default"}


def iso(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def files(count):
    return [{"path": f"/var/log/zeek/log-{i:03d}.log", "size_bytes": 1000 * i, "read_position_bytes": 900 * i,
             "accepted_position_bytes": 800 * i, "lag_bytes": 200 * i, "lag_seconds": i / 10, "rotations": i % 3} for i in range(count)]


class Host:
    """What processes say, by second: counters grow by 100 a second."""

    def __init__(self, main):
        self.problems, self.more, self.count = [], {}, 3
        self.begin = time.time() - 1000
        self.is_silent = False
        self.step = 0  # documents are this old at most: Main has those of others from its last turn
        main.on["health.all"] = lambda *_: self.answer()

    def answer(self):
        if self.is_silent:
            raise controlling.Refused(-32003, "not now")
        now = self.now()  # of all that is said in one answer: rates are exact, however long it takes to write it
        return {"processes": [self.document("serve", rows=self.serve_rows(now), now=now),
                              self.document("run", self.problems, self.run_rows(now), now)]}

    def now(self):
        return time.time() // self.step * self.step if self.step else time.time()

    def document(self, process, problems=(), rows=None, now=None):
        now = now or self.now()
        worst = {p["severity"] for p in problems}
        state = "failing" if "error" in worst else "degraded" if "warn" in worst else "ok"
        own = {"start_timestamp_seconds": self.begin, "resident_memory_bytes": 50 << 20, "cpu_seconds": now - self.begin, "ready": 1}
        return {"node": "sensor-1", "process": process, "instance": 0, "pid": 1, "version": "0", "started": iso(self.begin),
                "time": iso(now), "state": state, "ready": True, "left_out": 0, "problems": list(problems),
                "counters": {"ingest.lines": int(100 * (now - self.begin))} if process == "run" else {},
                "rows": {"process": [own]} | (rows or {})}

    def run_rows(self, now=None):
        now = now or self.now()
        done = int(100 * (now - self.begin))
        latency = {"count": 200, "sum": 3.0, "p50": 0.012, "p90": 0.04, "p99": 0.25, "buckets": [[0.025, 150], [0.25, 198], ["+Inf", 200]]}
        stage = {"in": done, "out": done, "batches": done // 10, "busy_seconds": (now - self.begin) / 2, "queue_used": 4,
                 "queue_capacity": 16, "held": 1}
        return {"file": files(self.count), "stage": [{"stage": "ingest", "worker": ""} | stage, {"stage": "kafka", "worker": ""} | stage],
                "sink": [{"sink": "kafka", "in_flight": 17, "stalled_seconds": 0, "documents": done, "up": 1, "latency": latency}],
                "dead": [{"stage": "normalize", "reason": "undecodable", "records": 7, "last_timestamp_seconds": time.time() - 5}],
                "consumer_partition": [{"group": "g", "topic": "zeek.dns", "partition": "3", "position": 10, "end": 52, "lag_records": 42,
                                        "lag_seconds": 3.5}],
                "intel": [{"state": 2, "indicators": 123456, "store_up": 1, "hit_rate_ratio": 0.0125}],
                "latency": [{"step": "event_accepted", "latency": latency}]} | self.more

    def serve_rows(self, now):
        return {"supervised": [{"node": "zeek-1", "group": "workers", "state": 3, "wanted": 1, "running": 1, "restarts": 2,
                                "start_timestamp_seconds": self.begin, "resident_memory_bytes": 300 << 20,
                                "cpu_seconds": (now - self.begin) / 4}]}

    def problem(self, code, severity, component, kind, labels, text, help):
        self.problems.append({"code": code, "severity": severity, "component": component, "since": iso(time.time() - 130), "text": text,
                              "help": help, "kind": kind, "labels": labels})


@pytest.fixture
def host(main):
    (main.home / "tapline.yml").write_text(json.dumps(
        {"node": {"name": "sensor-1", "state": str(main.home / "state")}, "serve": {"socket": str(main.socket)}}))
    made = Host(main)
    made.config = main.home / "tapline.yml"
    return made


main = controlling.main


def top(host, *options, rows=24, columns=80, **env):
    return Terminal([TAPLINE, "top", "-c", host.config, "--interval", "300ms", *options], rows, columns, **env)


def broken(host):
    host.problem("sink_stalled", "error", "sink kafka", "sink", {"sink": "kafka"},
                 "kafka (127.0.0.1:9092) has accepted nothing for 2m10s; 17 documents wait for it",
                 "Is the broker up, and can it be reached from here? Nothing is lost: reading waits.")
    host.problem("file_lag", "warn", "file /var/log/zeek/log-002.log", "file", {"path": "/var/log/zeek/log-002.log"},
                 "/var/log/zeek/log-002.log is 2m behind", "Look at sinks and stages first.")


# ---- what is shown -----------------------------------------------------------------------------------------------------


def test_problems_come_first_with_what_to_do(host):
    broken(host)
    with top(host) as terminal:
        terminal.wait("run ")
        lines = terminal.lines()
        assert "sensor-1" in lines[0] and "FAILING, 2 problems" in lines[0] and "by Main" in lines[0]
        assert re.fullmatch(r"ERROR sink kafka \(run\), for 2m\d\ds: sink_stalled", lines[2])
        assert "has accepted nothing for 2m10s" in lines[3]
        assert any("Is the broker up" in line for line in lines[4:8])
        assert [line.split()[0] for line in lines if line.startswith(("ERROR", "WARN"))] == ["ERROR", "WARN"]
        assert terminal.look_of("ERROR sink kafka").fg == "red" and terminal.look_of("tapline top").bg == "red"
        host.problems.clear()
        terminal.wait("No problems.")
        terminal.wait_until("a head that says so", lambda: "OK, 0 problems" in terminal.lines()[0])
        assert terminal.look_of("tapline top").bg == "green"
        terminal.press("q")
        assert terminal.end() == (0, None)


def test_rates_and_totals(host):
    with top(host) as terminal:
        terminal.wait_until("rates", lambda: re.search(r"^  run +(9|10)\d +(9|10)\d +0 +600 +3\.5s", terminal.text(), re.M))
        assert "50.0M" in terminal.wait("run  ")
        terminal.wait_until("latency", lambda: re.search(r"event_accepted +run +200 +12ms +40ms +250ms", terminal.text()))
        terminal.press("4")
        terminal.wait_until("busy", lambda: re.search(r"ingest +run +(9|10)\d +(9|10)\d +(49|50)\.\d% +25\.0%", terminal.text()))
        terminal.press("2")
        terminal.wait_until("the sensor", lambda: re.search(r"zeek-1 +workers +up +yes +yes +2 +1[678]m\d\ds +2[45]\.\d% +300M", terminal.text()))


def test_every_view_by_number_and_by_tab(host):
    marks = ("Processes", "zeek-1", "/var/log/zeek/log-002.log", "Dead letters", "In flight", "zeek.dns", "Indicators")
    with top(host) as terminal:
        terminal.wait("Processes")
        for i, mark in enumerate(marks):
            terminal.press(str(i + 1))
            terminal.wait(mark)
            terminal.wait_until("its name to be lit", lambda: terminal.look_of(f"{i + 1} {VIEWS[i]}").reverse)
        for mark in marks:
            terminal.press(TAB)
            terminal.wait(mark)
        terminal.press("3")
        terminal.wait("log-001")


def test_sort_reverse_filter_and_open_one(host):
    host.count = 40
    broken(host)
    order = lambda: re.findall(r"log-(\d{3})", terminal.text())  # noqa: E731
    with top(host) as terminal:
        terminal.wait("Overview")
        terminal.press("3")
        terminal.wait("log-039")
        terminal.wait_until("the furthest behind first", lambda: order()[:3] == ["039", "038", "037"])
        terminal.press("r")
        terminal.wait_until("the order turned", lambda: order()[:2] == ["000", "001"])
        assert terminal.wait("log-002.log").startswith("?")  # it has a problem
        terminal.press(DOWN, END)
        terminal.wait_until("the end", lambda: order()[-1] == "039")
        terminal.press(HOME)
        terminal.wait_until("the begin", lambda: order()[0] == "000")
        terminal.press("s", "s", "s", "s", "s")
        terminal.wait_until("sorted by name", lambda: "▲Log" in terminal.text() and order()[:2] == ["000", "001"])
        terminal.press(*"/LOG-02", ENTER)
        terminal.wait_until("the filter", lambda: order() == [f"{i:03d}" for i in range(20, 30)])
        terminal.wait_until("the filter's words", lambda: "only: LOG-02" in terminal.lines()[-1])
        terminal.press("/", BACKSPACE, ENTER)
        terminal.wait("log-018")
        terminal.press(ESCAPE)
        terminal.wait_gone("only:")
        terminal.press("/", *"log-002", ENTER, ENTER)
        terminal.wait("file of run")
        terminal.wait("is 2m behind")
        terminal.wait_until("its past", lambda: re.search(r"size_bytes +2\.00k?\b.*█|size_bytes +1\.95K +█+", terminal.text()))
        terminal.press(ESCAPE)
        terminal.wait_gone("file of run")
        terminal.press("1", ENTER)  # the first problem's sink
        terminal.wait("sink of run  kafka")
        terminal.press(END)
        terminal.wait("latency: how many took")
        terminal.wait_until("how many took 25 ms", lambda: re.search(r"25ms +150 #+", terminal.text()))


def test_pause_and_help(host):
    with top(host) as terminal:
        terminal.wait("Processes")
        terminal.press("3", "p")
        assert "PAUSED" in terminal.wait("PAUSED")
        host.count = 7
        terminal.take(1.0)
        assert "log-006" not in terminal.text()
        terminal.press("p")
        terminal.wait("log-006")
        terminal.press("h")
        terminal.wait("the other way round")
        terminal.press(ESCAPE)
        terminal.wait("log-006")


def test_a_silent_main_is_said(host):
    with top(host) as terminal:
        terminal.wait("No problems.")
        host.is_silent = True
        terminal.wait("process run has not answered for", SILENT_S)
        terminal.wait_until("a head that says so", lambda: "FAILING" in terminal.lines()[0])
        assert re.search("^  run ", terminal.text(), re.M)  # what it said last
        host.is_silent = False
        terminal.wait("No problems.")


def test_who_is_not_known_to_main_is_asked_too(host, main):
    """A feeder of another user: Main does not have its document."""
    (main.home / "state").mkdir()
    feeder = controlling.Main(main.home / "state")
    feeder.on["health"] = lambda *_: host.document("feed") | {"process": "feed"}
    try:
        with top(host) as terminal:
            terminal.wait("feed-0")
            terminal.wait_until("its rates, and those that Main has", lambda: re.search(r"^  run +(9|10)\d ", terminal.text(), re.M))
            assert "by Main, main" in terminal.lines()[0]
        asked = [method for method, _ in feeder.asked]
        assert set(asked) == {"health"}
    finally:
        feeder.die()


def test_nobody_there_is_said(host, main):
    main.die()
    main.socket.unlink()
    with top(host) as terminal:
        terminal.wait("No process of tapline answers")
        terminal.wait("-c FILE")
        main.start()
        terminal.wait("No problems.")


# ---- terminals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows, columns", [(24, 80), (15, 60), (60, 200), (10, 40), (4, 20)])
def test_it_fits(host, rows, columns):
    broken(host)
    host.count = 100
    with top(host, rows=rows, columns=columns) as terminal:
        terminal.wait("tapline top")
        for view in "1234567":
            terminal.press(view)
            terminal.wait_until("a whole screen", lambda: fits(terminal.screen.display, rows))
        terminal.press("3")
        if rows >= 15:
            assert "log-099.log" in terminal.wait("099.log"), "a name's end is kept"


def fits(lines, rows):
    """Head and foot are there, and numbers stand below their titles: each row of a table ends where its head ends."""
    tables = [(head, row) for head, row in zip(lines, lines[1:]) if rows >= 15 and "Behind" in head and "/log-" in row]
    return lines[0].startswith("tapline top") and lines[-1].startswith("h help") and all(
        row[len(head.rstrip()) - 1] != " " for head, row in tables)


def test_resized_while_it_runs(host):
    host.count = 100
    with top(host) as terminal:
        terminal.wait("Processes")
        terminal.press("3")
        terminal.wait("log-099")
        for rows, columns in ((15, 60), (50, 200), (24, 80), (3, 10), (24, 80)):
            terminal.resize(rows, columns)
            terminal.wait_until("the new size to be filled", lambda: terminal.screen.display[-1].startswith("h help"[:columns]) and
                                terminal.screen.display[0].startswith("tapline top"[:columns - 1]))
        terminal.wait("log-099")


@pytest.mark.parametrize("term, locale", [("vt100", "C"), ("linux", "C"), ("screen", "C.UTF-8"), ("xterm-256color", "C.UTF-8"), ("vt100", "C.UTF-8")])
def test_terminals_and_locales(host, term, locale):
    broken(host)
    host.more = {"file": [{"path": "/var/log/zeek/bücher.log", "lag_bytes": 1, "lag_seconds": 1}]}
    with top(host, term=term, LC_ALL=locale) as terminal:
        terminal.wait("ERROR sink kafka")
        assert terminal.look_of("ERROR sink").bold
        terminal.press("3")
        terminal.wait("bücher.log" if locale == "C.UTF-8" else "b?cher.log")
        terminal.press(ENTER)
        terminal.wait("file of run")
        terminal.wait_until("its past", lambda: ("█" if locale == "C.UTF-8" else "###") in terminal.text())
        if term == "vt100":
            assert not any(one._asdict() | UNSTYLED != one._asdict() for row in terminal.screen.buffer.values() for one in row.values())
        if locale == "C":
            assert terminal.text().isascii()
        terminal.press("q")
        assert terminal.end() == (0, None)


def test_names_from_the_network_cannot_drive_the_terminal(host):
    host.more = {"file": [{"path": "/logs/\033[2J\033]0;owned\007\u009b31m<x>.log", "lag_bytes": 1, "lag_seconds": 1}]}
    with top(host) as terminal:
        terminal.wait("Processes")
        terminal.press("3")
        terminal.wait("<x>.log")
        assert b"owned" in terminal.sent and b"\033]0;" not in terminal.sent and b"\xc2\x9b" not in terminal.sent


def test_little_is_sent_while_little_changes(host):
    with top(host, "--interval", "1s") as terminal:
        terminal.wait("No problems.")
        terminal.take(2)
        windows = []
        while not windows or len(windows) < 4 and windows[-1] >= 4 * 400:  # on a busy machine the first rates may come late
            before = len(terminal.sent)
            terminal.take(4)
            windows.append(len(terminal.sent) - before)
        assert windows[-1] < 4 * 400, (windows, terminal.sent[before:])


# ---- its end ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT, signal.SIGSEGV])
def test_the_terminal_is_given_back_however_it_ends(host, number):
    with top(host) as terminal:
        terminal.wait("Processes")
        assert termios.tcgetattr(terminal.child.child_fd) != terminal.modes
        os.kill(terminal.child.pid, number)
        terminal.wait_until("its end", lambda: not terminal.child.isalive())
        terminal.take(0.5)
        died = number in (signal.SIGABRT, signal.SIGSEGV)
        if not os.environ.get("TAPLINE_SANITIZED"):
            assert (terminal.child.exitstatus, terminal.child.signalstatus) == ((None, number) if died else (0, None))
        assert b"\033[?1049l" in terminal.sent[-200:]  # the screen that was there before
        assert b"\033[?25h" in terminal.sent[-200:] or b"\033[?12l\033[?25h" in terminal.sent  # with its cursor
        assert termios.tcgetattr(terminal.child.child_fd) == terminal.modes


def test_it_ends_when_the_terminal_goes(host):
    terminal = top(host)
    terminal.wait("Processes")
    os.close(terminal.child.child_fd)
    for _ in range(300):
        if os.waitpid(terminal.child.pid, os.WNOHANG)[0]:
            break
        time.sleep(0.1)
    else:
        os.kill(terminal.child.pid, signal.SIGKILL)
        pytest.fail("it goes on without a terminal")


@pytest.mark.parametrize("options, env, words", [
    (["--json"], {}, "--json goes with --once"),
    (["--interval", "1"], {}, "--interval is a time from 200ms"),
    ([], {"TERM": "no-such-terminal"}, 'no terminal "no-such-terminal" is known'),
])
def test_refusals(host, options, env, words):
    with Terminal([TAPLINE, "top", "-c", host.config, *options], columns=200, **{"term": env.get("TERM", "xterm")}) as terminal:
        code = terminal.end()
        assert words in terminal.text() and code == (100, None)


def test_without_a_terminal_it_says_what_to_take(host, main):
    done = controlling.tapline(main, "top", "-c", str(host.config))
    assert done.returncode == 100 and "--once" in done.stderr and done.stdout == ""


# ---- once --------------------------------------------------------------------------------------------------------------------


def test_once_for_people(host, main):
    broken(host)
    done = controlling.tapline(main, "top", "-c", str(host.config), "--once")
    assert done.returncode == 0, done.stderr
    assert "\033" not in done.stdout
    for text in ("FAILING, 2 problems", "ERROR sink kafka (run)", "Is the broker up", "/var/log/zeek/log-002.log", "zeek-1", "123k", "zeek.dns",
                 "undecodable"):
        assert text in done.stdout, text
    assert re.search(r"^  run +(9|10)\d +(9|10)\d ", done.stdout, re.M), done.stdout


def test_once_as_json_is_the_documents_and_their_rates(host, main):
    done = controlling.tapline(main, "top", "-c", str(host.config), "--once", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [document["process"] for document in told["documents"]] == ["serve", "run"]
    serve, run = told["documents"]
    expected = host.document("run", rows=host.run_rows())
    assert run.keys() == expected.keys() and run["rows"].keys() == expected["rows"].keys()
    assert run["rows"]["file"] == files(3)
    rates = {one["process"]: one for one in told["rates"]}
    assert 90 < rates["run"]["counters"]["ingest.lines"] < 110 and 0.5 < rates["run"]["seconds"] < 30
    assert 90 < rates["run"]["rows"]["sink"][0]["documents"] < 110 and rates["run"]["rows"]["sink"][0]["sink"] == "kafka"
    assert rates["run"]["rows"]["file"][1] == {"path": "/var/log/zeek/log-001.log", "read_position_bytes": 0, "accepted_position_bytes": 0,
                                               "rotations": 0}
    assert rates["serve"]["rows"]["supervised"][0]["cpu_seconds"] == pytest.approx(0.25, abs=0.02)


def test_once_waits_for_a_second_document_of_each(host, main):
    host.step = 2.5
    told = json.loads(controlling.tapline(main, "top", "-c", str(host.config), "--once", "--json", "--interval", "200ms").stdout)
    rates = {one["process"]: one for one in told["rates"]}
    turns = round(rates["run"]["seconds"] / 2.5)  # more than one if it was held up
    assert turns >= 1 and rates["run"]["seconds"] == pytest.approx(2.5 * turns, abs=0.01)
    assert rates["run"]["counters"]["ingest.lines"] == pytest.approx(100, abs=1)


def test_once_without_anybody(host, main):
    main.die()
    main.socket.unlink()
    done = controlling.tapline(main, "top", "-c", str(host.config), "--once")
    assert done.returncode == 111 and "No process of tapline answers" in done.stdout


# ---- a real one ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder():
    made = rig.pathlib.Path(tempfile.mkdtemp(prefix="tlt-", dir="/tmp"))  # short: a socket's path has 107 bytes
    yield made
    shutil.rmtree(made)


def real(folder, sinks):
    (folder / "conn.log").write_text(rig.ConnLog().text(0, 100))
    return rig.config_write(folder / "tapline.yml", [{"type": "zeek", "paths": [str(folder / "*.log")]}], sinks, health={})


def test_garbage_fed_to_a_real_run_is_on_the_screen_within_ten_seconds(folder, runs, main):
    """No Main: `run` is asked by itself."""
    config = real(folder, {"file": {"path": str(folder / "out.ndjson")}})
    run = runs(config)
    with Terminal([TAPLINE, "top", "-c", config], rows=40, columns=120) as terminal:
        terminal.wait("No problems.")
        assert "by run" in terminal.lines()[0]
        with open(folder / "dns.log", "w") as bad:
            bad.write("this is no record\n" * 7)
        terminal.wait_until("the dead letters and their file", lambda: "dead" in terminal.text() and str(folder / "dns.log") in terminal.text(),
                            SHOWN_S)
        terminal.press("3")
        terminal.wait("conn.log")
        told = json.loads(controlling.tapline(main, "top", "-c", str(config), "--once", "--json").stdout)
        [document] = told["documents"]
        assert document["pid"] == run.pid and document["counters"]["normalize.dead"] == 7
        assert {row["path"] for row in document["rows"]["file"]} <= {str(folder / name) for name in ("conn.log", "dns.log", "(others)")}
        run.kill()
        terminal.press("1")
        terminal.wait("process run has not answered", SILENT_S)


def test_a_broker_that_is_not_there_is_on_the_screen_within_ten_seconds(folder, runs):
    address = f"127.0.0.1:{rig.free_port()}"
    config = real(folder, {"kafka": {"partitions": 2, "rdkafka": {"bootstrap.servers": address}}})
    runs(config)
    with Terminal([TAPLINE, "top", "-c", config], rows=40, columns=120) as terminal:
        terminal.wait_until("the broker to be an error", lambda: "ERROR" in terminal.text() and address in terminal.text(), SHOWN_S)
        terminal.wait_until("a head that says so", lambda: "FAILING" in terminal.lines()[0])
