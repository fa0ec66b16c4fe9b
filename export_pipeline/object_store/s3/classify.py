"""From what botocore and urllib3 raise to errors that say what is wrong and what to do.

The store's own code and status decide, never the class of the exception, and never the exception's text, which is
not passed on: it may quote requests.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

from export_pipeline.errors import (
    AccessDeniedError,
    DestinationError,
    DestinationRefusedError,
    DestinationUnavailableError,
)
from export_pipeline.object_store.config import DestinationConfig
from export_pipeline.object_store.endpoint import PeerBlockedError, is_discreet, no_public_address

ErrorClass = Literal[
    "Access denied",
    "Bucket is not valid",
    "Key ID you provided does not exist",
    "Invalid endpoint",
    "Missing",
    "Unavailable",
]

PERMISSIONS: dict[str, str] = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObject": "s3:DeleteObject",
}
"""The right that each S3 operation needs."""


@dataclass(frozen=True)
class Rule:
    """What an S3 code means: its class, what to do (with the names of settings), whether to try again."""

    error_class: ErrorClass
    cure: str
    retry: bool = False


UNREADABLE = "an unreadable code"
_CODE = re.compile(r"[A-Za-z0-9.:_-]{1,64}")
_REGION_NAME = re.compile(r"[A-Za-z0-9-]{1,63}")
_KEY = "{n.access_key_id} and {n.secret_access_key}"
_GRANT = "Grant {permission} on {place} to the credentials in use."
_REGION = "Set {n.region} to the region where {n.bucket} lies{region}."
_LATER = "Try again later."
_INNER = "The store has an inner error; some stores answer so when their disks are full. " + _LATER
_CLOCK = "The clocks of this machine and the store differ by too much: correct this machine's clock."
_TOKEN = "The credentials are temporary and have ended: renew " + _KEY + " and {n.session_token}."
_PART_SIZE = "EXPORT_PIPELINE_PART_SIZE_MIB"
_NOT_S3 = "Check {n.endpoint_url}: it must be the address of an S3-compatible store."

_RULES: dict[str, Rule] = {
    "AccessDenied": Rule("Access denied", _GRANT),
    "AllAccessDisabled": Rule("Access denied", _GRANT),
    "AccountProblem": Rule("Access denied", "The account behind the credentials is blocked: ask the store's operator."),
    "InvalidObjectState": Rule("Access denied", "The object was moved to an archive class: restore it first."),
    "SignatureDoesNotMatch": Rule("Access denied", "Check {n.secret_access_key}: it does not belong to the key id."),
    "RequestTimeTooSkewed": Rule("Access denied", _CLOCK),
    "RequestExpired": Rule("Access denied", _CLOCK),
    "ExpiredToken": Rule("Access denied", _TOKEN),
    "ExpiredTokenException": Rule("Access denied", _TOKEN),
    "TokenRefreshRequired": Rule("Access denied", _TOKEN),
    "InvalidToken": Rule("Access denied", "Check {n.session_token}: the store does not accept it."),
    "InvalidAccessKeyId": Rule("Key ID you provided does not exist", "Check {n.access_key_id}."),
    "NoSuchBucket": Rule("Bucket is not valid", "Check {n.bucket}, or create the bucket."),
    "InvalidBucketName": Rule("Bucket is not valid", "Check {n.bucket}: the store does not accept the name."),
    "PermanentRedirect": Rule("Bucket is not valid", _REGION),
    "TemporaryRedirect": Rule("Bucket is not valid", _REGION),
    "AuthorizationHeaderMalformed": Rule("Bucket is not valid", _REGION),
    "IllegalLocationConstraintException": Rule("Bucket is not valid", _REGION),
    "KeyTooLongError": Rule("Bucket is not valid", "Shorten {n.prefix}: keys may have 1024 bytes."),
    "QuotaExceeded": Rule("Bucket is not valid", "The bucket's quota is used up: enlarge it or make room."),
    "EntityTooSmall": Rule("Bucket is not valid", f"The store wants larger parts: enlarge {_PART_SIZE}."),
    "EntityTooLarge": Rule("Bucket is not valid", f"The store does not take so many bytes: lessen {_PART_SIZE}."),
    "XMinioStorageFull": Rule("Unavailable", "The store's disks are full: make room.", retry=True),
    "NoSuchKey": Rule("Missing", "The object is not in the bucket."),
    "NoSuchUpload": Rule("Missing", "The upload was removed, by another writer or by a lifecycle rule."),
    "InvalidPart": Rule("Missing", "Parts of the upload were removed."),
    "InvalidRange": Rule("Unavailable", "The object is shorter than it was."),
    "PreconditionFailed": Rule("Unavailable", "The object was written by somebody else meanwhile."),
    "ConditionalRequestConflict": Rule("Unavailable", _LATER, retry=True),
    "OperationAborted": Rule("Unavailable", _LATER, retry=True),
    "SlowDown": Rule("Unavailable", "The store asks for fewer requests. " + _LATER, retry=True),
    "ServiceUnavailable": Rule("Unavailable", _LATER, retry=True),
    "InternalError": Rule("Unavailable", _INNER, retry=True),
    "RequestTimeout": Rule("Unavailable", _LATER, retry=True),
    "RequestTimeTooLong": Rule("Unavailable", _LATER, retry=True),
    "BadDigest": Rule("Unavailable", "The bytes changed on their way. " + _LATER, retry=True),
    "XAmzContentSHA256Mismatch": Rule("Unavailable", "The bytes changed on their way. " + _LATER, retry=True),
    "IncompleteBody": Rule("Unavailable", "The bytes broke off on their way. " + _LATER, retry=True),
}
_STATUS_RULES: dict[int, Rule] = {
    301: Rule("Bucket is not valid", _REGION),
    302: Rule("Invalid endpoint", "{n.endpoint_url} redirects elsewhere: give the store's own address."),
    303: Rule("Invalid endpoint", "{n.endpoint_url} redirects elsewhere: give the store's own address."),
    307: Rule("Invalid endpoint", "{n.endpoint_url} redirects elsewhere: give the store's own address."),
    308: Rule("Invalid endpoint", "{n.endpoint_url} redirects elsewhere: give the store's own address."),
    401: Rule("Access denied", _GRANT),
    403: Rule("Access denied", _GRANT),
    404: Rule("Invalid endpoint", _NOT_S3),
    405: Rule("Invalid endpoint", _NOT_S3),
    408: Rule("Unavailable", _LATER, retry=True),
    411: Rule("Invalid endpoint", _NOT_S3),
    412: Rule("Unavailable", "The object was written by somebody else meanwhile."),
    429: Rule("Unavailable", "The store asks for fewer requests. " + _LATER, retry=True),
    501: Rule("Invalid endpoint", _NOT_S3),
}
_REFUSED = Rule("Invalid endpoint", "The store does not accept the request. " + _NOT_S3)
_NETWORK = Rule("Invalid endpoint", "Check {n.endpoint_url}, the network, and that the store is up.", retry=True)
_TLS = Rule(
    "Invalid endpoint", "The store's certificate is not accepted: check {n.endpoint_url}, or set AWS_CA_BUNDLE."
)
_TLS_FOR_GOOD = ("CERTIFICATE", "WRONG_VERSION_NUMBER", "doesn't match", "UNSUPPORTED_PROTOCOL")
"""What a failed handshake says where trying again is of no use; others are broken connections."""
_CREDENTIALS = Rule("Access denied", "No usable AWS credentials were found: set " + _KEY + ", or mend the AWS profile.")
_REGION_UNKNOWN = Rule("Bucket is not valid", "Check {n.region} and {n.bucket}.")

_ROLE = Rule(
    "Access denied",
    "Check {n.role}, and that the role's trust policy lets this installation's own identity assume it"
    "{external_id}. The bucket was not asked.",
)
_ROLE_LATER = Rule("Unavailable", "STS cannot serve now. " + _LATER, retry=True)
_ROLE_RULES: dict[str, Rule] = {
    "InvalidClientTokenId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
    "RegionDisabledException": Rule("Access denied", "STS is not switched on in the region: check {n.region}."),
}

# By name, so that botocore is not imported for them; the first match in the exception's classes counts.
_BY_CLASS: dict[str, tuple[str, Rule]] = {
    "SSLError": ("the secure connection failed", _TLS),
    "AnswerTooLongError": ("the answer is longer than one of S3 ever is", _NETWORK),
    "AnswerTooDeepError": ("the answer is nested deeper than one of S3 ever is", _NETWORK),
    "ReadTimeoutError": ("the store did not answer in time", _NETWORK),
    "ConnectTimeoutError": ("no connection in time", _NETWORK),
    "ProxyConnectionError": ("the configured proxy cannot be reached", _NETWORK),
    "EndpointConnectionError": ("no connection", _NETWORK),
    "ConnectionClosedError": ("the connection broke", _NETWORK),
    "ResponseStreamingError": ("the connection broke", _NETWORK),
    "IncompleteReadError": ("the connection broke", _NETWORK),
    "HTTPClientError": ("the connection failed", _NETWORK),
    "ConnectionError": ("the connection failed", _NETWORK),
    "ProtocolError": ("the connection broke", _NETWORK),
    "FlexibleChecksumError": ("the bytes changed on their way", _RULES["BadDigest"]),
    "NoCredentialsError": ("no credentials", _CREDENTIALS),
    "PartialCredentialsError": ("incomplete credentials", _CREDENTIALS),
    "CredentialRetrievalError": ("no credentials", _CREDENTIALS),
    "MetadataRetrievalError": ("no credentials", _CREDENTIALS),
    "ProfileNotFound": ("the AWS profile does not exist", _CREDENTIALS),
    "TokenRetrievalError": ("no credentials", _CREDENTIALS),
    "SSOError": ("no credentials", _CREDENTIALS),
    "InvalidRegionError": ("the region's name is malformed", _REGION_UNKNOWN),
    "NoRegionError": ("no region is known", _REGION_UNKNOWN),
    "EndpointProviderError": ("region and bucket give no address", _REGION_UNKNOWN),
    "ParamValidationError": ("the bucket's name is malformed", _RULES["InvalidBucketName"]),
    "ResponseParserError": ("the answer is not one of S3", Rule("Invalid endpoint", _NOT_S3)),
    "KeyError": ("the answer is not one of S3", Rule("Invalid endpoint", _NOT_S3)),
    "RecursionError": ("endless redirects", _STATUS_RULES[302]),
    "ValueError": ("the endpoint cannot be used", Rule("Invalid endpoint", _NOT_S3)),
}


def classify(error: Exception, config: DestinationConfig, operation: str) -> DestinationError:
    """The error to raise for what botocore raised in an operation; anything unknown is the endpoint's fault."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and "Error" in response:
        if getattr(error, "operation_name", None) == "AssumeRole":
            return _of_role(response, config)
        return _of_response(response, config, operation)
    inner = getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, PeerBlockedError):
        if is_discreet(config):
            return no_public_address(config, inner.host)
        return DestinationRefusedError(f"{config.names.endpoint_url}: {inner}.", error_class="Invalid endpoint")
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_CLASS:
            what, rule = _BY_CLASS[kind.__name__]
            if rule is _TLS and not any(mark in str(inner) for mark in _TLS_FOR_GOOD):
                rule = _NETWORK
            return _made(rule, config, operation, what=what)
    return _made(_REFUSED, config, operation, what="the request failed")


