"""Options, choices and trees of them, with a toy program of two variants."""

import dataclasses
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import LARGEST_INTEGER, UserError
from jaxdd.fields import (
    LARGEST_SEED,
    Choice,
    FieldError,
    check,
    config_class,
    flags_of,
    flat,
    option,
    override,
    stored,
    understood,
    variant,
)


def parse_pairs(text: str) -> tuple[tuple[int, float], ...]:
    pairs = [pair.split(":") for pair in text.split(",")]
    return tuple((int(first), float(second)) for first, second in pairs)


@dataclass(frozen=True)
class Oven(Choice):
    name: ClassVar[str] = "oven"
    subject: ClassVar[str] = "baking"

    minutes: int = option(20, "minutes of baking", above=0)
    heat: float = option(180.0, "degrees", flag="oven_heat", at_least=50, below=300)


@dataclass(frozen=True)
class Pan(Choice):
    name: ClassVar[str] = "pan"
    subject: ClassVar[str] = "frying"
    remedy: ClassVar[str] = "add --stove=pan, or leave it out"

    minutes: int = option(5, "minutes of frying", above=0)
    oil: str = option("olive", "oil in the pan", choices=("olive", "palm"))


@dataclass(frozen=True)
class Steam(Choice):
    """A variant of one's own, which no flag knows."""

    name: ClassVar[str] = "steam"
    pressure: float = 1.5


@dataclass(frozen=True)
class Sauce(Choice):
    subject: ClassVar[str] = "sauce"

    amount: float = option(1.0, "spoons of sauce", flag="sauce", opens=True, closes=0.0)
    spicy: bool = option(False, "whether it is hot")


