"""Main: what people can ask it, and that whatever happens to it or to the Supervisor touches no process.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

import rig
from serving import (CODE_BAD_PARAMS, CODE_REFUSED, CODE_UNKNOWN, TAPLINE, UP, Refused, is_running, program, serving,  # noqa: F401
                     wait_until)

BACK_S = 2  # control must be back so soon after a kill
ROW = {"name", "type", "host", "interface", "group", "state", "pid", "since", "uptime_ns", "starts", "deaths", "last_end", "reason",
       "rss_bytes", "cpu_seconds", "threads", "is_changed", "is_adopted", "is_deployed", "is_wanted"}


def sleeps(*names, **keys):
    return [program(name, "sleep", "1000", **keys) for name in names]


def up(serving, nodes, **more):
    main = serving(nodes, **more)
    main.wait_for_all()
    return main


def oks(result):
    return {node["name"]: node["ok"] for node in result["nodes"]}


# ---- what can be asked -----------------------------------------------------------------------------------------------------


def test_status_says_how_each_node_is(serving):
    main = up(serving, [program("talker", "sh", "-c", "echo hello; exec sleep 1000", ready=["output hello"], group="words"),
                        *sleeps("quiet")])
    rows = main.status()
    assert set(rows) == {"talker", "quiet"}
    for row in rows.values():
        assert ROW <= set(row), ROW - set(row)
        assert row["is_deployed"] and row["is_wanted"] and not row["is_adopted"] and not row["is_changed"]
        assert row["type"] == "program" and row["host"] == "localhost" and row["starts"] == 1 and row["deaths"] == 0
        assert is_running(row["pid"]) and row["rss_bytes"] > 0 and row["threads"] == 1 and row["uptime_ns"] > 0
    assert rows["talker"]["group"] == "words"
    assert set(main.status("words")) == {"talker"}
    nodes = {node["name"]: node for node in main.call("nodes")["nodes"]}
    assert nodes["quiet"]["spec"]["argv"] == ["sleep", "1000"] and nodes["quiet"]["directory"].endswith("/quiet")


def test_stop_start_restart_are_answered_when_they_are_done(serving):
    main = up(serving, sleeps("a", "b"))
    before = main.pids()
    assert oks(main.call("stop", nodes=["a"])) == {"a": True}
    assert main.status()["a"]["state"] == "down" and main.pids() == {"b": before["b"]}
    assert not is_running(before["a"])
    assert oks(main.call("start")) == {"a": True, "b": True}  # without words: all; b was there already
    assert main.pids()["b"] == before["b"]
    main.client().progress.clear()
    result = main.call("restart", nodes=["all"])
    assert oks(result) == {"a": True, "b": True} and all(node["state"] in UP for node in result["nodes"])
    assert not set(main.pids().values()) & set(before.values())
    for name in "ab":
        states = [said["state"] for said in main.client().progress if said["name"] == name]
        assert states[0] == "stopping" and states[-1] in UP and "starting" in states, states


def test_low_orders_stop_first_and_start_last(serving):
    main = up(serving, [*sleeps("manager", order=30), *sleeps("proxy", order=20), *sleeps("worker", order=10)])
    main.client().progress.clear()
    main.call("stop")
    assert [said["name"] for said in main.client().progress if said["state"] == "down"] == ["worker", "proxy", "manager"]
    main.client().progress.clear()
    main.call("start")
    assert [said["name"] for said in main.client().progress if said["state"] == "ready"] == ["manager", "proxy", "worker"]


def test_a_start_that_fails_says_why(serving, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    picky = program("picky", "sh", "-c", f"test -e {flag} || exit 7; echo ready; exec sleep 1000", ready=["output ready"])
    main = up(serving, [picky, *sleeps("good")])
    assert oks(main.call("stop")) == {"picky": True, "good": True}
    flag.unlink()
    result = main.call("start")
    assert oks(result) == {"picky": False, "good": True}
    picky = next(node for node in result["nodes"] if node["name"] == "picky")
    assert picky["state"] in ("backoff", "latched") and "exit 7" in picky["reason"], picky
    assert main.wait_for("picky", "latched")["last_end"] == "exit 7"  # it was tried again, until it had died too often
    flag.touch()
    assert oks(main.call("start", nodes=["picky"])) == {"picky": True}  # by hand: at once


def test_words_that_mean_nothing_are_refused(serving):
    main = up(serving, sleeps("sensor-one", "sensor-two"))
    with pytest.raises(Refused, match="did you mean \"sensor-one\"") as refused:
        main.call("stop", nodes=["sensor-two", "sensor-onee"])
    assert refused.value.code == CODE_UNKNOWN
    for params in ({"nodes": "sensor-one"}, {"nodes": [1]}, {"nodes": [""]}):
        with pytest.raises(Refused) as refused:
            main.call("stop", **params)
        assert refused.value.code == CODE_BAD_PARAMS, params
    with pytest.raises(Refused, match="say which nodes") as refused:
        main.call("kill")
    assert refused.value.code == CODE_BAD_PARAMS
    assert len(main.pids()) == 2  # nothing was done to either


def test_kill_ends_at_once_and_stays_down_and_a_signal_is_only_sent(serving):
    deaf = program("deaf", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done", ready=["output ready"],
                   stop_timeout="60s")
    counts = program("counts", "python3", "-u", "-c", "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: print('usr1'))\n"
                     "print('ready')\nwhile True: time.sleep(0.1)", ready=["output ready"])
    main = up(serving, [deaf, counts])
    began = time.monotonic()
    assert oks(main.call("kill", nodes=["deaf"])) == {"deaf": True}
    assert time.monotonic() - began < 30  # not its stop_timeout
    pid = main.pids()["counts"]
    assert oks(main.call("kill", nodes=["counts"], signal="USR1")) == {"counts": True}
    wait_until(lambda: "usr1" in main.output("counts"))
    assert main.pids() == {"counts": pid} and main.status()["deaf"]["state"] == "down"
    with pytest.raises(Refused, match="no signal"):
        main.call("kill", nodes=["counts"], signal="LOUD")
    assert oks(main.call("kill", nodes=["deaf"], signal="TERM")) == {"deaf": False}


def test_a_client_that_goes_away_does_not_stop_the_work(serving):
    main = up(serving, sleeps("a", "b"))
    before = main.pids()
    one = main.connect()
    one.send("restart", nodes=["all"])
    one.close()
    wait_until(lambda: not set(main.pids().values()) & set(before.values()) and len(main.pids()) == 2)
    main.wait_for_all()


def test_log_level(serving):
    main = serving(sleeps("a"))
    main.call("log.level", level="debug")
    with pytest.raises(Refused, match="one of error, warn, info, debug"):
        main.call("log.level", level="loud")


# ---- files -------------------------------------------------------------------------------------------------------------------


def test_logs_are_read_from_the_end_and_followed(serving):
    main = up(serving, sleeps("a"))
    log = main.sensors / "a" / "conn.log"
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(100)))
    part = main.call("logs.read", node="a", file="conn.log", lines=3)
    assert part["text"] == "line 97\nline 98\nline 99\n"
    assert part["size"] == part["next"] == log.stat().st_size and part["inode"] == log.stat().st_ino and part["is_whole"]
    with open(log, "ab") as out:
        out.write("später\n".encode())
    more = main.call("logs.read", node="a", file="conn.log", offset=part["next"])
    assert more["text"] == "später\n" and more["next"] == log.stat().st_size
    assert main.call("logs.read", node="a", file="conn.log", offset=more["next"])["text"] == ""
    assert main.call("logs.read", node="a")["text"] == ""  # stderr.log


def test_logs_of_any_bytes_come_whole_piece_by_piece(serving):
    main = up(serving, sleeps("a"))
    log = main.sensors / "a" / "big.log"
    content = "".join(f"Zeile {number}: ä€𝄞 " * 9 + "\n" for number in range(9000))
    log.write_bytes(content.encode())
    at, got, parts = 0, "", 0
    while True:
        part = main.call("logs.read", node="a", file="big.log", offset=at)
        assert part["offset"] == at and len(part["text"].encode()) <= 256 * 1024
        got, at, parts = got + part["text"], part["next"], parts + 1
        if part["is_whole"]:
            break
    assert got == content and parts > 3
    log.write_bytes(bytes([0xff]) * 400_000)  # five times as long as JSON: fewer at once, but not fewer in all
    at = 0
    while not (part := main.call("logs.read", node="a", file="big.log", offset=at))["is_whole"]:
        assert part["next"] > at and part["text"] == "\\xff" * (part["next"] - at)
        at = part["next"]
    assert part["next"] == 400_000


def test_logs_leads_nowhere_else(serving, tmp_path):
    main = up(serving, sleeps("a"))
    secret = tmp_path / "secret"
    secret.write_text("not for you\n")
    (main.sensors / "a" / "link.log").symlink_to(secret)
    os.mkfifo(main.sensors / "a" / "pipe.log")
    for name in ("link.log", "pipe.log", "none.log"):
        with pytest.raises(Refused, match=name):
            main.call("logs.read", node="a", file=name)
    for name in ("../secret", "/etc/passwd", "..", ".", "x\0y"):
        with pytest.raises(Refused) as refused:
            main.call("logs.read", node="a", file=name)
        assert refused.value.code == CODE_BAD_PARAMS, name
    with pytest.raises(Refused, match="no node is named"):
        main.call("logs.read", node="b")
    with pytest.raises(Refused, match="offset is a number"):
        main.call("logs.read", node="a", offset=-1)


# ---- deaths of Main and of the Supervisor ---------------------------------------------------------------------------------------


def test_kill_nine_of_main_touches_no_process_and_control_is_back(serving):
    main = up(serving, sleeps(*(f"node{number}" for number in range(20))))
    before = main.pids()
    took = []
    for _ in range(5):
        main.kill()
        began = time.monotonic()
        main.start()
        took.append(time.monotonic() - began)
        assert main.pids() == before
    assert min(took) < BACK_S, took  # the machine may have stood still in the others
    assert all(row["starts"] == 1 for row in main.status().values())


def test_kill_nine_of_the_supervisor_touches_no_process_and_is_found_again(serving):
    main = up(serving, sleeps("a", "b"))
    main.wait_for_all("up")
    before = main.pids()
    took = []
    for _ in range(3):
        main.kill_supervisor()
        began = time.monotonic()
        rows = main.wait_for_all()
        took.append(time.monotonic() - began)
        assert {name: row["pid"] for name, row in rows.items()} == before
        assert all(row["is_adopted"] for row in rows.values())
    assert min(took) < BACK_S, took
    text = main.log_text()
    assert 1 <= text.count("the line to the Supervisor is lost") <= 3, text  # once each; repeats are folded


def test_what_was_asked_is_done_though_the_supervisor_dies_in_between(serving):
    slow = program("slow", "sh", "-c", "sleep 1; echo ready; exec sleep 1000", ready=["output ready"])
    main = up(serving, [slow])
    number = main.client().send("restart", nodes=["slow"])
    main.client().read(0.3)
    main.kill_supervisor()
    try:
        assert oks(main.client().answer(number)) == {"slow": True}
    except Refused as refused:  # it died before it had answered
        assert "went away" in refused.text
    main.wait_for_all()


def test_a_death_while_main_is_away_is_told_by_the_next(serving):
    main = up(serving, sleeps("a"))
    pid = main.pids()["a"]
    written = main.state / "events.seen"
    wait_until(lambda: written.exists() and time.time() - written.stat().st_mtime > 2.5)  # which events were seen: each second
    main.kill()
    os.kill(pid, signal.SIGSEGV)
    wait_until(lambda: not is_running(pid))
    client = main.start().connect()
    client.subscribe(since=0)
    event = client.wait_for_event(lambda one: one["kind"] == "state" and one.get("signal") == signal.SIGSEGV)
    assert event["name"] == "a" and event["from"] in UP and event["happened"] < event["time"]
    again = [one for one in client.events if one["kind"] == "state" and one["to"] == "ready" and one["happened"] < event["happened"]]
    assert again == []  # what the one before has seen is not told again
    assert main.wait_for("a", UP)["deaths"] == 1


def test_sigterm_ends_main_and_nothing_else(serving):
    main = up(serving, sleeps("a"))
    before, supervisor = main.pids(), main.supervisor_pid()
    assert main.stop() == 0
    assert is_running(before["a"]) and is_running(supervisor)
    main.start()
    assert main.pids() == before and main.supervisor_pid() == supervisor


def test_shutdown_stops_nodes_in_order_then_the_supervisor_then_main(serving):
    main = up(serving, [*sleeps("last", order=90), *sleeps("first", order=10)])
    main.client().progress.clear()
    assert oks(main.call("shutdown")) == {"first": True, "last": True}
    assert [said["name"] for said in main.client().progress if said["state"] == "down"] == ["first", "last"]
    assert main.wait_end() == 0
    wait_until(lambda: main.leftovers() == [])


def test_shutdown_with_a_node_that_waits_for_its_next_start(serving):
    main = up(serving, [*sleeps("good"), *sleeps("dies", restart_delay_min="1h", restart_delay_max="1h")])
    os.kill(main.pids()["dies"], signal.SIGKILL)
    main.wait_for("dies", "backoff")
    result = main.call("shutdown")
    assert oks(result) == {"good": True, "dies": True}
    assert main.wait_end() == 0
    wait_until(lambda: main.leftovers() == [])


# ---- who is there -----------------------------------------------------------------------------------------------------------------


def test_without_a_supervisor_it_says_so_and_finds_it_when_it_comes(serving):
    main = serving(sleeps("a"), start=False, serve={"starts_supervisor": False})
    main.start(wait=False)
    with pytest.raises(Refused, match="no Supervisor answers at .*main|no Supervisor answers") as refused:
        main.call("status")
    assert refused.value.code == CODE_REFUSED and "serve.starts_supervisor is no" in refused.value.text
    log = open(main.folder / "own.log", "ab")
    other = subprocess.Popen([str(TAPLINE.with_name("tapline-supervise")), "--socket", str(main.supervisor_socket), "--state",
                              str(main.folder / "own")], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             env=os.environ | {"TAPLINE_TEST": str(main.run)})
    try:
        main.wait_for_all()
    finally:
        other.kill()
        other.wait()
        log.close()


def test_processes_of_others_are_shown_and_left_alone(serving):
    main = up(serving, sleeps("ours"))
    supervisor = main.supervisor()
    supervisor.call("process.set", name="theirs", argv=["sleep", "1000"], cwd=str(main.sensors / "theirs"),
                    env={"TAPLINE_TEST": str(main.run)})
    supervisor.call("process.start", names=["theirs"])
    row = main.wait_for("theirs", UP)
    assert not row["is_deployed"] and main.status()["ours"]["is_deployed"]
    main.kill()
    main.start()
    assert main.status()["theirs"]["pid"] == row["pid"]
    assert oks(main.call("stop")) == {"ours": True}  # all are those that are deployed
    assert main.status()["theirs"]["pid"] == row["pid"]
    assert oks(main.call("stop", nodes=["theirs"])) == {"theirs": True}  # by its name it can be had


def test_a_supervisor_that_lost_its_state_is_told_again(serving):
    main = up(serving, sleeps("a"))
    assert main.call("stop") and main.stop() == 0
    os.kill(main.supervisor_pid(), signal.SIGKILL)
    for path in main.state.glob("supervisor.state*"):
        path.unlink()
    main.start()
    main.wait_for_all()


def test_one_main_for_a_state_directory(serving):
    main = serving(sleeps("a"))
    second = subprocess.run(main.command(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert second.returncode == 111 and "another tapline serve" in second.stderr
    main.wait_for_all()


def test_events_are_passed_on_and_the_link_has_its_own(serving):
    main = up(serving, sleeps("a"))
    client = main.connect()
    client.subscribe()
    main.call("restart", nodes=["a"])
    event = client.wait_for_event(lambda one: one["kind"] == "state" and one["to"] == "ready")
    assert event["name"] == "a" and event["pid"] == main.pids()["a"]
    main.kill_supervisor()
    client.wait_for_event(lambda one: one["kind"] == "link" and not one["is_linked"])
    client.wait_for_event(lambda one: one["kind"] == "link" and one["is_linked"])
    numbers = [one["seq"] for one in client.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_over_tcp_the_token_comes_first(serving):
    port = rig.free_port()
    main = up(serving, sleeps("a"), serve={"listen": f"127.0.0.1:{port}", "token": "geheim"})

    def ask(*messages):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as peer, peer.makefile("rb") as answers:
            said = []
            for number, (method, params) in enumerate(messages):
                message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
                peer.sendall(json.dumps(message).encode() + b"\n")
                said.append(json.loads(answers.readline()))
            return said

    assert ask(("status", {}))[0]["error"]["code"] == -32002
    assert ask(("auth", {"token": "falsch"}))[0]["error"]["code"] == -32002
    assert ask(("auth", {"token": "geheim"}), ("status", {}))[1]["result"]["nodes"][0]["pid"] == main.pids()["a"]


# ---- configuration, service manager -------------------------------------------------------------------------------------------------


def test_a_wrong_configuration_is_refused(serving):
    main = serving(sleeps("a"), start=False, serve={"lissten": "x"})
    main.start(wait=False)
    assert main.wait_end() == 100
    assert "unknown key" in main.log_text() and "did you mean" in main.log_text()


@pytest.mark.parametrize("serve, says", [({"listen": "0.0.0.0:7700", "token": "x"}, "loopback"),
                                         ({"listen": "127.0.0.1:7700"}, "serve.token is missing"),
                                         ({"report_url": "reports"}, "is no URL"),
                                         ({"socket": "/" + "x" * 120}, "socket's path")])
def test_keys_of_serve_are_checked(serving, serve, says):
    main = serving(sleeps("a"), start=False, serve=serve)
    check = subprocess.run([str(TAPLINE), "check", "-c", str(main.config)], capture_output=True, text=True, timeout=60)
    assert check.returncode == 100 and says in check.stderr, check.stderr


def test_the_example_has_no_mistakes():
    example = pathlib.Path(__file__).resolve().parents[2] / "configs/sensors.yml.example"
    check = subprocess.run([str(TAPLINE), "check", "-c", str(example)], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stderr


def test_check_and_config_show_know_the_sections(serving):
    main = serving(sleeps("a"), start=False, serve={"listen": "127.0.0.1:7700", "token": "geheim"})
    check = subprocess.run([str(TAPLINE), "check", "-c", str(main.config)], capture_output=True, text=True, timeout=60)
    assert check.returncode == 0, check.stderr
    show = subprocess.run([str(TAPLINE), "config", "show", "-c", str(main.config)], capture_output=True, text=True, timeout=60)
    assert show.returncode == 0 and "disk_interval: 1s" in show.stdout and 'name: "a"' in show.stdout
    assert "geheim" not in show.stdout
    shown = subprocess.run([str(TAPLINE), "config", "show", "--json", "-c", str(main.config)], capture_output=True, text=True,
                           timeout=60)
    assert json.loads(shown.stdout)["serve.state"]["value"] == str(main.state)


def test_sighup_reads_the_file_again_and_changes_no_node(serving):
    main = up(serving, sleeps("same", "gone", "other"))
    before = main.pids()
    main.configure([*sleeps("same", "new"), program("other", "sleep", "2000")])
    main.reload()
    main.wait_for_log("the configuration was read again")
    line = next(line for line in main.log_text().splitlines() if "read again" in line)
    assert 'would_add="new"' in line and 'would_change="other"' in line and 'would_remove="gone"' in line
    main.config.write_text("serve: {")
    main.reload()
    main.wait_for_log("the configuration stays as it was")
    main.configure(sleeps("same"), serve={"group": "somebody"})
    main.reload()
    main.wait_for_log("key=serve.group")
    assert main.pids() == before


class Manager:
    """A service manager's socket."""

    def __init__(self, folder):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = str(folder / "notify")
        self.socket.bind(self.path)
        self.said = []

    def wait_for(self, text):
        self.socket.settimeout(60)
        while not any(text in said for said in self.said):
            self.said.append(self.socket.recv(4096).decode())
        return [said for said in self.said if text in said][-1]


