"""The steps that bring a control database to the form of `exports.control.tables`; run by `ControlDatabase.migrate`."""
