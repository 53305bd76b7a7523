"""The day after, as a stranger who has only --help: what the feeder says it did adds up, what the engine refused is found, mended
and put back, and is then a document like any other.
SPDX-License-Identifier: Apache-2.0
"""
import json

import pytest

import rig
from feeding import MONTHLY, Site, document


@pytest.fixture
def site(tmp_path, broker, engine):
    return Site(tmp_path, broker, engine).prepare()


def ask(site, code, *words):
    done = rig.tapline(*words, "-c", site.config)
    assert done.returncode == code, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


def proof(site):
    """tapline's own account of it agrees with the one a foreign client makes."""
    said = json.loads(ask(site, 0, "ledger", "--feed", "--json"))
    sums = site.ledger().assert_whole()
    for fate in ("indexed", "repeated", "dead"):
        assert said["all"][fate] == sums[fate], (said["all"], sums)
    assert said["all"]["accepted"] == sums.total() and said["all"]["open"] == 0 and said["complete"]
    return said


def test_what_was_refused_is_mended_and_put_back(site):
    name = f"logs-{MONTHLY}-{site.namespace}-2026.11"
    texts = [f"2026-11-{day:02d}T00:00:00Z" for day in range(1, 9)]
    at = 1_793_500_000_000 + 86_400_000 * 7  # the 8th
    site.engine.ask("PUT", f"/{name}", {"settings": {"index.mapping.total_fields.limit": 4000}})
    good = site.put(MONTHLY, [document(MONTHLY, i, text) for i, text in enumerate(texts)], at=at)
    many = {f"f{i}": 1 for i in range(4000)}
    mendable = site.put(MONTHLY, [document(MONTHLY, 100 + i, texts[0], x=many) for i in range(3)], at=at)
    hopeless = site.put(MONTHLY, [document(MONTHLY, 200, texts[0], source="a text")], at=at)
    site.send(MONTHLY, b"no JSON at all", at=at)
    site.flush()
    site.once()
    site.assert_ids(good, MONTHLY)
    proof(site)

    listed = ask(site, 0, "dead-letter", "list")
    assert "total fields" in listed and "source" in listed
    assert len(rows(ask(site, 0, "dead-letter", "list", "--json"))) == 5
    assert "3" in ask(site, 0, "dead-letter", "list", "--by-reason", "--reason", "total fields")
    (one,) = hopeless
    shown = ask(site, 0, "dead-letter", "show", one)
    assert "a text" in shown and f"{site.prefix}.{MONTHLY}" in shown

    site.engine.ask("PUT", f"/{name}/_settings", {"index.mapping.total_fields.limit": 9000})
    ask(site, 0, "dead-letter", "retry", "--reason", "total fields")
    assert len(rows(ask(site, 0, "dead-letter", "list", "--json"))) == 2
    ask(site, 1, "dead-letter", "retry", "--all")  # one can never be put back
    ask(site, 1, "dead-letter", "retry", "--reason", "total fields")  # is done
    site.once()
    site.assert_ids([*good, *mendable], MONTHLY)
    proof(site)
    again = rows(ask(site, 0, "dead-letter", "list", "--json"))
    assert len(again) == 2, "the hopeless one is refused again: a new dead letter"
    assert len(rows(ask(site, 0, "dead-letter", "list", "--all", "--json"))) == 6
    site.once()
    found = [source["tapline"].get("id") for source in site.engine.documents(site.pattern("tapline.deadletter"))]
    assert found.count(one) == 2 and len(found) == 6, "each of its own, in the index, too"


def test_setup_twice_changes_nothing(site):
    first = rig.tapline("setup", "-c", site.config)
    assert first.returncode == 0 and "created" not in first.stdout, first.stdout
    before = site.engine.ask("GET", "/_index_template/tapline-*"), site.engine.ask("GET", "/_component_template/tapline-*")
    assert rig.tapline("setup", "-c", site.config, "--check").returncode == 0
    assert before == (site.engine.ask("GET", "/_index_template/tapline-*"), site.engine.ask("GET", "/_component_template/tapline-*"))
    stock = site.engine.ask("GET", "/_index_template/logs")["index_templates"][0]["index_template"]
    assert stock["priority"] == 100, "what others installed is theirs"


def test_a_template_that_somebody_changed_is_told_and_mended(site):
    name = "tapline-zeek.ntp"
    there = site.engine.ask("GET", f"/_index_template/{name}")["index_templates"][0]["index_template"]
    there["version"], there["template"]["settings"] = 1, {}
    there["_meta"]["tapline"]["hash"] = "0" * 16
    site.engine.ask("PUT", f"/_index_template/{name}", there)
    told = rig.tapline("setup", "-c", site.config, "--check")
    assert told.returncode == 1 and name in told.stdout, told.stdout
    mended = rig.tapline("setup", "-c", site.config)
    assert mended.returncode == 0 and "1 upgraded" in mended.stdout, mended.stdout[-300:]
    assert rig.tapline("setup", "-c", site.config, "--check").returncode == 0
