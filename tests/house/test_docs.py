"""The documentation shows what exists: its commands, links, flags and code work."""

import ast
import dataclasses
import functools
import importlib
import importlib.util
import re
import shutil
import struct
from pathlib import Path
from types import SimpleNamespace

import jax
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import jaxdd
from jaxdd.data import digits
from jaxdd.nets import NETS
from jaxdd.nets.registry import Builder
from jaxdd.progress import Stage, listening
from jaxdd.scores.table import SCORES

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Flags of every program, which its configuration does not hold.
EVERYWHERE = {"devices", "coordinator", "num_processes", "process_id", "plan", "help"}
# What makes a distillation short, and the evaluation that its artifact stores.
SHORT = {
    "net": "mlp",
    "width": 8,
    "augmentation": "none",
    "steps": 2,
    "num_eval": 1,
    "num_random": 5,
    "eval_epochs": 1,
    "eval_augmentation": "none",
    "probes": 1,
    "probe_steps": 1,
}


# What makes a notebook short: the same cells with smaller numbers.
FEWER = {
    "01_quickstart": {
        '{"steps": 100, "eval_epochs": 100': (
            '{"net": "mlp", "augmentation": "none", "eval_augmentation": "none", '
            '"steps": 12, "eval_epochs": 5'
        ),
        "networks=3": 'networks=1, net="mlp"',
        "width=32, depth=2": "width=4, depth=1",
        "jnp.arange(50)": "jnp.arange(5)",
    },
    "02_trajectories": {
        "width=16, depth=2": "width=4, depth=2",
        "EPOCHS, EXPERTS = 10, 4": "EPOCHS, EXPERTS = 6, 2",
        "STEPS = 150": "STEPS = 10",
        "jaxdd.Training(200": "jaxdd.Training(10",
    },
    "03_difficulty": {
        "width=16, depth=1": "width=4, depth=1",
        "NETWORKS = 5": "NETWORKS = 2",
        "for epochs in (1, 10)": "for epochs in (1, 3)",
        "STEPS, EVERY, SEEDS = 100, 10, 4": "STEPS, EVERY, SEEDS = 20, 10, 2",
        "jax.random.key(0), 16)": "jax.random.key(0), 4)",
    },
}


def page_id(path):
    return path.relative_to(ROOT).as_posix()


def blocks(path, language=""):
    """Fenced blocks of one language; "" for those without a name."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.S | re.M)


def prose(path):
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M)


def links(path):
    """Targets of links and pictures in a page, those on the web left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    return [target for target in targets if "://" not in target]


def anchors(path):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def commands(path):
    """[(program, flags)] of every `python -m ...` in a page's blocks and prose."""
    joined = path.read_text().replace("\\\n", " ")
    lines = re.findall(r"python -m ([a-z][\w.]*)([^`\n]*)", joined)
    return [(program, re.findall(r"--(\w+)", rest)) for program, rest in lines]


@functools.cache
def flags_of(program):
    """Names of a program's flags, those of every program left out."""
    config = importlib.import_module(program).Config
    return {field.name for field in dataclasses.fields(config)}


# --- README ---------------------------------------------------------------------------


def test_the_readme_can_be_read_in_two_minutes():
    assert len(README.read_text().splitlines()) <= 220


def test_a_picture_comes_first_and_is_small():
    body = README.read_text().split("\n", 1)[1].lstrip()
    first = re.match(r"!\[[^\]]+\]\(([^)]+)\)", body)
    assert first, "the README does not begin with a picture"
    content = (ROOT / first[1]).read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert width <= 1000
    assert height <= 600
    assert len(content) < 150_000


def test_the_sections_are_in_the_order_of_a_reader():
    headings = re.findall(r"^## (.*)$", prose(README), re.M)
    expected = [
        "The two commands",
        "Eight words",
        "The axes",
        "The programs",
        "A method of your own",
        "Results",
        "The house",
        "Licence",
    ]
    assert [h for h in headings if h in expected] == expected


def test_every_word_of_the_glossary_is_used():
    section = prose(README).split("## Eight words")[1].split("\n## ")
    rows = re.findall(r"^\| ([^|]+) \|", section[0], re.M)[1:]
    words = [row for row in rows if not row.startswith("-")]
    assert len(words) == 8
    rest = "".join(section[1:]) + "".join(p.read_text() for p in PAGES[1:])
    for word in re.split(", ", ", ".join(words)):
        assert word in rest, f"{word} is explained and never used"


def test_every_row_of_the_results_has_a_number_a_verdict_and_a_link():
    section = prose(README).split("\n## Results\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*) \|$", section, re.M)[2:]
    assert len(rows) >= 8
    for row in rows:
        claim, number, verdict = row.split(" | ")
        assert re.search(r"\d", number), row
        assert re.search(r"\]\(docs/", claim), row
        assert verdict.strip(), row


