"""Is everything right on this device, and which form is fast? Within a given time.

    python -m benchmarks.accelerator --out=runs/accelerator --minutes=5

For any backend that JAX has; tried out on a CPU with --tiny. Every section runs in a
process of its own and has a share of the time that is left. A measurement that may not
fit is skipped and listed; results are on disk as soon as they are there, one JSON file
per section. A process that does not end in time is killed, and the next one begins.

correctness    losses and image gradients of every objective against numbers committed
               from float64 on a CPU, by precision of products
repeats        ten steps twice: the same bits? in `repeats_flags` with XLA's flags for
               deterministic operations, where the backend has some
forms          class axis, experts, networks, norms and unrolled students: map, vmap,
               chunks; convolutions; precision; microbatches
steps          one step of every method at 1 and 10 images per class, ConvNet-3 of width
               128 on 32x32x3, beside the PyTorch loop where torch is installed; memory
graphs         steps whose loops are started by the host, or as CUDA graphs
longest        the longest operations of a step of DSA and of MTT
dispatch       seconds per step with 1, 2, 5, 10 and 50 steps in one dispatch
whole          `experiments.distill` on MNIST, with --data_dir=DIR

The last lines are one table, sentences on what `jaxdd.devices.policy` should say, and
an entry to paste into its table. They are also in table.md and policy.txt.
"""

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import jax

from benchmarks import BEGAN
from benchmarks.accelerated import (
    advice,
    cases,
    correctness,
    dispatch,
    forms,
    graphs,
    longest,
    repeats,
    sections,
    steps,
    table,
    whole,
)
from benchmarks.accelerated.budget import Budget, Records
from benchmarks.accelerated.sizes import FULL, TINY
from benchmarks.parts import timing
from benchmarks.parts.cases import known
from experiments.console.flags import main, option
from jaxdd.devices import policy
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage import provenance
from jaxdd.storage.files import make_folder, to_json, write_atomically
from jaxdd.storage.paths import shown

