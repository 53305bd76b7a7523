"""The operator's walk (docs, guide "Health"): five things are broken on purpose, and each of the four places says within ten
seconds which part is affected and why; mended, all is quiet again.
SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import rig
from redis_server import RedisServer, redis_there
from walk import SENSOR, Host, browser_page

WITHIN_S = 10.0  # promised; a second or two is what it takes, four on a machine with twenty tests beside
MENDED_S = 90.0
DISK_BYTES = 4 * 1024 * 1024


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mount is not allowed here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def host(tmp_path_factory, small_disk):
    if shutil.which("java") is None or shutil.which("chromium") is None:
        assert os.environ.get("CI") != "true", "java and chromium must be there under CI=true"
        pytest.skip("NO JAVA or NO CHROMIUM: the walk is not tested here")
    redis_there()
    from playwright.sync_api import sync_playwright

    broker = rig.Broker(tmp_path_factory.mktemp("broker")).start()
    redis = RedisServer(tmp_path_factory.mktemp("redis")).start()
    made = Host(tmp_path_factory.mktemp("host"), broker, redis, small_disk)
    try:
        made.start()
        with sync_playwright() as playwright:
            browser, made.page = browser_page(playwright, f"http://127.0.0.1:{made.ports['serve']}/")
            rig.wait_for("documents in the topic", lambda: broker.count("tapline.zeek.connection") > 0, MENDED_S)
            quiet(made)
            yield made
            browser.close()
    finally:
        made.close()
        redis.close()
        broker.close()


def quiet(host):
    """Until no process has a problem, all as it should be."""
    try:
        rig.wait_for("no problems", lambda: not host.problems(), MENDED_S, 0.5)
    except AssertionError as failed:
        raise AssertionError(f"{failed}:\n{host.top()}") from None


def said_within(host, code, component, word):
    """Within WITHIN_S of now each view has what it is about: those for people and the health log in words, the metrics and the
    log by code and component. Returns when each did. They are looked at beside each other: one that takes its time to look at
    does not make another late."""
    began = time.monotonic()

    def said_after(name):
        while time.monotonic() - began < WITHIN_S:
            text = " ".join(host.views[name]().split())
            if name == "metrics":
                is_said = re.search(rf'tapline_problem_age_seconds{{code="{code}",severity="\w+",component="[^"]*{component}', text) is not None
            else:
                is_said = re.search(word, text) is not None and (name != "log" or code in text)
            if is_said:
                return time.monotonic() - began
            time.sleep(0.1)
        return None

    with ThreadPoolExecutor(3) as pool:
        others = {name: pool.submit(said_after, name) for name in host.views if name != "page"}
        when = {"page": said_after("page")}  # the browser is this thread's
        when |= {name: other.result() for name, other in others.items()}
    missing = {name for name, seconds in when.items() if seconds is None}
    assert not missing, f"{sorted(missing)} did not say {code}: {word} within {WITHIN_S} s; others: {when}\n" + "\n".join(
        f"==== {name}\n{host.views[name]()[:6000]}" for name in sorted(missing))
    print({name: round(seconds, 1) for name, seconds in when.items()})
    return when


def test_nothing_is_wrong_and_all_four_say_so(host):
    rig.wait_for("ok", lambda: "ok" in host.top().lower(), MENDED_S, 0.5)
    rig.wait_for("no problem in the metrics", lambda: 'tapline_problem_age_seconds{' not in host.metrics(), MENDED_S, 0.5)
    assert "tapline_process_ready 1" in host.metrics()
    assert host.get("run", "/healthz") and host.get("serve", "/readyz")


def test_kafka_is_stopped(host):
    host.mark_log()
    host.broker.kill()
    said_within(host, "sink_unreachable", "kafka", f"no Kafka broker answers.{{1,40}}{re.escape(host.broker.address)}")
    assert "503" in host.get("run", "/readyz") or "sink_unreachable" in host.get("run", "/readyz")
    host.broker.start()
    quiet(host)


def test_the_disk_is_full(host):
    host.mark_log()
    ballast = host.out.parent / "ballast"
    with open(ballast, "wb", buffering=0) as out:
        try:
            while True:
                out.write(b"x" * 4096)
        except OSError:
            pass
    said_within(host, "disk_full", "file", f"{re.escape(host.out.name)}.{{1,20}}cannot be written, its disk is full")
    ballast.unlink()
    quiet(host)


def test_redis_is_killed(host):
    host.mark_log()
    host.redis.kill()
    said_within(host, "intel_unavailable", "intel", f"{host.redis.port}.{{1,30}}cannot be asked")
    host.redis.start()
    quiet(host)


def test_garbage_is_fed(host):
    host.mark_log()
    host.garbage(25)
    said_within(host, "dead_letters", "normalize", f"dead letter.{{1,300}}{re.escape(host.bad.name)}|{re.escape(host.bad.name)}.{{1,300}}dead letter")
    # it is a problem as long as the last one is fresh, so this is not waited for: the next test looks for another thing


def test_a_sensor_is_frozen(host):
    host.mark_log()
    host.freeze()
    try:
        said_within(host, "sensor_frozen", SENSOR, f"{SENSOR}.{{1,80}}(frozen|does not run|stopped by a signal)")
    finally:
        host.thaw()
    rig.wait_for("the sensor's problem to end", lambda: "sensor_frozen" not in host.problems(), MENDED_S, 0.5)