@pytest.fixture
def short_runs(monkeypatch, tmp_path):
    """`jaxdd` with short runs of a method that compiles quickly, in a folder."""
    distil, score = jaxdd.distill, jaxdd.difficulty

    def short(data, method, **flags):
        method = "dm" if isinstance(method, str) else method
        return distil(data, method, **{**SHORT, **flags})

    monkeypatch.setattr(jaxdd, "distill", short)
    judge = jaxdd.evaluate

    def evaluate(artifact, nets):
        assert set(nets) <= set(NETS)
        return judge(artifact, [net for net in nets if net == SHORT["net"]])

    monkeypatch.setattr(jaxdd, "evaluate", evaluate)
    quick = functools.partial(score, net="mlp", networks=1, train_steps=1)
    monkeypatch.setattr(jaxdd, "difficulty", quick)
    monkeypatch.chdir(tmp_path)


def test_the_first_lines_of_python_run(short_runs, tmp_path):
    first = blocks(README, "python")[0]
    assert len(ast.parse(first).body) <= 6
    namespace = {}
    exec(compile(first, "README.md", "exec"), namespace)
    result = namespace["result"]
    assert result.images.shape == (10, 1, 8, 8, 1)
    assert jaxdd.load(tmp_path / "digits.npz").images.shape == result.images.shape


def test_the_method_of_your_own_runs(short_runs, tmp_path):
    mine = blocks(README, "python")[1]
    assert len(mine.splitlines()) <= 10
    assert mine in blocks(ROOT / "docs/own_method.md", "python")
    data = digits()
    namespace = {"jaxdd": jaxdd, "images": data.images, "labels": data.labels}
    exec(compile(mine, "README.md", "exec"), namespace)
    assert (tmp_path / "runs/mine/distilled.npz").exists()


def test_data_of_your_own_are_read(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks(ROOT / "docs/own_data.md", "python"):
        exec(compile(block, "own_data.md", "exec"), namespace)
    assert namespace["dataset"].images.shape == (60, 8, 8, 1)


def test_a_network_of_your_own_trains_on_a_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "results/sets/digits-dm-1-seed0-881d8de8.npz", "digits.npz")
    (block,) = (
        x for x in blocks(ROOT / "docs/exchange.md", "python") if "optimiser" in x
    )
    namespace = {}
    exec(compile(block, "exchange.md", "exec"), namespace)
    assert round(100 * float(namespace["accuracy"])) == 88


def test_a_tracker_of_ten_lines_gets_numbers_and_images():
    (block,) = (
        x for x in blocks(ROOT / "docs/commands.md", "python") if "tracker" in x
    )
    logged = []
    tracker = SimpleNamespace(log=lambda values, step: logged.append((step, values)))
    namespace = {"tracker": tracker}
    exec(compile(block, "commands.md", "exec"), namespace)
    with listening(namespace["log"]), Stage("dm", 5) as stage:
        stage.measured(3, {"loss": 1.0})
        stage.pictures(3, ("a",), lambda: np.zeros((1, 1, 2, 2, 1)))
        stage(4, 0.5, 0.1)
    assert [(step, set(values)) for step, values in logged] == [
        (3, {"loss"}),
        (3, {"images"}),
    ]


# --- All pages ------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_and_pictures_resolve(path):
    for target in links(path):
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{page_id(path)} links to {target}"
        if anchor:
            assert anchor in anchors(linked), f"{page_id(path)} links to {target}"


def test_every_page_is_reached_from_the_readme():
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in links(README)}
    lost = [page_id(path) for path in PAGES[1:] if path not in linked]
    assert not lost, f"README does not link to {', '.join(lost)}"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_files_that_are_named_exist(path):
    named = re.findall(
        r"`((?:jaxdd|experiments|benchmarks|tests|docs)/[\w/.]*)`", prose(path)
    )
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing, f"{page_id(path)} names {', '.join(missing)}"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_commands_and_their_flags_exist(path):
    for program, flags in commands(path):
        if not program.startswith(("experiments.", "benchmarks.", "tests.")):
            continue
        if program == "experiments.NAME":
            continue
        assert importlib.util.find_spec(program), f"there is no {program}"
        if not program.startswith("experiments."):
            continue
        unknown = set(flags) - flags_of(program) - EVERYWHERE
        assert not unknown, f"{page_id(path)}: {program} has no {sorted(unknown)}"


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_targets_of_make_exist(path):
    makefile = (ROOT / "Makefile").read_text()
    quoted = re.findall(r"(?:^|`)make (?:\w+=\S+ )*([a-z-]+)", path.read_text(), re.M)
    for target in quoted:
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


