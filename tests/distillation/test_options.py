"""Flags of a distillation: all of them arrive, and unused ones are refused."""

import dataclasses
import itertools
from typing import Any

import pytest

from experiments.console.help import help_text
from jaxdd.data.problem import Scaling
from jaxdd.distillation.choices import Run
from jaxdd.distillation.options import FLAGS, Config, given, run_of
from jaxdd.errors import UserError
from jaxdd.fields import Flag, flags_of, flat, override, type_of
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.synthetic.crops import Crops

# Flags that create a choice, by the field that holds it.
OPENING: dict[str, dict[str, Any]] = {
    "sdc": {"sdc_weight": 1.0},
    "mask": {"mask": "loss", "mask_ratio": 0.5},
    "segments": {"segments": 2},
}
# What else a flag needs.
BESIDE: dict[str, dict[str, Any]] = {
    "add_end_epoch": {"init_ratio": 0.5, "add_end_epoch": 3},
    "init_ratio": {"init_ratio": 0.5, "add_end_epoch": 3},
    "score": {"drop_hardest": 0.2},
    "scores": {"drop_hardest": 0.2},
    "segment_epochs": {"expert_epochs": 1},
    "expansion": {"first_start": 2},
    "gsam_alpha": {"gsam_rho": 0.1},
    "ema_of": {"ema_decay": 0.9},
    "image_decay": {"image_optimizer": "adamw"},
    "image_horizon": {"image_schedule": "cosine"},
    "view_horizon": {"view_schedule": "cosine"},
    "least_steps": {"most_steps": 15},
    "zca_blocks": {"zca": True},
    **{name: {"init": "crops"} for name in flags_of(Crops)},
}
# Another value than the default, where the field does not say what may be given.
TEXTS = {
    "dataset": "npz:some.npz", "data_dir": "/data", "image_size": "16",
    "match_norm": "none", "match_activation": "swish",
    "norm": "batch", "activation": "swish", "pooling": "max", "augmentation": "flip",
    "pool_augmentation": "flip", "eval_augmentation": "flip", "init": "real",
    "constants": "cifar10", "score": "grand", "scores": "/scores.npz",
    "experts": "/bank", "label": "kind", "id_column": "id", "subset": "/index.json",
}  # fmt: skip
OTHERS = {
    **TEXTS,
    "validation": 0.3,
    "removals": "7:0.1",
    "sdc_at": "path",
    "probe_kinds": "random",
    "realism_score": "grad_norm",
}


def owned_by(recipe_or_run: Any, flag: Flag) -> bool:
    """Whether a tree has the choice of a flag."""
    choice = recipe_or_run
    for name in flag.path:
        choice = getattr(choice, name, None)
    return isinstance(choice, flag.owners)


def needed(flag: Flag) -> dict[str, Any]:
    """What a flag says of itself: the flags beside which it has an effect."""
    (owner, *_), needs = flag.owners, flag.field.metadata.get("beside", {})
    names = {
        x.name: x.metadata.get("flag") or x.name for x in dataclasses.fields(owner)
    }
    return {names[x]: values and values[0] for x, values in needs.items()}


def beside(name: str) -> dict[str, Any]:
    """Flags with which this one has something to act on, perhaps with itself."""
    needs = {x: value for x, value in needed(FLAGS[name]).items() if value is not None}
    opening = OPENING.get(FLAGS[name].group, {})
    return {"ipc": 4, **opening, **needs, **BESIDE.get(name, {})}


NEED_EXPERTS = ("labels", "sdc_at", "segment_experts", "segment_epochs", "init_ratio",
                "add_end_epoch", "removals")  # fmt: skip


# Flags that only these methods take, or whose companions do.
ONLY = {"calibration": ("ncfm",), "least_steps": ("frepo",),
        "view_horizon": ("sre2l",), "inner_lr": ("rcig",), "hessian_lr": ("rcig",),
        "min_warmup": ("rat_bptt",), "radius": ("rat_bptt",), "expansion": ("mtt",),
        "gsam_alpha": ("mtt",)}  # fmt: skip


def method_with(name: str) -> str:
    """The first method that takes a flag."""
    methods = ("mtt",) if name in NEED_EXPERTS else METHODS
    methods = ONLY.get(name, methods)
    return next(m for m in methods if owned_by(run_of(m, beside(name)), FLAGS[name]))


