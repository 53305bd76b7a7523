"""The clock jumps by a day while tapline runs, forwards, back, and to and fro: nothing lost, nothing doubled, nothing stuck
(what waits goes by CLOCK_MONOTONIC), and files of documents keep their order. The clock is world_shim.c's: a real one would
be the whole machine's.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import os
import time

import pytest

import rig
import worlds
from worlds import DAY, starts, world  # noqa: F401  (fixtures)

COUNT = 400
JUMPS = {"forward": [DAY], "back": [-DAY], "to_and_fro": [DAY, -DAY, 0, 3600, -3600, 40 * DAY, 0]}


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS.keys())
def test_nothing_lost_doubled_or_late(tmp_path, world, starts, conn_log, jumps):
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    worlds.append(log, conn_log, 0, COUNT)
    config = worlds.conn_config(tmp_path, tmp_path, out)
    run = starts(config, env=world.env())
    run.wait_for("documents", lambda: worlds.lines_of(out) == COUNT)
    done = COUNT
    for jump in jumps:
        world.clock(jump)
        worlds.append(log, conn_log, done, done + COUNT)
        worlds.append(tmp_path / f"conn.{done}.log", conn_log, done + COUNT, done + 2 * COUNT)     # and a new file
        done += 2 * COUNT
        run.wait_for(f"documents after a jump to {jump}", lambda: worlds.lines_of(out) == done,
                     timeout=60)  # who waits by that clock waits for an hour at least
    ingested = rig.Documents(out).all[-1]["event"].get("ingested")
    if ingested is not None:    # the time as the machine has it, whatever that is
        at = datetime.datetime.fromisoformat(ingested).timestamp()
        assert abs(at - (time.time() + jumps[-1])) < 60, ingested
    world.clock(0)
    run.stop()
    assert "stop_timeout is over" not in run.log()
    assert rig.run_once(config)["accepted"] == 0
    rig.Documents(out).assert_each_once(done)


def test_killed_between_jumps(tmp_path, world, starts, conn_log):
    """A checkpoint from tomorrow is as good as one from yesterday."""
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    config = worlds.conn_config(tmp_path, tmp_path, out)
    for i, jump in enumerate([DAY, -DAY, 30 * DAY, 0]):
        world.clock(jump)
        worlds.append(log, conn_log, i * COUNT, (i + 1) * COUNT)
        run = starts(config, env=world.env())
        run.wait_accepted((i + 1) * COUNT)
        run.kill()
    rig.run_once(config)
    rig.Documents(out).assert_each_once(4 * COUNT)


@pytest.mark.parametrize("rotation", [{"rotate_size": "256 KiB"}, {"rotate_interval": "1h"}], ids=["by_size", "by_time"])
def test_rotated_files_keep_their_order(tmp_path, world, starts, conn_log, rotation):
    """Their names are in the order of time even when the clock goes back, so the oldest are the ones that go."""
    log, out = tmp_path / "conn.log", tmp_path / "out.ndjson"
    keep = 3
    config = worlds.conn_config(tmp_path, tmp_path, out, file={**rotation, "rotate_keep": keep})
    world.clock(DAY)
    run = starts(config, env=world.env())
    done = 0
    for jump in [DAY, -DAY, 0, 2 * 3600, -3 * DAY, -3 * DAY + 2 * 3600, -3 * DAY + 4 * 3600]:
        world.clock(jump)
        worlds.append(log, conn_log, done, done + COUNT)
        done += COUNT
        marker = b"C%017d" % (done - 1)
        run.wait_for(f"documents after a jump to {jump}", lambda: any(
            marker in worlds.bytes_of(path) for path in tmp_path.glob("out.ndjson*")))
    run.stop()
    files = sorted(tmp_path.glob("out.ndjson.2*"), key=lambda path: (path.name.split(".")[2:3], int((path.name + ".0").split(".")[3])))
    assert 1 <= len(files) <= keep, files
    serials = rig.Documents(*files, out).serials
    assert serials == list(range(done - len(serials), done)), "what stays is not the newest, in order"
    assert worlds.said(run, "the clock went back", "see to the clock"), run.log()


def test_a_wrong_clock_gives_no_wrong_years(tmp_path, world, starts):
    """Snort's stamps have no year. It is that of the file's own time, though the clock says 1970."""
    log, out = tmp_path / "alert_fast.txt", tmp_path / "out.ndjson"
    log.write_text("".join(f'11/21-02:58:39.{i:06d} [**] [1:{i + 1}:1] "alert" [**] [Priority: 3] {{TCP}} 10.0.0.1:1 -> 10.0.0.2:2\n'
                           for i in range(50)))
    written = datetime.datetime(2025, 11, 22, tzinfo=datetime.timezone.utc).timestamp()
    os.utime(log, (written, written))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "snort", "paths": [str(log)]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}})
    world.clock(-time.time() + 100)
    run = starts(config, env=world.env())
    run.wait_for("documents", lambda: worlds.lines_of(out) == 50)
    run.stop()
    assert {document["@timestamp"][:4] for document in rig.Documents(out).all} == {"2025"}
