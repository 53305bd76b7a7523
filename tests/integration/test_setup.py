"""`tapline setup`: against real engines (whose life-cycle modules are not to be had: a server before them stands for those), a
real broker, and a server that stands for Kibana.
SPDX-License-Identifier: Apache-2.0
"""
import json
import pathlib
import shutil

import confluent_kafka
import confluent_kafka.admin
import pytest

import rig
import stand_ins

NDJSON = rig.TOP / "configs" / "kibana" / "tapline.ndjson"
DAY = 86400


@pytest.fixture(scope="session")
def few_maps(tmp_path_factory):
    """The maps with a handful of logs, so that an engine has not a hundred templates to take again and again."""
    folder = tmp_path_factory.mktemp("maps")
    shutil.copytree(rig.TOP / "configs" / "maps", folder / "maps")
    shutil.copy(rig.TOP / "configs" / "schema.tsv", folder)
    rows = [line.split() for line in (rig.TOP / "configs" / "logs.table").read_text().splitlines() if not line.startswith("#")]
    kept = {"conn", "dns", "http", "ssl", "x509", "alert", "packet", "retro_match", "*"}
    (folder / "logs.table").write_text("".join(" ".join(row) + "\n" for row in rows if row and row[1] in kept))
    return folder


@pytest.fixture(autouse=True)
def maps(few_maps, monkeypatch):
    monkeypatch.setenv("TAPLINE_MAPS", str(few_maps))


@pytest.fixture
def all_maps(maps, monkeypatch):
    monkeypatch.setenv("TAPLINE_MAPS", str(rig.TOP / "configs"))


@pytest.fixture
def modules(engine):
    """A real engine with a life-cycle module before it; ours is taken away at the end."""
    server = stand_ins.Modules(engine)
    yield server
    for kind, name in (("_index_template", "tapline-*"), ("_component_template", "tapline-*")):
        server.pass_on("DELETE", f"/{kind}/{name}", {}, b"")
    server.close()


@pytest.fixture
def kibanas():
    made = []

    def start(**how):
        made.append(stand_ins.Kibana(**how))
        return made[-1]

    yield start
    for one in made:
        one.close()


def config_write(tmp_path, **sections):
    path = tmp_path / "feed.yml"
    path.write_text(json.dumps(sections))  # JSON is YAML
    return path


def for_engine(tmp_path, server, **more):
    sink = {"hosts": [server.url], **more.pop("sink", {})}
    return config_write(tmp_path, sinks={"elasticsearch": sink}, **more)


def setup(config, *options, code=0):
    """The rows, and the sums of `setup --json`."""
    done = rig.tapline("setup", "-c", config, "--json", *options, timeout=600)  # a busy engine takes a second for a template
    assert done.returncode == code, f"exit {done.returncode}, not {code}\n{done.stdout[-3000:]}\n{done.stderr}"
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return rows[:-1], {word: count for word, count in rows[-1]["summary"].items() if count}


def row(rows, name):
    (one,) = [one for one in rows if one["name"] == name]
    return one


def templates(server):
    """All of ours, by name, as the engine has them."""
    found = {}
    for kind, key in (("_component_template", "component_template"), ("_index_template", "index_template")):
        _, document, _ = server.pass_on("GET", f"/{kind}/tapline-*", {}, b"")
        found.update({one["name"]: one[key] for one in document[key + "s"]})
    return found


def as_exported(tmp_path, product):
    done = rig.tapline("map", "export", "--to", tmp_path / "t", product)
    assert done.returncode == 0
    return {path.stem: json.loads(path.read_text()) for path in sorted((tmp_path / "t").rglob("*.json"))}


# ---- engines -----------------------------------------------------------------------------------------------------------------


def test_second_run_changes_nothing(modules, all_maps, tmp_path):
    config = for_engine(tmp_path, modules)
    rows, sums = setup(config, "--check", code=1)
    assert set(sums) == {"missing"} and modules.writes() == 0 and templates(modules) == {}
    rows, sums = setup(config)
    exported = as_exported(tmp_path, modules.engine.product)
    assert sums == {"created": len(exported) + 2} and modules.writes() == len(exported) + 2
    there = templates(modules)
    assert set(there) == set(exported)
    for name, document in exported.items():
        assert there[name]["template"].get("mappings", {}) == document["template"].get("mappings", {}), name
        assert there[name]["_meta"]["managed_by"] == "tapline" and there[name]["version"] == document["version"]
    for _ in range(2):
        rows, sums = setup(config)
        assert set(sums) == {"same"} and modules.writes() == 0
    assert setup(config, "--check")[1] == sums