def another(name: str, value: Any) -> Any:
    """A possible value of a flag that is not this one."""
    rule = FLAGS[name].field.metadata
    choices = rule.get("selected_by") or rule.get("choices")
    if name in OTHERS:
        other = OTHERS[name]
    elif choices is not None:
        other = next(x for x in choices if x != value)
    elif type_of(FLAGS[name].field) is bool:
        other = not value
    elif type_of(FLAGS[name].field) is int:
        other = 3 if value is None else value + 1
    else:
        other = 0.375 if value is None else 0.5 * value + 0.125
    assert other != value
    return other


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_arrives_under_its_name(name):
    method, rest = method_with(name), beside(name)
    value = another(name, flat(run_of(method, rest))[name])
    run = run_of(method, {**rest, name: value})
    expected = ((7, 0.1),) if name == "removals" else value
    assert flat(run)[name] == expected
    config = Config(workdir="here", method=method, **{**rest, name: value})
    assert given(config)[name] == value
    assert run_of(method, given(config)) == run


def test_a_configuration_has_these_flags_and_no_others():
    by_name = {field.name: field for field in dataclasses.fields(Config)}
    assert set(by_name) == {*FLAGS, "workdir", "method"}
    for name, flag in FLAGS.items():
        # Either a preset decides, or the field's own default stands in --help.
        if by_name[name].default is not None:
            assert by_name[name].default == flag.field.default


@pytest.mark.parametrize("method", METHODS)
def test_a_configuration_without_flags_is_the_preset(method):
    config = Config(workdir="here", method=method, ipc=2)
    assert run_of(method, given(config)) == run_of(method, {"ipc": 2})


def test_every_flag_has_a_text_that_stands_alone():
    for name, flag in FLAGS.items():
        rule = flag.field.metadata
        text = rule.get("help") or rule["text"]
        assert len(text) > 6, name
        assert not text.startswith(("of ", "its ", "the same")), name


LACKING = [
    (name, method)
    for name, method in itertools.product(flags_of(Recipe), METHODS)
    if not owned_by(METHODS[method], flags_of(Recipe)[name])
]
OPENERS = {name for flags in OPENING.values() for name in flags} - {"mask_ratio"}


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in LACKING))
def test_a_flag_of_an_absent_choice_is_refused_by_name(name):
    """By the library, whatever the value; the remedy stands behind the colon."""
    for method in (method for flag, method in LACKING if flag == name):
        flag = flags_of(Recipe)[name]
        recipe, value = METHODS[method], another(name, flag.field.default)
        if name in OPENERS:
            assert owned_by(override(recipe, {name: value}), flag)
            continue
        for who, function in (
            ("this method", lambda m, flags: override(METHODS[m], flags)),
            (f"--method={method}", run_of),
        ):
            with pytest.raises(UserError) as error:
                function(method, {name: value})
            sentence = str(error.value)
            assert sentence.startswith(f"--{name} is about "), method
            assert f", which {who} does without: " in sentence
            assert sentence.endswith("leave it out")


CONDITIONAL = [(name, other) for name, flag in FLAGS.items() for other in needed(flag)]


@pytest.mark.parametrize(("name", "other"), CONDITIONAL)
def test_a_flag_without_effect_beside_the_others_is_refused(name, other):
    method, value = method_with(name), needed(FLAGS[name])[other]
    flags = {**beside(name), name: another(name, FLAGS[name].field.default)}
    run_of(method, flags)
    choices = FLAGS[other].field.metadata["choices"]
    values = FLAGS[name].field.metadata["beside"][FLAGS[other].field.name]
    without = {
        x: y
        for x, y in flags.items()
        if x == name or (x != other and not needed(FLAGS[x]))
    }
    if value is not None:  # a preset may have the right one
        without[other] = next(x for x in choices if x not in values)
    with pytest.raises(UserError) as error:
        run_of(method, without)
    missing = other if value is None else f"{other}={value}"
    assert str(error.value) == (
        f"--{name} has no effect here: add --{missing}, or leave it out"
    )


def test_flags_that_choices_are_made_by_are_known_to_have_no_effect():
    """A preset's own values are no flags, and stay beside any choice."""
    run = run_of("rat_bptt", {"policy": "fixed"}, "tiny_imagenet")
    assert flat(run)["policy"] == "fixed"
    assert flat(run_of("ftd", {"gsam_rho": 0.0}))["gsam_alpha"] > 0
    assert len({name for name, _ in CONDITIONAL}) >= 14


def lacks_experts(method):
    return run_of(method, {"ipc": 5}).experts is None


@pytest.mark.parametrize("name", [n for n, f in FLAGS.items() if f.group == "experts"])
def test_flags_of_experts_are_refused_without_them(name):
    for method in filter(lacks_experts, METHODS):
        with pytest.raises(UserError) as error:
            run_of(method, {name: another(name, FLAGS[name].field.default)})
        expected = f"--{name} is about experts, which --method={method} does without"
        assert str(error.value).startswith(expected)


WRONG_TYPES: dict[Any, list[Any]] = {
    int: ["3", 1.5, True, []],
    float: ["3", True, 10**400, {}],
    bool: [1, "true", 0.0],
    str: [5, b"x", ("none",)],
}


