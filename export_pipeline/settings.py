"""Every setting: its environment name, default and meaning.

Settings come from environment variables with the prefix `EXPORT_PIPELINE_`, or from a file `.env` in the working
directory. *Embedded* means that none of SOURCE_URL, CONTROL_URL and BUCKET is set: then everything lives in `HOME`.
As soon as one of them is set, all three are required. DESTINATION_ID stands for BUCKET.
"""

import difflib
import os
import re
import uuid
from datetime import date, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from export_pipeline.errors import SettingsError
from export_pipeline.home import embedded_bucket, embedded_secret_key
from export_pipeline.runs.schema import FormatVersion

PREFIX = "EXPORT_PIPELINE_"
MIB = 1024 * 1024
EMBEDDED_BUCKET = "llm-traces"

Compression = Literal["none", "gzip", "snappy", "zstandard"]
SourceKind = Literal["runs", "phoenix", "mlflow", "langfuse", "otel", "opik"]
Words = Annotated[tuple[str, ...], NoDecode]
UploadArgument = Literal[
    "ACL",
    "ObjectLockLegalHoldStatus",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "RequestPayer",
    "SSEKMSKeyId",
    "Tagging",
]
"""The arguments of uploads that may reach outside of a workspace's own bucket."""

_BUCKET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]")
_OWNER = re.compile(r"team:.+|[a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9-.]+")
_ROLE_PATTERN = re.compile(r"arn:aws[a-z-]*:iam::(?:\d{12}|\*):role/[\w+=.@/*?-]{1,512}", re.ASCII)
_PREFIX_SEGMENT = re.compile(r"[A-Za-z0-9!_.*'() @,;:+&$-]+")


def clean_prefix(value: str) -> str:
    """A prefix without slashes at its ends; raises `ValueError` for one that cannot be the begin of Hive paths."""
    value = value.strip("/")
    for segment in value.split("/") if value else ():
        if segment in {".", ".."} or not _PREFIX_SEGMENT.fullmatch(segment):
            raise ValueError(
                f"{value!r} has the part {segment!r}: parts must not be empty, '.' or '..', "
                "nor contain '=', '%', backslashes or control characters"
            )
    return value


