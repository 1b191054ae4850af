"""From the flags of a distillation to its choices."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from jaxdd.data.problem import Scaling
from jaxdd.distillation.checks import check_run
from jaxdd.distillation.choices import Published, Run
from jaxdd.errors import UserError
from jaxdd.experts.recipe import Experts
from jaxdd.fields import Flag, config_class, flags_of, option, override, typed
from jaxdd.methods.presets import completed, preset, usual_network
from jaxdd.methods.published.crops import teacher
from jaxdd.methods.published.preset import Preset
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS

FLAGS = flags_of(Run)


def filled_by_preset(flag: Flag) -> bool:
    """Whether a flag that is not given has the value of a preset."""
    if flag.name == "net":
        return True
    counts = flag.name in ("num_eval", "num_random")
    return flag.path[0] in {part.name for part in fields(Preset)} and not counts


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What every configuration of a distillation has; its other fields are `FLAGS`."""

    workdir: str = option(
        ...,
        "folder for the results and checkpoints of the run",
        kind="path",
        often=True,
    )
    method: str = option(
        "dsa", f"distillation method: {', '.join(METHODS)}", often=True
    )

    if TYPE_CHECKING:  # the other fields are made below

        def __getattr__(self, name: str) -> Any: ...


Config = config_class(
    "Config",
    "Flags of `experiments.distill`. None stands for the preset's value.",
    (Flags,),
    Run,
    filled_by_preset,
)


def given(config: Flags) -> dict[str, Any]:
    """{flag: value} of the flags of a configuration that have a value."""
    values = {name: getattr(config, name) for name in FLAGS}
    return {name: value for name, value in values.items() if value is not None}


def check(config: Flags) -> None:
    """Refuse what makes no sense, before anything is read or written.

    Raises:
        UserError: with the flag, and what to do.
    """
    run_of(config.method, given(config))


def run_of(
    method: str | Recipe,
    flags: Mapping[str, Any],
    dataset: str | None = None,
    classes: int | None = None,
) -> Run:
    """All choices of a run.

    Args:
        method: a name in `METHODS`, or a recipe of your own.
        flags: {flag: value}; a value of None is not given.
        dataset: its name where the data are known; by default the flag's.
        classes: how many the data have, where they are known.

    Raises:
        UserError: there is no such flag, a value is impossible, the flag belongs to a
            choice that the method does without, or flags exclude each other.
    """
    if not isinstance(method, str | Recipe):
        kind = type(method).__name__
        parts = f": write Recipe({kind}(...))" if hasattr(method, "make") else ""
        raise UserError(f"method must be a name or a Recipe, not a {kind}{parts}")
    flags = {
        name: typed(FLAGS[name], value) if name in FLAGS else value
        for name, value in flags.items()
        if value is not None
    }
    who = f"--method={method}" if isinstance(method, str) else "this recipe"
    early = {n: v for n, v in flags.items() if FLAGS.get(n) and _is_early(n)}
    base = override(_without_flags(method, flags), early, who)
    chosen = _preset(method, flags, base, dataset, classes)
    data = base.data.dataset if dataset is None else dataset
    chosen = replace(chosen, experts=_experts(chosen, flags, data.partition(":")[0]))
    filled = {part.name: getattr(chosen, part.name) for part in fields(chosen)}
    epochs = None if chosen.experts is None else chosen.experts.epochs
    published = Published(chosen.length.steps, epochs)
    named = method if isinstance(method, str) else Run.method
    base = replace(base, **filled, method=named, published=published)
    run = override(base, flags, who)
    check_run(run, flags, who)
    return run


def _without_flags(method: str | Recipe, flags: Mapping[str, Any]) -> Run:
    """The choices that a preset depends on, as they are without flags."""
    recipe = METHODS.get(method) if isinstance(method, str) else method
    if recipe is None or "net" in flags:
        return Run()
    return Run(network=usual_network(recipe))


def _is_early(name: str) -> bool:
    """Whether a flag is about what a preset depends on, and not filled by it."""
    return FLAGS[name].path[:1] in (("task",), ("data",), ("network",))


def _preset(
    method: str | Recipe,
    flags: Mapping[str, Any],
    base: Run,
    dataset: str | None,
    classes: int | None,
) -> Preset:
    name = base.data.dataset if dataset is None else dataset
    if isinstance(method, Recipe):
        return completed(method, name)
    net = base.network.published_name
    return preset(method, name, base.task.ipc, flags.get("factor"), net, classes)


def _experts(chosen: Preset, flags: Mapping[str, Any], dataset: str) -> Experts | None:
    """The experts of a method, or the teacher that chooses its first images."""
    if chosen.recipe.needs_experts:
        return chosen.experts
    if flags.get("init", chosen.recipe.images.init) != "crops":
        return None
    return chosen.experts or teacher(dataset)


def scaling_of(run: Run, dataset: str) -> Scaling:
    """How the images of a dataset are normalised: its own constants have no name."""
    scaling = run.scaling
    if scaling.zca or scaling.constants == dataset.partition(":")[0]:
        blocks = scaling.zca_blocks if scaling.zca else None
        return Scaling(scaling.zca, blocks)
    return replace(scaling, zca_blocks=None)
