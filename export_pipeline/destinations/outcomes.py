"""Ends of an S3 call that are neither success nor a plain failure; the commit protocol decides what they mean."""

from export_pipeline.errors import DestinationRefusedError, RetryableError


class OutcomeUnknownError(RetryableError):
    """The store may or may not have done it: the answer was lost, was a 5xx, or said that somebody was first."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class UploadGoneError(RetryableError):
    """The multipart upload, or a part of it, is not there: completed, aborted, or removed by a lifecycle rule."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class ObjectMissingError(DestinationRefusedError):
    """The object that was to be read is not in the bucket."""
