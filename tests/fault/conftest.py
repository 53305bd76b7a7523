"""The fault tests use the integration tests' rig and fixtures. SPDX-License-Identifier: Apache-2.0"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))

from fixtures import *  # noqa: E402,F401,F403
