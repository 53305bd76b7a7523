"""The disk guard: archived logs that are old go, and not one that was not delivered. `tapline run` delivers, Main deletes.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import subprocess
import time

from serving import TAPLINE, program, serving  # noqa: F401 (serving: the fixture)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "configs/samples/zeek/conn.log"
DAY = 86400


def deliver(main):
    """What the inputs have now, by a real run; its positions are in node.state."""
    subprocess.run([TAPLINE, "run", "--once", "-c", main.config], check=True, cwd=ROOT, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, timeout=180)


def site(serving, tmp_path, start=True, **serve):
    logs, archive = tmp_path / "logs", tmp_path / "archive"
    logs.mkdir()
    (archive / "2026-11-21").mkdir(parents=True)
    main = serving([program("idle", "sleep", "600")], start=start, serve=serve, sensors={"archive": str(archive)},
                   more={"inputs": [{"type": "zeek", "paths": [f"{logs}/*.log"]}],
                         "sinks": {"file": {"path": str(tmp_path / "out.ndjson")}}})
    return main, logs, archive / "2026-11-21"


def age(path, days=2):
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_old_logs_go_when_they_are_delivered_and_only_then(serving, tmp_path):
    main, logs, day = site(serving, tmp_path, archive_keep="1d")
    client = main.client()
    client.subscribe(since=0)
    for name in ("conn", "dns"):
        (logs / f"{name}.log").write_bytes(SAMPLE.read_bytes())
    deliver(main)
    unread = tmp_path / "unread.log"
    unread.write_bytes(SAMPLE.read_bytes())
    for old in (unread, logs / "conn.log"):
        age(old)
    # The guard may look at any moment: what it is to leave is there before what it is to remove.
    unread.rename(day / "conn.3.log")  # old, read by nobody
    (logs / "dns.log").rename(day / "conn.2.log")  # young, delivered
    (logs / "conn.log").rename(day / "conn.1.log")  # old, delivered
    event = client.wait_for_event(lambda e: e["kind"] == "disk" and e["removed"] > 0)
    assert event["removed"] == 1 and event["removed_bytes"] == SAMPLE.stat().st_size
    assert event["undelivered"] == 1
    assert sorted(p.name for p in day.iterdir()) == ["conn.2.log", "conn.3.log"]


def test_a_log_that_grew_after_it_was_delivered_stays(serving, tmp_path):
    main, logs, day = site(serving, tmp_path, archive_keep="1d")
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    (logs / "conn.log").write_bytes(b"".join(lines[:50]))
    deliver(main)
    with open(logs / "conn.log", "ab") as more:
        more.write(b"".join(lines[50:60]))
    (logs / "conn.log").rename(day / "conn.1.log")
    age(day / "conn.1.log")
    client = main.client()
    client.subscribe(since=0)
    event = client.wait_for_event(lambda e: e["kind"] == "disk" and e["undelivered"] == 1)
    assert event["removed"] == 0 and (day / "conn.1.log").exists()


def test_too_little_room_and_nothing_may_go_is_an_error(serving, tmp_path):
    main, _, day = site(serving, tmp_path, start=False, free_bytes="1000000GiB")
    (day / "conn.1.log").write_bytes(SAMPLE.read_bytes())  # before the first look: what that says is said again in an hour
    main.start()
    client = main.client()
    client.subscribe(since=0)
    event = client.wait_for_event(lambda e: e["kind"] == "disk" and e["is_low"])
    assert event["undelivered"] >= 1 and (day / "conn.1.log").exists()
    main.wait_for_log("too little room, and nothing more may be removed")
    main.wait_for_log("conn.1.log")


def test_df_names_the_places(serving, tmp_path):
    main, _, _ = site(serving, tmp_path)
    (main.folder / "state").mkdir(exist_ok=True)  # node.state: where a run keeps its positions
    rows = {row["what"]: row for row in main.call("df")["filesystems"]}
    for what in ("sensors", "archive", "serve", "node"):
        assert rows[what]["size_bytes"] > rows[what]["free_bytes"] > 0
        assert 0 <= rows[what]["used_percent"] <= 100 and rows[what]["inodes_free"] > 0
    assert rows["archive"]["path"] == str(tmp_path / "archive")
