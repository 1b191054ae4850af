"""What machines and accounts come with: one sentence, or it does not matter."""

import dataclasses
import errno
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading

import jax
import pytest

import jaxdd
from experiments.comparing import lists
from experiments.console import guard, machines, refusals, rendezvous
from experiments.planning import programs
from jaxdd import fields
from jaxdd.devices import mesh as devices
from jaxdd.distillation import memory as least
from jaxdd.distillation import options
from jaxdd.errors import UserError
from jaxdd.modifiers.curriculum import Curriculum, changes_of, describe
from tests.experiments.helpers import SMALL, command, environment, open_config, small
from tests.experiments.test_machines import free_port
from tests.faults.flags import PROGRAMS
from tests.helpers import refused

CONFIGS = {name: importlib.import_module(name).Config for name in PROGRAMS}
NO_ACCOUNT = """
import pwd, runpy, sys
def getpwuid(number):
    raise KeyError(number)
pwd.getpwuid = getpwuid
sys.argv = ["-m", *sys.argv[1:]]
runpy.run_module("experiments.distill", run_name="__main__", alter_sys=True)
"""


def launch(arguments, seen=None, lacking=(), **pipes):
    env = {k: v for k, v in environment().items() if k not in lacking}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
    return subprocess.Popen(arguments, text=True, env={**env, **(seen or {})}, **pipes)


def answer(arguments, seen=None, lacking=()):
    with launch(arguments, seen, lacking) as process:
        out, error = process.communicate(timeout=100)
    return process.returncode, out, error


def of_finished(finished):
    """The command of a run that is finished: it reads, prints and leaves."""
    return command("distill", **SMALL, workdir=finished)


# --- Programs as they are started -----------------------------------------------------


def test_accounts_and_devices_that_are_not_there(tmp_path):
    arguments = [sys.executable, "-c", NO_ACCOUNT, f"--workdir={tmp_path}/a", "--ipc=0"]
    lacking = ("HOME", "JAX_COMPILATION_CACHE_DIR", "JAXDD_CACHE")
    code, out, error = answer(arguments, lacking=lacking)
    assert (code, out) == (2, "")
    # Matplotlib has something to say about it too.
    assert error.splitlines()[-1] == "error: --ipc must be positive, not 0"
    assert "Traceback" not in error
    arguments = command("distill", workdir=tmp_path / "a")
    code, _, error = answer(arguments, {"JAX_PLATFORMS": "nonsense"})
    assert code == 2
    assert error.startswith("error: JAX cannot start JAX_PLATFORMS=nonsense")
    assert error.count("\n") == 1


def test_a_terminal_without_letters_and_closed_streams(finished):
    seen = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    code, out, error = answer(of_finished(finished), seen)
    assert code == 0, error
    assert "\\xb1" in out
    # Nothing that is printed may get into a file of the run.
    line = "exec " + " ".join(f"'{x}'" for x in of_finished(finished)) + " >&- 2>&- <&-"
    assert answer(["sh", "-c", line]) == (0, "", "")


def test_nobody_reads_the_results(finished):
    reader, writer = os.pipe()
    os.close(reader)
    with launch(of_finished(finished), stdout=writer) as process:
        os.close(writer)
        _, error = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGPIPE
    assert "Traceback" not in error
    assert "Exception" not in error


@pytest.fixture
def package(tmp_path, monkeypatch):
    """What stands for scipy: (source) -> the environment that finds it."""

    def write(source):
        (tmp_path / "scipy").mkdir()
        (tmp_path / "scipy" / "__init__.py").write_text(source)
        return {"PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}"}

    return write


def test_a_package_that_does_not_import(package):
    seen = package("raise RuntimeError('built for another\\nPython')")
    code, _, error = answer(command("distill", workdir="x"), seen)
    assert code == 2
    assert error.startswith(
        "error: the package scipy cannot be imported (RuntimeError:"
    )
    assert error.count("\n") == 1


