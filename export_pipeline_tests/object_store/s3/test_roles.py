"""Roles that are assumed with the process's own credentials, on moto's STS and one that fails."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import pytest

from export_pipeline.errors import DestinationError, DestinationRefusedError, DestinationUnavailableError
from export_pipeline.object_store.config import DestinationConfig
from export_pipeline.object_store.s3.check import check_destination
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline_tests.servers import BUCKET
from export_pipeline_tests.servers.http import Answer, Asked, http_server

pytestmark = pytest.mark.slow  # each test waits for retries of STS

ROLE = "arn:aws:iam::123456789012:role/exports"


@pytest.fixture
def own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "own-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own-secret")


def config(endpoint_url: str, **changes: Any) -> DestinationConfig:
    given = {"allow_private": True, "process_credentials": True, "aws_role_arn": ROLE, "external_id": "workspace-1"}
    return DestinationConfig(BUCKET, endpoint_url=endpoint_url, region="eu-west-1", **{**given, **changes})


def test_a_role_is_assumed_and_its_credentials_are_the_ones_in_use(
    moto: str, own_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    store = S3Store(config(moto), None)
    used = store.client._request_signer._credentials
    assert used.method == "assume-role"
    store.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert check_destination(store, "a").ok
    frozen = used.get_frozen_credentials()
    assert frozen.access_key != "own-key"
    assert frozen.token
    store.close()


@dataclass
class Sts:
    """Answers AssumeRole, with credentials that end soon or with an error."""

    lifetime: timedelta = timedelta(hours=1)
    fails: tuple[int, str] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append({name: values[0] for name, values in parse_qs(asked.body.decode()).items()})
        if self.fails is not None:
            status, code = self.fails
            return xml(f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>", status)
        ends = (datetime.now(UTC) + self.lifetime).isoformat()
        keys = f"<AccessKeyId>role-{len(self.asked)}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        given = f"<Credentials>{keys}<SessionToken>t</SessionToken><Expiration>{ends}</Expiration></Credentials>"
        user = f"<AssumedRoleUser><Arn>{escape(ROLE)}</Arn><AssumedRoleId>x</AssumedRoleId></AssumedRoleUser>"
        result = f"<AssumeRoleResult>{given}{user}</AssumeRoleResult>"
        space = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
        return xml(f"<AssumeRoleResponse {space}>{result}</AssumeRoleResponse>")


def xml(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "text/xml"})


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch, own_credentials: None) -> Iterator[Sts]:
    made = Sts()
    with http_server(made.answer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        yield made


def test_nothing_is_asked_before_the_first_request_and_the_workspace_is_the_external_id(sts: Sts, moto: str) -> None:
    store = S3Store(config(moto), None)
    assert sts.asked == []
    credentials = store.client._request_signer._credentials
    assert credentials.get_frozen_credentials().access_key == "role-1"
    assert credentials.get_frozen_credentials().access_key == "role-1"
    (asked,) = sts.asked
    assert (asked["RoleArn"], asked["ExternalId"], asked["RoleSessionName"]) == (ROLE, "workspace-1", "export-pipeline")
    store.close()


def test_credentials_of_a_role_are_renewed_before_they_end(sts: Sts, moto: str) -> None:
    sts.lifetime = timedelta(minutes=5)  # botocore renews when less than ten minutes are left
    store = S3Store(config(moto), None)
    credentials = store.client._request_signer._credentials
    assert credentials.get_frozen_credentials().access_key == "role-1"
    sts.lifetime = timedelta(hours=1)
    assert credentials.get_frozen_credentials().access_key == "role-2"
    assert credentials.get_frozen_credentials().access_key == "role-2"
    store.close()


@pytest.mark.parametrize(
    ("status", "code", "error_class", "said"),
    [
        (403, "AccessDenied", "Access denied", "external id workspace-1"),
        (403, "InvalidClientTokenId", "Access denied", "No usable AWS credentials"),
        (400, "Throttling", "Unavailable", "STS cannot serve now"),
        (503, "ServiceUnavailable", "Unavailable", "STS cannot serve now"),
    ],
)
def test_a_role_that_cannot_be_assumed_is_told_from_a_bucket_that_refuses(
    sts: Sts, status: int, code: str, error_class: str, said: str
) -> None:
    sts.fails = (status, code)
    store = S3Store(config("http://127.0.0.1:1"), None, patience=0)
    with pytest.raises(DestinationError, match="AssumeRole") as caught:
        store.put("x", b"1")
    assert isinstance(caught.value, DestinationUnavailableError) == (error_class == "Unavailable")
    assert (caught.value.error_class, caught.value.code) == (error_class, code)
    assert said in str(caught.value)
    assert "s3:PutObject" not in str(caught.value)
    store.close()


def test_a_role_needs_the_processs_own_credentials_and_the_permission_to_use_them(moto: str) -> None:
    with pytest.raises(DestinationRefusedError, match="the process's own may not be used"):
        S3Store(config(moto, process_credentials=False), None)
    with pytest.raises(DestinationRefusedError, match="No usable AWS credentials"):
        S3Store(config(moto), None)
