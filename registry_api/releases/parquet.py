"""A release's cells as Parquet, by pyarrow: an extra that need not be there, loaded when a file is asked for."""

import io
from collections.abc import Sequence
from importlib.util import find_spec

from protocol.codes import Code
from protocol.errors import InvalidInputError
from registry_api.releases.export import CSV_COLUMNS, row_of
from registry_api.releases.query import Answer

_WHOLE = frozenset({"release", "version", "count", "persons"})
_BROKEN = frozenset({"per_100k"})
"""Columns of whole numbers, and of others; the rest are words."""


def available() -> bool:
    """Say whether this registry writes Parquet."""
    return find_spec("pyarrow") is not None


def as_parquet(release: int, answers: Sequence[Answer]) -> bytes:
    """Return the cells as Parquet: the columns of the CSV with their types, and null with its status where a number is hidden.

    Raises:
        InvalidInputError: `not-found` if the registry was installed without pyarrow.
    """
    if not available():
        raise InvalidInputError(
            Code.NOT_FOUND,
            "This registry writes no Parquet. Take the CSV, or have it installed with `pip install 'acinus[web,parquet]'`.",
        )
    import pyarrow as pa
    from pyarrow import parquet

    kinds = dict.fromkeys(_WHOLE, pa.int64()) | dict.fromkeys(_BROKEN, pa.float64())
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in CSV_COLUMNS])
    rows = [dict(zip(CSV_COLUMNS, row_of(release, answer), strict=True)) for answer in answers]
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, schema), out)
    return out.getvalue()
