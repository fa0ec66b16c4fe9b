"""The page on debugging with the AWS CLI: its commands, run by the real one, and what they say beside the check."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import settings as moto_settings

from export_pipeline.errors import DestinationError
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.check import check_destination
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.faults.proxy import FaultProxy
from export_pipeline_tests.servers import BUCKET, S3Server
from export_pipeline_tests.servers.http import Answer, http_server

pytestmark = pytest.mark.slow  # the AWS CLI takes a second to start

PAGE = (Path(__file__).parents[3] / "docs" / "destinations.md").read_text()
PREFIX = "folder/of exports"
HTML = b"<html><body>a page</body></html>"
KEY = f"{PREFIX}/_export_pipeline/probes/test.txt"


def on_the_page(name: str) -> str:
    (between,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE, re.DOTALL)
    return str(between)


def commands(name: str) -> list[str]:
    return [line for line in on_the_page(name).splitlines() if re.match(r"(aws|touch) ", line)]


OUTCOMES = [
    tuple(cell.strip().strip("`") for cell in line.strip("|").split("|"))
    for line in on_the_page("outcomes").splitlines()[2:]
]


@dataclass(frozen=True)
class Given:
    """The values of a destination."""

    bucket_name: str
    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    prefix: str = PREFIX
    private: bool = True

    def filled_in(self, line: str) -> str:
        """A line of the page with these values, its place quoted for the shell as a person would."""
        for name, value in vars(self).items():
            line = line.replace(f"<{name}>", str(value))
        return re.sub(r"s3://.*", lambda found: f"'{found[0]}'", line)

    def check(self) -> DestinationError | None:
        """What the product says of the destination."""
        config = DestinationConfig(
            self.bucket_name,
            self.prefix,
            self.region,
            self.endpoint_url,
            allow_private=self.private,
        )
        try:
            store = S3Store(config, Credentials(self.access_key_id, self.secret_access_key), patience=0.0)
        except DestinationError as error:
            return error
        found = check_destination(store, self.prefix)
        store.close()
        return found.error


@dataclass(frozen=True)
class Shell:
    """Runs lines of the page in a home of its own."""

    home: Path

    def run(self, line: str, *, answers: str = "", must: bool = True) -> str:
        """What a command prints, on one line."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", line],
            input=answers,
            env={"PATH": path, "HOME": str(self.home), "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not must, f"{line}\n{done.stdout}\n{done.stderr}"
        return " ".join((done.stdout + done.stderr).split())

    def configure(self, given: Given) -> None:
        """`aws configure`, answered, and the lines for stores that are not AWS."""
        values = (given.access_key_id, given.secret_access_key, given.region, "")
        self.run(commands("aws")[0], answers="".join(f"{value}\n" for value in values))
        for line in commands("other-stores"):
            if line.startswith("aws configure "):
                self.run(line)

    def be_configured(self, given: Given) -> None:
        """Writes the files that `configure` leaves behind, which takes the CLI four starts."""
        folder = self.home / ".aws"
        folder.mkdir(exist_ok=True)
        keys = f"aws_access_key_id = {given.access_key_id}\naws_secret_access_key = {given.secret_access_key}\n"
        (folder / "credentials").write_text(f"[destination]\n{keys}")
        checksums = "request_checksum_calculation = when_required\nresponse_checksum_validation = when_required\n"
        style = "s3 =\n    addressing_style = path\n"
        (folder / "config").write_text(f"[profile destination]\nregion = {given.region}\n{style}{checksums}")
        (self.home / "test.txt").touch()


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def good(server: S3Server, **changes: Any) -> Given:
    return Given(**{**vars(Given(BUCKET, server.endpoint_url, *server.identity("admin"))), **changes})


def test_the_commands_of_the_page_write_and_remove_an_object_where_the_check_is_content(
    s3_server: S3Server, shell: Shell
) -> None:
    given = good(s3_server)
    assert given.check() is None
    shell.configure(given)
    written = [(shell.home / ".aws" / name).read_text() for name in ("config", "credentials")]
    shell.be_configured(given)
    assert [(shell.home / ".aws" / name).read_text() for name in ("config", "credentials")] == written
    (shell.home / "test.txt").unlink()
    _, _, _, ls, touch, cp, rm = map(given.filled_in, commands("other-stores"))
    assert BUCKET in shell.run(ls)
    shell.run(touch)
    assert shell.run(cp) == f"upload: ./test.txt to s3://{BUCKET}/{KEY}"
    assert s3_server.keys(BUCKET, KEY) == [KEY]
    shell.run(rm)
    assert s3_server.keys(BUCKET, KEY) == []


def test_those_for_aws_are_the_same_without_an_address() -> None:
    configure, *rest = commands("aws")
    assert configure == "aws configure --profile destination"
    assert rest == [line.replace(" --endpoint-url <endpoint_url>", "") for line in commands("other-stores")[3:]]


def test_a_key_that_may_write_and_nothing_else_lists_no_buckets_and_passes_the_check(
    moto: str, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    root: Any = boto3.Session(aws_access_key_id="root", aws_secret_access_key="root", region_name="us-east-1")
    iam, s3 = (root.client(service, endpoint_url=moto) for service in ("iam", "s3"))
    s3.create_bucket(Bucket=BUCKET)
    iam.create_user(UserName="writer")
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="writer", PolicyName="write", PolicyDocument=policy)
    key = iam.create_access_key(UserName="writer")["AccessKey"]
    given = Given(BUCKET, moto, key["AccessKeyId"], key["SecretAccessKey"])
    shell.be_configured(given)
    _, _, _, ls, _, cp, _ = map(given.filled_in, commands("other-stores"))
    monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)  # from now on rights are looked at
    assert "An error occurred (AccessDenied) when calling the ListBuckets operation" in shell.run(ls, must=False)
    assert shell.run(cp) == f"upload: ./test.txt to s3://{BUCKET}/{KEY}"
    assert given.check() is None
    iam.close()
    s3.close()


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome[1][:50])
def test_the_cli_and_the_check_say_what_the_page_says(
    outcome: tuple[str, str, str], request: pytest.FixtureRequest, shell: Shell
) -> None:
    error_class, check, cli = outcome
    (situation,) = (made for mark, made in SITUATIONS.items() if mark in check)
    for server in ("seaweedfs", "rclone") if situation in BOTH else ("seaweedfs",):
        with ExitStack() as stack:
            given = situation(request.getfixturevalue(server), stack)
            error = given.check()
            assert error is not None
            assert error.error_class == error_class
            assert check in str(error)
            shell.be_configured(given)
            assert cli in shell.run(given.filled_in(commands("other-stores")[5]), must=False)


