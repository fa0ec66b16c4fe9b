"""Polars and pandas: Python instead of SQL, a frame instead of a table."""

import json
from collections.abc import Iterable

from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import Statement, Step, Table

_ABOUT_ACCESS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are taken from the environment, on AWS also profiles and roles."
)


def polars(table: Table) -> list[Statement]:
    """Polars 1.30 and newer."""
    options = {"aws_region": _region(table)}
    if table.endpoint_url is not None:
        options["aws_endpoint_url"] = table.endpoint_url
        if table.virtual_host:
            options["aws_endpoint_url"] = table.endpoint_url.replace("://", f"://{table.bucket}.", 1)
            options["aws_virtual_hosted_style_request"] = "true"
        if table.endpoint_url.startswith("http:"):
            options["aws_allow_http"] = "true"
    of = table.wanted.day
    those = f'(pl.col("year") == {of.year}) & (pl.col("month") == {of.month}) & (pl.col("day") == {of.day})'
    return [
        Statement(Step.ACCESS, _ABOUT_ACCESS, f"import polars as pl\n\nstorage_options = {_dictionary(options)}"),
        Statement(
            Step.FILES,
            "Reads the files where they lie; a condition on year, month and day leaves other days' files unread\n"
            "(but for the footers of up to 16).",
            f"files = pl.scan_parquet(\n    {_text(f's3://{table.bucket}/{table.root}')},\n"
            "    storage_options=storage_options,\n)",
        ),
        Statement(
            Step.LOAD_ALL, sql.about_all(table), f"runs = files.collect()\n{_counted('runs.height', table.rows)}"
        ),
        Statement(
            Step.LOAD_DAY,
            sql.about_day(table),
            f"of_day = {those}\nrows = files.filter(of_day).collect()\n{_counted('rows.height', table.wanted.rows)}\n"
            "runs = pl.concat([runs.filter(~of_day), rows])",
        ),
        *_polars_readings(table),
    ]


def pandas(table: Table) -> list[Statement]:
    """With pandas 2 and newer, and PyArrow."""
    options = [f"region={_text(_region(table))}"]
    if table.endpoint_url is not None:
        options.insert(0, f"endpoint_override={_text(table.endpoint_url)}")
        options += ["force_virtual_addressing=True"] if table.virtual_host else []
    of = table.wanted.day
    those = f'[("year", "==", {of.year}), ("month", "==", {of.month}), ("day", "==", {of.day})]'
    return [
        Statement(
            Step.ACCESS,
            _ABOUT_ACCESS,
            "import json\n\nimport pandas as pd\nfrom pyarrow import fs\n\n"
            f"bucket = fs.S3FileSystem({', '.join(options)})",
        ),
        Statement(
            Step.FILES,
            "Where the files lie; filters on year, month and day leave other days' files unopened.\n"
            'With dtype_backend="pyarrow" tokens stay whole numbers and costs exact.',
            f'files = {{\n    "path": {_text(f"{table.bucket}/{table.root}")},\n'
            '    "filesystem": bucket,\n    "dtype_backend": "pyarrow",\n}',
        ),
        Statement(
            Step.LOAD_ALL,
            sql.about_all(table),
            f"runs = pd.read_parquet(**files)\n{_counted('len(runs)', table.rows)}",
        ),
        Statement(
            Step.LOAD_DAY,
            sql.about_day(table),
            f"rows = pd.read_parquet(**files, filters={those})\n{_counted('len(rows)', table.wanted.rows)}\n"
            f'dates = runs[["year", "month", "day"]].astype(int)\n'
            f"of_day = (dates == [{of.year}, {of.month}, {of.day}]).all(axis=1)\n"
            "runs = pd.concat([runs[~of_day], rows], ignore_index=True)",
        ),
        *_pandas_readings(table),
    ]


def _region(table: Table) -> str:
    return table.region or ("us-east-1" if table.endpoint_url else "YOUR_REGION")


def _text(text: str) -> str:
    return json.dumps(text)


def _dictionary(options: dict[str, str]) -> str:
    return "{\n" + "".join(f"    {_text(name)}: {_text(value)},\n" for name, value in options.items()) + "}"


def _counted(count: str, rows: int) -> str:
    return f"if {count} != {rows}:\n    raise ValueError({_text(sql.expected(rows))})"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"    {line},\n" for line in lines)


def _polars_readings(table: Table) -> list[Statement]:
    totals = [
        how
        for column, how in (
            ("id", 'pl.col("id").n_unique().alias("ids")'),
            ("total_tokens", 'pl.col("total_tokens").sum().alias("tokens")'),
            ("total_cost", 'pl.col("total_cost").sum().alias("usd")'),
        )
        if table.has(column)
    ]
    made = "totals = [\n" + _lines(['pl.len().alias("runs")', *totals]) + "]"
    by_day = 'print(runs.group_by("year", "month", "day").agg(totals).sort("year", "month", "day"))'
    pieces = [
        Statement(Step.CHECK, f"What is there: {table.rows} runs.", f"{made}\nprint(runs.select(totals))"),
        Statement(Step.QUERY, "Runs by day.", by_day),
    ]
    if table.has("run_type", "extra"):
        by_model = (
            'calls = runs.filter(pl.col("run_type") == "llm")\n'
            'model = pl.col("extra").str.json_path_match("$.metadata.ls_model_name")\n'
            'print(calls.group_by(model=model).agg(totals).sort("runs", descending=True))'
        )
        pieces.append(Statement(Step.QUERY, "Calls of language models, by model.", by_model))
    return pieces


def _pandas_readings(table: Table) -> list[Statement]:
    named = {"ids": ("id", "nunique"), "tokens": ("total_tokens", "sum"), "usd": ("total_cost", "sum")}
    all_named = {"runs": (table.columns[0], "size"), **{n: of for n, of in named.items() if table.has(of[0])}}
    made = "totals = {\n" + _lines(f'"{name}": ("{of}", "{how}")' for name, (of, how) in all_named.items()) + "}"
    pieces = [
        Statement(
            Step.CHECK,
            f"What is there: {table.rows} runs.",
            f'{made}\nprint(runs.groupby(lambda _: "all").agg(**totals))',
        ),
        Statement(
            Step.QUERY,
            "Runs by day.",
            'print(runs.groupby(["year", "month", "day"], observed=True).agg(**totals))',
        ),
    ]
    if table.has("run_type", "extra"):
        by_model = (
            'calls = runs[runs["run_type"] == "llm"]\n'
            'metadata = calls["extra"].map(lambda text: json.loads(text).get("metadata") or {}, na_action="ignore")\n'
            'model = metadata.map(lambda found: found.get("ls_model_name"), na_action="ignore").rename("model")\n'
            "print(calls.groupby(model).agg(**totals))"
        )
        pieces.append(Statement(Step.QUERY, "Calls of language models, by model.", by_model))
    return pieces
