"""Kibana's objects, configs/kibana/tapline.ndjson: whole, of fields that documents have, and with something to show.

No Kibana can run here, so nobody has looked at the pages. What can be known without one is tested from the generated file: its
form, that all it refers to is there, and each panel's own question, asked of a real Elasticsearch with the corpus in it.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import jsonschema
import netaddr
import pytest
from mmdb_writer import MMDBWriter

import health_lines
import kibana
import rig
from kibana import Kql

sys.path.insert(0, str(rig.TOP / "tests" / "oracle"))
import enriched  # noqa: E402

FOLDER = rig.TOP / "configs" / "kibana"
DATA = pathlib.Path(os.environ.get("TAPLINE_DATA", rig.TOP.parent / "shared" / "data"))
BULK_BYTES = 4 << 20
SEARCHES_AT_ONCE = 30
OF_A_FILE_MAX = 60  # documents of one dataset, or one event type of Suricata, of one file
# What three products wrote of one capture.
WHOLE = ("ours/zeek/tsv/conn.log", "ours/snort3/json-all/alert_json.txt", "ours/suricata/eve.json")
NUMBERS = {"long", "double"}
CAN_BE_COUNTED = NUMBERS | {"keyword", "ip", "date", "boolean"}
# Aggregations and the types that they can take.
TAKES = {"terms": CAN_BE_COUNTED - {"date"}, "cardinality": CAN_BE_COUNTED, "sum": NUMBERS, "avg": NUMBERS,
         "min": NUMBERS | {"date"}, "max": NUMBERS | {"date"}, "date_histogram": {"date"}}
# What a kind of visualization calls its aggregations.
SCHEMAS = {"pie": {"metric", "segment"}, "table": {"metric", "bucket"}, "metric": {"metric"},
           **dict.fromkeys(("line", "area", "histogram", "horizontal_bar"), {"metric", "segment", "group"})}
OBJECTS = kibana.loaded(FOLDER / "tapline.ndjson")
BY_ID = {one["id"]: one for one in OBJECTS}


def of_type(kind):
    return [one for one in OBJECTS if one["type"] == kind]


def state_of(visualization):
    return json.loads(visualization["attributes"]["visState"])


def query_of(saved):
    source = json.loads(saved["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert source["filter"] == [] and source["query"]["language"] == "kuery"
    return Kql(source["query"]["query"])


def view_of(saved):
    """The data view that an object asks."""
    found = [one["id"] for one in saved["references"] if one["name"] == "kibanaSavedObjectMeta.searchSourceJSON.index"]
    assert len(found) == 1, saved["id"]
    return BY_ID[found[0]]["attributes"]["title"]


def asking():
    return [one for one in of_type("visualization") if state_of(one)["type"] in SCHEMAS]


@pytest.fixture(scope="module")
def field_table():
    done = subprocess.run([rig.TAPLINE, "map", "export", "--maps", rig.TOP / "configs", "fields"], check=True, stdout=subprocess.PIPE)
    rows = [row.split("\t") for row in done.stdout.decode().splitlines()[1:]]
    return {row[0]: (row[2], row[4].split(" ")) for row in rows}


# ---- form -------------------------------------------------------------------------------------------------------------

TEXT, FLAG = {"type": "string"}, {"type": "boolean"}
JSON_TEXT = {"type": "string", "pattern": r"^[\[{]"}


def exactly(**members):
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


SOURCE = exactly(searchSourceJSON=JSON_TEXT)
# Attributes as Kibana 8.0 maps them: more than these it would not keep, or would refuse.
ATTRIBUTES = {
    "index-pattern": exactly(title=TEXT, timeFieldName={"const": "@timestamp"}, fields={"const": "[]"}, fieldAttrs=JSON_TEXT,
                             fieldFormatMap=JSON_TEXT, runtimeFieldMap=JSON_TEXT, typeMeta=JSON_TEXT, allowNoIndex=FLAG),
    "visualization": exactly(title=TEXT, description=TEXT, visState=JSON_TEXT, uiStateJSON=JSON_TEXT, version={"const": 1},
                             kibanaSavedObjectMeta=SOURCE),
    "search": exactly(title=TEXT, description=TEXT, columns={"type": "array", "items": TEXT, "minItems": 1}, hits={"const": 0},
                      sort={"const": [["@timestamp", "desc"]]}, version={"const": 1}, kibanaSavedObjectMeta=SOURCE),
    "dashboard": exactly(title=TEXT, description=TEXT, hits={"const": 0}, kibanaSavedObjectMeta=SOURCE, optionsJSON=JSON_TEXT,
                         panelsJSON=JSON_TEXT, timeRestore={"const": False}, version={"const": 1})}
REFERENCE = exactly(id=TEXT, name=TEXT, type={"enum": list(ATTRIBUTES)})


def strings_of_json(value):
    """Everything below a value that is JSON in a string, parsed."""
    if isinstance(value, dict):
        for key, one in value.items():
            if isinstance(one, str) and (key.endswith("JSON") or key in ("visState", "fieldFormatMap", "fieldAttrs", "typeMeta")):
                yield json.loads(one)
            else:
                yield from strings_of_json(one)


def reference_names(value):
    """The names of references that an object uses."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key.endswith("RefName"):
                yield one
            yield from reference_names(one)
    elif isinstance(value, list):
        for one in value:
            yield from reference_names(one)


