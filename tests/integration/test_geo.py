"""Places and autonomous systems from databases that the config names: each kind and layout, what is not in them, files that are
none, and a database that is replaced while tapline runs.
SPDX-License-Identifier: Apache-2.0
"""
import json
import os
import random
import signal

import netaddr
import pytest
from mmdb_writer import MMDBWriter

import rig

LONDON = {
    "city": {"names": {"en": "London", "de": "London"}},
    "continent": {"code": "EU", "names": {"en": "Europe", "de": "Europa"}},
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom", "de": "Vereinigtes Königreich"}},
    "location": {"latitude": 51.5142, "longitude": -0.0931, "time_zone": "Europe/London", "accuracy_radius": 10},
    "postal": {"code": "EC2V"},
    "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}, {"iso_code": "LND", "names": {"en": "The \\ \"City\""}}],
}
LONDON_GEO = {
    "city_name": "London", "continent_code": "EU", "continent_name": "Europe", "country_iso_code": "GB",
    "country_name": "United Kingdom", "location": {"lat": 51.5142, "lon": -0.0931}, "postal_code": "EC2V",
    "region_iso_code": "GB-LND", "region_name": "The \\ \"City\"", "timezone": "Europe/London"}
GERMANY = {"country": {"iso_code": "DE", "names": {"en": "Germany"}}}
GERMANY_GEO = {"country_iso_code": "DE", "country_name": "Germany"}


def database(path, kind, networks, version=6):
    writer = MMDBWriter(ip_version=version, database_type=kind, ipv4_compatible=version == 6)
    for network, value in networks.items():
        writer.insert_network(netaddr.IPSet([network]), value)
    swap = str(path) + ".new"
    writer.to_db_file(swap)
    os.rename(swap, path)  # as updaters do
    return str(path)


