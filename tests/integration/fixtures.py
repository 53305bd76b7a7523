"""Fixtures of the integration and the fault tests.
SPDX-License-Identifier: Apache-2.0
"""
import os
import shutil

import pytest

import engine as engine_of
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


@pytest.fixture(scope="session")
def engines(tmp_path_factory):
    """Both search engines, by name; tests use namespaces of their own."""
    made = engine_of.Engines(tmp_path_factory)
    yield made
    made.close()


@pytest.fixture(scope="session")
def elasticsearch(engines):
    return engines["elasticsearch"]


@pytest.fixture(scope="session")
def opensearch(engines):
    return engines["opensearch"]


@pytest.fixture(scope="session", params=engine_of.PRODUCTS)
def engine(request, engines):
    """One after the other: a test that asks for it runs with both."""
    return engines[request.param]


@pytest.fixture
def own_engine(tmp_path):
    """Start an engine for one test, which may stop and kill it: own_engine(product, "setting=value", …)."""
    made = []

    def start(product, *settings):
        made.append(engine_of.Engine(product, tmp_path / f"engine-{len(made)}", *settings).start())
        return made[-1]

    yield start
    for one in made:
        one.close()


def started(kind):
    """Start a program; whatever a test leaves running is killed at its end."""
    all_of_them = []

    def start(config, *options):
        all_of_them.append(kind(config, *options))
        return all_of_them[-1]

    yield start
    for one in all_of_them:
        one.kill()


@pytest.fixture
def runs():
    """Start a `tapline run`."""
    yield from started(rig.Run)


@pytest.fixture
def feeds():
    """Start a `tapline feed`."""
    yield from started(rig.Feed)


@pytest.fixture
def conn_log():
    return rig.ConnLog()
