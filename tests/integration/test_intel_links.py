"""`tapline run` over the links to Redis that an operator has: a primary that dies and its replica, TLS with certificates of both
sides, users with few rights, passwords that change. What the store itself does of this is in test_intel_store.py.
SPDX-License-Identifier: Apache-2.0
"""
import re
import time

import redis_server as rs
import rig
from test_intel_run import CLEAN, EVIL, LATE, config, enrichments, intel, is_marked, summary_of, written_and_read
from test_intel_run import arrived, conns  # noqa: F401 (fixtures)


def all_of(arrived, serials):
    return [arrived.documents[serial] for serial in serials]


def links(server, run):
    """How many connections of this run the server has."""
    return sum(client["name"] == f"tapline-{run.pid}" for client in server.client().client_list())


def until_matched(run, conns, arrived, server, timeout=60):
    """Documents with this address, until one is matched. Returns the serial numbers of those before it."""
    first = conns.count
    end = time.monotonic() + timeout
    while not enrichments(written_and_read(run, conns, arrived, server)):
        assert time.monotonic() < end, f"no hit of {server} within {timeout} s:\n{run.log()}"
        time.sleep(0.02)
    return range(first, conns.count - 1)


# ---- a replica takes over ---------------------------------------------------------------------------------------------


def test_failover_to_a_replica_and_back(redis_servers, runs, tmp_path, conns, arrived):
    """No document of the evil address passes both unmatched and unmarked, whichever server is asked."""
    primary = redis_servers(appendfsync="always")
    replica = redis_servers(replica_of=primary).wait_for_replica()
    path = config(tmp_path, conns.path, redis={"urls": [primary.url, replica.url], "connect_timeout": "20s"})
    intel("add", EVIL, path=path)
    run = runs(path, "--json")
    run.wait_log("intelligence is ready")
    before = conns.write(*[EVIL, CLEAN] * 100)
    run.wait_for("documents", lambda: arrived.has(before))
    assert all(bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL) for serial in before)
    replica.wait_for_replica()

    primary.kill()
    dead = time.monotonic()
    between = until_matched(run, conns, arrived, EVIL)
    assert all(is_marked(document) for document in all_of(arrived, between)), "neither matched nor marked"
    print(f"matched again {time.monotonic() - dead:.1f} s after the primary's end, {len(between)} marked")
    run.wait_for("both connections at the replica", lambda: links(replica, run) == 2)
    on_replica = conns.write(*[EVIL, CLEAN] * 500)
    run.wait_for("documents by the replica", lambda: arrived.has(on_replica))
    for serial in on_replica:
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL)
        assert not is_marked(arrived.documents[serial])

    replica.client().execute_command("REPLICAOF", "NO", "ONE")
    intel("add", LATE, path=path)  # the command finds the new primary, too
    added = time.monotonic()
    until_matched(run, conns, arrived, LATE)
    print(f"in effect {time.monotonic() - added:.1f} s after it was added to the new primary")

    primary.start()  # it comes back as a replica of the other, and is the first url: the sensor goes back to it
    primary.client().execute_command("REPLICAOF", "127.0.0.1", replica.port)
    primary.wait_for_replica()
    began = time.monotonic()
    while links(primary, run) < 2:  # the one that asks moves when there is something to ask
        document = written_and_read(run, conns, arrived, LATE)
        assert enrichments(document) or is_marked(document), "neither matched nor marked"
        assert time.monotonic() < began + 90, run.log()
        time.sleep(0.1)
    print(f"back at the first url {time.monotonic() - began:.1f} s after it was there again")
    until_matched(run, conns, arrived, LATE)
    replica.kill()
    last = conns.write(*[EVIL, LATE, CLEAN] * 200)
    run.wait_for("documents by the first again", lambda: arrived.has(last))
    for serial in last:
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] != CLEAN)
    summary = summary_of(run)
    marked = sum(is_marked(document) for document in arrived.read().values())
    assert summary["counters"]["enrich.unavailable"] == marked and arrived.doubled == 0
    assert len(arrived.documents) == conns.count


def test_a_primary_that_is_silent(redis_servers, runs, tmp_path, conns, arrived):
    """It takes connections and says nothing. The replica is asked, and looking for the first one again disturbs nobody: to wait for
    that one would take connect_timeout, and the document would be marked before."""
    primary = redis_servers()
    replica = redis_servers(replica_of=primary).wait_for_replica()
    path = config(tmp_path, conns.path, redis={"urls": [primary.url, replica.url], "connect_timeout": "8s"}, timeout="4s")
    intel("add", EVIL, path=path)
    replica.wait_for_replica()
    run = runs(path, "--json")
    run.wait_log("intelligence is ready")
    assert enrichments(written_and_read(run, conns, arrived, EVIL))
    primary.stop_answering()
    try:
        silent = time.monotonic()
        between = until_matched(run, conns, arrived, EVIL)
        assert all(is_marked(document) for document in all_of(arrived, between)), "neither matched nor marked"
        print(f"matched again after {time.monotonic() - silent:.1f} s, {len(between)} marked")
        run.wait_for("both connections at the replica", lambda: links(replica, run) == 2)
        moved, worst = time.monotonic(), 0.0
        while time.monotonic() < moved + 13:  # the first is looked for every ten seconds
            began = time.monotonic()
            document = written_and_read(run, conns, arrived, EVIL)
            worst = max(worst, time.monotonic() - began)
            assert enrichments(document) and not is_marked(document), run.log()
            time.sleep(0.05)
        assert worst < 8, f"a document took {worst:.1f} s"
    finally:
        primary.go_on()
    began = time.monotonic()
    while links(primary, run) < 2:
        assert enrichments(written_and_read(run, conns, arrived, EVIL))
        assert time.monotonic() < began + 90, run.log()
        time.sleep(0.1)
    summary = summary_of(run)
    assert summary["counters"]["enrich.unavailable"] == sum(map(is_marked, arrived.read().values()))