def test_what_differs_is_said_and_mended(modules, tmp_path):
    """By hand: settings, a mapping, a template away; an older version; a policy."""
    config = for_engine(tmp_path, modules)
    setup(config)
    there = templates(modules)
    dns = there["tapline-zeek.dns"]
    policy = "tapline-day"

    def put(kind, name, document):
        status, answer, _ = modules.answer("PUT", f"/{kind}/{name}", {}, json.dumps(document).encode(), {})
        assert status == 200, answer

    def body(document, **changes):
        kept = {key: document[key] for key in ("index_patterns", "priority", "composed_of", "template", "version", "_meta")
                if key in document}
        return json.loads(json.dumps({**kept, **changes}))

    changed = body(dns)
    changed["template"]["mappings"]["properties"]["extra"] = {"type": "keyword"}
    put("_index_template", "tapline-zeek.dns", changed)
    older = body(there["tapline-zeek.ssl"], version=1)
    older["_meta"]["tapline"]["version"] = "0.0.1"
    put("_index_template", "tapline-zeek.ssl", older)
    settings = body(there["tapline-settings"])
    settings["template"]["settings"]["index"]["number_of_shards"] = "7"
    put("_component_template", "tapline-settings", settings)
    modules.pass_on("DELETE", "/_index_template/tapline-zeek.http", {}, b"")
    del modules.policies[policy]
    modules.writes()

    names = ["tapline-zeek.dns", "tapline-zeek.ssl", "tapline-settings", "tapline-zeek.http", policy]
    rows, sums = setup(config, "--check", code=1)
    said = {one["name"]: one["result"] for one in rows if one["result"] != "same"}
    assert said == dict(zip(names, ["differs", "differs", "differs", "missing", "missing"])) and modules.writes() == 0
    assert "mappings" in row(rows, "tapline-zeek.dns")["why"] and "settings" in row(rows, "tapline-settings")["why"]
    assert "0.0.1" in row(rows, "tapline-zeek.ssl")["why"]
    rows, sums = setup(config)
    said = {one["name"]: one["result"] for one in rows if one["result"] != "same"}
    assert said == dict(zip(names, ["changed", "upgraded", "changed", "created", "created"])) and modules.writes() == 5
    assert templates(modules) == there
    assert set(setup(config)[1]) == {"same"}


def test_a_newer_version_there_is_left(modules, tmp_path):
    config = for_engine(tmp_path, modules)
    setup(config)
    there = templates(modules)
    newer = {key: there["tapline-generic"][key] for key in ("index_patterns", "priority", "composed_of", "template", "_meta")}
    newer = {**json.loads(json.dumps(newer)), "version": 99_000_000}
    newer["_meta"]["tapline"]["version"] = "99.0.0"
    modules.answer("PUT", "/_index_template/tapline-generic", {}, json.dumps(newer).encode(), {})
    modules.writes()
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "99.0.0" in done.stderr and "--force" in done.stderr
    assert modules.writes() == 0
    rows, _ = setup(config, "--check", code=1)
    assert row(rows, "tapline-generic")["result"] == "differs"
    setup(config, "--force")
    assert templates(modules) == there


def test_what_others_made_is_left(modules, tmp_path):
    config = for_engine(tmp_path, modules)
    theirs = {"index_patterns": ["other-*"], "priority": 5, "template": {}, "_meta": {"managed_by": "them"}}
    modules.pass_on("PUT", "/_index_template/tapline-zeek.dns", {}, json.dumps(theirs).encode())
    modules.pass_on("PUT", "/_index_template/tapline-mine", {}, json.dumps({**theirs, "index_patterns": ["mine-*"]}).encode())
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "tapline-zeek.dns" in done.stderr and "tapline has not made" in done.stderr
    assert templates(modules)["tapline-zeek.dns"]["index_patterns"] == ["other-*"]
    rows, sums = setup(config, "--remove")
    assert set(templates(modules)) == {"tapline-zeek.dns", "tapline-mine"}
    assert sums["left"] == 2 and modules.policies == {}
    setup(config, "--force")
    assert templates(modules)["tapline-zeek.dns"]["index_patterns"] == ["logs-zeek.dns-*-*"]