class Settings(BaseSettings):
    """The settings of one process; make it with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    home: Path = Field(Path(".export_pipeline"), description="Folder of the embedded parts.")
    source_url: SecretStr | None = Field(
        None,
        description="URL of the trace store: `sqlite:///…`, `postgresql://…`, `mysql://…`, `mariadb://…`, "
        "`clickhouse://…`, `clickhouses://…`, or `langsmith://` or `langfuse-cloud://` and the host of the API.",
    )
    source_api_key: SecretStr | None = Field(None, description="Key of the API that `SOURCE_URL` names.")
    source_workspace_id: uuid.UUID | None = Field(
        None, description="Workspace that is read through it, for a key of several."
    )
    control_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of the control database: SQLite on a local disk, or PostgreSQL.",
    )
    bucket: str | None = Field(None, description="Bucket of the standing exports.")
    prefix: str = Field("", description="Folder within the bucket; may be empty.")
    region: str | None = Field(None, description="Region of the bucket, for AWS.")
    endpoint_url: str | None = Field(None, description="Address of an S3-compatible store that is not AWS.")
    access_key_id: str | None = Field(
        None, repr=False, description="Access key; without keys the process's own AWS credential chain is used."
    )
    secret_access_key: SecretStr | None = Field(None, description="Secret key.")
    session_token: SecretStr | None = Field(None, description="Session token of temporary credentials.")
    allow_private_endpoints: bool | None = Field(
        None,
        description="Lets `ENDPOINT_URL` be on loopback or a private network, over http there; on when embedded.",
    )
    format_version: FormatVersion = Field("v1", description="Layout of standing exports that begin.")
    compression: Compression = Field("zstandard", description="Compression of standing exports that begin.")
    source_kind: SourceKind | None = Field(
        None,
        description="What writes the trace store: `phoenix`, `mlflow`, `langfuse`, `otel`, `opik`, or `runs` for "
        "tables of this product's own form. Found out from the tables where not set.",
    )
    mapping: Path | None = Field(
        None, description="YAML file that maps a trace store with another schema; takes the place of `SOURCE_KIND`."
    )
    allow_row_security: bool = Field(
        False,
        description="Exports the rows that row-level security lets the user of `SOURCE_URL` see; otherwise a trace "
        "store that hides rows is refused.",
    )
    source_minutes: float = Field(
        30, gt=0, description="Longest wait for the trace store's next rows, or for any other answer of it, minutes."
    )
    source_rate: float | None = Field(
        None,
        gt=0,
        description="Requests a second that all workers together make of a trace store behind an API, by default as "
        "many as its limits allow.",
    )
    source_intervals: int = Field(
        4, ge=1, le=16, description="Intervals of a day that are read at once from a trace store behind an API."
    )
    export_attachments: bool = Field(
        False, description="Copies the attachments of LangSmith's runs into the bucket, beside the days."
    )
    attachment_mib: int = Field(
        256, ge=1, le=4096, description="Largest attachment that is copied, MiB; a larger one is named as missing."
    )
    tenant_id: uuid.UUID = Field(
        uuid.UUID("5f0c1c5e-6a5b-4c1d-9f3e-0b7e6d2a4c11"),
        description="Workspace where the store has none, and that commands work in; "
        "a store's only one is taken by itself.",
    )
    unassigned_project: str | None = Field(
        None,
        min_length=1,
        description="Name of a project that rows without a project, or of unknown ones, are exported as; without it "
        "they are only counted.",
    )
    projects_include: Words = Field(
        ("*",), description="Projects that become assets: shell patterns of names, separated by commas."
    )
    projects_exclude: Words = Field((), description="Projects that do not, even where included.")
    include_experiments: bool = Field(False, description="Makes assets of projects that are experiments too.")
    owners: Words = Field(
        (), description="Owners that Dagster shows: e-mail addresses, or `team:` and a name, separated by commas."
    )
    start_date: date | None = Field(
        None,
        description="First partition, by default the first day with rows at the first sync. Recorded once, not moved.",
    )
    daily_at: time = Field(time(0, 30), description="When the daily schedule runs, UTC.")
    dagster_url: str = Field("http://127.0.0.1:3000", description="The running Dagster web server.")
    part_size_mib: int = Field(16, ge=5, le=512, description="Size of an upload part, MiB; a day has at most 10,000.")
    row_group_mib: int = Field(32, ge=1, le=512, description="Text bytes after which a row group is closed, MiB.")
    lease_seconds: int = Field(
        30, ge=3, le=600, description="How long a day stays held after its worker was last heard."
    )
    secret_keys: SecretStr | None = Field(
        None,
        description="Fernet keys that encrypt stored credentials: newest first, separated by commas; "
        "`export-pipeline secrets new` makes one.",
    )
    signing_key: SecretStr | None = Field(
        None,
        description="Private key that signs manifests; `export-pipeline manifests new-key` makes one.",
    )
    signing_public_keys: Words = Field(
        (),
        description="Public keys whose signatures count, beside that of `SIGNING_KEY`, separated by commas.",
    )
    destination_id: uuid.UUID | None = Field(
        None,
        description="Stored destination of the standing exports; its bucket and credentials are used, `BUCKET` is not.",
    )
    own_credentials_workspaces: Annotated[tuple[uuid.UUID, ...], NoDecode] = Field(
        (),
        description="Workspaces whose stored destinations may use the process's own AWS credentials, separated by "
        "commas.",
    )
    workspace_roles: Annotated[tuple[tuple[uuid.UUID | None, str], ...], NoDecode] = Field(
        (),
        description="Roles that workspaces may assume, as `WORKSPACE=ARN`, separated by commas; `*` for every "
        "workspace, `*` and `?` in the ARN as in shell patterns.",
    )
    upload_arguments: Annotated[tuple[tuple[uuid.UUID | None, UploadArgument], ...], NoDecode] = Field(
        (),
        description="Arguments of uploads that reach outside of a bucket and that workspaces may give, as "
        "`WORKSPACE=NAME`, separated by commas; `*` for every workspace.",
    )
    allow_proxy: bool = Field(
        False,
        description="Lets endpoints of stored destinations be reached through the proxy that the environment names, "
        "which private addresses are not kept from.",
    )
    max_runs_per_export: int = Field(45, ge=1, description="Days of one bulk export under way at once.")
    max_exports: int = Field(15, ge=1, description="Bulk exports of one workspace under way at once.")
    max_destinations: int = Field(100, ge=1, description="Stored destinations of one workspace.")
    max_schedules: int = Field(200, ge=0, description="Scheduled bulk exports of one workspace.")
    max_exports_per_hour: int = Field(250, ge=1, description="Bulk exports that one workspace may create in an hour.")
    max_export_days: int = Field(3660, ge=1, description="Days of a bulk export's window.")
    max_open_days: int = Field(
        2_000_000,
        ge=1,
        description="Days, counted for each project, of one workspace's bulk exports that have not ended.",
    )
    max_day_retries: int = Field(20, ge=0, description="Retries of a day of a bulk export.")
    retry_seconds: int = Field(30, ge=0, description="Pause before a day of a bulk export is tried again.")
    run_hours: float = Field(4, gt=0, description="Longest time of one attempt at a day of a bulk export, hours.")
    export_hours: float = Field(24, gt=0, description="Longest time of a bulk export, hours.")
    late_days: int = Field(14, ge=0, description="Days back in which late rows are looked for; 0 turns it off.")
    max_rejected_rows: int = Field(
        0, ge=0, description="Rows of a day that may be rejected without a notice and a warning."
    )
    webhook_url: SecretStr | None = Field(None, description="Address that notices are posted to.")
    webhook_secret: SecretStr | None = Field(None, description="Key of the signature of posted notices.")
    api_host: str = Field("127.0.0.1", description="Address that `export-pipeline api` listens on.")
    api_port: int = Field(8000, ge=1, le=65535, description="Port that `export-pipeline api` listens on.")
    api_single_user: bool = Field(
        False, description="Serves the HTTP API without keys, to this machine alone, for the workspace `TENANT_ID`."
    )
    api_rate: float = Field(
        100,
        gt=0,
        description="Requests a second of one API key, in bursts of ten times as many; an address may make four times "
        "as many.",
    )
    api_access_log: bool = Field(
        True, description="Writes a line of JSON for each request of the HTTP API to standard error."
    )

    @field_validator(
        "projects_include",
        "projects_exclude",
        "owners",
        "signing_public_keys",
        "own_credentials_workspaces",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("workspace_roles", "upload_arguments", mode="before")
    @classmethod
    def _grants(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        return tuple((None if who.strip() == "*" else who.strip(), what.strip()) for who, _, what in pairs)

    @field_validator("workspace_roles")
    @classmethod
    def _roles(cls, value: tuple[tuple[uuid.UUID | None, str], ...]) -> tuple[tuple[uuid.UUID | None, str], ...]:
        for _, pattern in value:
            if not _ROLE_PATTERN.fullmatch(pattern):
                raise ValueError(
                    f"{pattern!r} is not a pattern of roles: it looks like arn:aws:iam::123456789012:role/exports-*, "
                    "with ? for a comma"
                )
        return value

    @field_validator("owners")
    @classmethod
    def _owners(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for owner in value:
            if not _OWNER.fullmatch(owner):
                raise ValueError(f"{owner!r} is neither an e-mail address nor `team:` and a name")
        return value

    @field_validator("signing_public_keys")
    @classmethod
    def _public_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(key.startswith("ed25519-private:") for key in value):
            raise ValueError("holds a private key, which belongs into SIGNING_KEY alone: give the public one")
        return value

    @field_validator("daily_at")
    @classmethod
    def _daily_at(cls, value: time) -> time:
        if value.tzinfo is not None and value.utcoffset() != timedelta(0):
            raise ValueError(f"give the time in UTC, without an offset: {value} is not")
        return value.replace(tzinfo=None)

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None and not _BUCKET.fullmatch(value):
            raise ValueError(f"{value!r} is not a valid bucket name: the name alone, without s3:// and without a path")
        return value

    @field_validator("prefix")
    @classmethod
    def _prefix(cls, value: str) -> str:
        return clean_prefix(value)

    @property
    def embedded(self) -> bool:
        """Whether trace store, control database and bucket are the embedded ones in `home`."""
        given = (self.source_url, self.control_url, self.bucket, self.destination_id)
        return all(value is None for value in given)

    @property
    def private_endpoints(self) -> bool:
        """Whether the endpoint may be on loopback or a private network."""
        return self.embedded if self.allow_private_endpoints is None else self.allow_private_endpoints

    def refuse_half(self, *, bucket_only: bool = False) -> None:
        """Raises `SettingsError` that names what is missing where only some of the settings are given.

        With `bucket_only` a bucket needs neither a trace store nor a control database beside it.
        """
        # A stored destination has a bucket and credentials of its own: it stands for BUCKET.
        place = "BUCKET" if self.destination_id is None else "DESTINATION_ID"
        names = [] if self.embedded or (bucket_only and self.bucket) else ["SOURCE_URL", "CONTROL_URL", place]
        if missing := [PREFIX + name for name in names if getattr(self, name.lower()) is None]:
            given = [PREFIX + name for name in names if PREFIX + name not in missing]
            hint = f" ({PREFIX}DESTINATION_ID stands for the bucket too)" if PREFIX + "BUCKET" in missing else ""
            raise SettingsError(
                f"{' and '.join(missing)} must be set too, because {' and '.join(given)} "
                f"{'is' if len(given) == 1 else 'are'} set{hint}"
            )
        if self.embedded and (lone := self._lone()):
            raise SettingsError(
                f"{lone} is set, but {PREFIX}BUCKET is not: either set {PREFIX}SOURCE_URL, {PREFIX}CONTROL_URL and "
                f"{PREFIX}BUCKET too, or remove it to use the embedded parts"
            )
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise SettingsError(f"{PREFIX}ACCESS_KEY_ID and {PREFIX}SECRET_ACCESS_KEY must be set together")
        if self.session_token is not None and self.access_key_id is None:
            raise SettingsError(f"{PREFIX}SESSION_TOKEN needs {PREFIX}ACCESS_KEY_ID and {PREFIX}SECRET_ACCESS_KEY")

    def _lone(self) -> str:
        """What describes a bucket of one's own."""
        names = ("endpoint_url", "region", "access_key_id", "secret_access_key", "session_token")
        return ", ".join(PREFIX + name.upper() for name in names if getattr(self, name) is not None)

    def resolved(self) -> "Settings":
        """These settings, or where embedded a copy in which `home`, URLs, bucket, endpoint and keys are concrete.

        Makes the folder `home` and the keys in it at the first call. Starts nothing: see `local.embedded`.
        """
        if not self.embedded:
            return self
        home = self.home.absolute()
        s3 = embedded_bucket(home)
        given_keys = [] if self.secret_keys is None else [self.secret_keys.get_secret_value()]
        return self.model_copy(
            update={
                "home": home,
                "source_url": SecretStr(f"sqlite:///{home / 'traces.db'}"),
                "control_url": SecretStr(f"sqlite:///{home / 'control.db'}"),
                "bucket": EMBEDDED_BUCKET,
                "region": "us-east-1",
                "endpoint_url": s3.endpoint_url,
                "access_key_id": s3.access_key_id,
                "secret_access_key": SecretStr(s3.secret_access_key),
                "secret_keys": SecretStr(",".join([*given_keys, embedded_secret_key(home)])),
                "allow_private_endpoints": True,
            }
        )


