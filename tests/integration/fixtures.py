"""Fixtures of the integration and the fault tests.
SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil

import pytest

import rig


@pytest.fixture(scope="session", autouse=True)
def program():
    assert rig.TAPLINE.exists(), f"{rig.TAPLINE} is not built; TAPLINE names another"
    return rig.TAPLINE


def broker_made(folder, nodes=1):
    if shutil.which("java") is None:
        assert os.environ.get("CI") != "true", "no java: under CI=true the broker's tests must run"
        pytest.skip("NO JAVA: nothing of Kafka is tested here; install default-jre-headless")
    return rig.Broker(folder, nodes)


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    """A broker that stays up; tests use topics of their own."""
    made = broker_made(tmp_path_factory.mktemp("broker")).start()
    yield made
    made.close()


@pytest.fixture
def cluster(tmp_path):
    """Three nodes for one test, which may stop and kill each."""
    made = broker_made(tmp_path / "cluster", 3).start()
    yield made
    made.close()


@pytest.fixture
def own_broker(tmp_path):
    """A broker for one test, which may stop and kill it."""
    made = broker_made(tmp_path / "broker").start()
    yield made
    made.close()


@pytest.fixture
def runs():
    """Start a `tapline run`; whatever a test leaves running is killed at its end."""
    started = []

    def start(config, *options):
        started.append(rig.Run(config, *options))
        return started[-1]

    yield start
    for run in started:
        run.kill()


@pytest.fixture
def conn_log():
    return rig.ConnLog()