@dataclass(frozen=True)
class Topping(Choice):
    subject: ClassVar[str] = "a topping"

    kind: str = option(
        "nuts", "what lies on top", flag="topping", choices=("nuts", "mint"),
        opens=True, closes="none",
    )  # fmt: skip
    grams: int | None = option(None, "its weight", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "mint" and (self.grams or 0) > 10:
            raise UserError("over 10 grams of mint are too many")


@dataclass(frozen=True)
class Order(Choice):
    subject: ClassVar[str] = "the order"

    seed: int = option(0, "seed of the order", kind="seed")
    place: str | None = option(None, "where to", kind="path")
    source: str = option("garden", "where from", kind="dataset")
    pairs: tuple[tuple[int, float], ...] = option((), "A:B,...", parse=parse_pairs)


STOVES = {kind.name: kind for kind in (Oven, Pan)}


@dataclass(frozen=True)
class Dish:
    stove: Oven | Pan | Any = variant(Oven(), "how it is cooked", "stove", STOVES)
    sauce: Sauce | None = None
    topping: Topping | None = None
    order: Order = Order()


@dataclass(frozen=True)
class Menu:
    dish: Dish = field(default_factory=Dish)


# --- Flags of a tree ------------------------------------------------------------------


def test_flags_are_the_fields_of_all_variants():
    flags = flags_of(Menu)
    assert list(flags) == [
        "stove", "minutes", "oven_heat", "oil", "sauce", "spicy", "topping", "grams",
        "seed", "place", "source", "pairs",
    ]  # fmt: skip
    minutes, heat, stove = (flags[n] for n in ("minutes", "oven_heat", "stove"))
    assert (minutes.path, minutes.owners) == (("dish", "stove"), (Oven, Pan))
    assert (minutes.selector, minutes.group) == ("stove", "stove")
    assert (heat.owners, heat.field.name) == ((Oven,), "heat")
    assert (stove.path, stove.selector) == (("dish",), None)
    assert flags["grams"].path == ("dish", "topping")


def test_two_places_cannot_share_a_flag():
    @dataclass(frozen=True)
    class Twice:
        one: Sauce | None = None
        other: Sauce | None = None

    with pytest.raises(AssertionError, match="two places have the flag sauce"):
        flags_of(Twice)


# --- Values of a choice ---------------------------------------------------------------

# (flags that make room for it, flag, value, the sentence after its name)
IMPOSSIBLE = [
    ({}, "minutes", 0, "must be positive, not 0"),
    ({}, "minutes", 1.0, "must be an integer, not 1.0"),
    ({}, "minutes", True, "must be an integer, not True"),
    ({}, "minutes", [], "must be an integer, not []"),
    ({}, "minutes", LARGEST_INTEGER + 1,
     f"must lie between {-LARGEST_INTEGER} and {LARGEST_INTEGER}, not "
     f"{LARGEST_INTEGER + 1}: give a number that a run can reach"),
    ({}, "oven_heat", 300.0, "must be below 300, not 300.0"),
    ({}, "oven_heat", 49.0, "must be at least 50, not 49.0"),
    ({}, "oven_heat", float("nan"), "must be a finite number, not nan"),
    ({}, "oven_heat", 10**400,
     "must be a finite number, not a number of over 50 digits"),
    ({}, "oven_heat", "hot", "must be a number, not 'hot'"),
    ({"stove": "pan"}, "oil", "motor", "must be one of olive, palm, not 'motor'"),
    ({"stove": "pan"}, "oil", 5, "must be a text, not 5"),
    ({"sauce": 2}, "spicy", 1, "must be true or false, not 1"),
    ({"topping": "mint"}, "grams", 0, "must be positive, not 0"),
    ({}, "seed", LARGEST_SEED + 1,
     f"must lie between 0 and {LARGEST_SEED}, not {LARGEST_SEED + 1}"),
    ({}, "pairs", 5, "must be tuple[tuple[int, float], ...], not 5"),
    ({}, "pairs", ((1, ""),), "must be tuple[tuple[int, float], ...], not ((1, ''),)"),
]  # fmt: skip


@pytest.mark.parametrize(("room", "name", "value", "tail"), IMPOSSIBLE)
def test_an_impossible_value_is_refused_alike_in_python_and_by_flag(
    room, name, value, tail
):
    flag = flags_of(Menu)[name]
    owner = Pan if "stove" in room else flag.owners[0]
    with pytest.raises(FieldError) as by_field:
        owner(**{flag.field.name: value})
    assert str(by_field.value) == f"{owner.__name__}.{flag.field.name} {tail}"
    with pytest.raises(UserError) as by_flag:
        override(Menu(), {**room, name: value})
    assert str(by_flag.value) == f"--{name} {tail}"


# Values of no type that a flag has, of the wrong one, and some that fit one flag.
HOSTILE = [
    object(), [], ["a"], {}, (), (1,), 5, -1, 0, True, 1.5, float("nan"), float("inf"),
    10**400, "", "x", "a\0b", "9" * 500, b"x", ..., print, np.int64(3), np.float32(0.5),
    np.arange(2), Path("x"), 60.0, "pan", "palm", "mint",
]  # fmt: skip


@pytest.mark.parametrize("name", flags_of(Menu))
def test_every_value_is_taken_or_refused_in_a_sentence_that_names_the_flag(name):
    tree = Menu(Dish(stove=Pan() if name == "oil" else Oven()))
    # What a parser of texts raises is up to it.
    values = [x for x in HOSTILE if name != "pairs" or not isinstance(x, str | Path)]
    sentences = []
    for value in values:
        try:
            override(tree, {"sauce": 1, "topping": "nuts", name: value})
        except UserError as error:
            sentences.append(str(error))
    assert 5 < len(sentences) < len(values)
    for sentence in sentences:
        assert f"--{name}" in sentence
        assert len(sentence.splitlines()) == 1
        assert len(sentence) < 400


def test_numbers_of_numpy_and_jax_lists_and_paths_become_plain_values():
    """They may come from a loop over an array, and go into JSON."""
    flags = {
        "minutes": np.int64(7), "oven_heat": np.float64(99.5), "spicy": np.bool_(True),
        "sauce": jnp.float32(2), "pairs": [[1, 0.5], (2, 1)], "place": Path("here"),
    }  # fmt: skip
    values = flat(override(Menu(), flags))
    assert {name: values[name] for name in flags} == {
        "minutes": 7, "oven_heat": 99.5, "spicy": True, "sauce": 2.0,
        "pairs": ((1, 0.5), (2, 1)), "place": "here",
    }  # fmt: skip
    assert all(type(values[name]) in (int, float, bool, tuple, str) for name in flags)


def test_a_text_is_parsed_and_a_path_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    order = override(Order(), {"pairs": "1:0.5,2:1", "place": "~/x", "source": "npz:y"})
    assert order.pairs == ((1, 0.5), (2, 1.0))
    assert order.place == str(tmp_path / "x")
    assert order.source == "npz:y"
    for wrong in ({"place": "gs://bucket"}, {"source": "folder:~nosuchuser/x"}):
        with pytest.raises(UserError):
            override(Order(), wrong)


# --- override -------------------------------------------------------------------------


def test_only_the_given_fields_change():
    menu = Menu()
    assert override(menu, {}) is menu
    assert override(menu, {"minutes": None, "sauce": None}) is menu
    assert override(menu, {"stove": "oven"}) is menu
    menu = override(Menu(), {"minutes": 7, "seed": 3})
    assert menu == Menu(Dish(stove=Oven(minutes=7), order=Order(seed=3)))
    with pytest.raises(UserError, match="no keyword 'minuts': minutes is meant"):
        override(Menu(), {"minuts": 3})
    with pytest.raises(UserError, match="no keyword 'qqqq': help and"):
        override(Menu(), {"qqqq": 3})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"oil": "palm"}, "--oil is about frying, which my dish does without: add "
                          "--stove=pan, or leave it out"),
        ({"stove": "pan", "oven_heat": 60.0}, "--oven_heat is about baking, which my "
                                              "dish does without: leave it out"),
        ({"spicy": True}, "--spicy is about sauce, which my dish does without: leave "
                          "it out"),
        ({"sauce": 0, "spicy": True}, "--spicy is about sauce"),
        ({"topping": "none", "grams": 3}, "--grams is about a topping"),
        ({"stove": "fire"}, "--stove must be one of oven, pan, not 'fire'"),
        ({"topping": "dust"}, "--topping must be one of none, nuts, mint, not 'dust'"),
    ],
)  # fmt: skip
def test_a_flag_of_an_absent_choice_is_refused(given, sentence):
    with pytest.raises(UserError) as error:
        override(Menu(), given, "my dish")
    assert str(error.value).startswith(sentence)


