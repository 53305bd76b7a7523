"""Fixtures of the integration tests. SPDX-License-Identifier: Apache-2.0"""
from fixtures import *  # noqa: F401,F403
from redis_server import redis_server, redis_servers  # noqa: F401