def test_the_page_of_commands_explains_every_flag_of_a_distillation():
    text = (ROOT / "docs/commands.md").read_text()
    flags = flags_of("experiments.distill")
    assert len(flags) > 80
    missing = [name for name in sorted(flags) if f"`--{name}`" not in text]
    missing = [name for name in missing if f"`--{name}=" not in text]
    assert not missing, f"docs/commands.md does not explain {', '.join(missing)}"


def test_the_programs_of_the_readme_are_those_that_there_are():
    section = prose(README).split("## The programs")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.M)
    named = re.findall(r"`(\w+)`", " ".join(rows))
    programs = [
        path.stem
        for path in (ROOT / "experiments").glob("*.py")
        if '__name__ == "__main__"' in path.read_text()
    ]
    assert sorted(named) == sorted(programs)


def test_networks_and_scores_are_added_in_a_script(tmp_path, monkeypatch):
    page = ROOT / "docs/own_method.md"
    (block,) = (x for x in blocks(page, "python") if "NETS[" in x)
    for table, name in ((NETS, "tiny"), (SCORES, "brightness")):
        monkeypatch.setitem(table, name, None)  # and taken out again afterwards
    short = {k: v for k, v in SHORT.items() if k not in ("net", "width", "steps")}
    quick = functools.partial(jaxdd.distill, **short)
    monkeypatch.setattr(jaxdd, "distill", quick)
    namespace = {"jaxdd": jaxdd, "__name__": "script"}
    exec(compile(block, page.name, "exec"), namespace)
    config = namespace["tried"].summary["config"]
    assert (config["network"]["name"], config["score"]) == ("tiny", "brightness")

    path = tmp_path / "set.npz"
    namespace["tried"].save(path)
    (again,) = jaxdd.evaluate(path, num_eval=1).values()
    assert again.accuracy.n == 1
    with monkeypatch.context() as other_script:
        other_script.delitem(NETS, "tiny")
        with pytest.raises(jaxdd.UserError, match=r"'tiny', not a name in jaxdd\.NETS"):
            jaxdd.load(path)

    class OfThree(namespace["Tiny"]):
        num_classes: int = 3

    NETS["tiny"] = Builder(lambda classes: OfThree(), options={})
    with pytest.raises(jaxdd.UserError, match="for 2 samples of 10"):
        jaxdd.make_network("tiny", (8, 8, 1), 10)


@pytest.mark.slow
def test_a_method_from_pure_functions_beats_random_images():
    page = ROOT / "docs/own_method.md"
    namespace = {}
    for block in blocks(page, "python")[1:-1]:
        exec(compile(block, page.name, "exec"), namespace)
    assert namespace["synthetic"].images.shape == (10, 1, 8, 8, 1)
    gain = np.mean(namespace["accuracy"]) - np.mean(namespace["random"])
    assert gain > 5, f"{gain:.1f} points"
    result = namespace["result"]
    assert result.summary["config"]["objective"] == "moments"
    assert result.accuracy.mean - result.random.mean > 5, result
    followed = namespace["followed"]
    assert followed.summary["config"]["objective"] == "direction"
    assert followed.accuracy.mean - followed.random.mean > 5, followed


# --- The library and the notebooks ----------------------------------------------------


def test_every_public_name_exists_and_is_documented():
    for name in jaxdd.__all__:
        assert getattr(jaxdd, name).__doc__, f"jaxdd.{name} has no docstring"


def shortened(source, smaller):
    for usual, fewer in smaller.items():
        source = source.replace(usual, fewer)
    return source


# Of the usual tests the one that people begin with is a part.
ALL_NOTEBOOKS = [
    pytest.param(
        path,
        whole,
        id=f"{path.stem}-{'whole' if whole else 'short'}",
        marks=pytest.mark.slow,
    )
    for path in NOTEBOOKS
    for whole in (False, True)
]


@pytest.mark.parametrize(("path", "whole"), ALL_NOTEBOOKS)
def test_notebooks_run_from_top_to_bottom(path, whole, monkeypatch):
    # As the other tests: the programs of the last time.
    cache = str(jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", cache)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    notebook = nbformat.read(path, as_version=4)
    if not whole:
        monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
        text = "".join(cell.source for cell in notebook.cells)
        assert all(usual in text for usual in FEWER[path.stem])
        for cell in notebook.cells:
            cell.source = shortened(cell.source, FEWER[path.stem])
    client = NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3


def test_notebooks_are_stored_without_outputs():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), f"clear the outputs of {path.name}"