def test_indices_are_as_they_should_be_and_outlive_setup(modules, tmp_path):
    """The engine's stock template for logs-*-* is there, and loses: no data stream is made. Unknown fields are never in
    conflict with themselves, nor is text taken for a date."""
    engine, config = modules.engine, for_engine(tmp_path, modules, setup={"shards": 2, "replicas": 0})
    assert engine.ask("GET", "/_index_template/logs")["index_templates"]
    setup(config)
    space = "s" + tmp_path.name.replace("-", "").lower()[-20:]
    rows = [("zeek.dns", "2026.11.22"), ("zeek.brandnew", "2026.11"), ("generic", "2026.11"), ("tapline.deadletter", "2026.11"),
            ("snort.log", "outofrange"), ("nobody.knows", "2026.11"), ("nobody.knows", "outofrange")]
    odd = [{"a": "2020-01-01", "b": 1, "c": True}, {"a": "no date", "b": "text", "c": "perhaps"}, {"a": "x" * 5000, "b": 1.5, "c": 0}]
    for number, fields in enumerate(odd):  # one after the other: a field that is new in two shards at once is another matter
        lines = []
        for dataset, period in rows:
            lines += [{"create": {"_index": f"logs-{dataset}-{space}-{period}", "_id": str(number)}},
                      {"@timestamp": "2026-11-22T00:00:00.000000Z", "event": {"dataset": dataset}, "unknown": fields,
                       "data_stream": {"type": "logs", "dataset": dataset, "namespace": space}}]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        answer = engine.ask("POST", "/_bulk", body, "application/x-ndjson")
        assert [item["create"].get("error") for item in answer["items"]] == [None] * len(rows)
    indices = {f"logs-{dataset}-{space}-{period}": dataset for dataset, period in rows}
    have = engine.ask("GET", f"/logs-*-{space}-*?flat_settings=true")
    assert set(have) == set(indices)
    for name, index in have.items():
        dataset = indices[name]
        assert index["settings"]["index.number_of_shards"] == "2" and index["settings"]["index.number_of_replicas"] == "0"
        assert "data_stream" not in index and "tapline" in index["aliases"]
        if dataset == "zeek.dns":
            assert set(index["aliases"]) == {"tapline", "tapline-zeek", "tapline-zeek.dns"}
        fields = index["mappings"]["properties"]
        assert fields["unknown"]["properties"]["a"]["type"] == "keyword"
        assert fields["unknown"]["properties"]["b"]["type"] == "long"
        assert fields["data_stream"]["properties"]["dataset"]["type"] == "keyword"
    setup(config, "--remove")
    assert set(engine.ask("GET", f"/logs-*-{space}-*")) == set(indices)
    engine.ask("DELETE", "/" + ",".join(indices))


def test_life_cycle(modules, tmp_path):
    config = for_engine(tmp_path, modules, setup={"retention": "10d"})
    setup(config)
    named = {name: policy for name, policy in modules.named.items() if policy}
    if modules.engine.product == "elasticsearch":
        ages = {name: one["policy"]["phases"]["delete"]["min_age"] for name, one in modules.policies.items()}
        assert set(named.values()) == set(ages) and named["tapline-zeek.connection"] == "tapline-day"
        assert named["tapline-zeek.x509"] == named["tapline-zeek._any"] == "tapline-month"
        assert "tapline-_any" not in named, "others' indices may have such names"
    else:
        states = {name: {state["name"]: state for state in one["policy"]["states"]} for name, one in modules.policies.items()}
        ages = {name: of["kept"]["transitions"][0]["conditions"]["min_index_age"] for name, of in states.items()}
        (day,), (month,) = [modules.policies[name]["policy"]["ism_template"] for name in ("tapline-day", "tapline-month")]
        assert "logs-zeek.connection-*-*" in day["index_patterns"] and "logs-zeek.*-*-*" in month["index_patterns"]
        assert day["priority"] > month["priority"] and "logs-*-*-*" not in month["index_patterns"]
    assert ages == {"tapline-day": "11d", "tapline-month": "41d"}

    config = for_engine(tmp_path, modules, setup={"retention": "36h"})
    rows, sums = setup(config, "--check", code=1)
    assert sums["differs"] == 2 and row(rows, "tapline-day")["result"] == "differs"
    rows, sums = setup(config)
    assert sums["changed"] == 2 and set(setup(config)[1]) == {"same"}
    before = json.loads(json.dumps(modules.policies["tapline-day"]["policy"]))
    older = modules.policies["tapline-day"]["policy"]
    if "_meta" in older:
        older["_meta"]["tapline"]["version"] = "0.0.1"
    else:
        older["description"] = "tapline 0.0.1: removes indices by age"
    assert setup(config)[1]["upgraded"] == 1 and modules.policies["tapline-day"]["policy"] == before
    setup(for_engine(tmp_path, modules, setup={"retention": "0"}))
    assert not any(modules.named.values())
    modules.in_use.add("tapline-day")
    rows, _ = setup(config, "--remove")
    is_elastic = modules.engine.product == "elasticsearch"
    assert row(rows, "tapline-day")["result"] == ("left" if is_elastic else "removed")
    assert row(rows, "tapline-month")["result"] == "removed"


