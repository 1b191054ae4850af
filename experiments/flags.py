"""From a configuration dataclass to absl flags and a main that speaks in sentences."""

import dataclasses
import signal
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from jaxdd.errors import UserError
from jaxdd.runs import Interrupted

_DEFINE: dict[Any, Callable] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
}


def _define(field: dataclasses.Field) -> None:
    kind: Any = field.type
    if typing.get_origin(kind) is types.UnionType:  # X | None: unset means preset
        kind = next(t for t in typing.get_args(kind) if t is not type(None))
    missing = field.default is dataclasses.MISSING
    default = None if missing else field.default
    _DEFINE[kind](field.name, default, field.metadata["help"])
    if missing:
        flags.mark_flag_as_required(field.name)


def option(default, text: str):
    """A configuration field with its help text; `...` for a required one."""
    if default is ...:
        return dataclasses.field(metadata={"help": text})
    return dataclasses.field(default=default, metadata={"help": text})


def main(config_type: type, run: Callable, show: Callable) -> None:
    """Define the flags of a configuration, run, show the result.

    A UserError is printed as its sentence, exit code 2; a run that a signal stopped
    exits with 128 + signal number. Flags are defined here, under the main guard of the
    caller, so that experiments can be imported side by side.
    """
    for field in dataclasses.fields(config_type):
        _define(field)

    def go(argv: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)  # JAX tells which backends it lacks
        if len(argv) > 1:
            raise app.UsageError(f"unexpected argument {argv[1]!r}: use --name=value")
        names = [f.name for f in dataclasses.fields(config_type)]
        config = config_type(**{name: flags.FLAGS[name].value for name in names})
        try:
            show(run(config))
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except Interrupted as error:
            print(f"{error}; the same command continues", file=sys.stderr)
            sys.exit(128 + error.signum)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)

    app.run(go)
