"""What statements are made from, and what they are made into."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

from export_pipeline.files.paths import DATA_FILE, day_folder
from export_pipeline.runs.schema import FormatVersion, Kind, RunField, kind_in_files

KEY_ID, SECRET = "YOUR_ACCESS_KEY_ID", "YOUR_SECRET_ACCESS_KEY"
"""What stands for credentials: real ones are never printed."""

DAY = "utc_day"
"""The column that a loaded table has beside those of the files: with it a day is replaced, whatever the columns are."""


Cloud = Literal["aws", "google", "other"]


@dataclass(frozen=True)
class Day:
    """A committed day; one without rows has no file."""

    day: date
    rows: int


@dataclass(frozen=True)
class Table:
    """The days of one project, as readers find them.

    `name` is an identifier in `[a-z0-9_]`, `about` one line that names project and export, `root` the folder of the
    days within the bucket, ending in "/". `days` are the committed ones, oldest first, `wanted` is the one to load.
    Without `endpoint_url` the bucket is one of AWS; with `virtual_host` its name goes before the endpoint's host.
    """

    name: str
    about: str
    bucket: str
    root: str
    region: str | None
    endpoint_url: str | None
    fields: tuple[RunField, ...]
    format_version: FormatVersion
    days: tuple[Day, ...]
    wanted: Day
    virtual_host: bool = False

    @property
    def files(self) -> str:
        """The name of the table, or view, that reads the files where they lie."""
        return f"{self.name}_files"

    @property
    def stage(self) -> str:
        """The name of what a load needs in between."""
        return f"{self.name}_stage"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of the files."""
        return tuple(field.name for field in self.fields)

    @property
    def rows(self) -> int:
        """The rows of all days."""
        return sum(day.rows for day in self.days)

    @property
    def folder(self) -> str:
        """Where the wanted day's file lies, below `root`, ending in "/"."""
        return f"{day_folder(self.wanted.day)}/"

    @property
    def file(self) -> str:
        """The wanted day's file, below `root`."""
        return self.folder + DATA_FILE

    @property
    def cloud(self) -> Cloud:
        """Whose bucket it is."""
        host = urlsplit(self.endpoint_url or "").hostname or ""
        if not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return "aws"
        return "google" if host == "storage.googleapis.com" or host.endswith(".storage.googleapis.com") else "other"

    def uri_in(self, cloud: Cloud) -> str:
        """The folder in a cloud; where the bucket is in another, the name of its copy's is left to be filled in."""
        bucket = self.bucket if self.cloud == cloud else "YOUR_BUCKET"
        return f"{'gs' if cloud == 'google' else 's3'}://{bucket}/{self.root}"

    def has(self, *names: str) -> bool:
        """Whether all of these columns are in the files."""
        return set(names) <= set(self.columns)

    def types(self, of: Mapping[Kind, str]) -> list[tuple[RunField, str]]:
        """Each column with its type in a system, by what the column holds in the files."""
        return [(field, of[kind_in_files(field, self.format_version)]) for field in self.fields]


class Step(StrEnum):
    """What a statement is for; a table is read by the first two, and loaded and then read by all."""

    ACCESS = "access"
    FILES = "files"
    CREATE = "create"
    LOAD_ALL = "load all"
    LOAD_DAY = "load day"
    CHECK = "check"
    QUERY = "query"


@dataclass(frozen=True)
class Statement:
    """A piece to be pasted: one statement, or several that go together, in SQL or Python.

    `about` says what it does, in lines without the language's comment sign.
    """

    step: Step
    about: str
    text: str