# Sections in order, and their shares of the time.
WEIGHTS = {
    "correctness": 6.0,
    "repeats": 1.5,
    "forms": 6.0,
    "steps": 5.0,
    "dispatch": 2.0,
    "graphs": 2.5,
    "longest": 1.5,
    "repeats_flags": 1.5,
    "whole": 4.0,
}
# XLA's flags that a section has on a backend, beside the user's.
EXTRA_FLAGS = {
    # Numbers are compared, not times: the search for the fastest kernel is left out.
    ("correctness", "gpu"): "--xla_gpu_autotune_level=0",
    # A CPU has none, and computes in one order.
    ("repeats_flags", "gpu"): "--xla_gpu_deterministic_ops=true",
    # Kernels that run as one graph name no instruction: for the profile, singly.
    ("longest", "gpu"): "--xla_gpu_enable_command_buffer=",
}
GRACE = 5.0  # seconds from a section's deadline until it is killed
RESERVE = 15.0  # seconds for the last section's grace, the table and the exit
SHARE_OF_BACKEND = 0.3  # of the time, at most, to ask JAX which backend it has
SHORTEST, LONGEST = 0.5, 24 * 60.0
KILLED = 3  # exit code of a section that ends itself


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.accelerator`."""

    out: str | None = option(None, "folder for the results", kind="path")
    minutes: float = option(5.0, "ends before so many minutes")
    tiny: bool = option(False, "networks and images that any machine computes")
    sections: str = option("all", "names by commas, or all")
    primitives: str = option("all", "whose forms section forms compares, or all")
    data_dir: str | None = option(
        None, "TFDS folder with MNIST, for section whole", kind="path"
    )
    workers: int = option(0, "programs compiled at a time; 0 to choose by device")
    repeats: int = option(5, "the most timed runs; their median counts")
    write_expected: bool = option(False, "compute the committed numbers anew, on a CPU")
    section: str | None = option(None, "one section, in this process")
    until: float = option(0.0, "when that section has to end, seconds of the epoch")


# --- One section, in its own process ------------------------------------------------


def workers_of(config: Config) -> int:
    """How many programs are compiled at a time."""
    cores = os.cpu_count() or 1
    by_device = 1 if jax.default_backend() == "cpu" else max(1, min(4, cores // 4))
    return config.workers or by_device


def run_section(config: Config) -> None:
    """Measure one section; its file is written on the way."""
    assert config.section is not None
    assert config.out is not None
    left = config.until - time.time()
    ender = threading.Timer(max(left, 0.0) + GRACE, os._exit, (KILLED,))
    ender.daemon = True
    ender.start()
    if config.tiny:
        # Forms are not compared there: what is tried is the command. Programs may be
        # those of an earlier try.
        jax.config.update("jax_disable_most_optimizations", True)
        jax.config.update("jax_enable_compilation_cache", True)
    sizes = dataclasses.replace(
        TINY if config.tiny else FULL,
        repeats=config.repeats,
        workers=workers_of(config),
    )
    folder = Path(config.out)
    device = jax.devices()[0]
    today = policy.choices()
    about = {
        "section": config.section,
        "device": {
            "kind": device.device_kind,
            "backend": jax.default_backend(),
            "count": jax.device_count(),
        },
        "versions": provenance.versions(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "today": dataclasses.asdict(today),
        "tiny": config.tiny,
    }
    records = Records(
        folder / f"{config.section}.json", Budget(left), sizes.first, say, about
    )
    work = {
        # Nothing is timed there: the compiler may take twice the cores.
        "correctness": lambda: correctness.run(records, 2 * sizes.workers, config.tiny),
        "repeats": lambda: repeats.run(records, sizes),
        "repeats_flags": lambda: repeats.run(records, sizes),
        "forms": lambda: forms.run(records, sizes, primitives_of(config)),
        "steps": lambda: steps.run(records, sizes),
        "graphs": lambda: graphs.run(records, sizes, config.tiny),
        "longest": lambda: longest.run(records, sizes),
        "dispatch": lambda: dispatch.run(records, sizes),
        "whole": lambda: whole.run(records, str(config.data_dir), folder, config.tiny),
    }
    work[config.section]()
    records.write(finished=True)
    ender.cancel()


# --- All sections, from a process that leaves the device alone ----------------------


def environment_of(section: str, backend: str) -> dict[str, str]:
    """This process's environment, with the flags that a section wants."""
    extra = EXTRA_FLAGS.get((section, backend), "")
    flags = f"{os.environ.get('XLA_FLAGS', '')} {extra}".strip()
    return {**os.environ, "XLA_FLAGS": flags} if flags else dict(os.environ)


def backend_of(seconds: float) -> str:
    """JAX's backend on this machine, asked for in a process of its own.

    Args:
        seconds: that the answer may take.

    Returns:
        Its name; "" where there is no answer, so that no section has extra flags.
    """
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        say(f"JAX does not name its backend within {seconds:.0f} s: no extra flags")
        return ""
    if done.returncode:
        say("JAX does not name its backend: no extra flags")
        return ""
    return done.stdout.strip()


def in_its_process(
    config: Config, section: str, seconds: float, environment: dict[str, str]
) -> str | None:
    """Run a section and wait for it; how it ended, None for as it should."""
    until = time.time() + seconds
    flags = {**vars(config), "section": section, "until": until}
    command = [sys.executable, "-m", "benchmarks.accelerator"]
    command += [f"--{k}={v}" for k, v in flags.items() if v is not None]
    child = subprocess.Popen(
        command, env=environment, stdout=sys.stderr, start_new_session=True
    )
    try:
        code = child.wait(timeout=seconds + GRACE + 1)
    except subprocess.TimeoutExpired:
        code = KILLED
    finally:
        _kill(child)
    if code == KILLED:
        return f"it was stopped after {seconds + GRACE:.0f} s"
    return None if code == 0 else f"exit code {code}"


def _kill(child: subprocess.Popen) -> None:
    """The process and what it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    child.wait()


def note(folder: Path, section: str, ended: str) -> None:
    """Say in a section's file how it ended."""
    written = sections.load(folder, [section]).get(section, {"section": section})
    path = folder / f"{section}.json"
    write_atomically(path, to_json({**written, "ended": ended}))


def primitives_of(config: Config) -> list[str]:
    """Short names of the primitives whose forms are compared.

    Raises:
        UserError: one is unknown.
    """
    if config.primitives == "all":
        return list(forms.NAMES)
    return known(config.primitives, forms.NAMES, "primitive")


def checked(config: Config) -> list[str]:
    """The sections to run.

    Raises:
        UserError: bad flags.
    """
    if config.out is None:
        raise UserError("--out=DIR has to be given: the folder for the results")
    if config.section is not None or config.until:
        raise UserError(
            "--section and --until are for the processes that this program starts: "
            f"choose by --sections, of {', '.join(WEIGHTS)}"
        )
    if not SHORTEST <= config.minutes <= LONGEST:
        raise UserError(
            f"--minutes must be from {SHORTEST:g} to {LONGEST:g}, "
            f"not {config.minutes:g}"
        )
    if config.repeats < 1 or config.workers < 0:
        raise UserError("--repeats must be at least 1 and --workers at least 0")
    primitives_of(config)
    names = list(WEIGHTS)
    if config.sections != "all":
        names = known(config.sections, tuple(WEIGHTS), "section")
    if config.data_dir is None:
        if config.sections != "all" and "whole" in names:
            raise UserError("section whole needs --data_dir=DIR with MNIST in it")
        names = [name for name in names if name != "whole"]
    elif not (Path(config.data_dir) / "mnist").is_dir():
        raise UserError(f"--data_dir={shown(config.data_dir)} has no folder mnist")
    return names


def run(config: Config, began: float | None = None) -> str:
    """Measure everything; what is printed at the end.

    Args:
        config: the flags.
        began: when the time that is given began, by the monotonic clock; None for now.

    Raises:
        UserError: bad flags, or a section in the folder is damaged.
    """
    if config.write_expected:
        return f"{cases.write_expected()} written"
    if config.section in WEIGHTS and config.out is not None and config.until > 0:
        run_section(config)
        return ""
    names = checked(config)
    spent = 0.0 if began is None else time.monotonic() - began
    budget = Budget(60 * config.minutes - RESERVE - spent)
    assert config.out is not None
    folder = make_folder(config.out)
    for name in names:
        (folder / f"{name}.json").unlink(missing_ok=True)
    sections.load(folder, WEIGHTS)  # refused now, not when all is measured
    backend = backend_of(max(1.0, SHARE_OF_BACKEND * budget.left()))
    for i, name in enumerate(names):
        seconds = budget.share([WEIGHTS[x] for x in names[i:]])
        say(f"{name}: {seconds:.0f} s at most")
        environment = environment_of(name, backend)
        ended = in_its_process(config, name, seconds, environment)
        written = sections.load(folder, [name]).get(name)
        if written is None and environment != dict(os.environ):
            # A flag that this version refuses ends a process before it begins.
            seconds = budget.share([WEIGHTS[x] for x in names[i:]])
            say(f"{name}: again without its flags")
            ended = in_its_process(config, name, seconds, dict(os.environ))
            ended = ended or "its flags were refused; it ran without them"
        if ended:
            note(folder, name, ended)
        conclude(config, folder, names)
    if config.data_dir is None:
        say("whole: skipped, it needs --data_dir=DIR with MNIST in it")
    return conclude(config, folder, names)


def conclude(config: Config, folder: Path, names: list[str]) -> str:
    """Write table.md and policy.txt; their text.

    Of the sections that are in the folder from before, those of this device count too.
    """
    written = sections.load(folder, WEIGHTS)
    origin = lambda section: (section.get("device"), section.get("tiny"))
    ours = [origin(s) for n, s in written.items() if n in names and s.get("device")]
    written = {n: s for n, s in written.items() if n in names or origin(s) in ours}
    parts = [table.markdown(table.rows(written))]
    known_of = [x for x in written.values() if "device" in x]
    if known_of:
        parts.append(advised(config, written, known_of[0]))
    text = "\n".join(parts)
    write_atomically(folder / "table.md", text)
    return text


def advised(config: Config, written: sections.Sections, about: Any) -> str:
    """In words and as an entry of the policy's table."""
    # Another version's choices may have other fields.
    names = {field.name for field in dataclasses.fields(policy.Choices)}
    given = {name: value for name, value in about["today"].items() if name in names}
    if "microbatch_from" in given:
        given["microbatch_from"] = tuple(given["microbatch_from"])
    chosen, words = advice.advised(written, policy.Choices(**given))
    kind, backend = about["device"]["kind"], about["device"]["backend"]
    jax_version = about["versions"]["jax"]
    measured = f"{kind}, JAX {jax_version}, {date.today().isoformat()}"
    if config.tiny:
        measured = f"--tiny, not to be used; {measured}"
    chosen = dataclasses.replace(chosen, measured=measured)
    text = advice.entry(kind if backend != "cpu" else backend, chosen)
    assert config.out is not None
    write_atomically(Path(config.out) / "policy.txt", text)
    lines = [f"What jaxdd/devices/policy.py should say on {kind}:", "", *words, ""]
    return "\n".join([*lines, "Paste into TABLE:", "", text])


def show(text: str) -> None:
    if text:
        print(text)


def _end(signum: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt  # so that a section ends with its parent


if __name__ == "__main__":
    timing.prepare()
    signal.signal(signal.SIGTERM, _end)
    if not any(x.startswith("--section=") for x in sys.argv):
        # The device belongs to the sections' processes.
        jax.config.update("jax_platforms", "cpu")
    main(Config, functools.partial(run, began=BEGAN), show)
