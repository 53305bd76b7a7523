"""The Supervisor with real processes, well-behaved ones and others: told over its control channel, killed, executed anew.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from supervising import MS, PATIENCE_S, S, TAPLINE, Gone, Refused, is_running, supervisor, supervisors, wait_until  # noqa: F401

SLEEP = ["sleep", "1000"]
QUICK = {"delay_min_ns": 50 * MS, "delay_max_ns": 200 * MS}


def shell(text):
    return ["/bin/sh", "-c", text]


def python(text):
    return [sys.executable, "-c", text]


def kept(supervisor):
    """Now the state file has everything that happened: this is answered when it is written."""
    supervisor.set("zz-kept", SLEEP)


# ---- what can be told --------------------------------------------------------------------------------------------------------


def test_a_life(supervisor):
    client = supervisor.client()
    client.subscribe()
    assert supervisor.set("a", SLEEP) == {"name": "a", "is_new": True, "is_changed": True, "is_pending": False}
    row = supervisor.process("a")
    assert row["state"] == "down" and not row["is_wanted"] and row["pid"] == 0 and row["last_end"] is None
    assert supervisor.call("process.start", names=["a"]) == {"doing": ["a"], "nothing_to_do": []}
    row = supervisor.wait_for("a", "ready")
    assert is_running(row["pid"]) and row["is_wanted"] and row["starts"] == 1 and not row["adopted"]
    assert row["rss_bytes"] > 0 and row["threads"] == 1 and row["spec"]["argv"] == SLEEP
    assert supervisor.call("process.start", names=["a"]) == {"doing": [], "nothing_to_do": ["a"]}
    assert supervisor.call("process.stop", names=["a", "a"]) == {"doing": ["a"], "nothing_to_do": []}
    down = supervisor.wait_for("a", "down")
    assert down["last_end"]["signal"] == signal.SIGTERM and not is_running(row["pid"])
    assert down["deaths"] == 0, "an end that was asked for is no death"
    told = [(e["from"], e["to"]) for e in client.events if e["kind"] == "state"]
    assert told == [("down", "starting"), ("starting", "ready"), ("ready", "stopping"), ("stopping", "down")]
    assert [e["pid"] for e in client.events if e["kind"] == "state"] == [row["pid"]] * 3 + [0]
    assert supervisor.call("process.remove", name="a") == {"name": "a"}
    assert supervisor.processes() == {}


def test_what_is_refused(supervisor):
    supervisor.set("a", SLEEP, start=True)
    supervisor.wait_for("a", "ready")
    for code, method, params in (
        (-32001, "process.start", {"names": ["a", "b"]}),
        (-32001, "process.stop", {"names": ["b", "a"]}),
        (-32001, "process.remove", {"name": "b"}),
        (-32000, "process.remove", {"name": "a"}),
        (-32602, "process.start", {"name": "a"}),
        (-32602, "process.start", {"names": ["a"], "now": True}),
        (-32602, "process.start", {"names": "a"}),
        (-32602, "process.start", {"names": [1]}),
        (-32602, "process.list", {"nam": []}),
        (-32602, "process.list", {"spec": 1}),
        (-32602, "process.set", {"name": "b"}),
        (-32602, "process.set", {"name": "b", "argv": ["x"], "colour": "red"}),
        (-32602, "process.kill", {"names": ["a"], "signal": "LOUD"}),
        (-32602, "supervisor.stop", {}),
        (-32602, "supervisor.stop", {"processes": "yes"}),
        (-32602, "supervisor.info", {"more": 1}),
        (-32003, "supervisor.upgrade", {"program": "/bin/false"}),
        (-32003, "supervisor.upgrade", {"program": "sh"}),
        (-32003, "supervisor.upgrade", {"program": "/does/not/exist"}),
        (-32601, "process.fly", {}),
    ):
        with pytest.raises(Refused) as refused:
            supervisor.call(method, **params)
        assert refused.value.code == code, (method, params, refused.value.text)
        assert refused.value.text
    assert supervisor.process("a")["state"] in ("ready", "up"), "nothing was done"


def test_a_spec_of_a_running_process_waits_for_its_next_start(supervisor):
    supervisor.set("a", ["sleep", "1001"], start=True)
    pid = supervisor.wait_for("a", "ready")["pid"]
    assert supervisor.set("a", ["sleep", "1002"])["is_pending"]
    row = supervisor.process("a")
    assert row["pid"] == pid and row["is_changed"] and row["spec"]["argv"] == ["sleep", "1002"]
    supervisor.kill()
    supervisor.start()
    row = supervisor.process("a")
    assert row["pid"] == pid and row["is_changed"], "what it runs with outlives the Supervisor"
    supervisor.call("process.restart", names=["a"])
    row = wait_until(lambda: (r := supervisor.process("a"))["state"] == "ready" and r["pid"] != pid and r)
    assert not row["is_changed"]
    assert pathlib.Path(f"/proc/{row['pid']}/cmdline").read_bytes() == b"sleep\x001002\x00"
    assert not supervisor.set("a", ["sleep", "1002"])["is_changed"]


# ---- deaths ------------------------------------------------------------------------------------------------------------------


def test_a_death_is_told_at_once_and_repaired(supervisor):
    client = supervisor.client()
    client.subscribe()
    for i in range(30):
        supervisor.set(f"other{i}", SLEEP, start=True)
    supervisor.set("a", SLEEP, start=True, restart=QUICK | {"deaths_max": 16})
    late = []
    for _ in range(9):
        client.events.clear()
        pid = supervisor.wait_for("a", "ready")["pid"]
        since = time.time()
        os.kill(pid, signal.SIGSEGV)
        event = client.wait_for_event(lambda e: e.get("name") == "a" and e.get("to") == "backoff")
        late.append(event["arrived"] - since)
        assert event["signal"] == signal.SIGSEGV and "SEGV" in event["reason"]
        assert event["ended_pid"] == pid and 0 < event["uptime_ns"] < PATIENCE_S * S
        client.wait_for_event(lambda e: e.get("name") == "a" and e.get("to") == "starting" and e["pid"] not in (0, pid))
    # A busy machine delays some of them; one that looks once a second would be late with nearly all.
    assert sorted(late)[2] < 0.1, f"told after {late} s"
    assert supervisor.process("a")["deaths"] == 9


def test_too_many_deaths_latch_until_a_person_starts_it(supervisor):
    client = supervisor.client()
    client.subscribe()
    supervisor.set("a", shell("exit 3"), start=True, restart=QUICK | {"deaths_max": 3})
    row = supervisor.wait_for("a", "latched")
    assert row["deaths"] == 3 and row["starts"] == 3 and row["last_end"]["exit"] == 3
    alarm = client.wait_for_event(lambda e: e["kind"] == "alarm")
    assert alarm["name"] == "a" and "3 times" in alarm["text"] and "exit 3" in alarm["text"]
    kept(supervisor)
    supervisor.kill()
    supervisor.start()
    assert supervisor.process("a")["state"] == "latched", "a new Supervisor does not try again by itself"
    supervisor.set("a", SLEEP)
    supervisor.call("process.start", names=["a"])
    supervisor.wait_for("a", "ready")


@pytest.mark.parametrize("policy, argv, starts", [
    ("never", shell("exit 3"), 1), ("on_failure", shell("exit 0"), 1), ("on_failure", shell("exit 1"), 2),
    ("always", shell("exit 0"), 2)])
def test_policy(supervisor, policy, argv, starts):
    supervisor.set("a", argv, start=True, restart=QUICK | {"policy": policy, "deaths_max": 2})
    row = supervisor.wait_for("a", ("down", "latched") if starts == 1 else "latched")
    assert row["state"] == ("down" if starts == 1 else "latched") and row["starts"] == starts


def test_what_cannot_be_started(supervisor):
    supervisor.set("a", ["/does/not/exist"], start=True, restart=QUICK | {"deaths_max": 2})
    row = supervisor.wait_for("a", "latched")
    assert "not_started" in row["last_end"] and "/does/not/exist" in row["reason"] and row["starts"] == 0


def test_not_ready_in_time_is_a_death(supervisor):
    never = {"rules": ["file /does/not/exist"], "timeout_ns": 200 * MS}
    supervisor.set("a", SLEEP, start=True, ready=never, restart=QUICK | {"deaths_max": 2})
    row = supervisor.wait_for("a", "latched")
    assert row["starts"] == 2 and "not ready within 0.2 s" in row["reason"] and row["last_end"]["signal"] == signal.SIGTERM


# ---- misbehaviour --------------------------------------------------------------------------------------------------------------


def test_one_that_ignores_sigterm_is_killed(supervisor):
    supervisor.set("a", shell("trap '' TERM; echo deaf; while :; do sleep 1; done"), start=True, stop={"timeout_ns": 300 * MS},
                   ready={"rules": ["output deaf"]})
    row = supervisor.wait_for("a", "ready")
    since = time.monotonic()
    supervisor.call("process.stop", names=["a"])
    down = supervisor.wait_for("a", "down")
    assert time.monotonic() - since >= 0.3
    assert down["last_end"]["signal"] == signal.SIGKILL and not is_running(row["pid"])
    assert supervisor.leftovers() == []


@pytest.mark.parametrize("options", [[], ["--cgroup", "/does/not/exist"]], ids=["cgroup", "without"])
def test_nothing_is_left_of_one_that_forks_and_dies(supervisors, options):
    supervisor = supervisors(options=options).start()
    supervisor.set("a", shell("mkfifo go; sleep 1001 & setsid sleep 1002 & (setsid sleep 1003 &) ; : < go; exit 1"), start=True,
                   restart={"policy": "never"})
    wait_until(lambda: len(supervisor.leftovers()) >= 4)
    (supervisor.folder / "processes/a/go").write_text("")  # it dies now, and not before all were seen
    supervisor.wait_for("a", "down")
    wait_until(lambda: not supervisor.leftovers())


def test_a_flood_of_output_is_bounded_and_hurts_nobody(supervisor):
    supervisor.set("a", shell("while :; do echo 'some line of some length that is written again and again' >&2; done"), start=True,
                   output={"bytes_max": 65536})
    supervisor.set("b", SLEEP, start=True)
    pid = supervisor.wait_for("a", ("ready", "up"))["pid"]
    log = supervisor.folder / "processes/a/stderr.log"
    sizes = []

    def is_trimmed():
        """It did write that much, and has less than it had."""
        sizes.append(log.stat().st_blocks * 512)
        return max(sizes) > 65536 and any(b < a for a, b in zip(sizes, sizes[1:]))

    wait_until(is_trimmed, every=0.05)
    assert supervisor.process("a")["pid"] == pid


def test_the_watchdog_restarts_one_that_has_fallen_silent(supervisor):
    client = supervisor.client()
    client.subscribe()
    log = supervisor.folder / "some.log"
    # The second time it does not fall silent: what is looked at then must not be its next death.
    supervisor.set("a", shell(f"while [ -e again ]; do echo line >> {log}; sleep 0.2; done; touch again;"
                              f" for i in 1 2 3 4 5; do echo line >> {log}; sleep 0.2; done; sleep 1000"), start=True,
                   logs=[str(log)], watchdog={"timeout_ns": 2 * S}, restart=QUICK)
    pid = supervisor.wait_for("a", "ready")["pid"]
    event = client.wait_for_event(lambda e: e.get("name") == "a" and e.get("to") == "stopping")
    assert event["pid"] == pid and "counts as a death" in event["reason"]
    assert client.wait_for_event(lambda e: e["kind"] == "alarm")["name"] == "a"
    row = wait_until(lambda: (r := supervisor.process("a"))["starts"] == 2 and r)
    assert row["deaths"] == 1 and row["last_end"]["signal"] == signal.SIGTERM


def test_one_that_lives_is_left_alone_by_the_watchdog(supervisor):
    log = supervisor.folder / "some.log"
    supervisor.set("a", shell(f"while :; do echo line >> {log}; sleep 0.2; done"), start=True, logs=[str(log)],
                   watchdog={"timeout_ns": 4 * S})
    pid = supervisor.wait_for("a", "ready")["pid"]
    time.sleep(6)
    assert supervisor.process("a")["pid"] == pid


# ---- order -----------------------------------------------------------------------------------------------------------------------


def order_of(client, to, names):
    events = [e["name"] for e in client.events if e.get("to") == to]
    return [n for n in events if n in names]


def test_order_of_starting_stopping_and_restarting(supervisor):
    client = supervisor.client()
    client.subscribe()
    names = ["worker1", "worker2", "proxy", "manager"]
    for name, order in zip(names, (10, 10, 20, 30)):
        supervisor.set(name, shell("trap 'sleep 0.2; exit 0' TERM; echo up; while :; do sleep 0.05; done"), order=order,
                       ready={"rules": ["after 200ms", "output up"]})
    supervisor.call("process.start", names=names)
    for name in names:
        supervisor.wait_for(name, ("ready", "up"))
    moves = [(e["name"], e["to"]) for e in client.events if e.get("to") in ("starting", "ready")]
    assert moves[:4] == [("manager", "starting"), ("manager", "ready"), ("proxy", "starting"), ("proxy", "ready")]
    assert set(moves[4:6]) == {("worker1", "starting"), ("worker2", "starting")}
    client.events.clear()
    supervisor.call("process.restart", names=names)
    wait_until(lambda: all(r["starts"] == 2 and r["state"] in ("ready", "up") for r in supervisor.processes().values()))
    moves = [(e["name"], e["to"]) for e in client.events if e.get("to") in ("stopping", "down", "starting")]
    assert set(moves[:2]) == {("worker1", "stopping"), ("worker2", "stopping")}
    assert moves[4:9] == [("proxy", "stopping"), ("proxy", "down"), ("manager", "stopping"), ("manager", "down"),
                          ("manager", "starting")]
    client.events.clear()
    assert supervisor.call("supervisor.stop", processes=True) == {"stopping": 4}
    with pytest.raises(Gone):
        client.wait_for_event(lambda e: False)
    assert supervisor.wait_end() == 0
    moves = [(e["name"], e["to"]) for e in client.events if e.get("to") in ("stopping", "down")]
    assert set(moves[2:4]) == {("worker1", "down"), ("worker2", "down")}
    assert moves[4:] == [("proxy", "stopping"), ("proxy", "down"), ("manager", "stopping"), ("manager", "down")]
    assert supervisor.leftovers() == []


def test_one_that_never_gets_ready_does_not_hold_up_the_others_for_ever(supervisor):
    supervisor.set("manager", SLEEP, order=90, ready={"rules": ["file /does/not/exist"], "timeout_ns": 500 * MS})
    supervisor.set("worker", SLEEP, order=10)
    supervisor.call("process.start", names=["manager", "worker"])
    assert supervisor.process("worker")["state"] == "down" and supervisor.process("worker")["is_wanted"]
    supervisor.wait_for("worker", "ready")


# ---- the Supervisor's own ends -------------------------------------------------------------------------------------------------------


def test_sigterm_stops_all_and_the_next_start_brings_back_what_was_wanted(supervisor):
    supervisor.set("a", SLEEP, start=True)
    supervisor.set("b", SLEEP, start=True)
    supervisor.set("c", SLEEP)
    supervisor.wait_for("b", "ready")
    supervisor.call("process.stop", names=["b"])
    supervisor.wait_for("b", "down")
    assert supervisor.stop() == 0
    assert supervisor.leftovers() == []
    assert not supervisor.socket.exists()
    supervisor.start()
    supervisor.wait_for("a", "ready")
    rows = supervisor.processes()
    assert rows["b"]["state"] == rows["c"]["state"] == "down"


def test_it_can_end_alone(supervisor):
    supervisor.set("a", SLEEP, start=True)
    pid = supervisor.wait_for("a", "ready")["pid"]
    assert supervisor.call("supervisor.stop", processes=False) == {"stopping": 0}
    assert supervisor.wait_end() == 0
    assert is_running(pid)
    supervisor.start()
    row = supervisor.process("a")
    assert row["pid"] == pid and row["adopted"] and row["starts"] == 1


def test_killed_and_adopted_again_and_again(supervisor):
    for i in range(10):
        supervisor.set(f"p{i}", SLEEP, start=True)
    supervisor.wait_for("p9", "ready")
    pids = {name: row["pid"] for name, row in supervisor.processes().items()}
    for _ in range(5):
        supervisor.kill()
        supervisor.start()
        assert {name: row["pid"] for name, row in supervisor.processes().items()} == pids
    client = supervisor.client()
    client.subscribe()
    os.kill(pids["p3"], signal.SIGKILL)
    event = client.wait_for_event(lambda e: e.get("name") == "p3" and e.get("to") == "backoff")
    assert event["unknown"] is True and "signal" not in event, "nobody can know the status of another's child"
    row = supervisor.wait_for("p3", ("ready", "up"))
    assert not row["adopted"] and row["last_end"]["unknown"]
    supervisor.call("process.stop", names=["p4"])
    supervisor.wait_for("p4", "down")
    assert not is_running(pids["p4"])


@pytest.mark.parametrize("is_over", [False, True])
def test_too_few_descriptors_to_find_them_is_no_death_of_theirs(supervisors, is_over):
    """Without cgroups nothing else would end those that are taken for dead, and each would be there twice."""
    supervisor = supervisors(options=["--cgroup", "/dev/null/none"]).start()
    for i in range(12):
        supervisor.set(f"p{i:02}", SLEEP, start=True)
    supervisor.wait_for("p11", "ready")
    pids = {name: row["pid"] for name, row in supervisor.processes().items()}
    kept(supervisor)
    supervisor.kill()
    whole = supervisor.command
    supervisor.command = lambda: ["prlimit", "--nofile=19:1024", *whole()]
    supervisor.start(wait=False)
    if is_over:
        time.sleep(0.5)
        subprocess.run(["prlimit", f"--pid={supervisor.pid}", "--nofile=1024"], check=True)
    else:
        assert supervisor.wait_end() == 111
        assert "nothing was touched" in supervisor.log.read_text()
        supervisor.command = whole
        supervisor.start()
    rows = supervisor.processes()
    assert {name: rows[name]["pid"] for name in pids} == pids
    assert sorted(supervisor.leftovers()) == sorted(pids.values())


def test_what_died_meanwhile_is_treated_by_its_policy(supervisor):
    supervisor.set("a", SLEEP, start=True, restart=QUICK)
    supervisor.set("b", SLEEP, start=True, restart={"policy": "never"})
    pids = [supervisor.wait_for(name, "ready")["pid"] for name in "ab"]
    kept(supervisor)
    supervisor.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in pids))
    supervisor.start()
    row = supervisor.wait_for("a", ("ready", "up"))
    assert row["pid"] != pids[0] and row["deaths"] == 1 and row["last_end"]["unknown"]
    assert supervisor.process("b")["state"] == "down"


def test_killed_at_any_moment_of_a_start_each_process_is_there_once(supervisor):
    """The cookie is written before the spawn, so one that was started and not yet written down is found."""
    rng = random.Random(8)
    names = [f"p{i}" for i in range(12)]
    for name in names:
        supervisor.set(name, SLEEP)

    def agree():
        """Rows of the same look: what it still had to restart has another pid by then, and one that was killed takes a moment
        to be gone."""
        rows = supervisor.processes()
        running = sorted(r["pid"] for r in rows.values() if r["pid"])
        return {r["state"] for r in rows.values()} <= {"ready", "up", "down"} and sorted(supervisor.leftovers()) == running and rows

    for _ in range(12):
        supervisor.client().send("process.start", names=names)
        time.sleep(rng.uniform(0, 0.04))
        supervisor.kill()
        supervisor.start()
        rows = wait_until(agree)
        supervisor.call("process.stop", names=names)
        wait_until(lambda: all(r["state"] == "down" for r in supervisor.processes().values()))
    assert sum(r["starts"] for r in rows.values()) > 0


def test_an_answer_that_it_is_wanted_is_kept(supervisor):
    for i in range(5):
        supervisor.set(f"p{i}", SLEEP, start=True)  # answered …
        supervisor.kill()  # … and killed at once
        supervisor.start()
        assert supervisor.wait_for(f"p{i}", ("ready", "up"))["is_wanted"]
    assert len(supervisor.leftovers()) == 5


# ---- upgrade ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["signal", "method"])
def test_executed_anew_it_keeps_everything(supervisor, by):
    client = supervisor.client()
    seen = client.subscribe()
    supervisor.set("a", shell("sleep 1000; true"), start=True)
    supervisor.set("b", python("import os, time; fd = int(os.environ['TAPLINE_READY_FD'])\nwhile not os.path.exists('go'): time.sleep(0.05)"
                               "\nos.write(fd, b'\\n'); time.sleep(1000)"), start=True, ready={"rules": ["fd"]})
    rows = {name: supervisor.wait_for(name, state) for name, state in (("a", "ready"), ("b", "starting"))}
    last = client.events[-1]["seq"]
    upgraded = str(supervisor.folder / "another")
    os.link(supervisor.program, upgraded) if os.stat(supervisor.folder).st_dev == os.stat(supervisor.program).st_dev else \
        subprocess.run(["cp", supervisor.program, upgraded], check=True)
    if by == "signal":
        supervisor.upgrade()
    else:
        assert supervisor.call("supervisor.upgrade", program=upgraded) == {"program": upgraded}
    with pytest.raises(Gone):
        client.wait_for_event(lambda e: False)
    supervisor.drop_clients()
    client = supervisor.client()
    again = client.subscribe(since=last)
    assert again["instance"] == seen["instance"] and again["next"] > last
    now = supervisor.processes()
    assert {n: r["pid"] for n, r in now.items()} == {n: r["pid"] for n, r in rows.items()}
    assert not now["a"]["adopted"], "still its own child"
    info = supervisor.call("supervisor.info")
    assert info["pid"] == supervisor.pid and (by == "signal" or info["program"] == upgraded)
    assert os.readlink(f"/proc/{supervisor.pid}/exe") == (upgraded if by == "method" else str(supervisor.program))
    assert now["b"]["state"] == "starting"
    (supervisor.folder / "processes/b/go").touch()  # said to one that had no part in its start
    supervisor.wait_for("b", "ready")
    os.kill(rows["a"]["pid"], signal.SIGSEGV)
    event = client.wait_for_event(lambda e: e.get("name") == "a" and e.get("to") == "backoff")
    assert event["signal"] == signal.SIGSEGV, "its exit status is still to be had"


def test_a_program_that_cannot_take_over_does_not(supervisor):
    supervisor.set("a", SLEEP, start=True)
    pid = supervisor.wait_for("a", "ready")["pid"]
    with pytest.raises(Refused, match="cannot take over"):
        supervisor.call("supervisor.upgrade", program="/bin/false")
    slow = supervisor.folder / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    with pytest.raises(Refused, match="within 3 s"):
        supervisor.call("supervisor.upgrade", program=str(slow))
    assert supervisor.process("a")["pid"] == pid
    assert supervisor.call("supervisor.info")["program"] == str(supervisor.program)


# ---- the state directory ------------------------------------------------------------------------------------------------------------


def test_one_supervisor_a_directory(supervisor, supervisors):
    other = supervisors("other")
    other.state = supervisor.state
    other.start(wait=False)
    assert other.wait_end() == 111
    assert f"process {supervisor.pid} is the Supervisor" in other.log.read_text()
    supervisor.call("supervisor.info")


def test_a_damaged_state_file_is_set_aside(supervisor):
    supervisor.set("a", SLEEP, start=True)
    pid = supervisor.wait_for("a", "ready")["pid"]
    state = supervisor.state / "supervisor.state"
    kept(supervisor)
    kept(supervisor)  # so that the file before has "a" with its pid, too
    supervisor.kill()
    text = state.read_bytes()
    state.write_bytes(text[: len(text) // 2])
    supervisor.start()
    assert supervisor.process("a")["pid"] == pid
    assert (supervisor.state / "supervisor.state.damaged").read_bytes() == text[: len(text) // 2]
    assert "supervisor.state.damaged" in supervisor.log.read_text()


def test_with_nothing_whole_to_go_by_nothing_is_started_twice(supervisor):
    supervisor.set("a", SLEEP, start=True)
    pid = supervisor.wait_for("a", "ready")["pid"]
    kept(supervisor)
    supervisor.kill()
    for name in ("supervisor.state", "supervisor.state.old"):
        (supervisor.state / name).write_bytes(b"torn")
    for _ in range(2):
        supervisor.start(wait=False)
        assert supervisor.wait_end() == 100
    assert "TAPLINE_COOKIE" in supervisor.log.read_text() and supervisor.leftovers() == [pid]
    # Others of this host may be from other Supervisors, so the file is taken away, which says that a person has looked.
    os.kill(pid, signal.SIGKILL)
    (supervisor.state / "supervisor.state.damaged").unlink()
    supervisor.start()
    assert supervisor.processes() == {}


def test_a_state_file_of_a_later_version_is_left_alone(supervisor):
    supervisor.set("a", SLEEP, start=True)
    pid = supervisor.wait_for("a", "ready")["pid"]
    supervisor.kill()
    state = supervisor.state / "supervisor.state"
    text = state.read_text()
    later = text.replace("tapline-supervisor-state 1\n", "tapline-supervisor-state 2\n")
    state.write_text(later)
    supervisor.start(wait=False)
    assert supervisor.wait_end() == 100
    assert state.read_text() == later and supervisor.leftovers() == [pid]
    assert "of format 2" in supervisor.log.read_text()
    check = subprocess.run([supervisor.program, "--check-state", "--state", supervisor.state], check=False)
    assert check.returncode == 1
    state.write_text(text)
    supervisor.start()
    assert supervisor.process("a")["pid"] == pid


def test_a_state_file_that_cannot_be_written_stops_nothing(supervisor):
    client = supervisor.client()
    client.subscribe()
    supervisor.set("a", SLEEP, start=True, restart=QUICK)
    pid = supervisor.wait_for("a", "ready")["pid"]
    obstacle = supervisor.state / "supervisor.state.tmp"
    obstacle.mkdir()
    assert "warning" in supervisor.set("b", SLEEP)
    client.wait_for_event(lambda e: e["kind"] == "supervisor" and "cannot be written" in e["text"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: (r := supervisor.process("a"))["state"] == "ready" and r["pid"] != pid)
    obstacle.rmdir()
    client.wait_for_event(lambda e: e["kind"] == "supervisor" and "written again" in e["text"])
    assert "warning" not in supervisor.set("c", SLEEP)


# ---- the service manager, the command -----------------------------------------------------------------------------------------------


def test_the_service_manager_is_told(supervisors):
    supervisor = supervisors()
    path = f"{supervisor.run}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE_S)
        supervisor.start(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "600000"})
        assert manager.recv(100) == b"READY=1"
        for _ in range(3):
            assert manager.recv(100) == b"WATCHDOG=1"
        supervisor.set("a", shell("env > env; sleep 1000"), start=True)
        wait_until(lambda: (supervisor.folder / "processes/a/env").exists())
        assert "NOTIFY_SOCKET" not in (supervisor.folder / "processes/a/env").read_text()
        supervisor.child.terminate()
        while (said := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
        assert supervisor.wait_end() == 0


def test_the_service_manager_is_asked_for_the_time_each_order_may_take(supervisors):
    """Together they may take longer than any fixed patience; who is killed meanwhile leaves the others running."""
    supervisor = supervisors()
    path = f"{supervisor.run}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE_S)
        supervisor.start(env={"NOTIFY_SOCKET": path})
        assert manager.recv(100) == b"READY=1"
        supervisor.set("stubborn", shell("trap '' TERM; echo up; while :; do sleep 1; done"), start=True, order=10,
                       ready={"rules": ["output up"]}, stop={"timeout_ns": 2_000_000_000})
        supervisor.set("patient", SLEEP, start=True, order=20, stop={"timeout_ns": 500_000_000_000})
        for name in ("stubborn", "patient"):
            supervisor.wait_for(name, "ready")
        supervisor.child.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        asked_s = []
        while not asked_s or asked_s[-1] < 500:
            word, _, value = manager.recv(100).decode().partition("=")
            assert word == "EXTEND_TIMEOUT_USEC"
            asked_s.append(int(value) / 1e6)
        assert 2 < asked_s[0] < 60 and asked_s[-1] < 600, asked_s
        assert supervisor.wait_end() == 0


def test_tapline_supervise_becomes_it(supervisors):
    supervisor = supervisors()
    command = [str(TAPLINE), "supervise", *supervisor.command()[1:]]
    supervisor.command = lambda: command
    supervisor.start()
    assert os.readlink(f"/proc/{supervisor.pid}/exe") == str(supervisor.program)
    assert supervisor.stop() == 0
    wrong = subprocess.run([TAPLINE, "supervise", "--sokcet", "x"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 100 and "--socket" in wrong.stderr
    told = subprocess.run([TAPLINE, "supervise", "--help"], capture_output=True, text=True, check=True).stdout
    for word in ("SIGTERM", "SIGHUP", "SIGKILL", "--state"):
        assert word in told
    own = subprocess.run([supervisor.program, "--help"], capture_output=True, text=True, check=True).stdout
    assert "SIGTERM" in own and "--check-state" in own
    assert subprocess.run([supervisor.program, "x"], capture_output=True, check=False).returncode == 100


def test_a_list_that_is_longer_than_a_line_is_refused_and_can_be_asked_for_in_parts(supervisor):
    for i in range(20):
        supervisor.set(f"p{i}", ["sleep", "1", *["x" * 100] * 240, *["y" * 2000] * 14])
    with pytest.raises(Refused, match="spec"):
        supervisor.call("process.list")
    assert len(supervisor.call("process.list", spec=False)["processes"]) == 20
    rows = supervisor.call("process.list", names=["p3", "p1"])["processes"]
    assert [row["name"] for row in rows] == ["p3", "p1"] and len(json.dumps(rows)) > 80000