def not_s3(config: DestinationConfig, operation: str, missing: str) -> DestinationError:
    """The error for an answer that says success but is not one of S3."""
    return _made(Rule("Invalid endpoint", _NOT_S3), config, operation, what=f"the answer has no {missing}")


def _of_response(response: dict[str, Any], config: DestinationConfig, operation: str) -> DestinationError:
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    code = _readable(response["Error"].get("Code") or "")
    rule = _RULES.get(code) or _STATUS_RULES.get(status)
    if rule is None:
        rule = Rule("Unavailable", _LATER, retry=True) if status >= 500 else _REFUSED
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = response["Error"].get("Region") or headers.get("x-amz-bucket-region")
    region = region if isinstance(region, str) and _REGION_NAME.fullmatch(region) else None
    shown = code if code and not code.isdigit() else f"HTTP status {status}"
    return _made(rule, config, operation, what=shown, code=code or str(status), region=region)


def _readable(code: object) -> str:
    """A store's code, which is shown, stored and sent to others, where it looks like one."""
    text = str(code)
    return text if not text or _CODE.fullmatch(text) else UNREADABLE


def _of_role(response: dict[str, Any], config: DestinationConfig) -> DestinationError:
    """The error for an answer of STS, which stands between the operation and the store."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    code = _readable(response["Error"].get("Code") or status)
    rule = _ROLE_LATER if status >= 500 or "Throttl" in code else _ROLE_RULES.get(code, _ROLE)
    return _made(rule, config, "AssumeRole", what=code, code=code)


def _made(
    rule: Rule,
    config: DestinationConfig,
    operation: str,
    *,
    what: str,
    code: str | None = None,
    region: str | None = None,
) -> DestinationError:
    cure = rule.cure.format(
        n=config.names,
        place=config.place,
        permission=PERMISSIONS.get(operation, "the rights"),
        region=f", {region}" if region else "",
        external_id=f" with the external id {config.external_id}" if config.external_id else "",
    )
    text = f"{rule.error_class}: {operation} on {config.place} failed ({what}). {cure}"
    if rule.error_class == "Access denied" and not rule.retry:
        return AccessDeniedError(text, code=code)
    kind = DestinationUnavailableError if rule.retry else DestinationRefusedError
    return kind(text, error_class=rule.error_class, code=code)