def test_an_engine_without_the_module_is_told_of(engine, tmp_path):
    config = for_engine(tmp_path, engine)
    rows, sums = setup(config)
    assert row(rows, "tapline-*")["result"] == "skipped" and "until you remove them" in row(rows, "tapline-*")["why"]
    assert set(setup(config)[1]) == {"same", "skipped"}
    setup(config, "--remove")


def test_data_stream_mode(modules, tmp_path):
    """Turning from one mode to the other leaves no template of the other mode."""
    setup(for_engine(tmp_path, modules))
    config = for_engine(tmp_path, modules, sink={"index_mode": "data_stream"})
    rows, _ = setup(config, "--check", code=1)
    assert row(rows, "tapline-_any")["result"] == "differs" and "index_mode" in row(rows, "tapline-zeek.dns")["why"]
    rows, _ = setup(config)
    assert row(rows, "tapline-_any")["result"] == "removed"
    there = {name: one for name, one in templates(modules).items() if "index_patterns" in one}
    assert all("data_stream" in one and "aliases" not in one["template"] for one in there.values())
    assert there["tapline-zeek.dns"]["index_patterns"] == ["logs-zeek.dns-*"]
    assert "tapline-stream" in modules.policies and set(setup(config)[1]) == {"same"}
    rows, _ = setup(for_engine(tmp_path, modules))
    assert row(rows, "tapline-_any")["result"] == "created"
    assert not any("data_stream" in one for one in templates(modules).values())


def test_refusals_are_said_and_the_rest_is_done(modules, tmp_path):
    config = for_engine(tmp_path, modules, sink={"username": "tapline", "password": "hunter2secret"})
    modules.credentials = stand_ins.basic("tapline", "hunter2secret")
    modules.refuses[("PUT", "/_index_template/tapline-zeek.dns")] = 403
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "tapline-zeek.dns:" in done.stderr and "403" in done.stderr
    assert "hunter2secret" not in done.stderr + done.stdout
    assert "tapline-zeek.x509" in templates(modules) and "tapline-zeek.dns" not in templates(modules)
    modules.refuses, modules.credentials = {}, stand_ins.basic("tapline", "another")
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "401" in done.stderr


def test_nobody_there(tmp_path):
    port = rig.free_port()
    config = config_write(tmp_path, sinks={"elasticsearch": {"hosts": [f"http://127.0.0.1:{port}"], "timeout": "1s"}})
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 111 and f"127.0.0.1:{port}" in done.stderr


def test_not_a_search_engine(kibanas, tmp_path):
    class Other(stand_ins.Server):
        said = {"hello": "world"}

        def answer(self, method, path, query, body, headers):
            return 200, self.said, {}

    other = Other()
    config = for_engine(tmp_path, other)
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "neither Elasticsearch 8 nor OpenSearch" in done.stderr
    other.said = {"version": {"number": "1.3.2", "distribution": "opensearch"}}
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "opensearch 1.3.2" in done.stderr
    other.close()


# ---- Kafka -------------------------------------------------------------------------------------------------------------------


def settings_of(admin, name):
    resource = confluent_kafka.admin.ConfigResource(confluent_kafka.admin.ConfigResource.Type.TOPIC, name)
    return {key: entry.value for key, entry in admin.describe_configs([resource])[resource].result(30).items()}