def test_the_service_manager_is_told(serving):
    main = serving(sleeps("a"), start=False)
    manager = Manager(main.run)
    main.start(env={"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "600000"})
    manager.wait_for("READY=1")
    main.wait_for_all()
    manager.wait_for("1 of 1 processes up")
    assert "WATCHDOG=1" in manager.wait_for("STATUS=")
    manager.said.clear()
    main.reload()
    assert "MONOTONIC_USEC=" in manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    assert main.stop() == 0
    manager.wait_for("STOPPING=1")
    manager.socket.close()


@pytest.fixture
def anybodys_folder():
    """Not below pytest's own, which each pytest that starts closes to others again."""
    folder = tempfile.mkdtemp(prefix="tln-", dir="/tmp")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
def test_it_needs_no_root(serving, anybodys_folder):
    main = serving(sleeps("a"), name=f"{anybodys_folder}/main", start=False)
    for path in (main.folder, main.run, main.sensors):
        os.chown(path, 65534, 65534)
    as_nobody = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "test", "-x", str(TAPLINE), "-a",
                                "-w", str(main.folder)], check=False)
    if as_nobody.returncode != 0:
        pytest.skip("nobody cannot reach the program or the test's folder")
    command = main.command()
    main.command = lambda: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    main.start()
    row = main.wait_for("a", UP)
    assert os.stat(f"/proc/{row['pid']}").st_uid == 65534


def test_two_hundred_processes_are_no_matter(serving):
    main = serving(sleeps(*(f"node{number}" for number in range(200))))
    main.wait_for_all()
    before = main.pids()
    took = []
    while len(took) < 4 and min(took, default=BACK_S) >= BACK_S:
        main.kill()
        began = time.monotonic()
        main.start()
        assert main.pids() == before
        took.append(time.monotonic() - began)
    assert min(took) < BACK_S, took
