"""What all tests share: a cache of compiled programs, float64, quick compilation."""

import gc
import os
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".pytest_cache" / "xla"
# XLA:CPU's older way to generate code; it compiles in two thirds of the time. One part
# per program, since a process has one core: in parts it takes a quarter longer.
QUICK_CODE = (
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
DEVICES = 8


def keep_to_own_cores():
    """Processes of pytest-xdist share the cores out instead of waiting on each other.

    Each would start as many threads as there are cores, and XLA's wait by spinning.
    """
    name = os.environ.get("PYTEST_XDIST_WORKER")
    if name is None or not hasattr(os, "sched_setaffinity"):
        return
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    own = sorted(os.sched_getaffinity(0))[int(name.removeprefix("gw")) :: count]
    if own:
        os.sched_setaffinity(0, own)


def pytest_configure():
    keep_to_own_cores()
    # For `test_devices`; all else runs on the first of them. Programs that the tests
    # start have as many: their number has a part in how a program is compiled.
    jax.config.update("jax_num_cpu_devices", DEVICES)
    os.environ["JAX_NUM_CPU_DEVICES"] = str(DEVICES)
    cache = os.environ.get("JAXDD_TEST_CACHE", str(CACHE))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Tracing makes many objects and little garbage: look for it less often.
    gc.set_threshold(100_000, 20, 20)
    # Most of the time goes into compiling: do it with few optimisations. Programs that
    # the tests start do the same (`tests.experiments.helpers.environment`).
    jax.config.update("jax_disable_most_optimizations", True)
    if jax.__version_info__ < (0, 11):  # an unknown flag would end the process
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} {QUICK_CODE}".strip()


# Files of few but long tests: a process must not be left alone with them at the end.
LONG = (
    "tests/house/",
    "tests/benchmarks/test_expected.py",
    "tests/methods/test_cells.py",
    "tests/methods/test_methods.py",
    "tests/distillation/",
    "tests/experiments/",
)


def pytest_collection_modifyitems(items):
    """Long files first (with xdist's `--no-loadscope-reorder`).

    The others by their size: small ones fill the last seconds of both processes.
    """

    def place(path: Path) -> tuple[int, int]:
        name = path.relative_to(ROOT).as_posix()
        first = min((i for i, x in enumerate(LONG) if name.startswith(x)), default=99)
        return first, -path.stat().st_size if first == 99 else 0

    places = {path: place(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: places[item.path])


@pytest.fixture(scope="module", autouse=True)
def small_heap():
    """The garbage collector does not walk over what earlier files left.

    Traced programs stay in JAX's caches, and a full collection, of which Orbax asks for
    many, came to take a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised():
    """Compile as users do, for what is said of time and memory."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