def impossible(flag: Flag) -> list[Any]:
    """Values that the field of a flag cannot have, of its type, by its own rules."""
    rule, kind = flag.field.metadata, type_of(flag.field)
    values = {int: [2**40], float: [float("nan"), float("inf")]}.get(kind, [])
    if rule["choices"] is not None:
        values += ["", "no such name"]
    if rule["above"] is not None:
        values += [kind(rule["above"]), kind(rule["above"] - 1)]
    if rule["at_least"] is not None:
        values += [kind(rule["at_least"] - 1)]
    if rule["below"] is not None:
        values += [kind(rule["below"]), kind(rule["below"] + 1)]
    if rule["at_most"] is not None:
        values += [kind(rule["at_most"] + 1)]
    if rule["kind"] == "seed":
        values += [-1]
    return values


RULED = [
    name
    for name, flag in FLAGS.items()
    if "help" in flag.field.metadata
    and flag.field.metadata["kind"] not in ("path", "dataset")
]


@pytest.mark.parametrize("name", RULED)
def test_impossible_values_are_refused_alike_in_python_and_by_flag(name):
    flag, method = FLAGS[name], method_with(name)
    is_size = flag.field.metadata["kind"] == "size"  # which numbers are, too
    wrong = [8.5, (1, 2, 3)] if is_size else WRONG_TYPES.get(type_of(flag.field))
    for value in wrong or [5, ((1, 2, 3),)]:
        with pytest.raises(UserError, match=f"^--{name} must be ") as by_flag:
            run_of(method, {**beside(name), name: value})
        assert len(str(by_flag.value).splitlines()) == 1
    for value in impossible(flag):
        with pytest.raises(UserError) as in_python:
            flag.owners[0](**{flag.field.name: value})
        with pytest.raises(UserError) as by_flag:
            run_of(method, {**beside(name), name: value})
        field = f"{flag.owners[0].__name__}.{flag.field.name} "
        assert str(in_python.value).startswith(field)
        assert str(by_flag.value).startswith(f"--{name} ")
        tail = str(by_flag.value).removeprefix(f"--{name} ")
        closing = flag.field.metadata["closes"]
        if isinstance(closing, str):  # a name that the flag takes beside the field's
            tail = tail.replace(f"{closing}, ", "", 1)
        assert tail == str(in_python.value).removeprefix(field)


@pytest.mark.parametrize(
    ("method", "flags", "sentence"),
    [
        ("dsa", {"select": "validation", "validation": 0.0}, "needs validation data"),
        ("mtt", {"constants": "cifar10", "zca": True}, "--constants normalise images"),
        ("dm", {"zca_blocks": 4}, "--zca_blocks says how --zca whitens"),
        ("dsa", {"removals": "4:0.1"}, "--removals is about experts"),
        ("dsa", {"init": "correct"}, "--init=correct needs experts"),
        ("dsa", {"labels": "soft"}, "--labels=soft needs experts"),
        ("mtt", {"experts": "x", "num_experts": 3}, "for a bank made here"),
        ("dsa", {"segments": 3, "ipc": 2}, "choose 1 to 2 segments"),
        ("dsa", {"segments": 2, "ipc": 2, "select": "validation"}, "there are 2 segm"),
        ("dsa", {"segments": 2, "ipc": 2, "segment_experts": 1}, "--segment_exp"),
        ("mtt", {"segments": 2, "ipc": 2, "segment_epochs": 1}, "a span has"),
        ("dsa", {"mask": "depth"}, "add e.g. --mask_ratio=0.25"),
        ("dsa", {"score": "el2n"}, "nothing is left out by that order"),
        ("dsa", {"score": "el2n", "scores": "x"}, "exclude each other"),
        ("dsa", {"init": "no/such/file"}, "--init"),
    ],
)
def test_flags_that_exclude_each_other(method, flags, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        run_of(method, flags)
    assert len(str(error.value).splitlines()) == 1


def test_a_recipe_of_ones_own_and_the_published_length():
    recipe = override(METHODS["dsa"], {"batch_real": 5, "sdc_weight": 2.0})
    run = run_of(recipe, {"ipc": 3, "image_lr": 0.5})
    assert run.recipe == override(recipe, {"image_lr": 0.5})
    assert (run.length.steps, run_of(recipe, {}, "mnist").length.steps) == (300, 1000)
    assert run.scaling == Scaling()
    with pytest.raises(UserError, match="which this recipe does without"):
        run_of(recipe, {"student_steps": 3})
    run: Run = run_of("dsa", {"steps": 5, "sdc_weight": 1.0})
    assert (run.length.steps, run.published.steps) == (5, 300)


def test_the_help_has_every_flag_below_its_subject():
    text = help_text("", Config, {})
    headings = [line for line in text.splitlines() if line and line[0] != " "]
    assert headings[0] == "Most needed:"
    assert "Match:" in headings
    assert "Flags:" not in headings  # what has no subject
