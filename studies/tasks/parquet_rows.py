"""Reading Parquet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from lrlora.studies.errors import StudyError
from lrlora.studies.tasks.table import Number, Row, Table, check_columns


def read_parquet(file: str, columns: Sequence[str], where: str) -> Table:
    """Read the rows of a Parquet file.

    Raises:
        StudyError: It is not one, is damaged, lacks a column or has no rows.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            check_columns(opened.schema_arrow.names, columns, where)
            table = opened.read(columns=list(dict.fromkeys(columns)))
        found = [table.column(column).to_pylist() for column in columns]
    except StudyError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise StudyError(f"{where}: cannot be read as Parquet: {cause[0]}") from None
    if not table.num_rows:
        raise StudyError(f"{where}: holds columns and no rows")
    rows = [Row(i, tuple(map(_value, values))) for i, values in enumerate(zip(*found, strict=True), 1)]
    return Table(file, "row", True, rows)


def _value(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):  # by which pandas means that there is nothing
        return None
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return Number(value)
    return [_value(one) for one in value] if isinstance(value, list) else value
