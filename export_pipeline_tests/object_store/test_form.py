"""The form of a destination: which words and values are taken, and which sentence answers the others."""

import re
from typing import Any

import pytest

from export_pipeline.errors import InputError
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.form import check_credentials, check_display_name, config_values, parse_config

STORE = "https://storage.example.com"


def parsed(**values: Any) -> DestinationConfig:
    return parse_config({"bucket_name": "lake", **values})


@pytest.mark.parametrize(
    "values",
    [
        {"bucket_name": "lake", "region": "eu-central-1"},
        {"bucket_name": "my_Bucket", "endpoint_url": STORE, "prefix": "data_exports"},
        {
            "bucket_name": "lake",
            "prefix": "a/b c/d",
            "region": "us-east-1",
            "config_kwargs_s3": {
                "addressing_style": "virtual",
                "use_accelerate_endpoint": True,
                "payload_signing_enabled": False,
                "us_east_1_regional_endpoint": "regional",
            },
            "s3_additional_kwargs": {
                "ACL": "bucket-owner-full-control",
                "StorageClass": "STANDARD_IA",
                "ServerSideEncryption": "aws:kms",
                "SSEKMSKeyId": "alias/x",
                "BucketKeyEnabled": True,
                "Metadata": {"team": "ml"},
            },
            "aws_role_arn": "arn:aws-cn:iam::123456789012:role/path/name",
        },
        {"bucket_name": "lake", "endpoint_url": "https://lake.example.com", "include_bucket_in_prefix": False},
    ],
)
def test_what_is_given_comes_back_in_the_same_words(values: dict[str, Any]) -> None:
    config = parse_config(values)
    told = config_values(config)
    assert {name: value for name, value in told.items() if name in values} == values
    assert parse_config(told) == config


def test_slashes_at_the_ends_go_and_unknown_fields_are_left_out_of_account() -> None:
    config = parsed(prefix="/a/b/", endpoint_url=f"{STORE}/", colour="blue", config_kwargs_s3={"speed": 9})
    assert (config.prefix, config.endpoint_url) == ("a/b", STORE)
    assert config == parsed(prefix="a/b", endpoint_url=STORE)


def test_without_a_bucket_the_host_names_it_where_the_host_stands_for_it() -> None:
    config = parsed(bucket_name=None, endpoint_url="https://lake.example.com", include_bucket_in_prefix=False)
    assert config.bucket == "lake"
    with pytest.raises(InputError, match="bucket_name is missing"):
        parsed(bucket_name=None, endpoint_url="https://lake.example.com")


@pytest.mark.parametrize(
    "prefix",
    [".", "..", "a/../b", "a/./b", "a//b", "year=2026", "a%2fb", "a\\b", "a\nb", "a\x00", "a\x7f", "a/ü", "x" * 641],
)
def test_a_prefix_that_would_break_paths_is_refused(prefix: str) -> None:
    with pytest.raises(InputError, match=r"^prefix "):
        parsed(prefix=prefix)


@pytest.mark.parametrize(
    ("bucket", "endpoint_url"),
    [
        ("ab", None),
        ("x" * 64, STORE),
        ("my_bucket", None),
        ("Lake", None),
        ("a..b", STORE),
        ("-lake", STORE),
        ("s3://lake", STORE),
        ("lake/x", STORE),
        ("lake\n", STORE),
        ("läke", STORE),
    ],
)
def test_a_bucket_that_no_store_has_is_refused(bucket: str, endpoint_url: str | None) -> None:
    with pytest.raises(InputError, match=r"^bucket_name "):
        parsed(bucket_name=bucket, endpoint_url=endpoint_url)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"region": "eu central"}, "region 'eu central'"),
        ({"region": "x@evil.example/"}, "region "),
        ({"region": 1}, "region takes a text"),
        ({"endpoint_url": "https://" + "x" * 2048}, "2,048"),
        ({"aws_role_arn": "arn:aws:iam::12:role/x"}, "aws_role_arn"),
        ({"aws_role_arn": "arn:aws:iam::123456789012:user/x"}, "aws_role_arn"),
        ({"include_bucket_in_prefix": "no"}, "include_bucket_in_prefix is true or false"),
        ({"include_bucket_in_prefix": False}, "include_bucket_in_prefix=false is for an endpoint_url"),
        ({"config_kwargs_s3": "virtual"}, "take an object"),
        ({"config_kwargs_s3": {"addressing_style": "up"}}, "addressing_style is one of auto, virtual, path"),
        ({"config_kwargs_s3": {"payload_signing_enabled": "yes"}}, "payload_signing_enabled is one of true, false"),
        ({"config_kwargs_s3": {"use_accelerate_endpoint": True}, "endpoint_url": STORE}, "is for AWS"),
        ({"s3_additional_kwargs": {"SSECustomerKey": "canary"}}, "SSECustomerKey is not accepted"),
        ({"s3_additional_kwargs": {"Bucket": "other"}}, "Bucket is not accepted"),
        ({"s3_additional_kwargs": {"StorageClass": 5}}, "StorageClass takes a text"),
        ({"s3_additional_kwargs": {"StorageClass": "A\nB"}}, "StorageClass takes a text"),
        ({"s3_additional_kwargs": {"Metadata": {"a": 1}}}, "Metadata takes an object"),
        ({"s3_additional_kwargs": {"BucketKeyEnabled": "true"}}, "BucketKeyEnabled is true or false"),
    ],
)
def test_other_values_are_refused_by_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        parsed(**values)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a\n", "a/b", "ü", "x" * 256, "a;b"])
def test_a_display_name_of_other_signs_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="display_name"):
        check_display_name(name)
    check_display_name("Bob's lake_1 - x")


@pytest.mark.parametrize(
    ("credentials", "name"),
    [
        (Credentials("", "canary"), "access_key_id"),
        (Credentials("x" * 256, "canary"), "access_key_id"),
        (Credentials("a", ""), "secret_access_key"),
        (Credentials("a", "canary key"), "secret_access_key"),
        (Credentials("a", "canary\r\nx-header: 1"), "secret_access_key"),
        (Credentials("a", "b", "canary" * 400), "session_token"),
        (Credentials("a", "b", ""), "session_token"),
    ],
)
def test_credentials_that_no_store_gives_are_refused_and_not_shown(credentials: Credentials, name: str) -> None:
    with pytest.raises(InputError, match=f"^{name} ") as caught:
        check_credentials(credentials)
    assert "canary" not in str(caught.value)
    check_credentials(Credentials("a", "b+/=", "c"))