def test_topics(own_broker, all_maps, tmp_path):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": own_broker.address})
    feed = {"rdkafka": {"bootstrap.servers": own_broker.address}}
    config = config_write(tmp_path, feed=feed, setup={"partitions": 3, "topic_retention": "5d"})
    day_ms = DAY * 1000
    made = [confluent_kafka.admin.NewTopic("tapline.zeek.dns", 1, 1, config={"retention.ms": str(30 * day_ms), "max.message.bytes": "2000000"}),
            confluent_kafka.admin.NewTopic("tapline.zeek.ssl", 3, 1, config={"retention.ms": str(day_ms), "max.message.bytes": "2000000"})]
    for future in admin.create_topics(made).values():
        future.result(30)

    rows, sums = setup(config, "--check", code=1)
    assert row(rows, "tapline.zeek.http")["result"] == "missing" and row(rows, "tapline.zeek.dns")["result"] == "differs"
    assert "has 1 partitions, wanted 3" in row(rows, "tapline.zeek.dns")["why"]
    rows, sums = setup(config)
    assert sums["left"] == 1 and sums["changed"] == 1 and sums["created"] > 70 and "failed" not in sums
    assert "sooner" in row(rows, "tapline.zeek.dns")["why"]
    topics = rig.listed(admin)
    assert len(topics["tapline.zeek.http"].partitions) == 3 and len(topics["tapline.zeek.dns"].partitions) == 1
    assert not any("*" in name for name in topics)
    assert settings_of(admin, "tapline.zeek.http")["retention.ms"] == str(5 * day_ms)
    assert settings_of(admin, "tapline.zeek.dns")["retention.ms"] == str(30 * day_ms), "never shorter"
    rig.wait_for("the broker's new setting", lambda: settings_of(admin, "tapline.zeek.ssl")["retention.ms"] == str(5 * day_ms))
    assert settings_of(admin, "tapline.zeek.ssl")["max.message.bytes"] == "2000000", "what else was set stays"
    for name in ("tapline.feed", "tapline.checkpoint"):
        assert settings_of(admin, name)["cleanup.policy"] == "compact"
    assert settings_of(admin, "tapline.deadletter")["cleanup.policy"] == "delete"

    rows, sums = setup(config)
    assert set(sums) == {"same", "left"} and sums["left"] == 1
    assert setup(config, "--remove")[1] == {} and set(rig.listed(admin)) == set(topics)
    off = config_write(tmp_path, feed=feed, setup={"topics": False})
    assert setup(off)[1] == {}
    own_broker.stop()
    port = own_broker.address
    quick = config_write(tmp_path, feed={"rdkafka": {"bootstrap.servers": port}})
    done = rig.tapline("setup", "-c", quick, timeout=180)
    assert done.returncode == 111 and port in done.stderr


# ---- Kibana ------------------------------------------------------------------------------------------------------------------


def for_kibana(tmp_path, server, **more):
    return config_write(tmp_path, kibana={"url": server.url, **more})


@pytest.mark.parametrize("is_dashboards", [False, True])
def test_dashboards(kibanas, all_maps, tmp_path, is_dashboards):
    kibana = kibanas(version="2.19.1" if is_dashboards else "8.0.0", is_dashboards=is_dashboards)
    config = for_kibana(tmp_path, kibana)
    lines = [json.loads(line) for line in NDJSON.read_text().splitlines()]
    assert setup(config, "--check", code=1)[1] == {"missing": 1} and kibana.writes() == 0
    assert setup(config)[1] == {"created": 1} and kibana.writes() == 1
    assert set(kibana.objects["default"]) == {(one["type"], one["id"]) for one in lines}
    for one in lines:
        have = kibana.objects["default"][one["type"], one["id"]]
        if one["id"] != "tapline-start":
            assert have["attributes"] == one["attributes"] and have["references"] == one["references"], one["id"]
        assert ("migrationVersion" in have) != is_dashboards
    for _ in range(2):
        assert setup(config)[1] == {"same": 1} and kibana.writes() == 0
    assert setup(config, "--check")[1] == {"same": 1}

    theirs = {"type": "dashboard", "id": "theirs", "attributes": {}, "references": []}
    kibana.objects["default"]["dashboard", "theirs"] = theirs
    del kibana.objects["default"]["dashboard", "tapline-dns"]
    assert setup(config, "--check", code=1)[1] == {"differs": 1}
    assert setup(config)[1] == {"changed": 1} and ("dashboard", "tapline-dns") in kibana.objects["default"]
    start = kibana.objects["default"]["dashboard", "tapline-start"]["attributes"]
    start["description"] = start["description"].split("[tapline ")[0] + "[tapline 0.0.1 0123456789abcdef]"
    assert setup(config)[1] == {"upgraded": 1} and setup(config)[1] == {"same": 1}
    start = kibana.objects["default"]["dashboard", "tapline-start"]["attributes"]
    start["description"] = start["description"].split("[tapline ")[0] + "[tapline 99.0.0 0123456789abcdef]"
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "newer" in done.stderr
    assert setup(config, "--force")[1] == {"changed": 1}
    assert setup(config, "--remove")[1] == {"removed": 1} and kibana.objects["default"] == {("dashboard", "theirs"): theirs}
    assert setup(config, "--remove")[1] == {}


