"""A site moves over with zeekctl's files: its cluster runs as tapline's, its scripts are checked, edited, and put back.

Zeek is a program that does what Zeek does as a process (fake_zeek.py), and the real one where it is on the PATH.
SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import shutil

import pytest

import rig

from serving import UP, serving, wait_until  # noqa: F401

FAKE = pathlib.Path(__file__).parent / "fake_zeek.py"
READY_S = 60
CLUSTER = """[logger]
type=logger
host=localhost

[manager]
type=manager
host=localhost

[proxy-1]
type=proxy
host=localhost

[worker-1]
type=worker
host=localhost
interface=lo
pin_cpus=0

[worker-2]
type=worker
host=localhost
interface=lo
"""
NAMES = {"logger", "manager", "proxy-1", "worker-1", "worker-2"}


@pytest.fixture(params=["fake", "real"])
def zeek(request):
    if request.param == "fake":
        return str(FAKE)
    found = shutil.which("zeek")
    if not found or os.geteuid() != 0:
        pytest.skip("no zeek on the PATH, or nobody who may listen")
    return found


class Site:
    """zeekctl's directory and the site's scripts."""

    def __init__(self, folder, main, zeek):
        self.main, self.etc, self.scripts = main, folder / "etc", folder / "site"
        self.etc.mkdir()
        self.scripts.mkdir()
        self.zeek = zeek
        self.put("zeekctl.cfg", f"ZeekPort={rig.free_port(10)}\nMetricsPort=0\nLogRotationInterval=3600\nenv_vars={main.mark}\n"
                                f"SitePolicyPath={self.scripts}\n")
        self.put("networks.cfg", "10.0.0.0/8 Private\nfd00::/8\n")
        self.script("# nothing yet\n")

    def put(self, name, text):
        (self.etc / name).write_text(text)

    def script(self, text):
        (self.scripts / "local.zeek").write_text(text)

    def configure(self, **keys):
        self.main.configure([], sensors={"zeekctl": str(self.etc), "zeek": self.zeek} | keys)

    def deploy(self):
        return self.main.call("deploy", 2 * READY_S)


@pytest.fixture
def site(serving, tmp_path, zeek):
    return Site(tmp_path, serving(), zeek)


def changes(result):
    return {row["name"]: row["change"] for row in result["changes"]}


def test_a_cluster_moves_over(site):
    main = site.main
    site.put("node.cfg", CLUSTER)
    site.configure()
    result = site.deploy()
    assert result["ok"], result
    assert changes(result) == dict.fromkeys(NAMES, "added")
    main.wait_for_all(UP, READY_S)
    pids = main.pids()
    assert set(pids) == NAMES
    for name, pid in pids.items():
        environment = pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0")
        assert f"CLUSTER_NODE={name}" in environment
        assert (main.sensors / name / ".initialized").exists()
    assert os.sched_getaffinity(pids["worker-1"]) == {0}
    assert "listening on lo" in main.output("worker-1", "stderr")
    wait_until(lambda: list((main.sensors / "logger").glob("[!s]*.log")))
    assert not list((main.sensors / "worker-1").glob("conn*.log"))  # the logger writes them
    assert site.deploy()["changes"] == [] and main.pids() == pids  # once more: nothing to do


def test_scripts_are_checked_and_a_change_of_them_is_seen(site):
    main = site.main
    site.put("node.cfg", "[zeek]\ntype=standalone\nhost=localhost\ninterface=lo\n")
    site.configure()
    assert site.deploy()["ok"]
    main.wait_for("zeek", UP, READY_S)
    before = main.pids()
    site.script("event zeek_init() {\nSYNTAX ERROR\n}\n")
    result = site.deploy()
    assert not result["ok"] and main.pids() == before
    assert "local.zeek, line 2" in result["checks"][0]["text"], result["checks"]
    site.script("# another\n")
    result = site.deploy()
    assert result["ok"] and changes(result) == {"zeek": "changed"}, result
    assert main.pids()["zeek"] != before["zeek"]


def test_a_log_that_a_killed_zeek_has_left_is_archived(site, tmp_path):
    main = site.main
    site.put("node.cfg", "[zeek]\ntype=standalone\nhost=localhost\ninterface=lo\n")
    site.configure(archive=str(tmp_path / "archive"))
    assert site.deploy()["ok"]
    pid = main.wait_for("zeek", UP, READY_S)["pid"]
    log = main.sensors / "zeek" / "packet_filter.log"
    wait_until(log.exists)
    inode = log.stat().st_ino
    os.kill(pid, 9)
    wait_until(lambda: main.pids().get("zeek", pid) != pid)
    main.wait_for("zeek", UP, READY_S)
    kept = wait_until(lambda: list((tmp_path / "archive" / "zeek").glob("packet_filter*.log")))
    assert inode in {path.stat().st_ino for path in kept}  # who reads it goes on reading


def test_a_node_that_does_not_become_ready_puts_the_site_back(serving, tmp_path):
    main = serving()
    site = Site(tmp_path, main, str(FAKE))
    site.put("node.cfg", CLUSTER)
    site.configure()
    assert site.deploy()["ok"]
    layout = (main.sensors / ".site" / "cluster-layout.zeek").read_text()
    site.put("node.cfg", CLUSTER + "[worker-3]\ntype=worker\nhost=localhost\ninterface=lo\naux_scripts=bad\n")
    (site.scripts / "bad.zeek").write_text("# fake zeek: hang\n# fake zeek: die 0.1\n")  # not ready for a moment, either
    result = site.deploy()
    assert not result["ok"] and result["rolled_back"], result
    assert (main.sensors / ".site" / "cluster-layout.zeek").read_text() == layout
    main.wait_for_all(UP, READY_S)
    assert set(main.pids()) == NAMES


def test_a_mistake_is_named_with_its_line_and_what_has_no_effect_is_said(serving, tmp_path):
    site = Site(tmp_path, serving(), str(FAKE))
    site.put("node.cfg", "[zeek]\ntype=standalone\nhost=192.0.2.9\ninterface=lo\n")
    site.configure()
    with pytest.raises(Exception, match="node.cfg:3: .*192.0.2.9.* is not this machine"):
        site.deploy()
    site.put("node.cfg", "[zeek]\ntype=standalone\nhost=localhost\ninterface=lo\nzone_id=x\n")
    result = site.main.call("deploy", dry_run=True)
    assert result["ok"] and any("node.cfg:5: zone_id has no effect" in text for text in result["warnings"]), result