def refused(server: S3Server, _: ExitStack) -> Given:
    """A user that may read only."""
    key, secret = server.identity("ro")
    return good(server, access_key_id=key, secret_access_key=secret)


def played(status: int, code: str) -> Callable[[S3Server, ExitStack], Given]:
    """AWS's answer, which neither server gives."""

    def situation(server: S3Server, stack: ExitStack) -> Given:
        proxy = stack.enter_context(FaultProxy(server.endpoint_url))
        proxy.answer(status, code, times=None)
        return good(server, endpoint_url=proxy.endpoint_url)

    return situation


def answering(status: int) -> Callable[[S3Server, ExitStack], Given]:
    """A web server that is no S3 store."""

    def situation(server: S3Server, stack: ExitStack) -> Given:
        web = stack.enter_context(http_server(lambda _: Answer(status, HTML)))
        return good(server, endpoint_url=web.url)

    return situation


def no_bucket(server: S3Server, _: ExitStack) -> Given:
    """A bucket that is not there."""
    return good(server, bucket_name="not-there")


def wrong_secret(server: S3Server, _: ExitStack) -> Given:
    """The secret of another key."""
    return good(server, secret_access_key="wrong")


def wrong_key(server: S3Server, _: ExitStack) -> Given:
    """A key that nobody has."""
    return good(server, access_key_id="nobody")


BOTH = (no_bucket, wrong_secret, wrong_key)
"""What both servers answer with AWS's own codes."""

SITUATIONS: Mapping[str, Callable[[S3Server, ExitStack], Given]] = {
    "(AccessDenied)": refused,
    "(SignatureDoesNotMatch)": wrong_secret,
    "(RequestTimeTooSkewed)": played(403, "RequestTimeTooSkewed"),
    "(ExpiredToken)": played(400, "ExpiredToken"),
    "(NoSuchBucket)": no_bucket,
    "name is malformed": lambda server, _: good(server, bucket_name="not-there!"),
    "(AuthorizationHeaderMalformed)": played(400, "AuthorizationHeaderMalformed"),
    "(InvalidAccessKeyId)": wrong_key,
    "(no connection)": lambda server, _: good(server, endpoint_url="http://127.0.0.1:1"),
    "must look like": lambda server, _: good(server, endpoint_url="storage.example.com"),
    "(HTTP status 404)": answering(404),
    "has no ETag": answering(200),
    "must begin with https": lambda server, _: good(server, private=False),
}