def test_the_file_is_what_the_descriptions_make():
    done = subprocess.run([sys.executable, "-B", FOLDER / "generate.py", "--check"], stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


def changed(folder, old, new):
    """What the generator's check says of a copy of the descriptions in which something is different."""
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.suffix in (".py", ".toml", ".ndjson"):
            place = folder / path.relative_to(FOLDER)
            place.parent.mkdir(exist_ok=True)
            place.write_text(path.read_text().replace(old, new) if path.name == "dns.toml" else path.read_text())
    done = subprocess.run([sys.executable, "-B", folder / "generate.py", "--check"], stderr=subprocess.PIPE)
    assert done.returncode == 1
    return done.stderr.decode()


def test_a_stale_file_is_told(tmp_path):
    assert "is not what the descriptions make" in changed(tmp_path, 'title = "DNS"', 'title = "Names"')


@pytest.mark.parametrize("old,new,message", [
    ('kind = "pie"', 'kind = "cake"', "Types of questions: no such word: cake"),
    ("over = ", "during = ", "no such word: during"),
    ("count as Questions", "counts as Questions", "'counts as Questions' is no value"),
    ("unique source.ip as Askers", "unique as Askers", "'unique as Askers' is no value"),
    ('title = "Names"', 'title = "Domains"', "two objects have one name: tapline-dns-domains"),
    ("query = ", "query ", "(at line ")])
def test_a_mistake_in_a_description_is_told(tmp_path, old, new, message):
    said = changed(tmp_path, old, new)
    assert message in said and "Traceback" not in said


@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_objects_have_the_form_of_8_0(kind):
    schema = exactly(id={"type": "string", "pattern": "^tapline-[a-z0-9._-]+$"}, type={"const": kind}, attributes=ATTRIBUTES[kind],
                     references={"type": "array", "items": REFERENCE}, coreMigrationVersion={"const": "8.0.0"},
                     migrationVersion=exactly(**{kind: {"const": "8.0.0"}}))
    assert of_type(kind)
    for one in of_type(kind):
        jsonschema.validate(one, schema)
        parsed = list(strings_of_json(one["attributes"]))
        assert sorted(reference_names(parsed)) == sorted(ref["name"] for ref in one["references"]), one["id"]
        for ref in one["references"]:
            assert BY_ID[ref["id"]]["type"] == ref["type"], f"{one['id']} refers to {ref['id']}"


def test_every_object_is_one_and_has_its_own_name():
    assert len(BY_ID) == len(OBJECTS)
    assert set(ATTRIBUTES) == {one["type"] for one in OBJECTS}
    titles = collections.Counter((one["type"], one["attributes"]["title"]) for one in OBJECTS)
    assert max(titles.values()) == 1, titles.most_common(3)
    used = {ref["id"] for one in OBJECTS for ref in one["references"]}
    lost = {one["id"] for one in of_type("visualization")} - used
    assert lost == set(), "visualizations on no dashboard"


def test_visualizations_are_whole():
    for one in of_type("visualization"):
        state = state_of(one)
        assert state["title"] == one["attributes"]["title"]
        if state["type"] == "markdown":
            assert state["params"]["markdown"].strip() and state["aggs"] == []
            continue
        if state["type"] == "input_control_vis":
            continue
        assert {agg["schema"] for agg in state["aggs"]} <= SCHEMAS[state["type"]], one["id"]
        ids = [agg["id"] for agg in state["aggs"]]
        assert ids == [str(i + 1) for i in range(len(ids))], one["id"]
        for axis in state["params"].get("seriesParams", []):
            assert axis["data"]["id"] in ids and axis["valueAxis"] == state["params"]["valueAxes"][0]["id"]
        for agg in state["aggs"]:
            assert agg["enabled"] and (agg["type"] == "count" or agg["params"]["field"])
        kibana.request(state, query_of(one).query(), "1d")


def test_panels_stand_beside_each_other():
    boards = of_type("dashboard")
    assert len(boards) == 13
    for board in boards:
        taken = set()
        panels = json.loads(board["attributes"]["panelsJSON"])
        assert [panel["panelIndex"] for panel in panels] == [panel["gridData"]["i"] for panel in panels]
        assert "tapline-controls" in {ref["id"] for ref in board["references"]}, board["id"]
        for panel in panels:
            place = panel["gridData"]
            assert 0 <= place["x"] and place["x"] + place["w"] <= 48 and place["h"] >= 5, (board["id"], place)
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert not cells & taken, f"{board['id']}: panels upon each other at {place}"
            taken |= cells
            assert re.fullmatch(r"8\.0\.0", panel["version"]) and panel["type"] in ("visualization", "search")


def test_every_page_leads_to_every_other():
    boards = {one["id"] for one in of_type("dashboard")}
    for board in boards:
        text = "".join(state_of(BY_ID[ref["id"]])["params"]["markdown"] for ref in BY_ID[board]["references"]
                       if ref["type"] == "visualization" and state_of(BY_ID[ref["id"]])["type"] == "markdown")
        assert set(re.findall(r"\]\(#/view/([^)]+)\)", text)) == boards - {board}, board


# ---- fields -----------------------------------------------------------------------------------------------------------

def has(field_table, field, dataset):
    """Whether documents of a dataset can have a field; zeek.% is a log's own name."""
    names = {field} | ({"zeek.%" + field[len(dataset):]} if field.startswith(dataset + ".") else set())
    return any(name in field_table and dataset in field_table[name][1] for name in names)


def named_datasets(field_table):
    return {name for _, names in field_table.values() for name in names if name and not name.endswith("*")}


def test_each_dataset_has_a_data_view_and_a_search(field_table):
    datasets = named_datasets(field_table)
    assert len(datasets) > 70
    views = {one["attributes"]["title"]: one for one in of_type("index-pattern")}
    assert set(views) == {"logs-*"} | {f"logs-{name}-*" for name in datasets}
    searches = {one["id"].removeprefix("tapline-search-"): one for one in of_type("search")}
    assert datasets <= set(searches)
    for dataset in datasets:
        one = searches[dataset]
        assert view_of(one) == f"logs-{dataset}-*"
        wrong = [name for name in one["attributes"]["columns"] if not has(field_table, name, dataset)]
        assert wrong == [], f"{dataset} has no {wrong}"
    for name in set(searches) - datasets:
        assert [column for column in searches[name]["attributes"]["columns"] if column not in field_table] == []


def mapped(folder, engine):
    """Field to its type, of all templates of an engine."""
    subprocess.run([rig.TAPLINE, "map", "export", "--maps", rig.TOP / "configs", "--to", folder, engine], check=True,
                   stdout=subprocess.DEVNULL)
    types = {}

    def walk(properties, prefix):
        for name, one in properties.items():
            if "type" in one:
                types.setdefault(prefix + name, set()).add(one["type"])
            walk(one.get("properties", {}), f"{prefix}{name}.")

    for path in folder.rglob("*.json"):
        walk(json.loads(path.read_text())["template"].get("mappings", {}).get("properties", {}), "")
    assert len(types) > 1000
    return types


@pytest.mark.parametrize("product", ["elasticsearch", "opensearch"])
def test_fields_of_panels_are_in_the_templates(product, tmp_path):
    types = mapped(tmp_path, product)
    used = [(one["id"], field, kind) for one in asking() for field, kind in kibana.fields_of(state_of(one))]
    used += [(one["id"], control["fieldName"], "terms") for one in [BY_ID["tapline-controls"]]
             for control in state_of(one)["params"]["controls"]]
    assert len(used) > 300
    wrong = [(name, field, types.get(field)) for name, field, kind in used if not types.get(field, {"none"}) <= TAKES[kind]]
    assert wrong == []
    asked = {(one["id"], field) for one in asking() + of_type("search") for field in fields_asked(one)}
    assert {(name, field) for name, field in asked if field not in types} == set()


def fields_asked(saved):
    query = query_of(saved)
    query.query()
    return query.fields


def test_controls_are_for_sensor_and_dataset():
    controls = state_of(BY_ID["tapline-controls"])["params"]["controls"]
    assert {one["fieldName"]: one["type"] for one in controls} == {"observer.name": "list", "event.dataset": "list"}
    assert {ref["id"] for ref in BY_ID["tapline-controls"]["references"]} == {"tapline-logs"}


def test_values_are_shown_as_what_they_are(field_table):
    for view in of_type("index-pattern"):
        for field, one in json.loads(view["attributes"]["fieldFormatMap"]).items():
            kind = field_table[field][0]
            assert one["id"] == "url" or kind in NUMBERS, (view["id"], field)
            if one["id"] == "url":
                board, query = kibana.link_target(one["params"]["urlTemplate"], 'a b"c/+:%')
                assert BY_ID[board]["type"] == "dashboard"
                assert 'a b"c/+:%' in query and set(re.findall(r"[\w.]+(?=: )", query)) <= set(field_table)


# ---- what the engine says ---------------------------------------------------------------------------------------------

def logs():
    if not DATA.is_dir():
        assert os.environ.get("CI") != "true", f"no data at {DATA}"
        pytest.skip(f"NO DATA at {DATA}: panels were asked nothing")
    folders = [rig.TOP / "tests" / "golden"] + [DATA / name for name in ("zeek", "snort", "suricata", "ours")]
    return sorted(str(path) for folder in folders for path in folder.rglob("*")
                  if path.is_file() and path.name not in ("out.ndjson", "case.json") and path.suffix not in (".pcap", ".md")
                  and "tapline." not in str(path))


def geography(folder):
    """Databases of our own, for addresses that the corpus has: it tells of no place."""
    made = []
    for name, kind, value in (("city", "GeoLite2-City", {"country": {"iso_code": "CZ", "names": {"en": "Czechia"}}}),
                              ("asn", "GeoLite2-ASN", {"autonomous_system_number": 64500, "autonomous_system_organization": "Example"})):
        writer = MMDBWriter(ip_version=6, database_type=kind, ipv4_compatible=True)
        writer.insert_network(netaddr.IPSet(["147.32.0.0/16", "203.0.113.0/24"]), value)
        writer.to_db_file(str(folder / f"{name}.mmdb"))
        made.append(str(folder / f"{name}.mmdb"))
    return ",".join(made)


def documents(folder):
    """The corpus as the pipeline would deliver it: normalized, with places and indicators; dead letters; what looking back and
    sightings write; one record as enrichment can leave it."""
    dead = folder / "dead.ndjson"
    done = subprocess.run([rig.TAPLINE, "normalize", "--maps", rig.TOP / "configs", "--dead-letter", dead, "--networks",
                           "10.20.0.0/16,fd20::/16", "--geo-databases", geography(folder), "--intel",
                           DATA / "ours" / "intel" / "intel.dat", "--", *logs()], stdout=subprocess.PIPE, check=True,
                          stderr=subprocess.DEVNULL)
    yield from done.stdout.splitlines()
    yield from dead.read_bytes().splitlines()
    for name in ("retro_match", "sighting"):
        yield from (rig.TOP / "tests" / "golden" / f"tapline.{name}" / "out.ndjson").read_bytes().splitlines()
    for line in health_lines.lines():
        yield json.dumps(line).encode()
    one = next(line for line in done.stdout.splitlines() if b'"dataset":"zeek.http"' in line)
    yield json.dumps(enriched.enriched(json.loads(one))).encode()
    yield json.dumps(refused(one.decode())).encode()


def refused(text):
    """The dead letter of a document that the engine refused, with the fields that configs/schema.tsv has for one."""
    return {"@timestamp": "2026-11-21T04:10:00.000000Z", "ecs": {"version": "8.17.0"},
            "error": {"message": "mapper_parsing_exception: failed to parse field [source.port]"},
            "event": {"dataset": "tapline.deadletter", "kind": "pipeline_error", "module": "tapline", "original": text},
            "tapline": {"kind": "refused", "dataset": "zeek.http", "id": "00000000000000010000000000000002",
                        "topic": "zeek.http", "partition": 3, "offset": 42}}


def some(lines, datasets):
    """A sample of each kind, whole files of which would only be more of the same; logs that have no map of their own left out."""
    count = collections.Counter()
    for line in lines:
        document = json.loads(line)
        dataset = document["event"]["dataset"]
        if dataset not in datasets:
            continue
        kind = (dataset, document.get("suricata", {}).get("eve", {}).get("event_type"),
                document.get("log", {}).get("file", {}).get("path"))
        count[kind] += 1
        if count[kind] <= OF_A_FILE_MAX or (kind[2] or "").endswith(WHOLE):
            yield dataset, line


@pytest.fixture(scope="module")
def filled(elasticsearch, field_table, tmp_path_factory):
    """The engine that Kibana speaks to, with our templates and the corpus."""
    engine, corpus = elasticsearch, some(documents(tmp_path_factory.mktemp("corpus")), named_datasets(field_table))
    engine.templates(tmp_path_factory.mktemp("templates"))
    lines, size, refused = [], 0, []

    def send():
        answer = engine.ask("POST", "/_bulk", b"".join(lines), "application/x-ndjson")
        refused.extend(one["create"]["error"] for one in answer["items"] if "error" in one["create"])
        lines.clear()

    for dataset, line in corpus:
        lines.append(b'{"create":{"_index":"logs-%s-boards-2026.11"}}\n%s\n' % (dataset.encode(), line))
        size += len(line)
        if size > BULK_BYTES:
            send()
            size = 0
    send()
    assert refused == []
    engine.refresh()
    return engine


def asked(engine, requests):
    """Many searches, a few at a time: the engine of the tests is small."""
    if len(requests) > SEARCHES_AT_ONCE:
        return asked(engine, requests[:SEARCHES_AT_ONCE]) + asked(engine, requests[SEARCHES_AT_ONCE:])
    body = b"".join(json.dumps({"index": index, "ignore_unavailable": True}).encode() + b"\n" + json.dumps(search).encode() + b"\n"
                    for index, search in requests)
    answers = engine.ask("POST", "/_msearch?max_concurrent_searches=2", body, "application/x-ndjson")["responses"]
    for (_, search), answer in zip(requests, answers):
        assert answer["status"] == 200 and answer["_shards"]["failed"] == 0, f"{search}: {answer}"
    return answers


def interval_of(engine):
    """As wide as Kibana would choose for all the time there is."""
    ends = engine.ask("POST", "/logs-*-boards-*/_search?size=0", {"aggs": {
        "from": {"min": {"field": "@timestamp"}}, "to": {"max": {"field": "@timestamp"}}}})["aggregations"]
    return f"{max(1, int((ends['to']['value'] - ends['from']['value']) / 100_000))}s"


def test_each_panel_has_something_to_show(filled):
    panels, interval = asking(), interval_of(filled)
    assert len(panels) > 150
    requests = []
    for one in panels:
        state = state_of(one)
        body = kibana.request(state, query_of(one).query(), interval)
        # A sum over documents without the field is 0, which is a value: whether there are any is asked beside it.
        body["aggs"].update({f"has {field}": {"value_count": {"field": field}} for field, _ in kibana.fields_of(state)})
        requests.append((view_of(one), body))
    empty = []
    for one, answer in zip(panels, asked(filled, requests)):
        found = kibana.rows(state_of(one), answer)
        missing = [field for field, _ in kibana.fields_of(state_of(one)) if answer["aggregations"][f"has {field}"]["value"] == 0]
        if missing or not found or answer["hits"]["total"]["value"] == 0 or any(
                all(values[i] is None for _, values in found) for i in range(len(found[0][1]))):
            empty.append((one["id"], missing, found[:2]))
    assert empty == []


def test_each_search_has_documents(filled):
    expected = set(filled.by_dataset("logs-*-boards-*"))
    searches = of_type("search")
    answers = asked(filled, [(view_of(one), {"size": 1, "query": query_of(one).query(), "sort": [{"@timestamp": "desc"}]})
                             for one in searches])
    empty = {one["id"].removeprefix("tapline-search-") for one, answer in zip(searches, answers)
             if answer["hits"]["total"]["value"] == 0}
    # Logs of which no sensor has written a line that we have.
    assert not empty & expected and len(empty) <= 6, empty


def test_fields_have_one_type_in_all_indices(filled):
    """Kibana aggregates no field that two indices have with different types."""
    fields = sorted({field for one in asking() for field, _ in kibana.fields_of(state_of(one))})
    caps = {}
    for start in range(0, len(fields), 50):
        caps.update(filled.ask("GET", "/logs-*/_field_caps?fields=" + ",".join(fields[start:start + 50]))["fields"])
    wrong = {field: caps.get(field) for field in fields
             if len(caps.get(field, {})) != 1 or not all(one["aggregatable"] for one in caps[field].values())}
    assert wrong == {}


def test_links_lead_to_documents(filled):
    """A value of each field that leads somewhere is found there: the dashboard's panels have documents for the link's query."""
    formats = json.loads(BY_ID["tapline-logs"]["attributes"]["fieldFormatMap"])
    links = {field: one["params"]["urlTemplate"] for field, one in formats.items() if one["id"] == "url"}
    assert {"zeek.session_id", "network.community_id", "source.ip", "threat.indicator.name"} <= set(links)
    for field, template in links.items():
        values = filled.ask("POST", "/logs-*/_search?size=0", {"aggs": {"values": {"terms": {"field": field, "size": 3}}}})
        buckets = values["aggregations"]["values"]["buckets"]
        assert buckets, field
        for one in buckets:
            board, query = kibana.link_target(template, str(one["key"]))
            panels = [panel for panel in asking() if panel["id"] in {ref["id"] for ref in BY_ID[board]["references"]}]
            shown = [query_of(panel).query() for panel in panels if query_of(panel).text]
            both = {"bool": {"filter": [Kql(query).query(), {"bool": {"should": shown, "minimum_should_match": 1}}]}}
            answer, = asked(filled, [("logs-*", {"size": 0, "query": both})])
            assert answer["hits"]["total"]["value"] > 0, f"{field} {one['key']} leads to an empty {board}"


def test_one_flow_shows_all_products(filled):
    """Our own capture went through Zeek, Snort and Suricata: the page of one flow finds flows that all three saw, and asked for
    one of them its panels have rows of each."""
    panel = next(one for one in asking() if one["attributes"]["title"].startswith("Flows that alerts and connections share"))
    state = state_of(panel)
    answer, = asked(filled, [(view_of(panel), kibana.request(state, query_of(panel).query(), "1d"))])
    shared = [keys[0] for keys, values in kibana.rows(state, answer) if values[0] == 3]
    assert len(shared) >= 5
    who = next(one for one in asking() if one["attributes"]["title"].startswith("Who saw it"))
    template = json.loads(BY_ID["tapline-logs"]["attributes"]["fieldFormatMap"])["network.community_id"]["params"]["urlTemplate"]
    for value in shared[:5]:
        board, query = kibana.link_target(template, value)
        assert board == "tapline-flow" and query == f'network.community_id: "{value}"'
        both = {"bool": {"filter": [query_of(who).query(), Kql(query).query()]}}
        answer, = asked(filled, [(view_of(who), kibana.request(state_of(who), both, "1d"))])
        assert {keys[0] for keys, _ in kibana.rows(state_of(who), answer)} == {"zeek", "snort", "suricata"}


def test_controls_have_values(filled):
    for control in state_of(BY_ID["tapline-controls"])["params"]["controls"]:
        answer = filled.ask("POST", "/logs-*/_search?size=0", {"aggs": {"values": {"terms": {"field": control["fieldName"]}}}})
        assert len(answer["aggregations"]["values"]["buckets"]) >= 2, control


def test_the_query_language_is_read_as_kibana_reads_it():
    assert Kql("").query() == {"match_all": {}}
    assert Kql('a.b: (x or "y z") and not c: * or d > 5').query() == {"bool": {"minimum_should_match": 1, "should": [
        {"bool": {"filter": [{"bool": {"minimum_should_match": 1, "should": [{"match": {"a.b": "x"}}, {"match_phrase": {"a.b": "y z"}}]}},
                             {"bool": {"must_not": {"exists": {"field": "c"}}}}]}}, {"range": {"d": {"gt": "5"}}}]}}
    for wrong in ("a:", "a: (b", "a: b c: d", "a b", "a: b and", "(a: b"):
        with pytest.raises(AssertionError):
            Kql(wrong).query()


def test_descriptions_say_something():
    """Each dashboard and each saved search tells what it is; the landing page tells it of all others."""
    start = state_of(BY_ID["tapline-start-pages"])["params"]["markdown"]
    for one in of_type("dashboard"):
        assert len(one["attributes"]["description"]) > 30
        assert one["id"] == "tapline-start" or one["attributes"]["description"] in start
    order = tomllib.loads((FOLDER / "views.toml").read_text())["dashboards"]
    assert order[0] == "start" and {f"tapline-{name}" for name in order} == {one["id"] for one in of_type("dashboard")}