def test_flags_open_and_close_choices_at_once():
    hot = override(Menu(), {"sauce": 2.0, "spicy": True})
    assert hot.dish.sauce == Sauce(2.0, True)
    assert override(hot, {"spicy": False}).dish.sauce == Sauce(2.0, False)
    assert override(hot, {"sauce": 0.0}) == Menu()
    assert override(hot, {"sauce": 0}) == Menu()
    assert override(Menu(), {"sauce": 0.0, "topping": "none"}) == Menu()
    with pytest.raises(UserError, match="--sauce must be a number, not False"):
        override(hot, {"sauce": False})  # which equals the closing value
    # Choices are checked as a whole, so that no order of flags matters.
    nuts = override(Menu(), {"topping": "nuts", "grams": 50})
    mint = override(nuts, {"topping": "mint", "grams": 5})
    assert mint.dish.topping == Topping("mint", 5)
    with pytest.raises(UserError, match="too many"):
        override(nuts, {"topping": "mint"})
    fried = override(Menu(), {"stove": "pan", "oil": "palm", "minutes": 2})
    assert fried.dish.stove == Pan(2, "palm")
    assert override(fried, {"stove": "pan"}) is fried
    assert override(fried, {"stove": "oven"}).dish.stove == Oven()


# --- flat and stored ------------------------------------------------------------------


