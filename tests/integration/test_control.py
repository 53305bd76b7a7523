"""The commands that talk to Main: what they ask, what people and programs see, and their exit codes.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time

import pytest

from controlling import PATIENCE_S, TAPLINE, Refused, environment, main, node, tapline  # noqa: F401: main is a fixture
from serving import program, serving  # noqa: F401: serving is a fixture

NODES = [node("manager", "manager"), node("worker-1"), node("worker-2", state="ready")]


def rows(text):
    """Lines of a table as lists of cells."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


# ---- status and tables ---------------------------------------------------------------------------------------------------------

def test_status_is_zeekctls_table(main):
    main.on["status"] = {"supervisor": {}, "nodes": NODES}
    done = tapline(main, "status")
    assert done.returncode == 0, done.stderr
    table = rows(done.stdout)
    assert table[0][:6] == ["Name", "Type", "Host", "Status", "Pid", "Started"]
    assert [line[0] for line in table[1:]] == ["manager", "worker-1", "worker-2"]
    assert table[2][3:5] == ["up", "4711"]
    assert re.fullmatch(r"\d\d \w{3} \d\d:\d\d:\d\d", table[2][5])
    starts = [line.index("localhost") for line in done.stdout.splitlines()[1:]]
    assert len(set(starts)) == 1, "columns are aligned"
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "\033" not in done.stdout
    assert not re.search(r" $", done.stdout, re.M)
    assert main.asked == [("status", {})]


def test_status_with_all_there_is_to_say(main):
    main.on["status"] = {"nodes": NODES}
    table = rows(tapline(main, "status", "--long").stdout)
    assert table[0] == ["Name", "Status", "Pid", "Started", "CPU s", "Memory", "Threads", "Starts", "Deaths"]
    assert table[1][4:] == ["1.5", "3.0 MiB", "2", "1", "0"]


@pytest.mark.parametrize("state", ["down", "starting", "stopping", "backoff", "latched"])
def test_status_is_no_if_a_node_is_not_up(main, state):
    main.on["status"] = {"nodes": [NODES[0], node("worker-1", state=state, reason="exit 7: no such interface", deaths=5,
                                                  last_end="exit 7")]}
    done = tapline(main, "status", "workers", "manager")
    assert done.returncode == 1
    assert "exit 7: no such interface; died 5 times, last: exit 7" in done.stdout
    assert main.asked == [("status", {"nodes": ["workers", "manager"]})]


def test_nothing_deployed_is_no(main):
    main.on["status"] = {"nodes": []}
    done = tapline(main, "status")
    assert done.returncode == 1
    assert "tapline deploy" in done.stderr and done.stdout == ""


def test_json_is_the_result_as_it_came(main):
    result = {"supervisor": {"is_linked": True}, "nodes": [node("ä\n", state="latched", unknown=[1, 2.50, None])]}
    main.on["status"] = result
    done = tapline(main, "status", "--json")
    assert json.loads(done.stdout) == result
    assert done.stdout.count("\n") == 1
    assert done.returncode == 1, "--json answers the same question"


