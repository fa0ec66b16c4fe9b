"""Backfills of assets on the running Dagster instance, over GraphQL: Dagster's own command line cannot queue one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from export_pipeline.dagster_server import DagsterRefusedError, ask
from export_pipeline.errors import NotFoundError

KEY_PREFIX = "runs"
REASON_TAG = "export_pipeline/reason"

_LOADED = "query Loaded($keys: [AssetKeyInput!]!) { assetNodes(assetKeys: $keys) { assetKey { path } } }"

_LAUNCH = """
mutation Launch($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""

_STATE = """
query State($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill {
      status
      error { message }
      assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
        assetKey { path } numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized numPartitionsFailed
      } } }
    }
    ... on Error { message }
  }
}
"""

_CANCEL = """
mutation Cancel($id: String!) {
  cancelPartitionBackfill(backfillId: $id) {
    __typename
    ... on CancelBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""

_LAUNCH_SECONDS = 60.0
_SUCCEEDED = frozenset({"COMPLETED", "COMPLETED_SUCCESS"})
_ENDED = _SUCCEEDED | {"COMPLETED_FAILED", "FAILED", "CANCELED"}


@dataclass(frozen=True)
class AssetCounts:
    """How many days of an asset a backfill is for, and how far they are."""

    asset: str
    days: int
    under_way: int
    done: int
    failed: int


@dataclass(frozen=True)
class BackfillState:
    """How far a backfill is; `status` is Dagster's word."""

    backfill_id: str
    status: str
    error: str | None
    assets: tuple[AssetCounts, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in _ENDED

    @property
    def ok(self) -> bool:
        """Whether it ended with every day exported."""
        return self.status in _SUCCEEDED and not any(asset.failed for asset in self.assets)

    @property
    def total(self) -> int:
        """The days of all assets together."""
        return sum(asset.days for asset in self.assets)

    @property
    def done(self) -> int:
        """Those that are through, failed ones too."""
        return sum(asset.done + asset.failed for asset in self.assets)


def launch(url: str, assets: Sequence[str], days: Sequence[str], *, title: str) -> str:
    """Queues a backfill of the days of the assets `runs/<name>`; gives back its id.

    Raises `DagsterRefusedError` where Dagster has not loaded one of them, or refuses.
    """
    keys = [{"path": [KEY_PREFIX, name]} for name in assets]
    there = {node["assetKey"]["path"][-1] for node in ask(url, _LOADED, {"keys": keys})["assetNodes"]}
    if absent := [f"{KEY_PREFIX}/{name}" for name in assets if name not in there]:
        raise DagsterRefusedError(
            f"Dagster at {url} has not loaded {', '.join(absent)} yet: load the code location again, in the UI under "
            "Deployment, or wait for the sensor sync_projects"
        )
    params = {
        "assetSelection": keys,
        "partitionNames": list(days),
        "title": title,
        "tags": [{"key": REASON_TAG, "value": "export-pipeline backfill"}],
    }
    result = _expect(
        ask(url, _LAUNCH, {"params": params}, seconds=_LAUNCH_SECONDS)["launchPartitionBackfill"],
        "LaunchBackfillSuccess",
        url,
    )
    return str(result["backfillId"])


def state_of(url: str, backfill_id: str) -> BackfillState:
    """How far a backfill is; raises `NotFoundError` for an id that Dagster does not know."""
    result = ask(url, _STATE, {"id": backfill_id})["partitionBackfillOrError"]
    if result["__typename"] == "BackfillNotFoundError":
        raise NotFoundError(f"Dagster at {url} knows no backfill {backfill_id!r}; the UI lists them under Runs")
    result = _expect(result, "PartitionBackfill", url)
    counts = (result["assetBackfillData"] or {}).get("assetBackfillStatuses", ())
    return BackfillState(
        backfill_id=backfill_id,
        status=result["status"],
        error=(result["error"] or {}).get("message"),
        assets=tuple(
            AssetCounts(
                asset="/".join(count["assetKey"]["path"]),
                days=count["numPartitionsTargeted"],
                under_way=count["numPartitionsInProgress"],
                done=count["numPartitionsMaterialized"],
                failed=count["numPartitionsFailed"],
            )
            for count in counts
            if count  # assets without partitions have no counts
        ),
    )


def cancel(url: str, backfill_id: str) -> BackfillState:
    """Asks Dagster to cancel a backfill and its runs; how far it is then. One that has ended stays as it is."""
    before = state_of(url, backfill_id)
    if before.ended:
        return before
    _expect(ask(url, _CANCEL, {"id": backfill_id})["cancelPartitionBackfill"], "CancelBackfillSuccess", url)
    return state_of(url, backfill_id)


def _expect(result: Mapping[str, Any], kind: str, url: str) -> Mapping[str, Any]:
    if result["__typename"] != kind:
        raise DagsterRefusedError(f"Dagster at {url} refuses: {result.get('message') or result['__typename']}")
    return result
