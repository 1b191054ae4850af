"""Pages: what they hold, that nothing of data becomes markup, that they stand alone."""

import dataclasses
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxdd.report import drawings, markdown, page
from jaxdd.report.run_page import run_page
from jaxdd.report.run_values import DifficultyPart, Run
from jaxdd.report.runs_page import Named, runs_page
from jaxdd.report.tiles import PER_CLASS, grid, png, shrunk
from tests.helpers import refused

HOSTILE = "</title><script src=http://x.org/a.js>\"'&\n\u202e"
VOID = {"meta", "link", "img", "path", "rect", "br"}
SECTIONS = (
    "Images",
    "Accuracy",
    "Course of the run",
    "Difficulty",
    "Segments",
    "Time and memory",
    "Load and evaluate it",
    "Configuration",
)


class Reader(HTMLParser):
    """Checks that elements are closed in order; collects addresses and headings."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.headings, self.tags = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = [name for name, _ in attributes]
        assert len(set(names)) == len(names), f"{tag} has an attribute twice"
        values = dict(attributes)
        self.addresses += [values[x] for x in ("src", "href") if x in values]
        if tag == "img":
            assert "alt" in values
        if values.get("role") == "img":
            assert values["aria-label"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def read(text):
    """A page that is well formed and stands alone."""
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert "script" not in reader.tags
    assert not [x for x in reader.addresses if not x.startswith(("data:", "./"))]
    style = text.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|://", style)
    return reader


def statistics(mean):
    return {"mean": mean, "std": 1.0, "n": 5}


def toy_run(names=("cat", "dog"), mean=50.0, **changes) -> Run:
    """A run with something in every section."""
    by_class = {"balanced": statistics(mean), "mean": [mean, None], "std": [1.0, None]}
    summary = {
        "distilled": statistics(mean),
        "random": statistics(40.0),
        "classes": {
            "names": list(names), "samples": [9, 0], "distilled": by_class,
            "random": by_class,
        },
        "difficulty": {
            "start": {"grad_norm": None, "percentile": None},
            "end": {"grad_norm": 0.5, "percentile": 50.0, "percentile_random": 3.0},
        },
        "segments": [{"size": 1, "kept": [4, 5], "right": 0.5, "forgotten": 0.0}],
        "seconds": 1.0, "warnings": [HOSTILE], "device": "cpu x1",
        "config": {"method": "dm", "network": {"name": "mlp"}, "steps": 3},
        "versions": {"jax": "0.10"},
    }  # fmt: skip
    rng = np.random.default_rng(0)
    difficulty = DifficultyPart(
        ("real_early", "random"), rng.random((2, 2)), rng.random((2, 30)),
        np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 0, 1, 1]),
        np.array([False, True, False, True]), np.linspace(100, 10, 10).tolist(),
    )  # fmt: skip
    metrics = [
        {"step": 0, "match": 3.0, "difficulty_percentile": 10.0},
        {"step": 1, "match": None, "sdc_share": 0.1, "step_size": 0.2, "extra": 1.0},
        {"step": 2, "match": 2.0, "difficulty_percentile": 12.0},
    ]
    run = Run(
        "DM on toys", "python -m experiments.distill --method=dm", "runs/x",
        rng.random((2, 1, 8, 8, 1)), summary, metrics, difficulty,
    )  # fmt: skip
    return dataclasses.replace(run, **changes)


def test_a_run_has_every_section_and_stands_alone():
    run = toy_run()
    text = run_page(run)
    reader = read(text)
    assert reader.headings == [run.title, *SECTIONS]
    for words in (
        "50.00 ± 1.00", "40.00 ± 1.00", "+10.00 points", "jaxdd.load(&#x27;runs/x/",
        "--artifact=runs/x/distilled.npz", "share of SDC",
        "The learning rate of the student", "by tenths of the test samples",
        "hardest real images of the class dog", "network.name", "extra",
        "prefers-color-scheme: dark", "@media print", "width=device-width",
    ):  # fmt: skip
        assert words in text, words
    assert text == run_page(toy_run())


def test_what_a_run_lacks_is_left_out_or_said():
    summary = dict(toy_run().summary)
    del summary["classes"], summary["versions"], summary["warnings"]
    bare = toy_run(
        summary={**summary, "segments": []}, difficulty=None, metrics=[], command=None
    )
    text = run_page(bare)
    assert "Segments" not in read(text).headings
    assert "Nothing was logged" in text
    assert "was not kept by this run" in text


def test_text_from_data_is_no_markup():
    run = toy_run(
        names=(HOSTILE, "dog"), title=HOSTILE, command=HOSTILE, workdir=HOSTILE,
        remarks=[HOSTILE],
    )  # fmt: skip
    metrics = [*run.metrics, {"step": 3, HOSTILE: 1.0}]
    config = {**run.summary["config"], HOSTILE: HOSTILE, "probe_kinds": HOSTILE}
    run = dataclasses.replace(
        run, metrics=metrics, summary={**run.summary, "config": config}
    )
    for text in (
        run_page(run),
        run_page(dataclasses.replace(run, difficulty=None)),
        runs_page([Named(HOSTILE, run, HOSTILE.replace("://", "")), Named("b", run)]),
        page.document(HOSTILE, "", [page.Section(HOSTILE, page.code(HOSTILE))]),
        page.document("x", markdown.html_of(f"| {HOSTILE[:20]} |\n|--|\n| <b> |"), []),
    ):
        assert "<script" not in text
        assert "\u202e" not in text
        read(text)


def test_two_runs_show_their_differences():
    other = toy_run(mean=53.0)
    config = {"method": "dsa", "network": {"name": "mlp"}, "steps": 3, "sdc_weight": 1}
    other = dataclasses.replace(other, summary={**other.summary, "config": config})
    named = [Named("a", toy_run()), Named("b", other, "b c/report.html")]
    text = runs_page(named)
    assert "./b%20c/report.html" in read(text).addresses
    assert "+3.00 ± 0.71" in text
    rows = re.search(r"<h2>What differs</h2>(.*?)</section>", text, re.S)[1]
    assert re.findall(r'<th scope="row">(.*?)</th>', rows) == ["method", "sdc_weight"]
    assert text == runs_page(named)
    same = runs_page([Named("a", toy_run()), Named("b", toy_run())])
    assert "The configurations do not differ." in same
    with refused("different names"):
        runs_page([Named("a", toy_run()), Named("a", other)])


def test_accuracies_on_other_data_have_no_difference():
    first, second = toy_run(), toy_run(mean=53.0)
    config = {**second.summary["config"], "fingerprint": "of other data"}
    other = dataclasses.replace(second, summary={**second.summary, "config": config})
    text = runs_page([Named("a", first), Named("b", other)])
    assert "+3.00" not in text
    assert "accuracies on different data cannot be compared" in text
    assert "cannot be compared" not in runs_page(
        [Named("a", first), Named("b", second)]
    )


def test_runs_are_compared_at_the_same_kind_of_networks():
    """A percentile at fresh networks is not one at trained networks."""
    first = toy_run()
    kept = dataclasses.replace(first.difficulty, kinds=("random", "real_early"))
    end = {"grad_norm": 1.0, "percentile": 3.0, "percentile_real_early": 77.0}
    summary = {**first.summary, "difficulty": {"start": end, "end": end}}
    other = dataclasses.replace(first, difficulty=kept, summary=summary)
    text = runs_page([Named("a", first), Named("b", other)])
    table = re.search(r"<h2>Accuracy</h2>.*?</table>", text, re.S)[0]
    assert re.findall(r">(50|3|77)<", table) == ["50", "77"]


# --- Parts ----------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_image(channels, tmp_path):
    image = np.arange(6 * channels, dtype=np.uint8).reshape(2, 3, channels) * 9
    (tmp_path / "x.png").write_bytes(png(image))
    with Image.open(tmp_path / "x.png") as decoded:
        assert np.array_equal(np.asarray(decoded).reshape(image.shape), image)


def test_large_images_are_averaged_and_odd_values_clipped():
    image = np.zeros((1, 200, 100, 5))
    image[0, :, :50] = 2.0
    image[0, 0, 99] = np.nan
    small = shrunk(image)
    assert small.shape == (1, 66, 33, 3)
    assert small[0, 0, 0].tolist() == [255] * 3
    assert small[0, 0, 32].tolist() == [0] * 3


def test_a_grid_shows_what_fits_and_says_so():
    many = np.zeros((3, PER_CLASS + 1, 4, 4, 1))
    rows, left_out = grid(many, ["a", "b", "c"])
    assert rows.count("<img") == 3 * PER_CLASS
    assert f"the first {PER_CLASS} of {PER_CLASS + 1} images" in left_out
    with refused("2 classes"):
        grid(many, ["a", "b"])


def test_a_line_is_interrupted_where_its_value_is_not_finite():
    ys = [1.0, math.nan, 2.0, 3.0]
    drawing = drawings.lines({"x": (range(4), ys)}, "step", "y", "caption")
    path = re.search(r'class="line s0" d="(.*?)"', drawing)[1]
    assert (path.count("M"), path.count("L")) == (2, 1)
    assert path.index("h4") < path.index("L")  # the point alone can be seen
    assert drawings.lines({"x": ([0], [math.inf])}, "step", "y", "caption") == ""
    with refused("one length"):
        drawings.lines({"x": ([0], [])}, "step", "y", "caption")


def test_far_values_have_a_logarithmic_axis_and_long_runs_few_points():
    ys = np.geomspace(1e-3, 1e3, 10_000)
    drawing = drawings.lines({"x": (np.arange(10_000), ys)}, "step", "y", "c", log=True)
    path = re.search(r'class="line s0" d="(.*?)"', drawing)[1]
    places = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", path), float)
    assert len(places) < 700
    slopes = np.diff(places[:, 1]) / np.diff(places[:, 0])
    assert np.allclose(slopes[1:-1].mean(), slopes[5:300].mean(), rtol=0.05)
    assert ">0.001<" in drawing or ">0.01<" in drawing


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-30, 1e30, 5.0])
def test_axes_of_constant_and_extreme_values(value):
    drawing = drawings.lines({"x": ([0, 1], [value] * 2)}, "s", "y", "c", log=True)
    assert "nan" not in drawing
    assert "nan" not in drawings.histogram([value] * 5, "x", {"set": value}, "c")


def test_bars_have_the_height_of_their_values():
    values = {"a": [0.0, 50.0, math.nan], "b": [100.0, 25.0, 0.0]}
    drawing = drawings.bars(["x", "y", "z"], values, "%", "c")
    heights = re.findall(r'class="f0".*?height="([\d.]+)"', drawing)
    field = drawings.HEIGHT - drawings.TOP - drawings.BOTTOM
    assert [float(x) / field for x in heights] == pytest.approx([0, 0.5], abs=1e-3)
    with refused("2 groups"):
        drawings.bars(["x", "y"], values, "%", "c")


def test_tables_need_a_cell_per_column_and_links_stay_near():
    with refused("2 columns"):
        page.table(["a", "b"], [["x"]])
    for target in ("http://x.org", "/etc/passwd"):
        with refused("beside it"):
            page.link(target, "x")
    assert 'href="./javascript%3Aalert"' in page.link("javascript:alert", "x")


def test_the_tables_of_comparisons_become_html():
    table = "| set | % |\n|---|---:|\n| a\\|b | **no** |\n"
    text = f"# T\n\n{table}\n- `x`\n- y\n\nOne\ntwo.\n"
    html = markdown.html_of(text)
    assert markdown.title_of(text) == "T"
    assert "<h3>" not in html
    assert '<th scope="row">a|b</th><td>no</td>' in html
    assert "<ul><li><code>x</code></li><li>y</li></ul>" in html
    assert "<p>One two.</p>" in html
    assert "<pre><code>a\n&lt;b</code></pre>" in markdown.html_of("```\na\n<b\n```")