def test_flat_has_the_choices_that_are_there():
    assert flat(Menu()) == {
        "stove": "oven", "minutes": 20, "oven_heat": 180.0, "sauce": 0.0,
        "topping": "none", "seed": 0, "place": None, "source": "garden", "pairs": (),
    }  # fmt: skip
    full = flat(override(Menu(), {"stove": "pan", "sauce": 1, "topping": "mint"}))
    assert set(full) == set(flags_of(Menu)) - {"oven_heat"}
    assert (full["stove"], full["oil"], full["spicy"]) == ("pan", "olive", False)
    for given in ({}, {"stove": "pan", "sauce": 2, "grams": 3, "topping": "mint"}):
        menu = override(Menu(), given)
        assert override(Menu(), flat(menu)) == menu
    values = flat(Menu(Dish(stove=Steam(2.0))))
    assert values["stove"] == "steam"
    assert values["stove_fields"] == {"pressure": 2.0}
    assert "minutes" not in values


def test_stored_values_of_absent_choices_and_missing_ones():
    """As versions wrote them whose values were those of all variants."""
    for given in ({}, {"stove": "pan"}, {"sauce": 2.0, "topping": "mint"}):
        now = flat(override(Menu(), given))
        before = {"minutes": 9, "oven_heat": 60.0, "oil": "palm", "spicy": True,
                  "grams": 7, **now}  # fmt: skip
        assert stored(Menu, before) == now
    values = flat(override(Menu(), {"minutes": 9, "sauce": 2.0, "spicy": True}))
    for name in ("spicy", "minutes", "seed", "topping"):
        rest = {n: x for n, x in values.items() if n != name}
        usual = {"spicy": False, "minutes": 20, "seed": 0, "topping": "none"}[name]
        assert stored(Menu, rest) == {**values, name: usual}
    rest = {n: x for n, x in values.items() if n != "stove"}
    with_default = stored(Menu, rest)
    assert with_default["stove"] == "oven"


# --- Configurations -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Base:
    folder: str = option(..., "where", kind="path")


Config = config_class(
    "Config", "A program.", (Base,), Menu, lambda flag: flag.name == "minutes"
)


def test_a_configuration_has_a_field_per_flag():
    defaults = {f.name: f.default for f in fields(Config)}
    assert defaults.pop("folder") is dataclasses.MISSING
    assert set(defaults) == set(flags_of(Menu))
    assert defaults["minutes"] is None  # unset
    assert defaults["oven_heat"] == 180.0
    by_name = {f.name: f for f in fields(Config)}
    assert by_name["pairs"].type == str | None
    assert by_name["minutes"].metadata["group"] == "stove"
    assert by_name["stove"].metadata["help"] == "how it is cooked"
    chosen = config_class("C", "", (), Menu, lambda f: True, {"oven_heat": "heat"})
    assert [f.name for f in fields(chosen)] == ["heat"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"seed": -1}, "--seed must lie between 0"),
        ({"minutes": 2**40}, "--minutes must lie between"),
        ({"oven_heat": float("inf")}, "--oven_heat must be a finite number"),
        ({"minutes": "5"}, "--minutes must be an integer"),
        ({"place": 5}, "--place must be a path, not 5"),
        ({"source": 5}, "--source must be a text, not 5"),
        ({"place": "gs://bucket/x"}, "--place="),
    ],
)
def test_what_no_program_can_use_is_refused(wrong, sentence):
    config = replace(Config(folder="x"), **wrong)
    for function in (check, understood):
        with pytest.raises(UserError) as error:
            function(config)
        assert str(error.value).startswith(sentence)


def test_paths_are_understood_and_the_name_of_the_data_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = understood(Config(folder="~/out", source="folder:~/in"))
    assert config.folder == str(tmp_path / "out")
    assert config.source == "folder:~/in"
