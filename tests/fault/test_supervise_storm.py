"""Main and the Supervisor killed again and again, and replaced, while sensors write and `tapline run` ships: no process is touched,
no record is lost or doubled, and people have control again at once.

Sensors are `tapline replay`s that write records with serial numbers; `tapline run` writes documents into files. All are nodes of
one Main. In CI: Main is killed 50 times, the Supervisor 20 times. `make storm` (TAPLINE_LONG=1): ten times as often.
TAPLINE_SEED repeats a storm as far as chance goes.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import os
import pathlib
import random
import shutil
import signal
import time

import pytest

import rig
from fast_sensor import BLOCK, Blocks
from serving import UP, Gone, Main, is_running, program, wait_until
from supervising import MS, supervisor, supervisors  # noqa: F401

TIMES = 10 if rig.IS_LONG else 1
MAIN_KILLS = 50 * TIMES
SUPERVISOR_KILLS = 20 * TIMES
BOTH_KILLS = 8 * TIMES
COMMAND_KILLS = 20 * TIMES
CONTROL_S_MAX = 2.0  # from Main's start until it answers and has its Supervisor; one of four may be held up by a busy machine
RATE = 1000  # records a second of each sensor
SENSORS = ("east", "north", "west")
RECORDS = 250_000 * TIMES // BLOCK * BLOCK  # of each: more than it has time for


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A long conn.log for each sensor; no serial number is in two."""
    folder, blocks, logs = tmp_path_factory.mktemp("recorded"), Blocks(), {}
    for place, name in enumerate(SENSORS):
        (folder / name).mkdir()
        logs[name] = folder / name / "conn.log"
        with open(logs[name], "wb") as out:
            out.write(blocks.header)
            for first in range(place * RECORDS, (place + 1) * RECORDS, BLOCK):
                out.write(blocks.text(first))
    yield logs
    shutil.rmtree(folder)


class Installed(Main):
    """Main from a folder of programs of its own, as packages have them, to be replaced."""

    def __init__(self, folder, *args, **more):
        self.bin = pathlib.Path(folder) / "bin"
        self.bin.mkdir(parents=True)
        self.install()
        super().__init__(folder, *args, **more)

    @property
    def tapline(self):
        return self.bin / "tapline"

    def install(self, *names):
        """As a package does it: the new file beside the old, and over it by rename."""
        for name in names or ("tapline", "tapline-supervise"):
            shutil.copy2(rig.TAPLINE.with_name(name), self.bin / f"{name}.new")
            os.rename(self.bin / f"{name}.new", self.bin / name)

    def command(self):
        return [str(self.tapline), "serve", "-c", str(self.config)]


