"""From a configuration dataclass to absl flags and a main that speaks in sentences."""

import dataclasses
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from absl import app, flags, logging

from experiments.console import guard, machines, refusals
from experiments.console.help import help_text
from jaxdd import report
from jaxdd.devices import hosts
from jaxdd.errors import quoted
from jaxdd.fields import KINDS, type_of, understood
from jaxdd.fields import option as option
from jaxdd.fields.names import meant
from jaxdd.progress import listening
from jaxdd.storage.compiled import keep_compiled_programs
from jaxdd.storage.signals import Interrupted, ending_within

# A signal ends a program within 10 seconds, whatever the device computes: at once, but
# where there is a state to be saved.
GRACE_SECONDS = 9.0

_DEFINE: dict[Any, Callable] = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    bool: flags.DEFINE_bool,
}


_HELP = {"--help", "-help", "-h", "--h", "-?", "--helpshort", "--helpfull"}


def _define(field: dataclasses.Field) -> None:
    missing = field.default is dataclasses.MISSING
    default = None if missing else field.default
    define = _DEFINE[type_of(field)]
    # Under the name of the program, or --help would not list the flags.
    define(field.name, default, field.metadata["help"], module_name=sys.argv[0])
    if missing:
        flags.mark_flag_as_required(field.name)


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


def _nobody_listens() -> NoReturn:
    """Leave as a program does whose reader has gone, such as `head -1`."""
    # What is still buffered has nowhere to go.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    _leave(128 + signal.SIGPIPE)


def _sentence(error: flags.Error, kinds: dict[str, str]) -> str:
    """What absl has to say, without the jargon; `kinds` has the type of each flag."""
    text = " ".join(str(error).split()).rstrip(".")
    unknown = re.match(r"Unknown command line flag '(.*?)'", text)
    if unknown is not None:
        near = meant(unknown[1], kinds)
        guess = f": --{near} is meant?" if near else "; --help lists the flags"
        return f"there is no flag --{unknown[1]}{guess}"
    value = re.match(r"flag --(\w+)=(.*?): ", text)
    if value is None or value[1] not in kinds:
        return text
    if value[2] == "None":
        return f"--{value[1]} has to be given"
    return f"--{value[1]} must be {kinds[value[1]]}, not {quoted(value[2])}"


def main(
    config_type: type, run: Callable, show: Callable, plan: Callable | None = None
) -> None:
    """Define the flags of a configuration, run, show the result.

    A UserError is printed as its sentence, exit code 2, and so is what the device or
    the surroundings refuse (`refusals`); a run that a signal stopped exits with 128 +
    signal number. Paths reach `run` expanded. Flags are defined here, under the main
    guard of the caller, so that experiments can be imported side by side.

    Where a `plan` is given, there is also the flag --plan: what plan(config) returns is
    printed, and nothing is run.
    """
    guard.open_streams()
    for field in dataclasses.fields(config_type):
        _define(field)
    machines.define_flags()
    if plan is not None:
        text = "print the time, memory and disk that the run would need, and do not run"
        flags.DEFINE_bool("plan", False, text, module_name=sys.argv[0])

    def parse(argv: list[str]) -> list[str]:
        if not _HELP.isdisjoint(argv[1:]):
            others = {name: flags.FLAGS[name].help or "" for name in machines.KINDS}
            if plan is not None:
                others = {"plan": flags.FLAGS["plan"].help or "", **others}
            title = sys.modules["__main__"].__doc__ or ""
            print(help_text(title, config_type, others), end="")
            sys.exit(0)
        try:
            rest = flags.FLAGS(argv)
        except flags.Error as error:
            kinds = {f.name: KINDS[type_of(f)] for f in dataclasses.fields(config_type)}
            kinds |= machines.KINDS
            if plan is not None:
                kinds["plan"] = KINDS[bool]
            refuse(_sentence(error, kinds))
        if len(rest) > 1:
            refuse(f"unexpected argument {quoted(rest[1])}: use --name=value")
        return rest

    def go(argv: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)  # JAX tells which backends it lacks
        refusals.quieten()
        names = [f.name for f in dataclasses.fields(config_type)]
        given = config_type(**{name: flags.FLAGS[name].value for name in names})
        work, tell = run, show
        if plan is not None and flags.FLAGS["plan"].value:
            work, tell = plan, print
        try:
            guard.end()
            config = understood(given)
            keep_compiled_programs()
            with (
                ending_within(GRACE_SECONDS),
                listening(report.bar),
                machines.in_use(),
            ):
                result = work(config)
            if hosts.primary():
                tell(result)
                sys.stdout.flush()
        except Interrupted as error:
            print(f"{error}; the same command continues", file=sys.stderr)
            sys.exit(128 + error.signum)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            sys.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            _nobody_listens()
        except Exception as error:
            sentence = refusals.sentence(error)
            if sentence is not None:
                refuse(sentence)
            if not hosts.several():
                raise
            traceback.print_exc()
            _leave(1)

    app.run(go, flags_parser=parse)
