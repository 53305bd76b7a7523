"""The services as they are installed: systemd's own check of the units, what they promise, and the OpenRC scripts run by a
stand-in of openrc-run that starts what they name.

SPDX-License-Identifier: Apache-2.0
"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from supervising import TAPLINE, Client, is_running, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ("tapline", "tapline-supervisor", "tapline-run", "tapline-feed")
VALUES = {"CMAKE_INSTALL_FULL_BINDIR": "/usr/bin", "CMAKE_INSTALL_FULL_SYSCONFDIR": "/etc"}


def filled(path, **values):
    return re.sub(r"@(\w+)@", lambda m: (VALUES | values)[m.group(1)], path.read_text())


class Unit(dict):
    """Sections of a unit; a key that stands twice has both values."""

    def __init__(self, text):
        section = None
        for line in text.splitlines():
            if line.startswith("["):
                section = self.setdefault(line.strip("[]"), {})
            elif line and not line.startswith("#"):
                key, value = line.split("=", 1)
                section.setdefault(key, []).append(value)

    def one(self, section, key):
        (value,) = self[section][key]
        return value


@pytest.fixture
def units():
    folder = ROOT / "configs/systemd"
    return {name: Unit(filled(folder / f"{name}.service.in")) for name in SERVICES} | {
        "target": Unit((folder / "tapline.target").read_text()), "before": Unit(filled(folder / "before-254.conf.in"))}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_has_nothing_to_say(tmp_path):
    for name in SERVICES:
        text = filled(ROOT / f"configs/systemd/{name}.service.in", CMAKE_INSTALL_FULL_BINDIR=str(TAPLINE.parent))
        (tmp_path / f"{name}.service").write_text(text)
    shutil.copy(ROOT / "configs/systemd/tapline.target", tmp_path)
    run = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
                         capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in run.stderr.splitlines()
            if str(tmp_path) in line or line.startswith("tapline") if "DelegateSubgroup" not in line]
    assert said == [], run.stderr  # DelegateSubgroup is unknown before 254, where the drop-in replaces it


def test_restarting_main_touches_nothing_else(units):
    main, supervisor = units["tapline"], units["tapline-supervisor"]
    for unit in (main, supervisor):
        assert unit.one("Service", "Type") == "notify" and unit.one("Service", "KillMode") == "process"
        assert unit.one("Service", "Restart") == "always" and unit.one("Service", "OOMPolicy") == "continue"
        assert unit.one("Service", "RestartSec") == "200ms"  # control is back within 2 s
        assert unit.one("Unit", "StartLimitIntervalSec") == "0"
        assert int(unit.one("Service", "WatchdogSec")) > 0
        assert unit.one("Service", "RestartPreventExitStatus") == "100"
    # What would carry a stop or restart of Main over to the Supervisor, or back:
    for unit, other in ((main, "tapline-supervisor"), (supervisor, "tapline.service")):
        for key in ("Requires", "BindsTo", "PartOf", "Requisite", "PropagatesStopTo", "StopPropagatedFrom"):
            assert other not in " ".join(unit["Unit"].get(key, []))
    assert main.one("Unit", "Wants") == "tapline-supervisor.service"


def test_stopping_the_target_stops_sensors_then_supervisor_then_main(units):
    for name in ("tapline", "tapline-supervisor", "tapline-run"):
        assert units[name].one("Unit", "PartOf") == "tapline.target"
        assert units[name].one("Install", "WantedBy") == "tapline.target"
    assert "tapline.service" in units["tapline-supervisor"].one("Unit", "After").split()  # stopped before Main
    assert "tapline-supervisor.service" in units["tapline-run"].one("Unit", "Before").split()  # stopped after the sensors
    assert int(units["tapline-supervisor"].one("Service", "TimeoutStopSec")) >= 120


def test_sensors_inherit_no_hardening(units):
    service = units["tapline-supervisor"]["Service"]
    assert not [key for key in service if key.startswith(("Protect", "Private", "Restrict", "NoNew", "SystemCall"))]
    assert units["tapline-supervisor"].one("Service", "Delegate") == "yes"
    assert units["before"].one("Service", "Delegate") == "no"
    assert units["before"]["Service"]["ExecStart"][0] == ""
    assert units["before"]["Service"]["ExecStart"][1].startswith(units["tapline-supervisor"].one("Service", "ExecStart"))


# ---- OpenRC ---------------------------------------------------------------------------------------------------------------

# What openrc-run gives a script, as far as ours use it; start runs the command as supervise-daemon would.
STAND_IN = r"""
set -eu
checkpath() { :; }
ebegin() { echo "ebegin $*"; }
eend() { return "$1"; }
need() { echo "need $*"; }
use() { echo "use $*"; }
after() { echo "after $*"; }
RC_SVCNAME=$1
. "$2"
[ -z "${TEST_ARGS:-}" ] || command_args=$TEST_ARGS
[ -z "${TEST_PIDFILE:-}" ] || pidfile=$TEST_PIDFILE
case $3 in
show) depend; echo "supervisor=$supervisor respawn_max=$respawn_max retry=$retry cgroup=${rc_cgroup_cleanup:-}"
      echo "command=$command $command_args" ;;
