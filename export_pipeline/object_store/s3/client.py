"""The S3 client: how requests are signed, addressed, timed and checked."""

import functools
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from export_pipeline.addresses import is_private
from export_pipeline.errors import AccessDeniedError
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.endpoint import check_addresses, guard_client, parse_endpoint
from export_pipeline.object_store.s3.roles import assume

CONNECT_SECONDS = 5
READ_SECONDS = 60
"""Between two pieces of an answer; a store that is joining the parts of a large upload sends blanks meanwhile."""
MAX_CONNECTIONS = 16

_making = threading.Lock()  # botocore's sessions are not safe to share while a client is made


def upload_options(config: DestinationConfig) -> dict[str, Any]:
    """What CreateMultipartUpload needs beside the key.

    AWS refuses parts with a CRC32, which botocore sends there by default, unless the upload was begun with it; and
    buckets with Object Lock refuse parts without any.
    """
    return {"ChecksumAlgorithm": "CRC32"} if config.endpoint_url is None else {}


def make_client(config: DestinationConfig, credentials: Credentials | None, *, attempts: int = 1) -> Any:
    """A botocore S3 client for a destination; `attempts` counts the first one too.

    Given credentials are the only ones used: neither profiles, nor configuration files, nor the environment are
    looked at then. Without any, `config.process_credentials` decides whether the process's own may be used. Raises
    `DestinationRefusedError` for a forbidden endpoint, for missing credentials and for a malformed region.
    """
    endpoint = parse_endpoint(config)
    addresses = [] if endpoint is None else check_addresses(config, endpoint)
    if credentials is None and not config.process_credentials:
        raise AccessDeniedError(
            f"No credentials are given for {config.place}, and the process's own may not be used: give "
            f"{config.names.access_key_id} and {config.names.secret_access_key}."
        )
    from botocore.exceptions import BotoCoreError

    from export_pipeline.object_store.answers import bound_answers

    try:
        with _making:
            directly = any(map(is_private, addresses)) or (endpoint is not None and not config.use_proxy)
            client = _create(config, credentials, _options(config, attempts, directly=directly))
    except (BotoCoreError, ValueError) as error:
        from export_pipeline.object_store.s3.classify import classify

        raise classify(error, config, "making a client") from None
    events = client.meta.events
    events.register_last("before-parameter-build.s3", _never_redirect)
    if config.s3_additional_kwargs:
        events.register("provide-client-params.s3", functools.partial(_add_arguments, config.s3_additional_kwargs))
    if not config.include_bucket_in_prefix:
        events.register_first("before-sign.s3", functools.partial(_leave_bucket_out, config.bucket))
    bound_answers(client)
    if endpoint is not None:
        guard_client(client, config, endpoint)
    return client


def _options(config: DestinationConfig, attempts: int, *, directly: bool) -> dict[str, Any]:
    own_store = config.endpoint_url is not None
    # AWS takes and gives checksums of its own, and buckets with Object Lock demand them; others refuse them.
    checksums = "when_required" if own_store else "when_supported"
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retries": {"total_max_attempts": attempts, "mode": "standard"},
        "max_pool_connections": MAX_CONNECTIONS,
        "tcp_keepalive": True,
        "signature_version": "s3v4",
        "request_checksum_calculation": checksums,
        "response_checksum_validation": checksums,
        "s3": {"addressing_style": "path" if own_store else "auto"} | config.config_kwargs_s3.given(),
        "ignore_configured_endpoint_urls": True,
        "user_agent": "export-pipeline",  # botocore puts its own together anew for each request, for 0.2 ms
    }
    if not config.include_bucket_in_prefix:
        options["s3"]["addressing_style"] = "path"  # which `_leave_bucket_out` makes of
    # The way to a private address does not lead through a proxy that the environment may name; and a proxy connects to
    # whatever a name leads to, which is checked here only where the connection is ours.
    return options | ({"proxies": {}} if directly else {})


def _create(config: DestinationConfig, credentials: Credentials | None, options: dict[str, Any]) -> Any:
    from botocore.config import Config
    from botocore.session import Session

    region = config.region or ("us-east-1" if config.endpoint_url is not None else None)
    place: dict[str, Any] = {
        "region_name": region,
        "endpoint_url": config.endpoint_url,
        "config": Config(**options),
    }
    if credentials is None:
        session = Session()
        if config.aws_role_arn is not None:
            assume(config.aws_role_arn, session, Session(), config)
        return session.create_client("s3", **place)
    return _isolated_session().create_client(
        "s3",
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        **place,
    )


@functools.cache
def _isolated_session() -> Any:
    """A session without profile and configuration files: an ambient AWS_PROFILE neither breaks nor changes anything.

    It holds no credentials. One serves all clients, because reading botocore's description of S3 takes 0.1 s.
    """
    from botocore.session import Session

    return Session(
        session_vars={
            "profile": (None, [], None, None),
            "config_file": (None, [], os.devnull, None),
            "credentials_file": (None, [], os.devnull, None),
        }
    )


def _never_redirect(context: dict[str, Any], **_: Any) -> None:
    """Tells botocore's redirector that it has had its turn: a redirect must not lead to an unchecked endpoint."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _add_arguments(additional: Mapping[str, Any], params: dict[str, Any], model: Any, **_: Any) -> dict[str, Any]:
    """Adds the destination's own arguments to the operations that know them."""
    known = model.input_shape.members if model.input_shape else {}
    return {name: value for name, value in additional.items() if name in known} | params


def _leave_bucket_out(bucket: str, request: Any, **_: Any) -> None:
    """Takes the bucket's name out of the address, before it is signed, where the host stands for the bucket."""
    parts = urlsplit(request.url)
    whole = f"/{bucket}"
    if parts.path == whole or parts.path.startswith(f"{whole}/"):
        request.url = urlunsplit(parts._replace(path=parts.path[len(whole) :] or "/"))
