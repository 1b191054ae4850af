"""The PyTorch reference's float64 numbers, stored so that tests need no PyTorch.

    python -m benchmarks.reference.expected      # or `make reference`

writes `expected.npz` anew where PyTorch is installed, after it has compared the numbers
with ours. `tests/benchmarks/test_expected.py` recomputes our side and compares it with
the file, and fails if the reference was changed after the file was written.
"""

import functools
import hashlib
import io
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import reference
from benchmarks.parts import draws
from benchmarks.parts.cases import Case
from benchmarks.reference import equality, races
from experiments.console.flags import main, option
from jaxdd import augment
from jaxdd.errors import UserError
from jaxdd.primitives import per_sample_gradient_norms
from jaxdd.primitives.losses import mean_loss
from jaxdd.primitives.trees import named_leaves
from jaxdd.progress import say
from jaxdd.storage.files import whole_file
from jaxdd.training.fit import Training, make_epochs
from jaxdd.types import Learner

FILE = Path(__file__).with_name("expected.npz")
# What computes the reference's numbers; any change of their code asks for new numbers.
SOURCES = ("augment", "matching", "network", "training", "trajectory")
# Relative, by L2 norm and array. Both sides compute in float64 and differ in the order
# of their sums: 3e-15 was the largest gap seen.
TOLERANCE = 1e-10

Numbers = dict[str, np.ndarray]

