"""The steps that bring a control database to the form of `exports.tables`; run by `ControlDatabase.migrate`."""
