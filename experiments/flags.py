"""From a configuration dataclass to absl flags and a main that speaks in sentences."""

import dataclasses
import os
import re
import signal
import sys
import traceback
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

from experiments import machines
from jaxdd import hosts
from jaxdd.errors import UserError
from jaxdd.signals import Interrupted

_DEFINE: dict[Any, Callable] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
}


_KINDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "a text",
    bool: "true or false",
}


def _kind(field: dataclasses.Field) -> Any:
    kind: Any = field.type
    if typing.get_origin(kind) is types.UnionType:  # X | None: unset means preset
        kind = next(t for t in typing.get_args(kind) if t is not type(None))
    return kind


def _define(field: dataclasses.Field) -> None:
    missing = field.default is dataclasses.MISSING
    default = None if missing else field.default
    define = _DEFINE[_kind(field)]
    # Under the name of the program, or --help would not list the flags.
    define(field.name, default, field.metadata["help"], module_name=sys.argv[0])
    if missing:
        flags.mark_flag_as_required(field.name)


def option(default, text: str):
    """A configuration field with its help text; `...` for a required one."""
    if default is ...:
        return dataclasses.field(metadata={"help": text})
    return dataclasses.field(default=default, metadata={"help": text})


def keep_compiled_programs() -> None:
    """Reuse compiled programs between processes, unless JAX was told where already."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        cache = os.environ.get("JAXDD_CACHE", "~/.cache/jaxdd")
        folder = Path(cache).expanduser() / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def refuse(sentence: str) -> NoReturn:
    """End the program with a sentence on standard error."""
    print(f"error: {sentence}", file=sys.stderr)
    _leave(2)


def _leave(code: int) -> NoReturn:
    """End this process, and with it those that would wait for it for minutes."""
    if hosts.several():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _sentence(error: flags.Error, kinds: dict[str, str]) -> str:
    """What absl has to say, without the jargon; `kinds` has the type of each flag."""
    text = " ".join(str(error).split()).rstrip(".")
    unknown = re.match(r"Unknown command line flag '(.*?)'(.*: (.*) \?)?", text)
    if unknown is not None:
        names = [f"--{name}" for name in (unknown[3] or "").split(", ") if name]
        guess = f", perhaps {' or '.join(names)}" if names else ""
        return f"there is no flag --{unknown[1]}{guess}"
    value = re.match(r"flag --(\w+)=(.*?): ", text)
    if value is None or value[1] not in kinds:
        return text
    if value[2] == "None":
        return f"--{value[1]} has to be given"
    return f"--{value[1]} must be {kinds[value[1]]}, not {value[2]!r}"


def main(
    config_type: type, run: Callable, show: Callable, plan: Callable | None = None
) -> None:
    """Define the flags of a configuration, run, show the result.

    A UserError is printed as its sentence, exit code 2; a run that a signal stopped
    exits with 128 + signal number. Flags are defined here, under the main guard of the
    caller, so that experiments can be imported side by side.

    Where a `plan` is given, there is also the flag --plan: what plan(config) returns is
    printed, and nothing is run.
    """
    for field in dataclasses.fields(config_type):
        _define(field)
    machines.define_flags()
    if plan is not None:
        text = "tell what the run would need, and do not run"
        flags.DEFINE_bool("plan", False, text, module_name=sys.argv[0])

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = flags.FLAGS(argv)
        except flags.Error as error:
            kinds = {f.name: _KINDS[_kind(f)] for f in dataclasses.fields(config_type)}
            kinds |= {"plan": _KINDS[bool], **machines.KINDS}
            refuse(f"{_sentence(error, kinds)}; --help lists the flags")
        if len(rest) > 1:
            refuse(f"unexpected argument {rest[1]!r}: use --name=value")
        return rest

    def go(argv: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)  # JAX tells which backends it lacks
        keep_compiled_programs()
        names = [f.name for f in dataclasses.fields(config_type)]
        config = config_type(**{name: flags.FLAGS[name].value for name in names})
        work, tell = run, show
        if plan is not None and flags.FLAGS["plan"].value:
            work, tell = plan, print
        try:
            with machines.in_use():
                result = work(config)
            if hosts.primary():
                tell(result)
        except UserError as error:
            refuse(str(error))
        except Interrupted as error:
            print(f"{error}; the same command continues", file=sys.stderr)
            sys.exit(128 + error.signum)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except Exception:
            if not hosts.several():
                raise
            traceback.print_exc()
            _leave(1)

    app.run(go, flags_parser=parse)
