"""`export-pipeline demo` and `dev`: the whole product on this machine, with sample traces."""


def demo() -> None:
    """Two weeks.

    Example: export-pipeline demo
    """


def dev() -> None:
    """The UI.

    Example: export-pipeline dev
    """