class Site:
    """Main, its Supervisor, three sensors at work, `tapline run`, and some that only are there."""

    def __init__(self, folder, recorded):
        self.folder = folder
        self.took = []  # seconds that each further start of Main took
        self.logs = folder / "logs"
        self.out = folder / "out"
        nodes = [program(f"idle{i}", "sleep", "100000", order=50) for i in range(5)]
        inputs = []
        for name in SENSORS:
            nodes.append(self.node(name, "replay", "--rate", RATE, "--rotate", "3s", "--to", self.logs / name, recorded[name],
                                   order=10, ready=["log_written"], logs=[str(self.logs / name / "*.log")]))
            (self.logs / name).mkdir(parents=True)
            inputs.append({"type": "zeek", "paths": [str(self.logs / name / "conn*.log")]})
        nodes.append(self.node("shipper", "run", "-c", folder / "main/tapline.yml", order=90, ready=["after 500ms"],
                               stop_timeout="60s"))
        self.out.mkdir()
        more = {"inputs": inputs, "sinks": {"file": {"path": str(self.out / "documents.ndjson"), "sync_interval": "50ms"}},
                "ingest": {"checkpoint_interval": "100ms"}, "normalize": {"maps": str(rig.TOP / "configs")}}
        self.main = Installed(folder / "main", nodes, more=more)
        self.main.start()
        self.main.wait_for_all()
        self.pids = self.main.pids()
        assert len(self.pids) == len(nodes)
        wait_until(lambda: self.delivered_bytes() > 0)
        # What merely happened is in the Supervisor's file a quarter of a second later; killed before, it adopts what is still starting.
        wait_until(lambda: b'"state":"starting"' not in (self.main.state / "supervisor.state").read_bytes())

    @staticmethod
    def node(name, *words, **keys):
        return program(name, *words, **keys) | {"type": "tapline"}

    def delivered_bytes(self):
        return sum(path.stat().st_size for path in self.out.glob("*"))

    def assert_untouched(self, adopted=None):
        rows = self.main.status()
        for name, pid in self.pids.items():
            row = rows[name]
            assert row["pid"] == pid and is_running(pid), f"{name} was {pid}: {row}\n{self.main.log_text()[-3000:]}"
            assert row["state"] in UP and row["starts"] == 1 and row["deaths"] == 0, row
            assert adopted is None or row["is_adopted"] == adopted, row

    def start_main(self):
        """Seconds until it has control."""
        since = time.monotonic()
        self.main.start()
        self.took.append(time.monotonic() - since)
        return self.took[-1]

    def written(self):
        """Serial numbers in the sensors' logs."""
        found = collections.Counter()
        for path in self.logs.glob("*/*.log"):
            with open(path, "rb") as lines:
                found.update(int(line.split(b"\t", 2)[1][1:]) for line in lines if not line.startswith(b"#"))
        return found

    def finish(self):
        """All ends in the order it must; then what was written and what was shipped is compared, record by record."""
        took = sorted(self.took)
        assert len(took) < 2 or took[(len(took) - 1) * 3 // 4] < CONTROL_S_MAX, took  # one alone may be the one held up
        moved = self.delivered_bytes()
        wait_until(lambda: self.delivered_bytes() > moved)  # still at work
        client = self.main.connect(self.main.supervisor_socket)
        client.call("events.subscribe")
        self.main.client().send("shutdown")
        with pytest.raises(Gone):
            client.wait_for_event(lambda e: False)
        assert self.main.wait_end() == 0
        downs = [e["name"] for e in client.events if e.get("to") == "down"]
        assert set(downs[:3]) == set(SENSORS) and downs[-1] == "shipper" and len(downs) == len(self.pids), downs
        left = [command_of(pid) for pid in self.main.leftovers()]
        print("left for a moment:", left) if left else None
        wait_until(lambda: not self.main.leftovers())  # what Main has killed at its end is gone in a moment
        written = self.written()
        assert set(written.values()) == {1} and len(written) > 100, "the sensors were started once"
        shipped = self.shipped()
        lost, doubled = written - shipped, shipped - written
        assert not lost and not doubled, f"of {len(written)} lost {len(lost)} {list(lost)[:5]}, doubled {len(doubled)} {list(doubled)[:5]}"
        rig.run_once(self.main.config)
        assert self.shipped() == shipped, "its last lines were shipped before it ended, and are not again"
        return len(written)

    def shipped(self):
        return collections.Counter(rig.Documents(*self.out.iterdir()).serials)

    def close(self):
        self.main.close()


@pytest.fixture
def site(tmp_path, recorded):
    made = Site(tmp_path, recorded)
    yield made
    made.close()


@pytest.fixture
def chance():
    number = int(os.environ.get("TAPLINE_SEED", random.randrange(2**32)))
    print("TAPLINE_SEED", number)
    return random.Random(number)


# ---- killed -------------------------------------------------------------------------------------------------------------------


def test_main_is_killed_under_load(site, chance):
    took = []
    for kill in range(MAIN_KILLS):
        time.sleep(chance.uniform(0, 0.5))
        if kill % 5 == 4:  # and once more, somewhere in its start
            site.main.kill()
            site.main.start(wait=False)
            time.sleep(chance.uniform(0, 0.1))
        site.main.kill()
        if kill % 10 == 9:
            time.sleep(1)  # nobody there: nobody misses it
        took.append(site.start_main())
        site.assert_untouched(adopted=False)
    records = site.finish()
    print(f"Main killed {MAIN_KILLS} times: {records} records, none lost or doubled; control back after {sorted(took)[len(took) // 2]:.3f} s, "
          f"at most {max(took):.3f} s")


def test_the_supervisor_is_killed_under_load(site, chance):
    took = []
    for _ in range(SUPERVISOR_KILLS):
        time.sleep(chance.uniform(0, 0.3))
        killed, since = site.main.kill_supervisor(), time.monotonic()
        wait_until(lambda: site.main.is_linked() and site.main.supervisor_pid() != killed)  # Main starts another one
        took.append(time.monotonic() - since)
        site.assert_untouched(adopted=True)
    records = site.finish()  # adopted ones are stopped as others are
    print(f"the Supervisor killed {SUPERVISOR_KILLS} times: {records} records, none lost or doubled; there again after "
          f"{sorted(took)[len(took) // 2]:.3f} s, at most {max(took):.3f} s")


def test_both_are_killed(site, chance):
    for kill in range(BOTH_KILLS):
        time.sleep(chance.uniform(0, 0.3))
        if kill % 2 == 0:
            site.main.kill_supervisor()
            time.sleep(chance.choice((0, chance.uniform(0, 0.3))))
            site.main.kill()
        else:
            pid = site.main.supervisor_pid()
            site.main.kill()
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_running(pid))  # another one, which waited for its lock, may be there now
        assert all(is_running(pid) for pid in site.pids.values()), "sensors live without anybody"
        site.start_main()
        site.assert_untouched(adopted=True)
    site.finish()