# ---- who is let in ----------------------------------------------------------------------------------------------------


def test_tls_with_certificates_of_both_sides_and_a_user_with_few_rights(redis_servers, runs, tmp_path, conns, arrived):
    tls = rs.make_certificates(tmp_path / "tls")
    server = redis_servers(tls=tls, tls_clients=True, acl=True, appendfsync="always")
    mine = {"urls": [server.tls_url], "ca_file": f"{tls}/ca.crt", "cert_file": f"{tls}/client.crt",
            "key_file": f"{tls}/client.key", "connect_timeout": "2s"}
    as_sensor = {**mine, "username": "sensor", "password": rs.SENSOR}
    path = config(tmp_path, conns.path, redis=as_sensor)
    writer = config(tmp_path, conns.path, "writer.yml", redis={**mine, "username": "writer", "password": rs.WRITER})
    intel("add", EVIL, path=writer)
    intel("add", LATE, path=path, code=100)  # a sensor may not write
    assert server.client().exists(f"intel:ip:{LATE}") == 0

    run = runs(path, "--json")
    run.wait_log("intelligence is ready")
    first = conns.write(*[EVIL, CLEAN] * 500)
    run.wait_for("documents", lambda: arrived.has(first))
    for serial in first:
        assert bool(enrichments(arrived.documents[serial])) == (conns.servers[serial] == EVIL)
        assert not is_marked(arrived.documents[serial])
    intel("add", LATE, path=writer)
    until_matched(run, conns, arrived, LATE)
    clients = [client for client in server.client().client_list() if client["user"] == "sensor"]
    assert len(clients) == 2, clients  # one asks, one follows

    server.kill()  # the connections are made again, with all of it
    marked = conns.write(EVIL)
    run.wait_for("a document without Redis", lambda: arrived.has(marked))
    server.start()
    until_matched(run, conns, arrived, EVIL)
    summary = summary_of(run)
    assert summary["counters"]["enrich.unavailable"] == sum(map(is_marked, arrived.read().values()))
    assert rs.SENSOR not in run.log() and rs.SENSOR not in run.stdout


def test_a_server_that_is_not_trusted_is_not_asked(redis_servers, runs, tmp_path, conns, arrived):
    tls = rs.make_certificates(tmp_path / "tls")
    server = redis_servers(tls=tls)
    server.client().hset(f"intel:ip:{EVIL}", "mine/soc", "{}")
    path = config(tmp_path, conns.path, redis={"urls": [server.tls_url], "ca_file": f"{tls}/other-ca.crt"})
    run = runs(path)
    run.wait_log("not trusted")
    assert is_marked(written_and_read(run, conns, arrived, EVIL))
    run.stop()


def test_a_password_that_changes(redis_servers, runs, tmp_path, conns, arrived):
    """It is changed at the server first: the sensor is thrown out, says why, marks, and goes on when it is right again."""
    server = redis_servers(acl=True)
    admin = server.client()
    path = config(tmp_path, conns.path, redis={"urls": [server.url], "username": "sensor", "password": rs.SENSOR})
    admin.hset(f"intel:ip:{EVIL}", "mine/soc", "{}")
    run = runs(path)
    run.wait_log("intelligence is ready")
    assert enrichments(written_and_read(run, conns, arrived, EVIL))
    admin.execute_command("ACL", "SETUSER", "sensor", "resetpass", ">another")
    admin.execute_command("CLIENT", "KILL", "USER", "sensor")
    run.wait_log("WRONGPASS")
    assert is_marked(written_and_read(run, conns, arrived, EVIL))
    admin.execute_command("ACL", "SETUSER", "sensor", "resetpass", ">" + rs.SENSOR)
    until_matched(run, conns, arrived, EVIL)
    run.stop()


# ---- no room ----------------------------------------------------------------------------------------------------------


def test_a_load_that_redis_has_no_memory_for(redis_servers, tmp_path, conns):
    server = redis_servers(more=("maxmemory 5mb", "maxmemory-policy noeviction"))
    many = tmp_path / "many.txt"
    many.write_text("".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}\n" for i in range(100000)))
    path = config(tmp_path, conns.path, redis={"urls": [server.unix_url]})
    done = rig.tapline("intel", "load", "-c", path, "--type", "ip", many)
    assert done.returncode == 111 and done.stdout == ""
    assert "'maxmemory'; maxmemory is reached; raise it" in done.stderr
    put, read = map(int, re.search(r"(\d+) of the (\d+) indicators that were read are in effect", done.stderr).groups())
    client = server.client()
    assert 0 < put < read < 100000 and client.dbsize() == put + 2  # epoch, changes
    client.config_set("maxmemory", "100mb")
    assert "loaded 100000 indicators" in intel("load", "--type", "ip", many, path=path)
    assert client.dbsize() == 100002
