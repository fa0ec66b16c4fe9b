"""The commands that prove, sign, restore and retire manifests, as an operator and an auditor run them."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from export_pipeline.exports.proof.verify.export import What
from export_pipeline.files.parquet import dictionary_leaves, read_footer
from export_pipeline.files.signing import Signer, new_key_pair
from export_pipeline_tests.cli.command import Ended, run
from export_pipeline_tests.exports.proof.forgery import forged
from export_pipeline_tests.exports.world import FIRST, LAST, ROWS, World, resealed
from export_pipeline_tests.servers import S3Server

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
OLD, NEW = new_key_pair(), new_key_pair()

PROGRAM = """
import sys
from pathlib import Path
from export_pipeline.cli.app import main

try:
    main()
finally:
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) // 1024, file=sys.stderr)
"""


@pytest.fixture
def world(rclone: S3Server, tmp_path: Path) -> Iterator[World]:
    """Three exported days whose manifests are signed with the old key."""
    made = World.make(rclone, tmp_path)
    signer = Signer.from_settings(made.settings.model_copy(update={"signing_key": SecretStr(OLD.private)}))
    made = replace(made, signer=signer)
    made.publish()
    yield made
    made.close()


def bucket_of(world: World) -> dict[str, str]:
    """The settings of somebody who has the bucket and nothing else."""
    return {
        "BUCKET": world.store.config.bucket,
        "PREFIX": world.settings.prefix,
        "REGION": world.server.region,
        "ENDPOINT_URL": world.server.endpoint_url,
        "ALLOW_PRIVATE_ENDPOINTS": "true",
        "ACCESS_KEY_ID": world.server.access_key_id,
        "SECRET_ACCESS_KEY": world.server.secret_access_key,
    }


def all_of(world: World) -> dict[str, str]:
    control = world.control.url.render_as_string(hide_password=False)
    return {**bucket_of(world), "SOURCE_URL": "sqlite:///traces.db", "CONTROL_URL": control}


def verify_bucket(world: World, folder: Path, *public: str) -> Ended:
    settings = bucket_of(world) | ({"SIGNING_PUBLIC_KEYS": ",".join(public)} if public else {})
    return run("verify", "--bucket-only", folder=folder, settings=settings)


def test_an_auditor_needs_the_bucket_and_the_public_key_alone(world: World, tmp_path: Path) -> None:
    assert verify_bucket(world, tmp_path, OLD.public).status == 0
    assert verify_bucket(world, tmp_path, NEW.public, OLD.public).status == 0
    stranger = verify_bucket(world, tmp_path, NEW.public)
    assert stranger.status == 1
    assert f"signed with the key {OLD.key_id}, which is none of EXPORT_PIPELINE_SIGNING_PUBLIC_KEYS" in stranger.err
    body, manifest = forged(world, FIRST)
    world.put(world.data(FIRST), body)
    world.put(world.manifest(FIRST), manifest)
    found = verify_bucket(world, tmp_path, OLD.public)
    assert found.status == 1
    assert f"{FIRST}: {What.MANIFEST_SIGNATURE} ({world.manifest(FIRST)})" in found.err
    assert not (tmp_path / ".export_pipeline").exists()


def test_a_key_pair_is_made_of_two_settings_that_work_together(tmp_path: Path) -> None:
    made = run("manifests", "new-key", folder=tmp_path)
    assert made.status == 0
    lines = dict(line.split("=", 1) for line in made.out.split())
    assert list(lines) == ["EXPORT_PIPELINE_SIGNING_KEY", "EXPORT_PIPELINE_SIGNING_PUBLIC_KEYS"]
    again = json.loads(run("manifests", "new-key", "--json", folder=tmp_path).out)
    assert again.keys() == {"private", "public", "key_id"}
    assert again["private"] not in made.out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SIGNING_PUBLIC_KEYS": OLD.private}, "SIGNING_PUBLIC_KEYS: holds a private key"),
        ({"SIGNING_PUBLIC_KEYS": "ed25519:short"}, "SIGNING_PUBLIC_KEYS: key 1 of 1 is not a public key"),
        ({"SIGNING_KEY": OLD.public}, "SIGNING_KEY is not a private key"),
        ({"SIGNING_KEY": OLD.private[:-3] + "é!!"}, "SIGNING_KEY is not a private key"),
    ],
)
def test_keys_that_are_none_are_refused_without_being_shown(
    world: World, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    ended = run("verify", folder=tmp_path, settings=all_of(world) | settings)
    assert ended.status == 1
    assert said in ended.err
    assert OLD.private[20:-3] not in ended.out + ended.err


def test_after_a_change_of_keys_all_manifests_are_signed_with_the_new_one(world: World, tmp_path: Path) -> None:
    settings = all_of(world) | {"SIGNING_KEY": NEW.private, "SIGNING_PUBLIC_KEYS": OLD.public}
    assert run("verify", folder=tmp_path, settings=settings).status == 0
    done = run("manifests", "restore", folder=tmp_path, settings=settings)
    assert (done.status, done.out.splitlines()[-1]) == (0, "3 of 3 manifests were written anew.")
    assert NEW.private not in done.out + done.err
    again = run("manifests", "restore", "chatbot", "--json", folder=tmp_path, settings=settings)
    assert json.loads(again.out) == {"manifests": [{"seen": 3, "written": []}]}
    assert verify_bucket(world, tmp_path, NEW.public).status == 0


def test_retiring_asks_first_and_names_what_it_takes(world: World, tmp_path: Path) -> None:
    key = world.manifest(LAST, 5)
    world.put(key, b"{}")
    settings = all_of(world)
    assert run("verify", folder=tmp_path, settings=settings).status == 1
    asked = run("manifests", "retire", key, folder=tmp_path, settings=settings)
    assert asked.status == 1
    assert f"{key}: 2 bytes" in asked.err
    assert key in world.objects()
    done = run("manifests", "retire", key, "--yes", "--json", folder=tmp_path, settings=settings)
    assert json.loads(done.out) == {"retired": [{"key": key, "size": 2, "days": 0}]}
    assert key not in world.objects()
    assert run("verify", folder=tmp_path, settings=settings).status == 0


def test_a_bad_table_is_named_beside_the_others(world: World, tmp_path: Path) -> None:
    stranger = "00000000-0000-4000-8000-000000000000"
    key = world.manifest(FIRST).replace(str(world.export.export_id), stranger)
    world.put(key, world.get(world.manifest(FIRST)))
    ended = verify_bucket(world, tmp_path)
    assert ended.status == 1
    assert f"{stranger}: {What.NOT_VERIFIED}: export_id is {world.export.export_id}" in ended.err
    assert str(2 * ROWS) in ended.out.replace(",", "")
    recovered = run(
        "recover", folder=tmp_path, settings=all_of(world) | {"CONTROL_URL": f"sqlite:///{tmp_path}/new.db"}
    )
    assert recovered.status == 1
    assert "Rebuilt 3 days of 1 exports" in recovered.out
    assert f"`export-pipeline manifests retire {key.partition('year=')[0]}`" in recovered.err


def bomb(world: World) -> bytes:
    """1,500 times the day's first row, with a name of a megabyte: kilobytes that decode to more than a gigabyte."""
    genuine = world.get(world.data(FIRST))
    first = pq.read_table(io.BytesIO(genuine)).replace_schema_metadata(None).slice(0, 1)
    rows = pa.array([0] * 1500, pa.int32())
    place = first.schema.get_field_index("name")
    name = pa.DictionaryArray.from_arrays(rows, pa.array(["x" * MIB]))
    table = first.take(rows).set_column(place, pa.field("name", name.type, nullable=False), name)
    out = io.BytesIO()
    written = {"compression": "zstd", "use_dictionary": dictionary_leaves(first.schema), "write_statistics": False}
    with pq.ParquetWriter(out, table.schema, store_schema=False, version="2.6", **written) as writer:
        writer.write_table(table, row_group_size=1500)
        own = read_footer(lambda start, end: genuine[start:end], len(genuine))
        writer.add_key_value_metadata({f"export_pipeline.{name}": value for name, value in own.items()})
    return out.getvalue()


def test_a_file_of_some_kilobytes_that_decodes_to_gigabytes_does_not_take_the_memory(
    world: World, tmp_path: Path
) -> None:
    body, sealed = bomb(world), world.get(world.manifest(FIRST))
    assert len(body) < 100_000
    told = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "rows": 1500, "row_groups": 1}
    file = {**json.loads(sealed)["file"], **told}
    world.put(world.data(FIRST), body)
    world.put(world.manifest(FIRST), resealed(sealed, file=file, rows=1500, rows_source=1500))
    environment = {f"EXPORT_PIPELINE_{name}": value for name, value in bucket_of(world).items()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "verify", "--bucket-only"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin", "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{FIRST}: {What.CONTENT}" in done.stderr
    peak = int(done.stderr.split()[-1])
    assert peak < 700, f"{peak} MiB"