@pytest.fixture
def heard():
    """Ctrl-C reaches programs also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_during_the_imports(package):
    seen = package("import sys, time\nprint('here', flush=True)\ntime.sleep(100)")
    with launch(command("distill", workdir="x"), seen) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=100)
    assert (process.returncode, error) == (130, "stopped\n")


# --- Sentences ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "memory of this machine is used up: use a smaller"),
        (MemoryError("Unable to allocate 8 TiB"), "(Unable to allocate 8 TiB)"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore"), "of the device"),
        (ValueError("RESOURCE_EXHAUSTED: no room"), "of the device"),
        (OSError(errno.ENOSPC, "No space left"), "refuses: No space left"),
        (PermissionError(errno.EACCES, "Denied", "/a\nb"), "refuses /a\\nb: Denied"),
        (IsADirectoryError(errno.EISDIR, "Is a folder", b"/\xff"), "/\\udcff"),
        (ModuleNotFoundError("No module", name="rich.x"), "package rich cannot be"),
        (UserError("as it is"), "as it is"),
    ],
)  # fmt: skip
def test_what_the_surroundings_refuse_is_a_sentence(error, says):
    sentence = refusals.sentence(error)
    assert says in sentence
    assert sentence.isprintable()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("shapes do not fit"),
        RuntimeError("INTERNAL: what"),
        KeyError("x"),
        OSError("no number"),
        RecursionError("deep"),
        ModuleNotFoundError("gone", name="jaxdd.gone"),
    ],
)
def test_a_bug_is_not(error):
    assert refusals.sentence(error) is None


def test_a_bug_of_ours_under_an_import_is_a_bug():
    def ours():
        raise ValueError("of a test")

    with pytest.raises(ValueError, match="of a test") as caught:
        ours()
    assert guard.broken_package(caught.value) is None


def test_a_device_whose_start_fails_without_a_word(monkeypatch):
    """What JAX does where JAX_PLATFORMS=cuda finds no CUDA."""

    def fail():
        raise AssertionError

    monkeypatch.setattr(jax, "device_count", fail)
    with pytest.raises(UserError, match=r"JAX cannot start .*set JAX_PLATFORMS=cpu"):
        devices.parse("1")


# --- Paths of flags -------------------------------------------------------------------


def of_kind(config_type, kind):
    return [
        x.name for x in dataclasses.fields(config_type) if x.metadata["kind"] == kind
    ]


def given(config_type, **flags):
    """A configuration with what it requires."""
    required = {
        x.name: "x" if fields.type_of(x) is str else 0.5
        for x in dataclasses.fields(config_type)
        if x.default is dataclasses.MISSING
    }
    return config_type(**{**required, **flags})


@pytest.mark.parametrize("program", CONFIGS)
def test_paths_are_those_of_the_account(program, monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    config_type = CONFIGS[program]
    names = of_kind(config_type, "path")
    assert names
    for name in names:
        config = fields.understood(given(config_type, **{name: "~/[a]"}))
        assert getattr(config, name) == "/home/x/[a]"
        for text in ("~nosuchuser/x", "gs://a", "file:///a", "x" * 300, "", "a\0"):
            with pytest.raises(UserError, match=f"--{name}") as caught:
                fields.check(given(config_type, **{name: text}))
            assert str(caught.value).isprintable()


def test_the_cache_is_a_path_too(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("JAXDD_CACHE", "gs://cache")
        with pytest.raises(UserError, match="JAXDD_CACHE"):
            jaxdd.keep_compiled_programs()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


# --- Odd numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [2**31, -(10**30)], ids=str)
@pytest.mark.parametrize("program", CONFIGS)
def test_integers_that_no_array_holds(program, value):
    config_type = CONFIGS[program]
    for field in dataclasses.fields(config_type):
        if fields.type_of(field) is int:
            seed = field.metadata["kind"] == "seed"
            if seed and 0 <= value < 2**32:
                continue
            with pytest.raises(UserError, match=f"--{field.name} must lie between"):
                fields.check(given(config_type, **{field.name: value}))


@pytest.mark.parametrize("value", [2**31, -(2**31), 10**30], ids=str)
def test_integers_by_commas_have_the_bound_of_integers(value):
    with pytest.raises(UserError, match="--ipc must lie between"):
        lists.numbers(f"1,{value}", "ipc", int)


@pytest.mark.parametrize("value", [-1, 2**32, 10**30], ids=str)
def test_seeds_by_commas_have_the_bounds_of_a_seed(value):
    assert lists.seeds(f"0,{2**32 - 1}") == [0, 2**32 - 1]
    with pytest.raises(UserError, match="--seeds must lie between 0 and"):
        lists.seeds(f"0,{value}")


MOST = 2**31 - 1


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"width": MOST}, "--width"),
        ({"net": "mlp", "width": 10**9}, "--width"),
        ({"probes": MOST}, "--probes"),
        ({"num_eval": MOST}, "--num_eval"),
        ({"num_random": MOST}, "--num_random"),
        ({"ipc": 2, "segments": 2, "judges": MOST}, "--judges"),
        ({"method": "mtt", "student_steps": MOST}, "--student_steps"),
        ({"method": "mtt", "max_start": MOST}, "--max_start"),
        ({"method": "pad", "removals": f"{10**20}:0.1"}, "--removals"),
    ],
    ids=str,
)
def test_what_no_memory_holds_is_refused_at_once(changes, flag, problem, tmp_path):
    config = options.Config(workdir=str(tmp_path / "run"), **changes)
    with refused(flag):
        open_config(config, problem)
    assert not (tmp_path / "run").exists()


def test_what_fits_is_not_refused_and_the_rest_not_run(problem, tmp_path, monkeypatch):
    opened = open_config(small(tmp_path / "run"), problem)
    wanted = least.distillation(
        problem, opened.network, opened.network, opened.resolved
    )
    assert all(0 < need.size < 1e9 for need in wanted)
    memory = programs.Memory(100, 20, 3000)
    programs.check_room(memory, "the steps")
    monkeypatch.setattr(programs, "capacity", lambda: 1000)
    with pytest.raises(UserError, match=r"3.12 kB .* 3 kB of temporaries, .* 1 kB"):
        programs.check_room(memory, "the steps")


def test_a_curriculum_of_billions_of_epochs_is_told_at_once():
    curriculum = Curriculum(0.5, MOST, ((40, 0.1), (2**30, 0.2)))
    told = describe(jax.numpy.array([500] * 10), curriculum, MOST)
    assert "2500 in epoch 0, 3000 in epoch 41" in told


@pytest.mark.parametrize("removals", [(), (2,), (1, 4, 9)])
@pytest.mark.parametrize("epochs", [1, 5, 30])
def test_changes_are_those_of_all_epochs(epochs, removals):
    gone = [
        20 - min(e, 18) // 3 + 7 * sum(e >= after for after in removals)
        for e in range(epochs)
    ]
    every = [(e, gone[e]) for e in range(epochs) if e == 0 or gone[e] != gone[e - 1]]
    shown = every if len(every) < 8 else [*every[:4], *every[-3:]]
    assert changes_of(gone.__getitem__, epochs, removals) == shown


# --- Processes that meet --------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["host", "host:", ":1", "a b:1", "h:0", "h:65536", "h:-1"]
)
def test_a_coordinator_is_a_host_and_a_port(text):
    with pytest.raises(UserError, match="must be HOST:PORT"):
        machines.join(text, 2, 0)


def test_a_taken_port_and_nobody_who_comes(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        here = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=r"cannot be opened .*choose another port"):
            machines.join(here, 2, 0)
    monkeypatch.setattr(rendezvous, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(rendezvous, "LINE_SECONDS", 0.1)
    here = f"127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match=r"1 of 2 are missing \(number 1\)"):
        machines.join(here, 2, 0)
    assert "1 of 2 are missing" in capsys.readouterr().err
    with pytest.raises(UserError, match="nobody answers there"):
        machines.join(here, 2, 1)


def test_one_that_came_early_says_what_it_waits_for(monkeypatch, capsys):
    """The first process is there, another one is not: nobody is to look for a port."""
    monkeypatch.setattr(rendezvous, "WAIT_SECONDS", 0.8)
    monkeypatch.setattr(rendezvous, "LINE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as first:
        here = f"127.0.0.1:{first.getsockname()[1]}"
        with pytest.raises(UserError, match="is there and waits for others; start one"):
            rendezvous.meet(here, 3, 1)
        first.settimeout(0.2)
        guest, _ = first.accept()
        guest.close()
        with pytest.raises(TimeoutError):  # a second link could miss the word
            first.accept()
    told = capsys.readouterr().err
    assert "the first process is there and waits for others" in told
    assert "nobody answers" not in told


def test_processes_meet_whoever_comes_first_and_others_are_told(monkeypatch):
    monkeypatch.setattr(rendezvous, "WAIT_SECONDS", 20.0)
    here, met = f"127.0.0.1:{free_port()}", []

    def process(index, count=3):
        try:
            rendezvous.meet(here, count, index)
            met.append(index)
        except UserError as error:
            met.append(str(error))

    def begin(*arguments):
        thread = threading.Thread(target=process, args=arguments)
        thread.start()
        return thread

    threads = [begin(1), begin(0)]
    begin(1, 2).join()  # of another program
    while not any("--num_processes=3" in str(x) for x in met):
        begin(1, 2).join()
    with socket.create_connection(rendezvous.address_of(here)) as noise:
        noise.sendall(b"GET / HTTP/1.1\r\n\r\n")
    threads.append(begin(2))
    for thread in threads:
        thread.join()
    assert {x for x in met if isinstance(x, int)} == {0, 1, 2}
