"""The sensor that puts late days of schedules' exports back to work; the sensor `bulk_exports` starts them."""

import dagster as dg

from export_pipeline.orchestration.resources import CONNECTIONS, Connections

LATE_EXPORTS = "late_exports"
LATE_SECONDS = 300


def build_changed_exports_sensor() -> dg.SensorDefinition:
    """Compares the exports of schedules that asked for it (`reexport_late`) with the trace store every five minutes."""

    @dg.sensor(
        name=LATE_EXPORTS,
        minimum_interval_seconds=LATE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={CONNECTIONS},
        description=(
            "Puts days of schedules' exports back to work whose rows or feedback have changed in the trace store "
            "since, where the schedule has reexport_late."
        ),
    )
    def late_exports(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from export_pipeline.exports.bulk.changed import follow_changes

        connections: Connections = context.resources.connections
        connections.control.check_schema()
        late_days = connections.settings.late_days
        if not late_days:
            return dg.SensorResult(skip_reason="EXPORT_PIPELINE_LATE_DAYS is 0: late rows are not looked for")
        round_ = follow_changes(
            connections.control, connections.source, late_days=late_days, cursor=context.cursor or ""
        )
        nothing = f"nothing new in {round_.looked_at} projects of schedules' exports"
        what = "; ".join((*round_.failed, *round_.reopened))
        return dg.SensorResult(skip_reason=what or nothing, cursor=round_.cursor)

    return late_exports
