"""Programs that misbehave (misbehave.py), each beside neighbours that behave: it ends in the state it should, within the time it
should, the neighbours notice nothing, and nothing of it is left on the machine.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import signal
import sys
import time

import pytest

from supervising import MS, S, is_running, supervisor, supervisors, wait_until  # noqa: F401

PROGRAM = pathlib.Path(__file__).with_name("misbehave.py")
QUICK = {"delay_min_ns": 50 * MS, "delay_max_ns": 100 * MS, "deaths_max": 3}
STOP_NS = 500 * MS
SOON_S = 7  # at once, on a machine that stands still for a moment; a stop that nobody set a time for takes longer
NEIGHBOURS = ("before", "zneighbour")  # by name around it


class Street:
    """One that misbehaves, between two that do not."""

    def __init__(self, supervisor):
        self.supervisor = supervisor
        self.mark = f"mark-of-{supervisor.run}"
        self.client = supervisor.client()
        self.client.subscribe()
        for name in NEIGHBOURS:
            supervisor.set(name, ["sleep", "100000"], start=True)
        self.pids = {name: supervisor.wait_for(name, ("ready", "up"))["pid"] for name in NEIGHBOURS}

    def move_in(self, way, **spec):
        spec = {"restart": QUICK, "stop": {"timeout_ns": STOP_NS}} | spec
        self.supervisor.set("it", [sys.executable, "-B", PROGRAM, way, self.mark], start=True, **spec)

    def until(self, *states, seconds=90):
        return self.supervisor.wait_for("it", states, seconds)

    def at_it(self, word, seconds=90):
        """Until it has said that it is at it; its row."""
        wait_until(lambda: word in self.output(), seconds)
        return self.until("ready", "up")

    def output(self, which="stdout"):
        try:
            return self.supervisor.output("it", which)
        except FileNotFoundError:
            return ""

    def stop(self):
        """Seconds until it is down."""
        since = time.monotonic()
        self.supervisor.call("process.stop", names=["it"])
        self.until("down")
        return time.monotonic() - since

    def left(self):
        """pids of what it left: by the mark in the command line, or by what the Supervisor put in the environment."""
        found = [pid for pid in self.supervisor.leftovers() if pid not in self.pids.values()]
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "cmdline").read_bytes() and is_running(folder.name):
                    found.append(int(folder.name))
            except OSError:
                pass
        return found

    def moved_out(self):
        """Nothing is left of it, and nobody else noticed anything."""
        wait_until(lambda: not self.left())
        self.peace()

    def peace(self):
        rows = self.supervisor.processes()
        for name, pid in self.pids.items():
            assert rows[name]["pid"] == pid and rows[name]["state"] in ("ready", "up") and rows[name]["starts"] == 1, rows[name]
            assert is_running(pid)

    def close(self):
        for _ in range(50):
            for pid in self.left():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if not self.left():
                break


@pytest.fixture(params=["cgroup", "without"])
def street(request, supervisors):
    """With a cgroup for each process, where this machine lets us make one, and without."""
    options = [] if request.param == "cgroup" else ["--cgroup", "/does/not/exist"]
    one = supervisors(options=options).start()
    if request.param == "cgroup" and not one.call("supervisor.info")["cgroup"]:
        pytest.skip("no cgroup v2 that can be written here")
    made = Street(one)
    yield made
    made.close()


def has_cgroup(street):
    return bool(street.supervisor.call("supervisor.info")["cgroup"])


# ---- those that will not end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way, word", [("ignores_sigterm", "deaf"), ("stops_itself", "stopping")])
def test_one_that_does_not_take_sigterm_is_killed_when_its_time_is_over(street, way, word):
    street.move_in(way)
    street.at_it(word)
    took = street.stop()
    assert STOP_NS / S <= took < STOP_NS / S + SOON_S, took
    assert street.supervisor.process("it")["last_end"]["signal"] == signal.SIGKILL
    street.moved_out()


def test_a_deaf_child_of_one_that_ends_as_it_should_does_not_survive_it(street):
    street.move_in("stays_deaf")
    street.at_it("child is deaf")
    street.stop()
    assert street.supervisor.process("it")["last_end"] | {"time": 0} == {"exit": 0, "time": 0}
    street.moved_out()


def test_children_that_fork_children_are_all_ended(street):
    street.move_in("forks_more")
    street.at_it("forking")
    time.sleep(0.5)
    street.stop()
    street.moved_out()


# ---- those that end --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way, end", [("exits_at_once", {"exit": 7}), ("segfaults", {"signal": signal.SIGSEGV}),
                                      ("forks_and_dies", {"exit": 1}), ("double_forks", {"exit": 0})])
def test_one_that_dies_again_and_again_is_latched(street, way, end):
    street.move_in(way)
    row = street.until("latched")
    assert row["starts"] == 3 and row["deaths"] == 3 and row["last_end"] | {"time": 0} == end | {"time": 0}
    backoffs = [e for e in street.client.events if e.get("name") == "it" and e.get("to") == "backoff"]
    assert len(backoffs) == 2
    street.client.wait_for_event(lambda e: e["kind"] == "alarm" and e["name"] == "it")
    street.moved_out()
    time.sleep(0.5)
    assert street.supervisor.process("it")["starts"] == 3, "it stays down"
    street.supervisor.call("process.start", names=["it"])
    wait_until(lambda: street.supervisor.process("it")["starts"] >= 4)
    street.until("latched", "down")
    street.moved_out()


def test_one_that_goes_where_no_environment_can_find_it(street):
    """Its group and its environment are left behind: its cgroup has it still. Without one nobody can tell it from what a
    neighbour left, which must not be touched."""
    if not has_cgroup(street):
        pytest.skip("only a cgroup has it still")
    street.move_in("escapes", restart={"policy": "never"})
    street.until("down")
    street.moved_out()


# ---- those that go on ------------------------------------------------------------------------------------------------------------


def test_a_flood_is_bounded_and_its_last_lines_are_there(street):
    most, room = 256 * 1024, 512 << 20  # it writes up to a gigabyte a second, and is looked at every 100 ms
    street.move_in("floods_stderr", output={"bytes_max": most})
    row = street.at_it("flooding")
    log = street.supervisor.folder / "processes/it/stderr.log"
    taken, waits, falls, begun = [], [], 0, time.monotonic()
    while time.monotonic() < begun + 4 or (falls < 5 and time.monotonic() < begun + 30):
        taken.append(log.stat().st_blocks * 512)
        falls += taken[-1] < taken[-2:][0]
        since = time.monotonic()
        street.supervisor.call("supervisor.info")
        waits.append(time.monotonic() - since)
        time.sleep(0.02)
    # A machine that stands still spoils some looks; who does not trim, or is held up by the flood, spoils all from some time on.
    late = sorted(taken[len(taken) // 2:])
    assert falls >= 5 and late[len(late) * 3 // 4] < room, f"{falls} times trimmed; {max(taken)} bytes"
    waits.sort()
    assert waits[len(waits) * 9 // 10] < 1 and waits[-1] < 15, f"answers took {waits[len(waits) // 2]:.2f} to {waits[-1]:.2f} s"
    now = street.supervisor.process("it")
    assert now["pid"] == row["pid"] and now["starts"] == 1
    street.peace()
    assert street.stop() < SOON_S
    wait_until(lambda: log.stat().st_blocks * 512 <= most)  # what it wrote last goes, too
    numbers = [int(line[:6]) for line in log.read_bytes().lstrip(b"\0 ").split(b"\n")[1:-1]]
    assert len(numbers) > 1000
    assert all(b == (a + 1) % 1000 for a, b in zip(numbers, numbers[1:])), "none lost, none doubled, none torn"
    street.moved_out()


def test_one_that_eats_memory_dies_of_it_alone(street):
    street.move_in("eats_memory", memory_max_bytes=200 << 20)
    row = street.until("latched")
    assert row["last_end"].get("signal") == signal.SIGKILL or row["last_end"].get("exit"), row["last_end"]
    street.moved_out()


def test_one_that_hangs_is_found_and_started_again(street):
    street.move_in("hangs", logs=["stdout.log"], watchdog={"timeout_ns": 2 * S}, restart=QUICK | {"deaths_max": 16})
    street.at_it("the last line")
    told = street.client.wait_for_event(lambda e: e.get("name") == "it" and e.get("from") in ("ready", "up")
                                        and e.get("to") == "stopping")
    assert "no " in told["reason"], f"a diagnosis: {told}"
    row = wait_until(lambda: (r := street.supervisor.process("it"))["starts"] >= 2 and r)
    assert row["starts"] - 1 <= row["deaths"] <= row["starts"], row
    street.stop()
    street.moved_out()


@pytest.mark.parametrize("way", ["closes_outputs", "removes_its_files"])
def test_one_without_its_output_runs_on(street, way):
    street.move_in(way, settle_ns=200 * MS, output={"directory": str(street.supervisor.folder / "output")})
    row = street.until("up")
    time.sleep(0.5)
    now = street.supervisor.process("it")
    assert now["pid"] == row["pid"] and now["state"] == "up"
    assert street.stop() < SOON_S
    street.moved_out()
    street.supervisor.call("process.start", names=["it"])
    assert street.until("ready", "up", "latched", "backoff")["state"] in ("ready", "up"), "its directory is made again"
    street.stop()


def test_output_that_is_no_text_is_looked_through_all_the_same(street):
    street.move_in("writes_nuls", ready={"rules": ["output written"]})
    street.until("ready", "up")
    assert (street.supervisor.folder / "processes/it/stdout.log").read_bytes().startswith(b"\0" * 100_000 + b"\n")
    assert street.stop() < SOON_S
    street.moved_out()