def test_what_dies_while_nobody_is_there_is_started_again_and_nothing_else(site):
    pid = site.main.supervisor_pid()
    site.main.kill()
    os.kill(pid, signal.SIGKILL)
    died = site.pids.pop("idle3")
    os.kill(died, signal.SIGKILL)
    wait_until(lambda: not is_running(died))
    site.start_main()
    row = site.main.wait_for("idle3", UP)
    assert row["pid"] != died and row["starts"] == 2 and row["deaths"] == 1 and not row["is_adopted"]
    site.assert_untouched(adopted=True)
    site.pids["idle3"] = row["pid"]
    site.finish()


# ---- replaced -----------------------------------------------------------------------------------------------------------------


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b"gone"


def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_the_programs_are_replaced_under_load(site):
    """First the Supervisor's file and the Supervisor, then Main's: it is a process of the new file, of the same number, with the
    same children; and Main asks nobody to start anew either."""
    pid = site.main.supervisor_pid()
    for turn in range(5 * TIMES):
        site.main.install("tapline-supervise")
        assert os.readlink(f"/proc/{pid}/exe").endswith("(deleted)"), "it is still the old one"
        if turn % 2 == 0:
            os.kill(pid, signal.SIGHUP)
        else:
            site.main.supervisor().call("supervisor.upgrade")
        wait_until(lambda: os.readlink(f"/proc/{pid}/exe") == str(site.main.bin / "tapline-supervise"))
        wait_until(lambda: site.main.is_linked() and site.main.status()["east"]["state"] in UP)
        assert site.main.supervisor_pid() == pid
        site.assert_untouched(adopted=False)
        assert all(parent_of(one) == pid for one in site.pids.values())
        site.main.install("tapline")
        assert site.main.stop() == 0, "Main ends alone"
        site.start_main()
        assert os.readlink(f"/proc/{site.main.pid}/exe") == str(site.main.tapline)
        site.assert_untouched(adopted=False)
    os.kill(site.pids.pop("idle0"), signal.SIGSEGV)  # whose child it is still: its signal is known
    row = wait_until(lambda: (r := site.main.status()["idle0"])["starts"] == 2 and r["state"] in UP and r)
    assert "SEGV" in str(row["last_end"]) or f"{int(signal.SIGSEGV)}" in str(row["last_end"]), row
    site.pids["idle0"] = row["pid"]
    site.finish()


