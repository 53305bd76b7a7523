"""Every file of real intelligence there is: what the program reads of it is what Python reads of it, indicator by indicator,
and what it leaves out has its reason.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import json
import os
import pathlib
import sys

import pytest

import rig

sys.path.insert(0, str(rig.TOP / "tests/oracle"))
import intel_files  # noqa: E402

DATA = pathlib.Path(os.environ.get("TAPLINE_DATA", rig.TOP.parent / "shared" / "data"))
# The sums over all files, so that neither side can lose some unseen.
FILES = 89
NO_INDICATORS = 12  # whole files that are something else: a licence, MISP's templates, sightings and lists of events, STIX 1
INDICATORS = {"ip": 153638, "cidr": 42, "domain": 44527, "url": 16030, "email": 1222, "file_hash": 3541, "cert_hash": 32,
              "pubkey_hash": 12, "user": 12, "file_name": 47, "software": 15}
REFUSED = {intel_files.NO_NAME: 3, intel_files.REMOVED: 1, intel_files.EXCEPTED: 1, intel_files.UNSEEN_PROPERTY: 4,
           intel_files.OTHER: 2, intel_files.OBSERVABLE: 2, intel_files.CONTEXT: 126, intel_files.UNSEEN: 3,
           intel_files.DELETED: 1, intel_files.EMPTY: 1}


def data_files():
    if not (DATA / "intel").is_dir():
        return []
    files = [path for path in sorted((DATA / "intel").rglob("*")) if path.is_file() and path.name != "SOURCES.md"]
    return files + [DATA / "ours/intel/intel.dat"]


def data_needed():
    if not data_files():
        assert os.environ.get("CI") != "true" and "TAPLINE_DATA" not in os.environ, f"no data at {DATA} (set TAPLINE_DATA)"
        pytest.skip(f"NO DATA at {DATA}: no real intelligence is read here (set TAPLINE_DATA)")


def loaded(path):
    done = rig.tapline("intel", "load", "--dry-run", "--json", path)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout), done


def listed(path, folder):
    """(type, value, provider) of the store that has this file."""
    config = folder / "intel.yml"
    config.write_text(json.dumps({"intel": {"files": [str(path)]}}))
    done = rig.tapline("intel", "list", "-c", config, "--json")
    assert done.returncode in (0, 1), done.stderr
    return {(row["type"], row["value"], said.get("provider", said["feed"]))
            for row in map(json.loads, done.stdout.splitlines()) for said in row["providers"]}


@pytest.mark.parametrize("path", data_files(), ids=lambda path: path.name)
def test_a_file(path, tmp_path):
    expected = intel_files.read(path)
    summary, done = loaded(path)
    if expected is None:
        assert done.returncode == 1 and summary["files_not_read"] == 1 and summary["indicators"] == 0, done.stdout
        assert path.name in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert summary["types"] == collections.Counter(kind for kind, _, _ in expected.indicators)
    assert summary["reasons"] == expected.refused
    assert summary["refused"] == sum(expected.refused.values())
    # Who names no provider is "local" in Python's words; in a store of files it is the file's name.
    assert listed(path, tmp_path) == {(*word[:2], path.name if word[2] == "local" else word[2]) for word in expected.indicators}
    assert done.stderr.count("left out") == min(11, summary["refused"])  # ten, and how many more


def test_all_at_once():
    data_needed()
    done = rig.tapline("intel", "load", "--dry-run", "--json", *data_files())
    summary = json.loads(done.stdout)
    assert done.returncode == 1
    assert (summary["files"], summary["files_not_read"]) == (FILES, NO_INDICATORS)
    assert summary["types"] == INDICATORS
    assert summary["reasons"] == REFUSED
    assert summary["refused"] == sum(REFUSED.values())
    assert "STIX 1 or TAXII 1 (XML), which is not read" in done.stderr
