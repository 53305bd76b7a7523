"""What `tapline run` does when it is stopped while intelligence is being waited for, and what it says when intelligence is
there but of no use: empty, another database, a password that is wanted now.
SPDX-License-Identifier: Apache-2.0
"""
import pathlib
import signal
import time

import pytest

import rig
from test_intel_run import CLEAN, EVIL, LATE, Arrived, Conns, config, enrichments, intel, is_marked, redis_at

QUICKLY = 15  # seconds, of the half minute and more that is waited for Redis. After five, a thread that does not let go is
#               left behind, and what was seen with it: that is said


@pytest.fixture
def conns(tmp_path):
    return Conns(tmp_path / "conn.log")


@pytest.fixture
def arrived(tmp_path):
    return Arrived(tmp_path / "out.ndjson")


def stopped_quickly(run):
    began = time.monotonic()
    run.signal(signal.SIGTERM)
    assert run.wait() == 0
    assert time.monotonic() - began < QUICKLY and "does not let go" not in run.log(), run.log()


def test_a_stop_while_the_first_events_wait(redis_server, runs, tmp_path, conns, arrived):
    """Nothing goes on unlooked at because of the stop; it is read again, and looked at, after the next start."""
    path = config(tmp_path, conns.path, start_wait="60s", **redis_at(redis_server, connect_timeout="30s"))
    intel("add", EVIL, path=path)
    serials = conns.write(*[EVIL, CLEAN] * 50)
    redis_server.stop_answering()
    try:
        run = runs(path)
        run.wait_log("intelligence is not there yet")
        time.sleep(1)
        stopped_quickly(run)
    finally:
        redis_server.go_on()
    assert "stopped before intelligence was there" in run.log() and not arrived.read()
    assert rig.run_once(path)["accepted"] == 100
    assert arrived.has(serials) and arrived.doubled == 0
    for serial in serials:
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL)
        assert not is_marked(arrived.documents[serial])


@pytest.mark.parametrize("state", ["follows", "is away"])
def test_a_stop_while_redis_is_silent_keeps_what_was_seen(state, redis_server, runs, tmp_path, conns, arrived):
    path = config(tmp_path, conns.path, looks_back=True, **redis_at(redis_server, connect_timeout="30s"))
    intel("add", EVIL, path=path)
    run = runs(path)
    run.wait_log("intelligence is ready")
    serials = conns.write(*[EVIL, CLEAN] * 50)
    run.wait_for("its documents", lambda: arrived.has(serials))
    redis_server.stop_answering()
    try:
        if state == "is away":
            run.wait_log("intelligence is missing", timeout=60)
        stopped_quickly(run)
    finally:
        redis_server.go_on()
    (where,) = pathlib.Path(tmp_path).rglob("seen")
    assert [path for path in where.rglob("*") if path.is_file() and path.stat().st_size > 0]


def test_an_empty_store_is_said_with_its_name(redis_server, runs, tmp_path, conns, arrived):
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    intel("add", EVIL, path=path)
    run = runs(config(tmp_path, conns.path, "other.yml", **redis_at(redis_server, prefix="wrong:")))
    run.wait_log("intelligence is ready, but there are no indicators")
    (line,) = [line for line in run.lines if "there are no indicators: nothing can match" in line and " enrich " in line]
    assert " warn " in line and redis_server.unix_url in line and "prefix wrong:" in line
    run.stop()
    run = runs(path)
    run.wait_log("intelligence is ready")
    assert "no indicators" not in run.log() and "indicators=1 " in run.log()
    redis_server.client().flushall()
    run.wait_log("there are no indicators: nothing can match")
    assert "before=1 " in run.log()
    run.stop()


def test_another_reason_is_said(redis_server, runs, tmp_path, conns):
    """First the connection ends, then there is one, but it wants a password: only the second can be mended."""
    path = config(tmp_path, conns.path, **redis_at(redis_server))
    run = runs(path)
    run.wait_log("intelligence is ready")
    admin = redis_server.client()
    redis_server.kill()
    run.wait_log("intelligence cannot be asked")
    assert "NOAUTH" not in run.log()
    redis_server.start()
    admin = redis_server.client()
    admin.config_set("requirepass", "secret")
    admin.client_kill_filter(_type="normal", skipme=True)
    run.wait_log("NOAUTH", timeout=60)
    assert "intelligence cannot be asked" in [line for line in run.lines if "NOAUTH" in line][0]
    run.stop()


def test_a_list_is_named_in_documents(runs, tmp_path, conns, arrived):
    (tmp_path / "case-42.txt").write_text(EVIL + "\n")
    (tmp_path / "drop.txt").write_text(LATE + "\n")
    serials = conns.write(EVIL, LATE)
    assert rig.run_once(config(tmp_path, conns.path, files=[str(tmp_path / "*.txt")]))["accepted"] == 2
    assert arrived.has(serials)
    assert [found["indicator"]["provider"] for serial in serials for found in enrichments(arrived.documents[serial])] == [
        "case-42.txt", "drop.txt"]


def test_a_pattern_that_names_nothing_for_a_moment(runs, tmp_path, conns, arrived):
    """A feed's script removes its file and writes it anew: what was in it stays in effect, and is not new to those who look back."""
    block = tmp_path / "block.dat"
    text = f"#fields\tindicator\tindicator_type\n{EVIL}\tIntel::ADDR\n"
    block.write_text(text)
    run = runs(config(tmp_path, conns.path, looks_back=True, files=[str(tmp_path / "*.dat")]))
    first = conns.write(EVIL)
    run.wait_for("a hit", lambda: arrived.has(first))
    block.unlink()
    run.wait_log("names no file any more")
    second = conns.write(EVIL)
    run.wait_for("a hit", lambda: arrived.has(second))
    assert enrichments(arrived.documents[second[0]])
    block.write_text(text)
    time.sleep(9)  # looking back begins seven seconds after something new
    assert len(enrichments(arrived.documents[first[0]])) == 1
    run.stop()
    assert "tapline.retro_match" not in (tmp_path / "out.ndjson").read_text()