start) start_pre; $command $command_args >/dev/null 2>&1 </dev/null & echo $! >"$pidfile" ;;
*) "$3" ;;
esac
"""


DAEMON = """#!/bin/sh
echo "supervise-daemon $*"
while [ "$1" != --pidfile ]; do shift; done
kill -HUP "$(cat "$2")"
"""


def openrc(tmp_path, name, verb, **env):
    script, stand_in = tmp_path / name, tmp_path / "openrc-run"
    script.write_text(filled(ROOT / f"configs/openrc/{name}.in", CMAKE_INSTALL_FULL_BINDIR=str(TAPLINE.parent)))
    stand_in.write_text(STAND_IN)
    daemon = tmp_path / "supervise-daemon"
    daemon.write_text(DAEMON)
    daemon.chmod(0o755)
    return subprocess.run(["sh", stand_in, name, script, verb], capture_output=True, text=True, check=True, timeout=60,
                          env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | env).stdout


@pytest.mark.parametrize("name", SERVICES)
def test_openrc_scripts_are_good_shell(tmp_path, name):
    text = filled(ROOT / f"configs/openrc/{name}.in")
    assert text.startswith("#!/sbin/openrc-run\n")
    script = tmp_path / name
    script.write_text(text)
    subprocess.run(["sh", "-n", script], check=True)
    if shutil.which("shellcheck"):  # SC2034: openrc-run uses the variables; SC2154: and gives RC_SVCNAME
        subprocess.run(["shellcheck", "-s", "sh", "-e", "SC2034,SC2154", script], check=True)
    shown = openrc(tmp_path, name, "show")
    assert "supervisor=supervise-daemon respawn_max=0" in shown  # for ever, whatever happens


def test_openrc_stops_in_order_and_main_alone(tmp_path):
    supervisor, main = openrc(tmp_path, "tapline-supervisor", "show"), openrc(tmp_path, "tapline", "show")
    assert re.search(r"^after .*\btapline\b", supervisor, re.M)  # so it is stopped before Main
    assert "need tapline" not in supervisor + main  # a stop of one is not a stop of the other
    assert "cgroup=NO" in supervisor and "cgroup=NO" in main
    assert "retry=TERM/600" in supervisor


def test_openrc_s_supervisor_starts_and_takes_over_from_itself(tmp_path):
    socket, pidfile = tmp_path / "s", tmp_path / "pid"
    socket = pathlib.Path(os.path.relpath(socket)) if len(str(socket)) > 100 else socket
    args = f"supervise --socket {socket} --state {tmp_path}/state"
    env = {"TEST_ARGS": args, "TEST_PIDFILE": str(pidfile)}
    openrc(tmp_path, "tapline-supervisor", "start", **env)
    pid = int(pidfile.read_text())
    try:
        client = Client(socket)
        assert client.call("hello")["pid"] == pid
        client.close()
        assert f"--signal HUP --pidfile {pidfile}" in openrc(tmp_path, "tapline-supervisor", "reload", **env)

        def again():
            other = Client(socket)
            try:
                return other.call("hello")["pid"] == pid
            except Exception:  # noqa: BLE001 (it is just executing itself)
                return False
            finally:
                other.close()
        wait_until(again)
    finally:
        os.kill(pid, 15)
        wait_until(lambda: not is_running(pid))
