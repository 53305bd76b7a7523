"""The walk of the guide (docs/guide-health.inc): its commands run as they are written, and say what they are there to show.

Only what another machine may have in use is changed: ports, the folder, where the program is; and a look at what is wrong comes
as late as a busy machine needs it.
SPDX-License-Identifier: Apache-2.0
"""
import os
import re
import shutil
import subprocess
import tempfile
import textwrap

import pytest

import rig
from redis_server import redis_there
from supervising import TAPLINE, end_marked

SECONDS = 270  # less than the 300 s that ctest gives it
GUIDE = rig.TOP / "docs/guide-health.inc"
# What the blocks print, in their order; those that are not named print nothing that matters.
SAYS = {
    "kafka.sh stop $walk/kafka\nsleep": ["ERROR sink kafka", "no Kafka broker answers", "Connection refused", "nothing is lost"],
    "curl -s http": ['tapline_sink_up{sink="file"} 1', 'tapline_sink_up{sink="kafka"} 0', 'code="sink_unreachable"'],
    "dd if=": ["ERROR sink file", "documents.ndjson cannot be written, its disk is full"],
    "kill -9": ["ERROR intelligence", "cannot be asked since", "labels.intel: unavailable"],
    "head -8": ["WARN", "became dead letters in the last minute", "dns.log"],
    "--stage dead": ['["garbage 26","1 columns, and the header above has 26",34]'],
    "kill -STOP": ["ERROR process zeek-1", "is stopped by a signal (SIGSTOP)"],
}


def blocks():
    """The shell blocks of the section, in their order."""
    walk = GUIDE.read_text().split(".. _health-walk:")[1]
    found = re.findall(r"^\.\. code-block:: sh\n\n((?:(?:   .*)?\n)+)", walk, re.M)
    return [textwrap.dedent(block).strip() for block in found]


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix="tlw-", dir="/tmp")  # short: a socket's path has 107 bytes
    yield path
    end_marked(f"TAPLINE_TEST={path}")
    subprocess.run(["umount", "-l", f"{path}/walk/disk"], capture_output=True)
    shutil.rmtree(path, ignore_errors=True)


def test_the_walk_runs_as_written(folder):
    if os.geteuid() != 0 or shutil.which("java") is None:
        assert os.environ.get("CI") != "true" or os.geteuid() != 0, "java must be there under CI=true"
        pytest.skip("NOT ROOT or NO JAVA: the guide's walk is not tested here")
    redis_there()
    base = rig.free_port()
    ports = {"9082": str(base - 10), "9092": str(base), "6379": str(rig.free_port()), "9600": str(rig.free_port()), "9601": str(rig.free_port())}
    script = "\necho '==== block'\n".join(blocks())
    script = re.sub("|".join(rf"\b{port}\b" for port in ports), lambda m: ports[m[0]], script)
    script = script.replace("sleep 5; tapline top", "sleep 10; tapline top")
    script = script.replace("(sleep 1; echo", "(sleep 5; echo").replace("timeout 10 tapline tap", "timeout 60 tapline tap")
    script = script.replace("$PWD/out/walk", f"{folder}/walk").replace("$PWD/build/release/cmd", os.path.dirname(TAPLINE))
    environment = os.environ | {"TAPLINE_TEST": folder, "COLUMNS": "400"}
    with open(f"{folder}/out", "wb") as out:
        done = subprocess.run(["bash", "-e", "-c", script], cwd=rig.TOP, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                              stderr=out, timeout=SECONDS)
    with open(f"{folder}/out") as out:
        text = out.read()
    if done.returncode != 0 and re.search(r"mount: .*permission denied", text):
        pytest.skip("mount is not allowed here")
    assert done.returncode == 0, text
    said = text.split("==== block\n")
    assert len(said) == len(blocks()) and len(said) >= 12
    for sign, words in SAYS.items():
        [at] = [i for i, block in enumerate(blocks()) if sign in block and not (sign == "kill -9" and i == 0)]
        flat = " ".join(said[at].split())  # lines are broken where the screen ends
        for word in words:
            assert word in flat, f"{blocks()[at]}\nsaid\n{said[at]}\nand not {word}"
