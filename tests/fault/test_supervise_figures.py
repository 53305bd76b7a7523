"""The Supervisor's figures with 200 processes: how fast they start, what it costs to keep them, how soon a death is noticed.

Figures of a host that does nothing else: ctest runs this alone. Each is printed. What a slow or a busy machine takes for the same
work without a Supervisor is measured beside it, and gives it that much more room.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import random
import signal
import statistics
import subprocess
import time

from supervising import S, supervisors, wait_until  # noqa: F401

PROCESSES = 200
START_S_MAX = 5
RSS_BYTES_MAX = 8 << 20
CPU_SHARE_MAX = 0.001
NOTICED_S_MAX = 0.050
IDLE_S = 30.5  # each is looked at once
NAMES = [f"sensor-{i:03d}" for i in range(PROCESSES)]


def peak_bytes(pid):
    """The most that was ever resident, what it shares with others included."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def cpu_s(pid):
    """CPU time, exact to the ns, of all its threads."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / S


def sleeps(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise AssertionError("no voluntary_ctxt_switches")


def spawned_s(folder):
    """Seconds in which as many shells write their file and end, all started at once by us."""
    begun = time.monotonic()
    shells = [subprocess.Popen(["/bin/sh", "-c", f"echo started > {folder}/{name}; exec true"]) for name in NAMES]
    assert [shell.wait() for shell in shells] == [0] * PROCESSES
    return time.monotonic() - begun


def looked_s(pids):
    """CPU time that it takes us to look at each once."""
    took = []
    for _ in range(3):
        begun = time.process_time()
        for pid in pids:
            for name in ("stat", "status", "schedstat"):
                pathlib.Path(f"/proc/{pid}/{name}").read_bytes()
        took.append(time.process_time() - begun)
    return min(took)


def knowing(supervisors, *options):
    """A Supervisor that knows 200 processes as sensors are: they say when they are ready, write a log, and have a watchdog that
    looks at each every 30 s."""
    made = supervisors(options=options).start()
    for name in NAMES:
        made.set(name, ["/bin/sh", "-c", "echo started > sensor.log; echo listening on lo >&2; exec sleep 100000"],
                 ready={"rules": ["output listening on", "log_written"]}, logs=["*.log"],
                 watchdog={"timeout_ns": 120 * S, "interface": "lo"}, settle_ns=S // 5,
                 restart={"delay_min_ns": S // 10, "delay_max_ns": S // 10, "deaths_max": 16})
    made.client().subscribe()
    return made


def started(kept):
    """Seconds from the word to start until all are ready, told one by one."""
    client = kept.client()
    begun = time.monotonic()
    client.call("process.start", names=NAMES)
    left = set(NAMES)
    looked = 0
    while left:
        for event in client.events[looked:]:
            looked += 1
            if event.get("to") == "ready":
                left.discard(event["name"])
        if left:
            assert time.monotonic() - begun < 60, f"{len(left)} are not ready"
            client.read(1)
    return time.monotonic() - begun


def deaths_noticed(kept, how_many):
    """Seconds from the SIGKILL until the event has come, of processes by chance."""
    client = kept.client()
    chance = random.Random(200)
    took = []
    for _ in range(how_many):
        name = chance.choice(NAMES)
        pid = kept.wait_for(name, ("ready", "up"))["pid"]
        client.events.clear()
        since = time.time()
        os.kill(pid, signal.SIGKILL)
        event = client.wait_for_event(lambda e: e.get("name") == name and e.get("to") == "backoff")
        assert event["signal"] == signal.SIGKILL
        took.append(event["arrived"] - since)
        time.sleep(0.05)
    return sorted(took)


def test_two_hundred_processes(supervisors, tmp_path):
    kept = knowing(supervisors)
    before_s = spawned_s(tmp_path)
    start_s = started(kept)
    start_s_max = max(START_S_MAX, 8 * before_s, 8 * spawned_s(tmp_path))
    rows = kept.processes()
    assert len({row["pid"] for row in rows.values()}) == PROCESSES and all(row["starts"] == 1 for row in rows.values())
    wait_until(lambda: all(row["state"] == "up" for row in kept.processes().values()))
    wake_ups, used = sleeps(kept.pid), cpu_s(kept.pid)
    time.sleep(IDLE_S)
    share, wake_ups = (cpu_s(kept.pid) - used) / IDLE_S, sleeps(kept.pid) - wake_ups
    share_max = max(CPU_SHARE_MAX, 3 * looked_s([row["pid"] for row in rows.values()]) / IDLE_S)
    noticed = deaths_noticed(kept, 25)
    rss = peak_bytes(kept.pid)
    print(f"{PROCESSES} processes: all ready in {start_s:.2f} s; idle {share:.3%} of a CPU, {wake_ups / IDLE_S:.1f} wake-ups a "
          f"second; at most {rss / 2**20:.2f} MiB; a death is told after {statistics.median(noticed) * 1000:.1f} ms, at most "
          f"{noticed[-1] * 1000:.1f} ms")
    assert start_s < start_s_max
    assert share < share_max, f"{share:.3%} of a CPU, at most {share_max:.3%}"
    assert statistics.median(noticed) < NOTICED_S_MAX, f"half of {len(noticed)} took longer: {noticed}"
    assert rss < RSS_BYTES_MAX
    again = wait_until(lambda: (r := kept.processes()) and all(row["state"] in ("ready", "up") for row in r.values()) and r)
    assert sum(row["starts"] for row in again.values()) == PROCESSES + len(noticed)


def test_without_cgroups_they_start_as_fast_and_all_may_die_at_once(supervisors, tmp_path):
    """The worst moment: 200 deaths together. All are noticed, none is lost, all are started again, each once."""
    kept = knowing(supervisors, "--cgroup", "/does/not/exist")
    before_s = spawned_s(tmp_path)
    start_s = started(kept)
    pids = {name: row["pid"] for name, row in kept.processes().items()}
    client = kept.client()
    client.events.clear()
    since = time.monotonic()
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    again = wait_until(lambda: (r := kept.processes()) and all(
        row["state"] in ("ready", "up") and row["pid"] != pids[name] for name, row in r.items()) and r, every=0.2)
    took = time.monotonic() - since
    start_s_max = max(START_S_MAX, 8 * before_s, 8 * spawned_s(tmp_path))
    rss = peak_bytes(kept.pid)
    print(f"{PROCESSES} processes: all ready in {start_s:.2f} s; killed at once, all ready again after {took:.2f} s; {rss / 2**20:.2f} MiB")
    client.call("hello")  # what was told before has come
    died = [event["name"] for event in client.events if event.get("to") == "backoff"]
    assert sorted(died) == NAMES and all(row["deaths"] == 1 for row in again.values())
    assert start_s < start_s_max and took < start_s_max, f"{start_s:.2f} s, {took:.2f} s, at most {start_s_max:.2f} s"
    assert rss < RSS_BYTES_MAX
    assert sorted(kept.leftovers()) == sorted(row["pid"] for row in again.values())
