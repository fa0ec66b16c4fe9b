"""The real servers that the tests run against; `conftest.py` makes fixtures of them.

Each listens on a free loopback port, keeps its data in a folder of its own, and is ended by its own process id.
"""

from export_pipeline_tests.servers.clickhouse import ClickhouseServer
from export_pipeline_tests.servers.mariadb import MariadbServer
from export_pipeline_tests.servers.postgres import Postgres, Replica
from export_pipeline_tests.servers.s3 import BUCKET, Rclone, S3Server, Weed, program
from export_pipeline_tests.servers.waiting import PATIENCE, listens, wait_for

__all__ = [
    "BUCKET",
    "PATIENCE",
    "ClickhouseServer",
    "MariadbServer",
    "Postgres",
    "Rclone",
    "Replica",
    "S3Server",
    "Weed",
    "listens",
    "program",
    "wait_for",
]
