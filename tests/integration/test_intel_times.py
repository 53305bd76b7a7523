"""`tapline intel sync` and rows whose time has not come: what changes before it does is asked for all the same.
SPDX-License-Identifier: Apache-2.0
"""
import time

import pytest

from feeds import Cif3, FeedServer, Misp, MispFeed, misp_attribute
from test_intel_sync import TOKEN, Sync, cif_feed, events, ip_names, row, uuid

YEARS = 300_000_000
SITES = {"rest": lambda rows: Misp([misp_attribute(uuid(n), "ip-dst", f"198.51.0.{n}", at) for n, at in rows], TOKEN),
         "feed": lambda rows: MispFeed([event for n, at in rows for event in events(n, at=at - n)]),
         "cif": lambda rows: Cif3([row(3, f"198.51.0.{n}", "ipv4", ago=time.time() - at) for n, at in rows], TOKEN)}


@pytest.fixture
def sync(tmp_path, redis_server):
    return Sync(tmp_path, redis_server)


@pytest.fixture
def server():
    made = FeedServer().start()
    yield made
    made.close()


def feed_of(server, kind):
    path = "/feed/" if kind == "feed" else ""
    feed = {"name": "misp", "type": "misp", "url": server.url + path, "token": TOKEN, "options": {"mode": kind}}
    return cif_feed(server, 3, itypes="ipv4") if kind == "cif" else feed


@pytest.mark.parametrize("kind", SITES)
def test_a_time_to_come_hides_nothing(sync, server, kind):
    now = int(time.time())
    rows = [(1, now - 5000), (2, now + YEARS)]
    server.site = SITES[kind](rows)
    sync.feeds(feed_of(server, kind)).run()
    server.site = SITES[kind]([*rows, (3, now)])
    assert sync.run()["delta"]
    assert sync.names() == ip_names(1, 2, 3)


@pytest.mark.parametrize("kind", SITES)
def test_a_kept_time_to_come_is_forgotten(sync, server, kind):
    """A sync before, or a clock that was ahead, has kept it."""
    now = int(time.time())
    server.site = SITES[kind]([(1, now - 5000)])
    sync.feeds(feed_of(server, kind)).run()
    field, name = ("after.ipv4", "cif") if kind == "cif" else ("newest", "misp")
    sync.redis.hset(f"intel:feed:{name}", field, now + YEARS)
    server.site = SITES[kind]([(1, now - 5000), (3, now)])
    assert not sync.run()["delta"]
    assert sync.names() == ip_names(1, 3)