def test_spaces_paths_and_credentials(kibanas, all_maps, tmp_path):
    kibana = kibanas(credentials="ApiKey c2VjcmV0LWtleQ==", spaces=("default", "net-work"), path="/base")
    config = for_kibana(tmp_path, kibana, space="net-work", api_key="c2VjcmV0LWtleQ==")
    assert setup(config)[1] == {"created": 1} and setup(config)[1] == {"same": 1}
    assert kibana.objects["default"] == {} and kibana.kinds("net-work")["dashboard"] >= 8
    kibana.credentials = stand_ins.basic("elastic", "pass:word")
    done = rig.tapline("setup", "-c", config)
    assert done.returncode == 100 and "401" in done.stderr and "c2VjcmV0" not in done.stderr
    (tmp_path / "password").write_text("pass:word\n")
    (tmp_path / "password").chmod(0o600)
    config = for_kibana(tmp_path, kibana, space="net-work", username="elastic", password=f"@{tmp_path}/password")
    assert setup(config)[1] == {"same": 1}
    done = rig.tapline("setup", "-c", for_kibana(tmp_path, kibana, space="no", username="elastic", password="pass:word"))
    assert done.returncode == 100 and "404" in done.stderr


def test_kibana_that_is_not_for_us(kibanas, all_maps, tmp_path):
    done = rig.tapline("setup", "-c", for_kibana(tmp_path, kibanas(version="7.17.1")))
    assert done.returncode == 100 and "Kibana 7.17.1" in done.stderr
    kibana = kibanas()
    kibana.TYPES = {"dashboard", "visualization", "search"}
    done = rig.tapline("setup", "-c", for_kibana(tmp_path, kibana))
    assert done.returncode == 100 and "unsupported_type" in done.stderr
    dashboards = kibanas(version="2.19.1", is_dashboards=True)
    done = rig.tapline("setup", "-c", for_kibana(tmp_path, dashboards, space="x"))
    assert done.returncode == 100 and "no spaces" in done.stderr


def test_the_file_to_import_by_hand(kibanas, all_maps, tmp_path):
    """What it is imported as by hand is what setup finds as its own."""
    done = rig.tapline("setup", "--kibana-ndjson")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(NDJSON.read_text().splitlines())
    kibana = kibanas()
    for line in done.stdout.splitlines():
        one = json.loads(line)
        kibana.objects["default"][one["type"], one["id"]] = one
    assert setup(for_kibana(tmp_path, kibana))[1] == {"same": 1} and kibana.writes() == 0


# ---- what is called wrongly --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sections, said", [
    ({"kibana": {"url": "kibana:5601"}}, "is no URL"),
    ({"kibana": {"url": "http://a:b@kibana:5601"}}, "has a user in it"),
    ({"kibana": {"url": "http://kibana:5601", "username": "u"}}, "kibana.password is missing"),
    ({"kibana": {"url": "http://k", "api_key": "a", "username": "u", "password": "p"}}, "one of them says who we are"),
    ({"kibana": {"url": "http://kibana:5601", "space": "A B"}}, "no space's identifier"),
    ({"kibana": {"url": "http://kibana:5601"}, "setup": {"retention": "5m"}}, "less than an hour"),
    ({"kibana": {"url": "http://kibana:5601"}, "setup": {"shards": 0}}, "shards"),
    ({}, "sinks is missing"),
    ({"sinks": {"file": {"path": "/dev/null"}}}, "has nothing to set up"),
])
def test_configurations_that_are_refused(tmp_path, sections, said):
    done = rig.tapline("setup", "-c", config_write(tmp_path, **sections))
    assert done.returncode == 100 and said in done.stderr, done.stderr


def test_command_lines_that_are_refused(tmp_path):
    assert rig.tapline("setup").returncode == 100
    done = rig.tapline("setup", "-c", pathlib.Path("x"), "--check", "--remove")
    assert done.returncode == 100 and "two different things" in done.stderr