# ---- killed in the middle of what it was told -----------------------------------------------------------------------------------


def settled(rows):
    """All are where they are wanted."""
    return all(row["state"] in (UP if row["is_wanted"] else ("down",)) for row in rows.values())


def test_the_supervisor_is_killed_at_any_moment_of_starts_stops_and_restarts(supervisor, chance):  # noqa: F811
    """What was answered is done by the next one; what was not, is done or is not. No process is there twice, none is forgotten."""
    names = [f"p{i}" for i in range(10)]
    for name in names:  # half of them take their time to end, and one does not end by itself
        how = ("exec sleep 100000", "trap 'sleep 0.1; exit 0' TERM; while :; do sleep 0.05; done", "trap '' TERM; while :; do sleep 0.05; done")
        supervisor.set(name, ["/bin/sh", "-c", how[int(name[1:]) % 2 if name != "p9" else 2]], settle_ns=100 * MS,
                       stop={"timeout_ns": 300 * MS}, order=int(name[1:]) % 3)
    told = collections.Counter()
    for _ in range(COMMAND_KILLS):
        what = chance.choice(("start", "stop", "restart"))
        some = chance.sample(names, chance.randrange(1, len(names) + 1))
        client, is_answered = supervisor.client(), False
        number = client.send(f"process.{what}", names=some)
        until = time.monotonic() + chance.choice((0, chance.uniform(0, 0.02), chance.uniform(0, 0.4)))
        while time.monotonic() < until:
            client.read(max(0.001, until - time.monotonic()))
        try:
            is_answered = number in client.answers and "result" in client.answers[number]
        finally:
            supervisor.kill()
        supervisor.start()
        rows = settled_rows(supervisor)
        for name in names:
            if is_answered and name in some:
                assert rows[name]["is_wanted"] == (what != "stop"), f"{what} was answered: {rows[name]}"
        told[what, is_answered] += 1
    print(dict(told))


def settled_rows(supervisor):
    """Rows in which all are where they are wanted, when just these run: what it still had to restart has another pid by then."""
    def agree():
        rows = supervisor.processes()
        return settled(rows) and sorted(own(supervisor)) == sorted(row["pid"] for row in rows.values() if row["pid"]) and rows

    try:
        return wait_until(agree)
    except AssertionError as error:
        rows = [{k: v for k, v in r.items() if k != "spec"} for r in supervisor.processes().values()]
        raise AssertionError(f"{error}: {own(supervisor)} run, {rows}\n{supervisor.log.read_text()[-6000:]}") from None


def own(supervisor):
    """What runs of it, without what these have started themselves."""
    found = supervisor.leftovers()
    return [pid for pid in found if parent_of_or_none(pid) not in found]


def parent_of_or_none(pid):
    try:
        return parent_of(pid)
    except OSError:
        return None


def test_main_is_killed_at_any_moment_of_what_people_asked_for(site, chance):
    """A client that loses Main in the middle looks again: the Supervisor has done it to its end."""
    for _ in range(COMMAND_KILLS // 2):
        what, name = chance.choice(("stop", "start", "restart")), f"idle{chance.randrange(5)}"
        client = site.main.connect()
        client.send(what, nodes=[name])
        time.sleep(chance.choice((0, chance.uniform(0, 0.02))))
        site.main.kill()
        site.start_main()
        wait_until(lambda: settled(site.main.status()))
    result = site.main.call("start")
    assert all(node["ok"] for node in result["nodes"]), result
    for name in [name for name in site.pids if name.startswith("idle")]:
        site.pids.pop(name)
    site.assert_untouched()
    site.pids = site.main.pids()
    site.finish()
