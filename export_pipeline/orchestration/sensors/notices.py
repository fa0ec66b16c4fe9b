"""The sensor that sends notices, and looks for projects whose newest day is overdue."""

import dagster as dg

from export_pipeline.orchestration.resources import CONNECTIONS, Connections
from export_pipeline.runs.times import SECOND

NOTICE_SECONDS = 30
OVERDUE_MICROSECONDS = 600 * SECOND
"""How often the days of all projects are looked through."""


def build_notice_sensor() -> dg.SensorDefinition:
    """Logs and posts what is in the outbox; a notice that is not taken is tried again later."""

    @dg.sensor(
        name="send_notices",
        minimum_interval_seconds=NOTICE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={CONNECTIONS},
        description=(
            "Tells of exports that ended, days that are overdue and rows that were rejected: a log line, and a signed "
            "POST to EXPORT_PIPELINE_WEBHOOK_URL where that is set."
        ),
    )
    def send_notices(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from export_pipeline.exports.watch.notices_send import Webhook, send_due
        from export_pipeline.exports.watch.overdue import note_overdue
        from export_pipeline.exports.watch.rejected import note_rejected

        connections: Connections = context.resources.connections
        connections.control.check_schema()
        webhook = Webhook.from_settings(connections.settings)
        now, looked = connections.control.now(), int(context.cursor or 0)
        if now - looked >= OVERDUE_MICROSECONDS:
            note_overdue(connections.control, connections.settings)
            note_rejected(connections.control, connections.settings)
            looked = now
        sent, problem = send_due(connections.control, webhook, log=context.log.warning)
        what = f"{sent} notices sent" if sent else "no notice to send"
        return dg.SensorResult(skip_reason=f"{what}; {problem}" if problem else what, cursor=str(looked))

    return send_notices
