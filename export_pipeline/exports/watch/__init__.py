"""What people and monitors are told: notices, metrics, overdue days, the heartbeat of the sensors."""