# A method with changes of its flags.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in reference.METHODS},
    "idc, three of the decoded images": ("idc", {"batch_syn": 3}),
    "mtt, minibatches": ("mtt", {"batch_syn": 3, "augmentation": "flip"}),
}
OPERATION_IMAGES = (2, 8, 8, 3)
NORMS, TRAINED = "gradient norms", "training steps"


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.reference.expected`."""

    out: str = option(str(FILE), "the file to write", kind="path")


def operation_name(operation: str, shared: bool) -> str:
    return f"{operation} {'shared' if shared else 'per image'}"


OPERATIONS = {
    operation_name(name, shared): (name, shared)
    for name in augment.OPS
    for shared in (True, False)
}
NAMES = (*METHODS, *OPERATIONS, NORMS, TRAINED)


def ours(name: str) -> Numbers:
    """Our numbers of one comparison, in float64.

    Args:
        name: one of `NAMES`.

    Returns:
        Arrays by name: "0/loss", "0/images" and perhaps "0/step_size" of the first draw
        of a method; "images" of an operation; "norms"; "0", "1", … for parameters.
    """
    with jax.enable_x64(True):
        if name in METHODS:
            return _of_draws(METHODS[name], equality.ours)
        if name in OPERATIONS:
            return _our_operation(*OPERATIONS[name])
        return _our_norms() if name == NORMS else _our_training()


def theirs(name: str) -> Numbers:
    """The reference's numbers of the same comparison, computed by PyTorch."""
    with jax.enable_x64(True):
        if name in METHODS:
            return _of_draws(METHODS[name], equality.theirs)
        if name in OPERATIONS:
            return _their_operation(*OPERATIONS[name])
        return _their_norms() if name == NORMS else _their_training()


def drawn(name: str) -> np.ndarray:
    """The random numbers of a method's comparison, as one vector.

    They are stored too, so that a change of the random numbers is told apart from a
    change of what is computed with them.
    """
    method, changes = METHODS[name]
    with jax.enable_x64(True):
        case = equality.tiny(method, **changes)
        of_key = draws.of_students if case.recipe.needs_experts else draws.of_classes
        parts: list[Any] = []
        for i in range(equality.DRAWS):
            for one in of_key(case, jax.random.key(i)):
                parts.append(one.rows)
                parts.extend(jax.tree.leaves([values for _, values in one.operations]))
                if isinstance(one, draws.ClassNumbers):
                    parts.append(jnp.sum(one.real, axis=(1, 2, 3)))
        return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in parts])


def _of_draws(
    chosen: tuple[str, dict[str, Any]], side: Callable[[Case], equality.Side]
) -> Numbers:
    method, changes = chosen
    evaluate = side(equality.tiny(method, **changes))
    numbers: Numbers = {}
    for i in range(equality.DRAWS):
        loss, gradients = evaluate(jax.random.key(i))
        numbers[f"{i}/loss"] = np.asarray(loss, np.float64)
        numbers |= {f"{i}/{field}": x for field, x in gradients.items()}
    return numbers


def _operation_images() -> jax.Array:
    return jnp.asarray(np.random.default_rng(2).normal(size=OPERATION_IMAGES))


def _our_operation(name: str, shared: bool) -> Numbers:
    images, pipeline, key = _operation_images(), augment.dsa(name), jax.random.key(1)
    if shared:
        (changed,) = augment.siamese(pipeline)(key, images)
    else:
        changed = augment.per_image(pipeline)(key, images)
    return {"images": np.asarray(changed)}


def _their_operation(name: str, shared: bool) -> Numbers:
    from benchmarks.reference import augment as operations
    from benchmarks.reference import network

    count, shape = (None if shared else OPERATION_IMAGES[0]), OPERATION_IMAGES[1:]
    sequence = [
        operations.Draw(n, jax.tree.map(network.tensor, x))
        for n, x in draws.operations(name, jax.random.key(1), shape, count)
    ]
    images = network.channels_first(_operation_images())
    return {"images": network.channels_last(operations.apply(sequence, images))}


def _training_case():
    case = equality.tiny("dc")
    return case, races.batch_of(case, 6)


def _our_norms() -> Numbers:
    case, batch = _training_case()
    compute = per_sample_gradient_norms(mean_loss(case.network))
    return {"norms": np.asarray(jax.jit(compute)(case.params, batch, {}))}


def _their_norms() -> Numbers:
    from benchmarks.reference import training

    norms = training.per_sample_norms(*races.given_to_reference(*_training_case()))
    return {"norms": norms.detach().cpu().numpy()}


RATE, MOMENTUM, DECAY, STEPS = 0.5, 0.9, 0.1, 2


def _our_training() -> Numbers:
    case, batch = _training_case()
    run = make_epochs(case.network, Training(1, momentum=MOMENTUM, weight_decay=DECAY))
    state, step = run.init(Learner(case.params, {})), jax.jit(run.step)
    for _ in range(STEPS):
        state = step(state, batch, RATE)
    return {
        name: np.asarray(x) for name, x in named_leaves(state.learner.params).items()
    }


def _their_training() -> Numbers:
    from benchmarks.reference import network, training

    case, batch = _training_case()
    params, images, labels = races.given_to_reference(case, batch)
    trainer = training.Trainer(params, RATE, momentum=MOMENTUM, decay=DECAY)
    for _ in range(STEPS):
        trainer.step(images, labels)
    return network.named(trainer.params, named_leaves(case.params))


def gap(numbers: Numbers, others: Mapping[str, np.ndarray]) -> float:
    """The largest relative difference of arrays with the same names.

    Raises:
        UserError: the names or the shapes differ.
    """
    if numbers.keys() != others.keys():
        raise UserError(
            f"the arrays {sorted(others)} were expected, not {sorted(numbers)}"
        )
    gaps = []
    for name, x in numbers.items():
        if x.shape != others[name].shape:
            raise UserError(
                f"{name} has shape {x.shape}, but {others[name].shape} was expected"
            )
        difference = np.linalg.norm(x - others[name])
        gaps.append(difference / np.linalg.norm(others[name]))
    return float(np.max(gaps))  # NaN where any is


def source_digest() -> str:
    """Of the reference's code, without comments, docstrings and layout."""
    text = [_code(Path(__file__).with_name(f"{name}.py")) for name in SOURCES]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def _code(path: Path) -> str:
    layout = (
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.COMMENT,
    )
    words, starts = [], True  # whether a statement starts here
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in layout:
            starts = starts or token.type != tokenize.COMMENT
            continue
        if not (starts and token.type == tokenize.STRING):
            words.append(token.string)
        starts = False
    # Python 3.12 cuts f-strings into tokens: without spaces inside, and with one brace
    # where the source has two.
    text = "".join("".join(words).split())
    return text.replace("{{", "{").replace("}}", "}")


@functools.cache
def stored(path: Path = FILE) -> dict[str, Numbers]:
    """The committed numbers by comparison, beside "draws" and "source"."""
    numbers: dict[str, Numbers] = {}
    with np.load(path, allow_pickle=False) as file:
        for entry in file.files:
            name, _, field = entry.partition("/")
            numbers.setdefault(name, {})[field] = file[entry]
    return numbers


def run(config: Config) -> list[str]:
    """Compute the reference's numbers, compare ours with them, and store them.

    Returns:
        Lines that say what was written.

    Raises:
        UserError: PyTorch is not installed, or the sides differ; nothing is written.
    """
    if not reference.installed():
        raise UserError("the reference needs PyTorch: run `make reference`")
    path = Path(config.out)
    arrays: Numbers = {"source/digest": np.array(source_digest())}
    largest = 0.0
    for name in NAMES:
        say(name)
        numbers = theirs(name)
        difference = gap(ours(name), numbers)
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name}: ours differs from the reference by {difference:.1e}, more "
                f"than {TOLERANCE:.0e}; {path.name} was not written"
            )
        largest = max(largest, difference)
        arrays |= {f"{name}/{field}": x for field, x in numbers.items()}
    arrays |= {f"draws/{name}": drawn(name) for name in METHODS}
    with whole_file(path, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return [
        f"{path.name}: {len(NAMES)} comparisons, {path.stat().st_size / 1000:.0f} kB",
        f"largest relative difference from ours: {largest:.1e}",
    ]


def show(lines: list[str]) -> None:
    print("\n".join(lines))


if __name__ == "__main__":
    # Half the time to compile; the numbers do not depend on it beyond rounding.
    jax.config.update("jax_disable_most_optimizations", True)
    main(Config, run, show)