def on_terminal(main, *words, columns=80, seconds=PATIENCE_S, **env):
    """Output and exit code with stdout and stderr on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", str(columns), "rows", "24"], stdin=theirs, check=True)
    process = subprocess.Popen([TAPLINE, *words], env=environment(main, **env), stdin=subprocess.DEVNULL, stdout=theirs,
                               stderr=theirs)
    os.close(theirs)
    said, deadline = b"", time.monotonic() + seconds
    try:
        while True:
            assert select.select([ours], [], [], max(0, deadline - time.monotonic()))[0], said
            try:
                some = os.read(ours, 65536)
            except OSError:  # Linux's way to say that nobody has the other end any more
                some = b""
            if not some:
                break
            said += some
        return said.decode(), process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_terminal_gets_colours_and_lines_that_fit(main):
    main.on["status"] = {"nodes": [NODES[1], node("worker-2", state="latched", reason="word " * 40)]}
    said, code = on_terminal(main, "status")
    assert code == 1
    assert "\033[32mup\033[0m" in said and "\033[1;31mlatched\033[0m" in said
    plain = re.sub(r"\033\[[0-9;]*m", "", said)
    assert max(len(line) for line in plain.splitlines()) <= 80
    assert plain.count("word") == 40, "nothing is cut off"
    wide, _ = on_terminal(main, "status", columns=160, NO_COLOR="1")
    assert "\033" not in wide and "Note" in wide.splitlines()[0]
    column = wide.splitlines()[0].index("Note")
    assert wide.splitlines()[3][:column].strip() == "" and wide.splitlines()[3][column:].startswith("word word")


def test_what_a_sensor_says_cannot_control_the_terminal(main):
    main.on["status"] = {"nodes": [node("worker-1", state="down", reason="\033]0;owned\007 \u009b31m end")]}
    said, _ = on_terminal(main, "status", NO_COLOR="1")
    assert "\033" not in said and "\007" not in said and "\u009b" not in said
    assert "?]0;owned" in said
    main.on["nodes"] = {"nodes": [{"name": "worker-1"}]}
    main.on["logs.read"] = {"text": "\033[31mred\u009b1m\ttab\n", "offset": 0, "next": 17, "size": 17, "inode": 1}
    said, _ = on_terminal(main, "logs", "worker-1")
    assert "\033" not in said and "\u009b" not in said and "?[31mred?1m\ttab" in said.replace("    ", "\t")
    assert tapline(main, "logs", "worker-1").stdout == "\033[31mred\u009b1m\ttab\n", "a file gets the bytes"


# ---- start, stop, kill, deploy ---------------------------------------------------------------------------------------------------

def done_of(*ok, state="up"):
    return {"nodes": [{"name": f"worker-{i + 1}", "state": state, "ok": is_ok, "reason": "" if is_ok else "exit 1"}
                      for i, is_ok in enumerate(ok)]}


@pytest.mark.parametrize("words, method, params", [
    (["start"], "start", {}),
    (["start", "all"], "start", {"nodes": ["all"]}),
    (["stop", "worker-1", "proxies"], "stop", {"nodes": ["worker-1", "proxies"]}),
    (["stop", "--with-supervisor"], "shutdown", {}),
    (["restart", "worker-\"1"], "restart", {"nodes": ["worker-\"1"]}),
    (["kill", "worker-1"], "kill", {"nodes": ["worker-1"]}),
    (["kill", "-USR1", "worker-1"], "kill", {"nodes": ["worker-1"], "signal": "USR1"}),
    (["kill", "-9", "worker-1"], "kill", {"nodes": ["worker-1"], "signal": "9"}),
    (["kill", "--signal", "HUP", "all"], "kill", {"nodes": ["all"], "signal": "HUP"}),
    (["deploy"], "deploy", {"dry_run": False, "force": False}),
    (["deploy", "-n", "worker-1"], "deploy", {"nodes": ["worker-1"], "dry_run": True, "force": False}),
])
def test_words_become_params(main, words, method, params):
    main.on[method] = {**done_of(True), "ok": True}
    done = tapline(main, *words)
    assert (done.returncode, main.asked) == (0, [(method, params)]), done.stderr


@pytest.mark.parametrize("method", ["start", "stop", "restart", "kill"])
def test_one_that_failed_is_no(main, method):
    main.on[method] = done_of(True, False)
    done = tapline(main, method, "workers")
    assert done.returncode == 1
    assert rows(done.stdout)[2] == ["worker-2", "up", "exit 1"]


def starting(connection, request, params):
    for i in range(3):
        connection.progress(request, name=f"worker-{i}", state="starting", reason="")
        connection.progress(request, name=f"worker-{i}", state="ready", reason="listening on lo")
    return done_of(True)


def test_progress_is_a_line_a_change(main):
    main.on["start"] = starting
    done = tapline(main, "start")
    assert done.stderr.splitlines() == [line for i in range(3)
                                        for line in (f"worker-{i}: starting", f"worker-{i}: ready, listening on lo")]
    assert rows(done.stdout)[1] == ["worker-1", "up", "yes"]


def test_progress_on_a_terminal_is_one_line(main):
    main.on["start"] = starting
    said, code = on_terminal(main, "start", NO_COLOR="1", columns=20)
    before, _, after = said.rpartition("\r\033[K")
    assert code == 0 and "worker-2: ready, lis" not in before and "worker-2: ready, li" in before
    assert "\n" not in before, "it is written over, and gone before the table"
    assert after.startswith("Name")


@pytest.mark.parametrize("words, text", [
    (["kill"], "which nodes?"),
    (["kill", "-TERM"], "which nodes?"),
    (["stop", "--with-supervisor", "worker-1"], "makes no sense"),
    (["df", "worker-1"], "takes no arguments"),
    (["status", "--jsn"], "did you mean --json"),
    (["logs", "a", "b", "c"], '"c" was given'),
    (["logs", "a", "-n", "many"], "--lines is a number"),
    (["events", "--since", "yesterday"], "--since is how long ago"),
    (["status", "-c", "/nonexistent/tapline.yml"], "/nonexistent/tapline.yml"),
    (["status", "--socket", "x" * 300], "longer than"),
])
def test_wrong_calls(main, words, text):
    done = tapline(main, *words)
    assert done.returncode == 100 and text in done.stderr and done.stdout == "", done.stderr
    assert main.asked == []


@pytest.mark.parametrize("code, exit_code", [(-32000, 1), (-32001, 100), (-32602, 100), (-32002, 111), (-32003, 111),
                                             (-32603, 111)])
def test_refusals(main, code, exit_code):
    def refuse(*_):
        raise Refused(code, 'no node is named "wrker-1", did you mean "worker-1"?')
    main.on["start"] = refuse
    done = tapline(main, "start", "wrker-1")
    assert done.returncode == exit_code
    assert 'did you mean "worker-1"?' in done.stderr


def test_a_main_of_another_version(main):
    done = tapline(main, "capstats")
    assert done.returncode == 111 and '"capstats"' in done.stderr and "another version" in done.stderr


# ---- where Main is ----------------------------------------------------------------------------------------------------------------

def test_no_main(main):
    main.die()
    for words in (["status"], ["logs", "-f", "a"], ["events", "-f"], ["diag"]):
        done = tapline(main, *words)
        assert done.returncode == 111
        assert str(main.socket) in done.stderr and "tapline serve" in done.stderr and "Sensors run on" in done.stderr


def test_where_main_is_said_to_be(main, tmp_path):
    main.on["status"] = {"nodes": NODES}
    away = str(tmp_path / "nobody.sock")
    assert tapline(main, "status", TAPLINE_SOCKET=away).returncode == 111
    assert tapline(main, "status", "--socket", str(main.socket), TAPLINE_SOCKET=away).returncode == 0
    config = tmp_path / "tapline.yml"
    config.write_text(f"serve:\n  socket: {main.socket}\nsensors:\n  - half of an edit\n")
    done = tapline(main, "status", "-c", str(config), TAPLINE_SOCKET="")
    assert done.returncode == 0, done.stderr
    config.write_text("serve:\n  sokcet: /x\n")
    done = tapline(main, "status", "-c", str(config), TAPLINE_SOCKET="")
    assert done.returncode == 100 and "tapline.yml:2:3" in done.stderr and 'did you mean "socket"?' in done.stderr
    done = tapline(main, "status", TAPLINE_SOCKET="")
    assert done.returncode == 111 and "/run/tapline/main.sock" in done.stderr


def test_a_main_that_goes_away_meanwhile(main):
    def die(*_):
        main.die()
        return {}
    main.on["stop"] = die
    done = tapline(main, "stop", "all")
    assert done.returncode == 111 and "went away" in done.stderr


def test_ctrl_c_ends_the_waiting(main):
    asked = threading.Event()
    may_end = threading.Event()

    def slow(*_):
        asked.set()
        may_end.wait(PATIENCE_S)
        return done_of(True)
    main.on["start"] = slow
    process = subprocess.Popen([TAPLINE, "start"], env=environment(main), stderr=subprocess.PIPE, text=True)
    assert asked.wait(PATIENCE_S)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    may_end.set()
    assert process.returncode == 1 and "Main goes on with it" in said


# ---- logs ---------------------------------------------------------------------------------------------------------------------------

class Files:
    """logs.read over bytes that grow, are cut and change their inode."""

    def __init__(self, main, **texts):
        self.texts = {name.replace("_", "-"): text for name, text in texts.items()}
        self.inodes = {name: 1 for name in self.texts}
        self.lock = threading.Lock()
        main.on["nodes"] = lambda connection, request, params: {"nodes": [{"name": name} for name in self.texts]}
        main.on["logs.read"] = self.read

    def rotate(self, name, text):
        """Another file under the name: nobody sees half of that."""
        with self.lock:
            self.inodes[name] += 1
            self.texts[name] = text

    def read(self, connection, request, params):
        with self.lock:
            return self.piece(params)

    def piece(self, params):
        data = self.texts[params["node"]].encode()
        if "lines" in params:
            lines = data.splitlines(keepends=True)
            offset = len(data) - len(b"".join(lines[len(lines) - params["lines"]:] if params["lines"] else []))
        else:
            offset = min(params["offset"], len(data))
        text = data[offset:offset + 10]  # small pieces
        return {"text": text.decode(), "offset": offset, "next": offset + len(text), "size": len(data),
                "inode": self.inodes[params["node"]], "is_whole": offset + len(text) == len(data)}


class Following:
    """A command that goes on; lines of its stdout."""

    def __init__(self, main, *words):
        self.process = subprocess.Popen([TAPLINE, *words], env=environment(main), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self):
        return self

    def line(self):
        got = []
        reader = threading.Thread(target=lambda: got.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(PATIENCE_S)
        assert got, "no line came"
        return got[0].rstrip("\n")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_S)
        return self.process.returncode

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_logs_of_one_node(main):
    Files(main, worker_1="one\n")
    done = tapline(main, "logs", "worker-1")
    assert (done.returncode, done.stdout) == (0, "one\n")
    assert main.asked == [("nodes", {"nodes": ["worker-1"]}),
                          ("logs.read", {"node": "worker-1", "file": "stdout.log", "lines": 20})]
    tapline(main, "logs", "-n", "3", "worker-1", "reporter.log")
    assert main.asked[-1] == ("logs.read", {"node": "worker-1", "file": "reporter.log", "lines": 3})


def test_logs_follow_growth_rotation_and_a_new_main(main):
    files = Files(main, worker_1="first\n")
    with Following(main, "logs", "-f", "worker-1") as logs:
        assert logs.line() == "first"
        files.texts["worker-1"] += "second, which is longer than a piece\n"
        assert logs.line() == "second, which is longer than a piece"
        files.texts["worker-1"] = "cut\n"  # trimmed in place
        assert logs.line() == "cut"
        files.rotate("worker-1", "rotated\nanew\n")
        assert [logs.line(), logs.line()] == ["rotated", "anew"]
        main.die()
        files.texts["worker-1"] += "meanwhile\n"
        main.start()
        assert logs.line() == "meanwhile"
        assert logs.end() == 0


def test_logs_that_there_are_none_of(main):
    files = Files(main, worker_1="first\n", worker_2="second\n")
    refused = {"worker-1": Refused(-32003, "stdout.log of worker-1 cannot be opened"), "worker-2": None}

    def read(connection, request, params):
        if refused[params["node"]]:
            raise refused[params["node"]]
        return files.read(connection, request, params)
    main.on["logs.read"] = read
    done = tapline(main, "logs", "all")
    assert (done.returncode, done.stdout) == (111, "worker-2: second\n") and "of worker-1" in done.stderr
    with Following(main, "logs", "-f", "all") as logs:  # what is not there yet is waited for
        assert logs.line() == "worker-2: second"
        refused["worker-1"] = None
        assert logs.line() == "worker-1: first"
        assert logs.end() == 0
        assert logs.process.stderr.read().count("cannot be opened") == 1
    refused["worker-1"] = Refused(-32602, "file is the name of a file in the node's directory, without a path")
    done = tapline(main, "logs", "-f", "worker-1", "../passwd")
    assert done.returncode == 100 and "without a path" in done.stderr


def test_logs_of_several_nodes_do_not_mix(main):
    files = Files(main, worker_1="a long line, in pieces\n", worker_2="half a li")
    with Following(main, "logs", "-f") as logs:
        assert logs.line() == "worker-1: a long line, in pieces"
        files.texts["worker-1"] += "more\n"
        assert logs.line() == "worker-1: more"
        files.texts["worker-2"] += "ne\n"
        assert logs.line() == "worker-2: half a line"
        assert logs.end() == 0


# ---- events -------------------------------------------------------------------------------------------------------------------------

def test_events(main):
    main.event(kind="state", name="worker-1", **{"from": "up"}, to="backoff", reason="died", pid=0, signal=11, is_wanted=True)
    main.event(kind="alarm", name="worker-1", text="died 5 times")
    done = tapline(main, "events")
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"2026-11-22T04:00:00.000000Z +state +worker-1 +up -> backoff +died +signal=11", first)
    assert "alarm" in second and "died 5 times" in second
    done = tapline(main, "events", "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == main.events
    assert tapline(main, "events", "--since", "2026-11-23").stdout == ""
    assert len(tapline(main, "events", "--since", "2026-11-21").stdout.splitlines()) == 2


def test_no_events_end_at_once(main):
    done = tapline(main, "events")
    assert (done.returncode, done.stdout) == (0, "")


def test_events_follow_across_a_new_main(main):
    main.event(kind="state", name="a")
    with Following(main, "events", "-f", "--json") as events:
        assert json.loads(events.line())["seq"] == 1
        main.event(kind="state", name="b")
        assert json.loads(events.line())["name"] == "b"
        main.die()
        main.event(kind="state", name="c")
        main.start()
        assert json.loads(events.line())["name"] == "c", "none twice, none left out"
        assert events.end() == 0


def test_following_ends_with_its_reader(main):
    files = Files(main, worker_1="first\n")
    with Following(main, "logs", "-f", "worker-1") as logs:
        assert logs.line() == "first"
        logs.process.stdout.close()
        deadline = time.monotonic() + PATIENCE_S
        while logs.process.poll() is None:
            files.texts["worker-1"] += "more\n"
            assert time.monotonic() < deadline
            time.sleep(0.05)


# ---- check --sensors ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("is_fine", [True, False])
def test_check_asks_main_for_the_sensors(main, tmp_path, is_fine):
    main.on["check"] = {"ok": is_fine, "checks": [
        {"name": "manager", "program": "zeek", "ok": True, "text": ""},
        {"name": "worker-1 worker-2", "program": "zeek", "ok": is_fine,
         "text": "error in local.zeek, line 7: syntax error\nat or near \"}\"\n"}]}
    config = tmp_path / "tapline.yml"
    config.write_text("inputs: [{paths: [/nonexistent/*.log]}]\nsinks: {stdout: {}}\n")
    done = tapline(main, "check", "-c", str(config), "--sensors")
    assert done.returncode == (0 if is_fine else 1), done.stderr
    assert rows(done.stdout)[2][:2] == (["zeek", "yes"] if is_fine else ["zeek", "worker-1 worker-2"])
    said = 'zeek, for worker-1 worker-2:\n    error in local.zeek, line 7: syntax error\n    at or near "}"\n'
    assert is_fine != done.stdout.endswith(said)
    done = tapline(main, "check", "-c", str(config), "--sensors", "--json")
    assert done.returncode == (0 if is_fine else 1)
    assert json.loads(done.stdout)["sensors"] == main.on["check"]
    assert main.asked == [("check", {})] * 2
    main.asked.clear()
    assert "sensors" not in json.loads(tapline(main, "check", "-c", str(config), "--json").stdout)
    assert main.asked == []
    main.die()
    assert tapline(main, "check", "-c", str(config), "--sensors").returncode == 111


# ---- deploy -----------------------------------------------------------------------------------------------------------------------

def test_deploy_shows_what_becomes_of_each(main):
    def deploy(connection, request, params):
        connection.progress(request, name="worker-1 worker-2", state="checked", reason="")
        return {"ok": True, "dry_run": False, "rolled_back": False, "text": "", "warnings": ["node.cfg:12: no meaning here"],
                "checks": [{"name": "worker-1 worker-2", "program": "zeek", "ok": True, "text": ""}],
                "changes": [{"name": "worker-1", "change": "changed", "why": "argv env"},
                            {"name": "worker-2", "change": "added", "why": ""}],
                "files": [{"path": "/x/cluster-layout.zeek", "change": "changed"}],
                "nodes": [{"name": "worker-1", "state": "up", "ok": True, "reason": ""}]}
    main.on["deploy"] = deploy
    done = tapline(main, "deploy")
    assert done.returncode == 0 and done.stderr == "worker-1 worker-2: checked\n"
    assert rows(done.stdout) == [["Name", "Change", "Differs in"], ["worker-1", "changed", "argv env"], ["worker-2", "added"],
                                 ["Change", "File"], ["changed", "/x/cluster-layout.zeek"],
                                 ["Name", "Status", "Done"], ["worker-1", "up", "yes"],
                                 ["warning: node.cfg:12: no meaning here"]]
    main.on["deploy"] = {"ok": True, "changes": [], "files": [], "nodes": [], "checks": [], "text": "", "warnings": []}
    assert tapline(main, "deploy").stdout == "nothing differs from what is deployed\n"


def test_a_deploy_that_was_put_back_is_no(main):
    changes = [{"name": "worker-2", "change": "changed", "why": "argv"}]
    main.on["deploy"] = {"ok": False, "rolled_back": True, "text": "worker-2 did not become ready, so all is as it was",
                         "changes": changes,
                         "nodes": [{"name": "worker-2", "state": "up", "ok": False, "reason": "exit 1: no such interface"}]}
    done = tapline(main, "deploy")
    assert done.returncode == 1
    assert "exit 1: no such interface" in done.stdout and done.stdout.endswith("so all is as it was\n")
    main.on["deploy"] = {"ok": False, "nodes": [], "changes": changes, "text": "a check failed", "checks": [
        {"name": "worker-2", "program": "zeek", "ok": False, "text": "error in local.zeek, line 7"}]}
    done = tapline(main, "deploy", "--dry-run")
    assert done.returncode == 1 and "\n    error in local.zeek, line 7\n" in done.stdout


# ---- diag ---------------------------------------------------------------------------------------------------------------------------

REPORTS = {"reports": [{"name": "t3-worker-1", "node": "worker-1", "time": "2026-11-22T04:00:00.000000Z", "end": "signal 11"},
                       {"name": "t2-worker-2", "node": "worker-2", "time": "2026-11-22T03:00:00.000000Z", "end": "exit 1"},
                       {"name": "t1-worker-1", "node": "worker-1", "time": "2026-11-22T02:00:00.000000Z", "end": "exit 2"}]}


def test_diag(main):
    def listed(connection, request, params):
        words = params.get("nodes", ["workers"])
        return {"reports": [one for one in REPORTS["reports"] if one["node"] in words or "workers" in words]}

    def shown(connection, request, params):
        if params["report"] not in [one["name"] for one in REPORTS["reports"]]:
            raise Refused(-32001, "there is no report of that name")
        return {"name": params["report"], "text": f"all of {params['report']}"}
    main.on["diag.list"], main.on["diag.show"] = listed, shown
    done = tapline(main, "diag")
    assert done.returncode == 0 and [line[0] for line in rows(done.stdout)[1:]] == ["t3-worker-1", "t2-worker-2", "t1-worker-1"]
    assert tapline(main, "diag", "workers").stdout == "all of t3-worker-1\nall of t2-worker-2\n", "the newest of each"
    assert tapline(main, "diag", "t1-worker-1").stdout == "all of t1-worker-1\n"
    done = tapline(main, "diag", "manager")
    assert (done.returncode, done.stdout) == (1, "") and "no report of that name" in done.stderr
    assert json.loads(tapline(main, "diag", "--list", "workers", "--json").stdout) == REPORTS
    main.on["diag.list"] = {"reports": []}
    assert tapline(main, "diag").returncode == 1


# ---- netstats, capstats, df -------------------------------------------------------------------------------------------------------

def test_numbers_for_people(main):
    main.on["netstats"] = {"nodes": [
        {"name": "worker-1", "source": "telemetry", "received": 123456789012, "dropped": 7, "link": 123456789019,
         "dropped_percent": 0.04, "received_per_s": 1234567.8, "reason": ""},
        {"name": "worker-2", "source": "none", "reason": "no answer"}]}
    main.on["capstats"] = {"interfaces": [{"interface": "eth1", "nodes": ["worker-1", "worker-2"], "packets_per_s": 950,
                                           "bits_per_s": 9.4e9, "reason": ""}]}
    main.on["df"] = {"filesystems": [{"path": "/var/log", "what": "archive", "size_bytes": 1 << 40, "used_bytes": 1536 << 20,
                                      "free_bytes": 1000, "used_percent": 99.95, "inodes_free": 12}]}
    table = rows(tapline(main, "netstats").stdout)
    assert table[0] == ["Name", "Received", "Dropped", "Link", "Lost", "Rate", "From", "Note"]
    assert table[1] == ["worker-1", "123456789012", "7", "123456789019", "0.04 %", "1.2 M/s", "telemetry"]
    assert table[2] == ["worker-2", "none", "no answer"]
    assert rows(tapline(main, "capstats").stdout)[1] == ["eth1", "950 /s", "9.4 G/s", "worker-1, worker-2"]
    assert rows(tapline(main, "df").stdout)[1] == ["/var/log", "1.0 TiB", "1.5 GiB", "1000 B", "99.95 %", "12", "archive"]


# ---- with the real Main -----------------------------------------------------------------------------------------------------------

SAYS = ("sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done")


class Real:
    """What tapline() and Following need to know of the real Main."""

    def __init__(self, real):
        self.socket, self.home = real.socket, real.folder


def states(said):
    return {line[0]: line[3] for line in rows(said)[1:]}


def test_a_day_with_the_real_main(serving):
    real = serving([program("a", *SAYS), program("b", "sleep", "1000", group="quiet")])
    real.wait_for_all()
    main = Real(real)
    done = tapline(main, "status")
    assert done.returncode == 0 and set(states(done.stdout)) == {"a", "b"}, done.stderr
    pids = real.pids()
    assert all(str(pid) in done.stdout for pid in pids.values())

    done = tapline(main, "check", "-c", str(real.config))
    assert done.returncode == 0 and "for `tapline serve`" in done.stderr

    done = tapline(main, "stop", "quiet")
    assert done.returncode == 0 and rows(done.stdout)[1][:3] == ["b", "down", "yes"]
    done = tapline(main, "status")
    assert done.returncode == 1 and states(done.stdout)["b"] == "down"
    assert tapline(main, "status", "a").returncode == 0
    done = tapline(main, "start")
    assert done.returncode == 0 and "b: " in done.stderr, "progress"
    done = tapline(main, "kill", "-CONT", "a")
    assert done.returncode == 0, done.stderr
    assert real.pids()["a"] == pids["a"]
    assert tapline(main, "restart", "a").returncode == 0
    assert real.pids()["a"] != pids["a"]
    done = tapline(main, "status", "aa")
    assert done.returncode == 100 and 'named "aa"' in done.stderr
    done = tapline(main, "nodes", "--json")
    assert [row["name"] for row in json.loads(done.stdout)["nodes"]] == ["a", "b"]
    done = tapline(main, "shell", stdin="status --long\nkill b\nstatus b\n")
    assert done.returncode == 1 and "Memory" in done.stdout and " down" in done.stdout


def test_following_the_real_main_over_its_death(serving):
    real = serving([program("a", *SAYS)])
    real.wait_for_all()
    main = Real(real)
    with Following(main, "logs", "-f", "-n", "1", "a") as logs, Following(main, "events", "-f", "--json") as events:
        number = int(logs.line().split()[1])
        while json.loads(events.line()).get("to") != "up":
            pass
        pid = real.pids()["a"]
        real.kill()
        real.start()
        for _ in range(60):  # three seconds of lines: from before, meanwhile, and after
            number += 1
            assert logs.line() == f"line {number}"
        os.kill(pid, signal.SIGKILL)
        while json.loads(events.line()).get("signal") != 9:
            pass
        assert (logs.end(), events.end()) == (0, 0)


def test_stop_with_supervisor(serving):
    real = serving([program("a", "sleep", "1000"), program("b", "sleep", "1000")])
    real.wait_for_all()
    supervisor = real.supervisor_pid()
    done = tapline(Real(real), "stop", "--with-supervisor")
    assert done.returncode == 0, done.stderr
    assert [line[1] for line in rows(done.stdout)[1:]] == ["down", "down"]
    assert real.wait_end() == 0
    deadline = time.monotonic() + PATIENCE_S
    while os.path.exists(f"/proc/{supervisor}"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert tapline(Real(real), "status").returncode == 111
