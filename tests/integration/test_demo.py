"""`make demo`, as a script does it: everything is started, found and stopped again, also when it is killed half-way.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

import rig

DEMO = rig.TOP / ".ci/demo-search"


@pytest.fixture
def demo(tmp_path):
    """Starts the script; whatever it leaves is found and ended by the test's end."""
    if shutil.which("java") is None or shutil.which("redis-server") is None:
        assert os.environ.get("CI") != "true", "under CI=true the demo must run: default-jre-headless and redis-server are missing"
        pytest.skip("NO JAVA or no redis-server: make demo is not tested here")
    folder = tmp_path / "demo"
    started = []

    def start(*options):
        log = open(tmp_path / f"log-{len(started)}", "w+")
        environment = {**os.environ, "TAPLINE": str(rig.TAPLINE), "DEMO_DIR": str(folder), "DEMO_RATE": "1500"}
        started.append(subprocess.Popen([DEMO, *options], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                        env=environment, start_new_session=True))
        started[-1].text = lambda: pathlib.Path(log.name).read_text()
        started[-1].folder = folder
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
    rig.wait_for("the guard to stop what was left", lambda: not left(folder), 180)


def left(folder):
    """Processes that have the demo's directory in their command line, or are the Redis that it names."""
    found = []
    marks = [str(folder)] + [path.read_text().strip() for path in folder.glob("redis/mark")]
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(mark in words for mark in marks):
            found.append(words)
    return found


def test_once_shows_what_was_found_and_leaves_nothing_running(demo):
    run = demo("--once")
    assert run.wait(420) == 0, run.text()
    text = run.text()
    flow = text[text.index("Zeek and Snort on one flow"):]
    assert re.search(r"^\S+Z +snort\.log +", flow, re.M) and re.search(r"^\S+Z +zeek\.connection +", flow, re.M), text
    assert re.search(r"^evil\.example: \d+ documents: .*zeek\.dns \d+", text, re.M), text
    assert re.search(r"^203\.0\.113\.80: \d+ documents: .*zeek\.connection \d+", text, re.M), text
    totals = text.rstrip().splitlines()
    row = next(line.split() for line in totals if line.startswith("all "))
    assert int(row[1]) > 4500 and row[-2:] == ["0", "0"], text  # nothing open, no difference
    rig.wait_for("the last of it to be gone", lambda: not left(run.folder), 20)  # its guard is killed and not waited for


def test_killed_half_way_and_interrupted_it_leaves_nothing_and_starts_again(demo):
    first = demo()
    rig.wait_for("Kafka to be started", (first.folder / "kafka/pid").exists, 180)
    time.sleep(1)
    first.kill()
    first.wait()
    second = demo()
    rig.wait_for("the demo to stand", lambda: "Ctrl-C stops all of it" in second.text() or second.poll() is not None, 420)
    assert second.poll() is None, second.text()
    third = demo()
    assert third.wait(90) == 1 and "another make demo is running" in third.text()
    assert len([words for words in left(second.folder) if "kafka.Kafka" in words]) == 1, left(second.folder)
    second.send_signal(signal.SIGINT)
    assert second.wait(240) == 0, second.text()
    rig.wait_for("the last of it to be gone", lambda: not left(second.folder), 20)
