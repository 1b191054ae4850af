"""pyarrow, which reads and writes Parquet files and is in the extra `hub`."""

from typing import Any

from jaxdd.errors import UserError


def pyarrow() -> Any:
    """The modules pyarrow and pyarrow.parquet.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            "Parquet needs pyarrow, which is not installed: pip install 'jaxdd[hub]'"
        ) from None
    return pyarrow, pyarrow.parquet
