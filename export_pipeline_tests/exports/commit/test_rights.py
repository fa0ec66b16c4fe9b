"""Rights that are taken away and given back on a running SeaweedFS, in the middle of a day."""

import secrets
import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from export_pipeline.errors import DestinationRefusedError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.exports.commit.bench import DAY, Bench, make_store, new_export
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left, check_whole
from export_pipeline_tests.exports.memory_source import MemorySource, rows_of
from export_pipeline_tests.servers import Weed, program

pytestmark = pytest.mark.slow

ALL = "Read,Write,List"


class Exporter:
    """A user of a running SeaweedFS, bound to one bucket, whose rights an operator changes."""

    def __init__(self, server: Weed, bucket: str) -> None:
        self._server = server
        self.bucket = bucket
        self._name = f"exporter-{uuid.uuid4().hex[:8]}"
        self._secret = secrets.token_hex(20)
        self.region = server.region
        self.grant(ALL)

    @property
    def endpoint_url(self) -> str:
        """Where S3 is served."""
        return self._server.endpoint_url

    def identity(self, name: str) -> tuple[str, str]:
        """Its access key and secret."""
        return self._name, self._secret

    def grant(self, actions: str) -> None:
        """Gives it rights in the bucket; makes the user where there is none."""
        keys = f"-access_key={self._name} -secret_key={self._secret}"
        self._configure(f"{keys} -buckets={self.bucket} -actions={actions}")

    def revoke(self, actions: str) -> None:
        """Takes rights away; they are gone when this comes back."""
        self._configure(f"-buckets={self.bucket} -actions={actions} -delete")

    def delete(self) -> None:
        """Removes the user."""
        self._configure("-delete")

    def _configure(self, options: str) -> None:
        port = self._server.server.port
        assert port is not None
        places = [f"-master=127.0.0.1:{port + 1}.{port + 2}", f"-filer=127.0.0.1:{port + 5}.{port + 6}"]
        done = subprocess.run(
            [program("weed"), "shell", *places],
            input=f"s3.configure -user={self._name} {options} -apply\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.fixture
def exporter(seaweedfs: Weed) -> Iterator[Exporter]:
    """A user with all rights in a bucket of its own."""
    made = Exporter(seaweedfs, seaweedfs.new_bucket())
    yield made
    made.delete()


@pytest.fixture
def limited_bench(control: ControlDatabase, seaweedfs: Weed, exporter: Exporter) -> Iterator[Bench]:
    """Publishes as that user; looks at the bucket as the admin."""
    bucket = exporter.bucket
    made = Bench(control, make_store(exporter, bucket), new_export(control, bucket), seaweedfs)
    yield made
    made.store.close()


def at(step: str, act: Callable[[], None]) -> Callable[[str], None]:
    """A hook that acts once, when the step is reached."""
    steps = [step]

    def on_step(name: str) -> None:
        if name in steps:
            steps.remove(name)
            act()

    return on_step


LOST = {
    "fenced": ("CreateMultipartUpload", False),
    "upload recorded": ("UploadPart", False),
    "parts uploaded": ("CompleteMultipartUpload", False),
    "writing manifest": ("PutObject", True),
}
"""By the step at which the right to write is taken away: the call that meets it, and whether the file is there."""


def test_a_right_that_is_taken_away_in_the_middle_of_a_day_is_named_and_given_back_is_enough(
    limited_bench: Bench, exporter: Exporter
) -> None:
    for number, (step, (operation, visible)) in enumerate(LOST.items()):
        day = DAY + timedelta(days=number)
        first, second = rows_of(day, 3, name="first"), rows_of(day, 4, name="second")
        with pytest.raises(DestinationRefusedError) as caught:
            limited_bench.publish(MemorySource(first), day=day, on_step=at(step, lambda: exporter.revoke("Write")))
        error = caught.value
        assert (error.error_class, error.code) == ("Access denied", "AccessDenied"), step
        place = f"bucket '{exporter.bucket}' at {exporter.endpoint_url}"
        assert str(error) == (
            f"Access denied: {operation} on {place} failed (AccessDenied). "
            f"Grant s3:PutObject on {place} to the credentials in use."
        )
        record = limited_bench.record(day)
        assert (record.status, record.error, record.owner) == ("Failed", str(error), None)
        check_whole(limited_bench, [first if visible else None], day=day)
        assert limited_bench.manifest(day) is None
        exporter.grant("Write")
        assert limited_bench.publish(MemorySource(second), day=day).outcome == "committed"
        check_finished(limited_bench, second, day=day)
    check_nothing_left(limited_bench)


def test_a_user_that_is_deleted_in_the_middle_of_a_day_is_named_and_its_return_is_enough(
    limited_bench: Bench, exporter: Exporter
) -> None:
    rows = rows_of(DAY, 5)
    with pytest.raises(DestinationRefusedError, match="access_key_id") as caught:
        limited_bench.publish(MemorySource(rows), on_step=at("upload recorded", exporter.delete))
    assert caught.value.error_class == "Key ID you provided does not exist"
    check_whole(limited_bench, [None])
    exporter.grant(ALL)
    limited_bench.publish(MemorySource(rows))
    check_finished(limited_bench, rows)
    check_nothing_left(limited_bench)


def test_rights_to_read_that_are_taken_away_in_the_middle_of_a_day_are_not_needed_to_finish_it(
    limited_bench: Bench, exporter: Exporter
) -> None:
    rows = rows_of(DAY, 5)
    outcome = limited_bench.publish(
        MemorySource(rows), on_step=at("upload recorded", lambda: exporter.revoke("Read,List"))
    )
    assert outcome.outcome == "committed"
    check_finished(limited_bench, rows)
    manifest = limited_bench.manifest()
    assert manifest is not None
    assert manifest.verified == "by the store's answer"
    check_nothing_left(limited_bench)
