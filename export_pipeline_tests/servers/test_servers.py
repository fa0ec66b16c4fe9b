"""What the other tests rely on in the servers they run against."""

from collections.abc import Callable
from functools import partial

import pytest
from botocore.exceptions import ClientError

from export_pipeline_tests.servers import BUCKET, Postgres, S3Server, Weed, wait_for

pytestmark = pytest.mark.slow


def test_what_is_put_is_there_after_a_kill_and_a_restart(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    s3_server.client().put_object(Bucket=bucket, Key="a/b", Body=b"text")
    s3_server.restart()
    assert s3_server.client().get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"text"
    assert s3_server.keys(bucket) == ["a/b"]


def test_a_killed_server_is_up_again_in_the_next_test_1(seaweedfs: Weed) -> None:
    seaweedfs.kill()
    assert not seaweedfs.alive


def test_a_killed_server_is_up_again_in_the_next_test_2(seaweedfs: Weed) -> None:
    assert BUCKET in {bucket["Name"] for bucket in seaweedfs.client().list_buckets()["Buckets"]}


@pytest.mark.parametrize(
    ("identity", "key", "allowed"),
    [
        ("rw", "x", {"put", "get", "list"}),
        ("ro", "x", {"get", "list"}),
        ("wo", "x", {"put"}),
        ("prefix", "allowed/x", {"put", "get", "list"}),
        ("prefix", "elsewhere/x", set()),
    ],
)
def test_each_identity_may_do_just_what_it_is_for(seaweedfs: Weed, identity: str, key: str, allowed: set[str]) -> None:
    seaweedfs.client().put_object(Bucket=BUCKET, Key=key, Body=b"x")
    client = seaweedfs.client(identity)
    calls: dict[str, Callable[[], object]] = {
        "put": partial(client.put_object, Bucket=BUCKET, Key=key, Body=b"x"),
        "get": partial(client.head_object, Bucket=BUCKET, Key=key),
        "list": partial(client.list_objects_v2, Bucket=BUCKET, Prefix=key.rpartition("/")[0] + "/"),
    }
    answers = {}
    for name, call in calls.items():
        try:
            call()
            answers[name] = 200
        except ClientError as error:
            answers[name] = error.response["ResponseMetadata"]["HTTPStatusCode"]
    assert answers == {name: 200 if name in allowed else 403 for name in calls}


def test_the_servers_differ_in_conditional_writes(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    s3_server.client().put_object(Bucket=bucket, Key="x", Body=b"1", IfNoneMatch="*")
    if s3_server.conditional_writes:
        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3_server.client().put_object(Bucket=bucket, Key="x", Body=b"2", IfNoneMatch="*")
    else:
        s3_server.client().put_object(Bucket=bucket, Key="x", Body=b"2", IfNoneMatch="*")
    expected = b"1" if s3_server.conditional_writes else b"2"
    assert s3_server.client().get_object(Bucket=bucket, Key="x")["Body"].read() == expected


def test_postgres_keeps_its_rows_over_a_kill(postgres: Postgres) -> None:
    database = postgres.new_database().rpartition("/")[2]
    postgres.execute("CREATE TABLE t AS SELECT 7 AS x", database=database)
    postgres.kill()
    wait_for(lambda: not postgres.alive, what="the end")
    postgres.restart()
    assert postgres.execute("SELECT x FROM t", database=database) == [(7,)]
