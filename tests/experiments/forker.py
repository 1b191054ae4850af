"""Run many programs after one import: reads argument lists, answers what they did.

Every program runs in a forked child as `python -m` would run it, so that exit codes,
standard error and flags are real. JAX must not be used before a fork, only imported.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback

import orbax.checkpoint  # noqa: F401
import sklearn.datasets  # noqa: F401
import tensorflow_datasets  # noqa: F401

import jaxdd.report  # noqa: F401


def child(arguments: list[str]) -> int:
    sys.argv = arguments
    for name in ("distill", "evaluate", "difficulty", "demo"):
        sys.modules.pop(f"experiments.{name}", None)  # or runpy warns
    try:
        runpy.run_module(arguments[0], run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def call(arguments: list[str]) -> dict:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        process = os.fork()
        if process == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(error.fileno(), 2)
            code = child(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(process, 0)
        out.seek(0)
        error.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "out": out.read().decode(),
            "err": error.read().decode(),
        }


if __name__ == "__main__":
    json.dump([call(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