def documents(folder, pairs, *options):
    log = folder / "ntp.log"
    log.write_text("".join(json.dumps({"ts": 1.5, "id.orig_h": a, "id.resp_h": b}) + "\n" for a, b in pairs))
    done = rig.tapline("normalize", "--maps", rig.TOP / "configs", *options, log)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_databases_say(tmp_path):
    city = database(tmp_path / "city.mmdb", "GeoLite2-City", {"198.51.100.0/24": LONDON, "2001:db8::/32": GERMANY})
    asn = database(tmp_path / "asn.mmdb", "DBIP-ASN-Lite (compat=GeoLite2-ASN)", {
        "198.51.100.0/25": {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Net"},
        "203.0.113.0/24": {"autonomous_system_number": 4200000000}}, version=4)
    got = documents(tmp_path, [("198.51.100.7", "2001:db8::1"), ("203.0.113.9", "198.51.100.200"), ("10.0.0.1", "a name")],
                    "--geo-databases", f"{city},{asn}")
    assert got[0]["source"]["geo"] == LONDON_GEO
    assert got[0]["source"]["as"] == {"number": 64500, "organization": {"name": "Example Net"}}
    assert got[0]["destination"]["geo"] == GERMANY_GEO and "as" not in got[0]["destination"]
    assert got[1]["source"]["as"] == {"number": 4200000000} and "geo" not in got[1]["source"]
    assert got[1]["destination"]["geo"] == LONDON_GEO
    for end in ("source", "destination"):
        assert "geo" not in got[2].get(end, {}) and "as" not in got[2].get(end, {})


def test_enterprise_databases_and_the_order_of_files(tmp_path):
    first = database(tmp_path / "a.mmdb", "GeoIP2-Enterprise", {"192.0.2.0/24": {
        **GERMANY, "traits": {"autonomous_system_number": 64502, "autonomous_system_organization": "Corp"}}})
    second = database(tmp_path / "b.mmdb", "GeoLite2-City", {"192.0.2.0/24": LONDON, "198.51.100.0/24": LONDON})
    [both, one] = documents(tmp_path, [("192.0.2.1", "10.0.0.1"), ("198.51.100.1", "10.0.0.1")],
                            "--geo-databases", f"{first},{second}")
    assert both["source"]["geo"] == GERMANY_GEO
    assert both["source"]["as"] == {"number": 64502, "organization": {"name": "Corp"}}
    assert one["source"]["geo"] == LONDON_GEO


def test_without_databases_there_are_no_places(tmp_path):
    [document] = documents(tmp_path, [("198.51.100.7", "198.51.100.8")])
    assert "geo" not in document["source"] and "as" not in document["source"]


def test_addresses_never_take_each_others_place(tmp_path):
    """More addresses than are remembered, both ends of a record from the same ones."""
    numbers = {f"10.{i // 256}.{i % 256}.0/24": {"autonomous_system_number": i + 1} for i in range(6000)}
    asn = database(tmp_path / "asn.mmdb", "GeoLite2-ASN", numbers, version=4)
    chance = random.Random(7)
    pairs = [(chance.randrange(6000), chance.randrange(6000)) for _ in range(20000)]
    text = [(f"10.{a // 256}.{a % 256}.{chance.randrange(256)}", f"10.{b // 256}.{b % 256}.{chance.randrange(256)}") for a, b in pairs]
    got = documents(tmp_path, text, "--geo-databases", asn)
    assert [(d["source"]["as"]["number"] - 1, d["destination"]["as"]["number"] - 1) for d in got] == pairs


@pytest.mark.parametrize("make,reason", [
    (lambda path: None, "cannot read this database of addresses: No such file"),
    (lambda path: path.write_bytes(b"no database" * 100), "no MaxMind DB file, or a damaged one"),
    (lambda path: path.write_bytes(b""), "no MaxMind DB file, or a damaged one"),
    (lambda path: database(path, "GeoIP2-Anonymous-IP", {"192.0.2.0/24": {"is_anonymous": True}}), "has neither places nor"),
], ids=["missing", "foreign", "empty", "other_kind"])
def test_a_file_that_cannot_be_used_is_refused_at_start(tmp_path, make, reason):
    path = tmp_path / "x.mmdb"
    make(path)
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(tmp_path / "*.log")]}],
                              {"file": {"path": str(tmp_path / "out.ndjson")}}, normalize={"geo_databases": [str(path)]})
    for words in (("check", "-c", config), ("run", "--once", "-c", config)):
        done = rig.tapline(*words)
        assert done.returncode != 0
        assert reason in done.stderr + done.stdout and str(path) in done.stderr + done.stdout


def test_sighup_reads_a_replaced_database(tmp_path, runs):
    path = tmp_path / "asn.mmdb"
    database(path, "GeoLite2-ASN", {"0.0.0.0/1": {"autonomous_system_number": 1}, "128.0.0.0/1": {"autonomous_system_number": 1}}, 4)
    log, out = rig.ConnLog(), tmp_path / "out.ndjson"
    (tmp_path / "conn.log").write_text(log.text(0, 100))
    config = rig.config_write(tmp_path / "tapline.yml", [{"type": "zeek", "paths": [str(tmp_path / "conn.log")]}],
                              {"file": {"path": str(out), "sync_interval": "20ms"}},
                              normalize={"geo_databases": [str(path)], "networks": ["0.0.0.0/0", "::/0"]})
    run = runs(config)

    def lines():
        return out.read_text().rpartition("\n")[0].split("\n") if out.exists() else []  # whole ones

    run.wait_for("the first records", lambda: len(lines()) == 100, 60)
    database(path, "GeoLite2-ASN", {"0.0.0.0/1": {"autonomous_system_number": 2}, "128.0.0.0/1": {"autonomous_system_number": 2}}, 4)
    run.signal(signal.SIGHUP)
    run.wait_log("config reloaded", 60)
    with open(tmp_path / "conn.log", "a") as more:
        more.write(log.text(100, 200, header=False))
    run.wait_for("the others", lambda: len(lines()) == 200, 60)
    for i, line in enumerate(lines()):
        document = json.loads(line)
        assert document["network"]["direction"] in ("internal", "outbound", "inbound", "external")
        if ":" not in document["source"]["ip"]:
            assert document["source"]["as"] == {"number": 1 if i < 100 else 2}, i