def load_settings(**overrides: Any) -> Settings:
    """The settings from the environment; `overrides` (by field name) win.

    Raises `SettingsError` that names each wrong value, a variable with the prefix that is no setting, and what is
    missing where only half of the settings is given.
    """
    return _load(overrides, bucket_only=False)


def load_bucket_settings() -> Settings:
    """The same for what reads a bucket and nothing else: beside `BUCKET` nothing has to be set."""
    return _load({}, bucket_only=True)


def _load(overrides: dict[str, Any], *, bucket_only: bool) -> Settings:
    _refuse_unknown()
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None
    settings.refuse_half(bucket_only=bucket_only)
    return settings


def _refuse_unknown() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ.keys() | dotenv_values(".env").keys()):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(f"{name} is not a setting of export-pipeline{hint}")


def _explain(item: Any) -> str:
    name = PREFIX + str(item["loc"][0]).upper() if item["loc"] else "settings"
    return f"{name}: {item['msg'].removeprefix('Value error, ')}"


def documentation_table() -> str:
    """The settings as a Markdown table, as it stands in the README."""
    rows = [f"| `{PREFIX}…` | meaning | default |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `{name.upper()}` | {field.description} | {_default(field.default)} |")
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if value is None or value in ("", ()):
        return "–"
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"`{value.strftime('%H:%M') if isinstance(value, time) else value}`"
