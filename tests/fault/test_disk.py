"""Disks that are full: a message that names the file, nothing lost, and on it goes when there is space again.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import subprocess
import time

import pytest

import rig

DISK_BYTES = 2 * 1024 * 1024
STOPPED_S = 25  # a stop_timeout of a second and less, on a busy machine; one that it has not heard of lasts 30 s


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB. Needs root; elsewhere only the tests with /dev/full say something about full disks."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Leave no byte free. Returns the file that takes the space."""
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            pass
    return ballast


def test_documents_wait_while_their_disk_is_full(small_disk, tmp_path, runs, conn_log):
    log, out = tmp_path / "conn.log", small_disk / "out.ndjson"
    log.write_text(conn_log.text(0, 500))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}})
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES - 300_000))  # room for some documents, not for all
    run = runs(config)
    run.wait_log("out.ndjson", timeout=60)
    run.wait_for("a message that the disk is full", lambda: "No space left" in run.log())
    assert run.process.poll() is None
    time.sleep(0.5)
    ballast.unlink()
    run.wait_for("the rest", lambda: out.read_bytes().count(b"\n") >= 500)
    run.stop()
    rig.Documents(out).assert_each_once(500)


def test_killed_while_the_disk_is_full(small_disk, tmp_path, runs, conn_log):
    log, out = tmp_path / "conn.log", small_disk / "out.ndjson"
    log.write_text(conn_log.text(0, 500))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}})
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES - 300_000))
    run = runs(config)
    run.wait_for("a message that the disk is full", lambda: "No space left" in run.log())
    run.kill()
    ballast.unlink()
    rig.run_once(config)
    rig.Documents(out).assert_none_lost(500)  # and no torn line in it


def test_stop_with_a_full_disk_ends_in_time_and_loses_nothing(small_disk, tmp_path, runs, conn_log):
    log, out = tmp_path / "conn.log", small_disk / "out.ndjson"
    log.write_text(conn_log.text(0, 500))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}}, pipeline={"stop_timeout": "1s"})
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (DISK_BYTES - 300_000))
    run = runs(config)
    run.wait_for("a message that the disk is full", lambda: "No space left" in run.log())
    run.stop(timeout=STOPPED_S)
    assert "stop_timeout is over" in run.log()
    ballast.unlink()
    rig.run_once(config)
    rig.Documents(out).assert_none_lost(500)


def test_checkpoint_waits_while_its_disk_is_full(small_disk, tmp_path, runs, conn_log):
    """Whether tapline goes on or ends with 111 while it cannot write its checkpoint: it says so, and no record is lost."""
    log, out, state = tmp_path / "conn.log", tmp_path / "out.ndjson", small_disk / "state"
    log.write_text(conn_log.text(0, 500))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}}, node={"state": str(state)},
                              ingest={"checkpoint_interval": "20ms"})
    rig.run_once(config)
    ballast = fill(small_disk)
    run = runs(config)
    rig.wait_for("the start, or the refusal to", lambda: '"started"' in run.log() or run.process.poll() is not None)
    with open(log, "a") as more:
        more.write(conn_log.text(500, 1000, header=False))
    rig.wait_for("word of the full state directory", lambda: "No space left" in run.log() and str(state) in run.log())
    time.sleep(0.5)
    if run.process.poll() is not None:
        assert run.wait() == 111, run.log()
    run.kill()
    ballast.unlink()
    rig.run_once(config)
    rig.Documents(out).assert_none_lost(1000)
    assert rig.run_once(config)["accepted"] == 0


def test_dev_full_as_the_file_of_documents(tmp_path, runs, conn_log):
    log = tmp_path / "conn.log"
    log.write_text(conn_log.text(0, 10))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(log)]}],
                              {"file": {"path": "/dev/full"}}, pipeline={"stop_timeout": "500ms"})
    run = runs(config)
    rig.wait_for("a message or a refusal", lambda: "/dev/full" in run.log())
    if run.process.poll() is None:
        run.stop(timeout=STOPPED_S)
    else:
        assert run.wait() in (100, 111)
    other = rig.config_write(tmp_path / "other.yml", [{"type": "zeek", "paths": [str(log)]}],
                             {"file": {"path": str(tmp_path / "out.ndjson")}})
    assert rig.run_once(other)["accepted"] == 10


def test_a_log_that_cannot_be_read_does_not_stop_its_neighbours(tmp_path, runs, conn_log):
    good, bad = tmp_path / "conn.log", tmp_path / "conn.bad.log"
    good.write_text(conn_log.text(0, 100))
    bad.symlink_to(tmp_path / "conn.bad.log")  # a loop: no user can open it, not even root
    out = tmp_path / "out.ndjson"
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(tmp_path / "conn*.log")]}],
                              {"file": {"path": str(out), "sync_interval": "10ms"}})
    run = runs(config)
    run.wait_for("the good one", lambda: out.exists() and out.read_bytes().count(b"\n") == 100)
    run.stop()
    assert pathlib.Path(out).read_bytes().count(b"\n") == 100
