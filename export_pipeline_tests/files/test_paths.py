"""Keys, as readers and other tools see them."""

import uuid
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.files import paths
from export_pipeline.files.paths import DataPath, DayKey, EmptyManifestPath, ManifestPath
from export_pipeline.runs.schema import FormatVersion

EXPORT = uuid.UUID("11111111-1111-4111-8111-111111111111")
TENANT = uuid.UUID("22222222-2222-4222-8222-222222222222")
SESSION = uuid.UUID("33333333-3333-4333-8333-333333333333")
COMMIT = uuid.UUID("44444444-4444-4444-8444-444444444444")
KEY = DayKey(EXPORT, TENANT, SESSION, date(2026, 1, 9))
IDS = (
    "export_id=11111111-1111-4111-8111-111111111111/tenant_id=22222222-2222-4222-8222-222222222222"
    "/session_id=33333333-3333-4333-8333-333333333333"
)

prefixes = st.lists(
    st.text("abcXYZ019_-.@ ", min_size=1, max_size=12).filter(lambda part: part not in {".", ".."}), max_size=3
).map("/".join)
day_keys = st.builds(DayKey, st.uuids(), st.uuids(), st.uuids(), st.dates())
versions = st.sampled_from(["v1", "v2_beta"])


def test_a_data_file_lies_where_the_two_layouts_say() -> None:
    assert paths.data_key("a/b", KEY, "v1") == f"a/b/{IDS}/runs/year=2026/month=01/day=09/part-00000.parquet"
    assert paths.data_key("", KEY, "v2_beta") == f"{IDS}/resource=runs/year=2026/month=01/day=09/part-00000.parquet"


def test_roots_end_with_a_slash_and_hold_the_keys() -> None:
    assert paths.project_root("p", EXPORT, TENANT, SESSION, "v1") == f"p/{IDS}/runs/"
    assert paths.export_root("p", EXPORT) == "p/export_id=11111111-1111-4111-8111-111111111111/"
    assert paths.manifests_root("") == "_export_pipeline/manifests/"
    assert paths.manifests_root("p", EXPORT) == (
        "p/_export_pipeline/manifests/export_id=11111111-1111-4111-8111-111111111111/"
    )


def test_manifests_lie_beside_the_data_and_sort_by_epoch() -> None:
    assert paths.manifest_key("p", KEY, 7) == (
        f"p/_export_pipeline/manifests/{IDS}/year=2026/month=01/day=09/epoch=0000000007.json"
    )
    assert paths.manifest_key("p", KEY, 9) < paths.manifest_key("p", KEY, 10)
    assert paths.manifest_key("p", KEY, 7).startswith(paths.manifest_folder("p", KEY))


def test_one_manifest_of_many_empty_days_has_a_key_of_its_own() -> None:
    key = paths.empty_manifest_key(
        "p", EXPORT, TENANT, SESSION, first=date(2026, 1, 1), last=date(2026, 3, 1), commit_id=COMMIT
    )
    assert key == (
        f"p/_export_pipeline/manifests/{IDS}/empty_days/2026-01-01_2026-03-01_44444444-4444-4444-8444-444444444444.json"
    )


@settings(deadline=None)
@given(prefixes, day_keys, versions)
def test_a_data_key_tells_what_it_was_built_from(prefix: str, key: DayKey, version: FormatVersion) -> None:
    built = paths.data_key(prefix, key, version)
    assert paths.parse_data_key(built) == DataPath(prefix, key, version)
    assert paths.parse_manifest_key(built) is None
    assert built.startswith(paths.project_root(prefix, key.export_id, key.tenant_id, key.session_id, version))


@settings(deadline=None)
@given(prefixes, day_keys, st.integers(0, 10**10 - 1))
def test_a_manifest_key_tells_what_it_was_built_from(prefix: str, key: DayKey, epoch: int) -> None:
    built = paths.manifest_key(prefix, key, epoch)
    assert paths.parse_manifest_key(built) == ManifestPath(prefix, key, epoch)
    assert paths.parse_data_key(built) is None
    assert not built.startswith(paths.export_root(prefix, key.export_id))


@settings(deadline=None)
@given(prefixes, day_keys, st.dates(), st.uuids())
def test_a_key_of_empty_days_tells_what_it_was_built_from(
    prefix: str, key: DayKey, last: date, commit_id: uuid.UUID
) -> None:
    ids = (key.export_id, key.tenant_id, key.session_id)
    built = paths.empty_manifest_key(prefix, *ids, first=key.day, last=last, commit_id=commit_id)
    assert paths.parse_manifest_key(built) == EmptyManifestPath(prefix, *ids, key.day, last, commit_id)


@pytest.mark.parametrize("prefix", ["a//b", "/a", "a/", "..", "a/../b", ".", "export_id=x", "a=b/c"])
def test_a_prefix_that_would_break_the_layout_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="is not a valid prefix"):
        paths.data_key(prefix, KEY, "v1")


@pytest.mark.parametrize("epoch", [-1, 10**10])
def test_an_epoch_that_would_not_sort_is_refused(epoch: int) -> None:
    with pytest.raises(ValueError, match="epoch"):
        paths.manifest_key("", KEY, epoch)


def test_a_key_that_s3_would_refuse_is_refused_here() -> None:
    with pytest.raises(ValueError, match="1024 bytes"):
        paths.data_key("x" * 900, KEY, "v1")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "readme.md",
        f"{IDS}/runs/year=2026/month=02/day=30/part-00000.parquet",
        f"{IDS}/runs/year=2026/month=1/day=09/part-00000.parquet",
        f"{IDS}/runs/year=2026/month=01/day=09/part-00001.parquet",
        f"{IDS.upper()}/runs/year=2026/month=01/day=09/part-00000.parquet",
        f"{IDS}/runs/year=٢٠٢٦/month=01/day=09/part-00000.parquet",
        f"_export_pipeline/manifests/{IDS}/year=2026/month=02/day=30/epoch=0000000001.json",
        f"_export_pipeline/manifests/{IDS}/empty_days/2026-13-01_2026-01-01_44444444-4444-4444-8444-444444444444.json",
    ],
)
def test_other_keys_are_recognised_as_such(key: str) -> None:
    assert paths.parse_data_key(key) is None
    assert paths.parse_manifest_key(key) is None
