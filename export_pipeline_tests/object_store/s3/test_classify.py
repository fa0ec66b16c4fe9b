"""The table of error classes: whole, and free of what the store said in its own words."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError, ParamValidationError, SSLError

from export_pipeline.errors import AccessDeniedError, DestinationRefusedError, DestinationUnavailableError
from export_pipeline.object_store.config import SETTING_NAMES, DestinationConfig
from export_pipeline.object_store.s3 import classify as table
from export_pipeline.object_store.s3.classify import classify

CONFIG = DestinationConfig("bucket", endpoint_url="https://s3.example.com", names=SETTING_NAMES)
STORES_WORDS = "request-id-and-secrets-of-the-store"


def answer(status: int, code: str, **more: Any) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": STORES_WORDS} | more,
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    return ClientError(response, "PutObject")


@pytest.mark.parametrize("code", sorted(table._RULES))
def test_every_code_gives_a_class_a_cure_and_none_of_the_stores_words(code: str) -> None:
    rule = table._RULES[code]
    error = classify(answer(400, code), CONFIG, "PutObject")
    assert (error.error_class, error.code) == (rule.error_class, code)
    assert isinstance(error, DestinationUnavailableError if rule.retry else DestinationRefusedError)
    assert isinstance(error, AccessDeniedError) == (rule.error_class == "Access denied")
    assert str(error).startswith(f"{rule.error_class}: PutObject on bucket 'bucket' at https://s3.example.com failed")
    assert "{" not in str(error)
    assert STORES_WORDS not in str(error)


@pytest.mark.parametrize("name", sorted(table._BY_CLASS))
def test_every_exception_without_an_answer_gives_a_class_and_a_cure(name: str) -> None:
    error = classify(type(name, (Exception,), {})(STORES_WORDS), CONFIG, "GetObject")
    assert error.error_class in {"Invalid endpoint", "Access denied", "Bucket is not valid", "Unavailable"}
    assert error.code is None
    assert "{" not in str(error)
    assert STORES_WORDS not in str(error)


@pytest.mark.parametrize(
    ("status", "error_class", "retry"),
    [
        (500, "Unavailable", True),
        (502, "Unavailable", True),
        (503, "Unavailable", True),
        (507, "Unavailable", True),
        (429, "Unavailable", True),
        (408, "Unavailable", True),
        (403, "Access denied", False),
        (401, "Access denied", False),
        (301, "Bucket is not valid", False),
        (302, "Invalid endpoint", False),
        (404, "Invalid endpoint", False),
        (501, "Invalid endpoint", False),
        (400, "Invalid endpoint", False),
        (418, "Invalid endpoint", False),
    ],
)
@pytest.mark.parametrize("code", ["NeverHeardOf", ""])
def test_without_a_known_code_the_status_decides(status: int, error_class: str, retry: bool, code: str) -> None:
    error = classify(answer(status, code or str(status)), CONFIG, "PutObject")
    assert error.error_class == error_class
    assert isinstance(error, DestinationUnavailableError) == retry
    assert (code or f"HTTP status {status}") in str(error)


def test_the_region_that_the_store_names_is_passed_on() -> None:
    error = classify(answer(400, "AuthorizationHeaderMalformed", Region="eu-west-3"), CONFIG, "PutObject")
    assert "Set EXPORT_PIPELINE_REGION to the region where EXPORT_PIPELINE_BUCKET lies, eu-west-3." in str(error)


def test_the_missing_right_is_the_operations() -> None:
    for operation, right in table.PERMISSIONS.items():
        assert f"Grant {right} on" in str(classify(answer(403, "AccessDenied"), CONFIG, operation))


def test_a_broken_handshake_is_tried_again_and_a_bad_certificate_is_not() -> None:
    broken = SSLError(endpoint_url="https://x", error=OSError("EOF occurred in violation of protocol"))
    bad = SSLError(endpoint_url="https://x", error=OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
    assert isinstance(classify(broken, CONFIG, "PutObject"), DestinationUnavailableError)
    refused = classify(bad, CONFIG, "PutObject")
    assert isinstance(refused, DestinationRefusedError)
    assert "AWS_CA_BUNDLE" in str(refused)


def test_real_exceptions_of_botocore_are_known() -> None:
    lost = EndpointConnectionError(endpoint_url="https://x")
    assert isinstance(classify(lost, CONFIG, "PutObject"), DestinationUnavailableError)
    assert isinstance(classify(HTTPClientError(error="x"), CONFIG, "PutObject"), DestinationUnavailableError)
    assert classify(ParamValidationError(report="x"), CONFIG, "PutObject").error_class == "Bucket is not valid"
    assert classify(RecursionError(), CONFIG, "PutObject").error_class == "Invalid endpoint"
    unknown = classify(ZeroDivisionError(STORES_WORDS), CONFIG, "PutObject")
    assert unknown.error_class == "Invalid endpoint"
    assert STORES_WORDS not in str(unknown)
