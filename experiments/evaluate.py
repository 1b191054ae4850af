"""Re-evaluate a distilled set from its file alone, on any network.

    python -m experiments.evaluate --artifact=runs/digits/distilled.npz \\
        --nets=convnet,mlp,resnet18 --num_eval=5

The protocol (schedule, augmentation, preprocessing, seeds) is the one stored in the
artifact, so its own network gives exactly the number measured when it was made, on the
same kind of device and versions. `evaluation.json` collects the results network by
network: those of other networks stay, and so do those of the same one under another
protocol, as its "earlier" ones.

With --test_dataset the set is judged on other data of the same classes.
"""

from typing import Any

from experiments.console.flags import main
from experiments.planning import plans as planning
from jaxdd.evaluation.run import Config, run
from jaxdd.storage.paths import shown

# Up to this many classes their accuracies are printed unasked.
SHOWN_CLASSES = 20


def show(results: dict[str, Any], per_class: bool = False) -> None:
    """Print the accuracies, class by class too where they are few or asked for."""
    print(
        f"{'network':>12}  {'distilled':>15}  {'balanced':>8}  {'random':>15}  stored"
    )
    for net, found in results.items():
        cells = [f"{found[k]['mean']:.2f} ± {found[k]['std']:.2f}" for k in
                 ("distilled", "random")]  # fmt: skip
        balanced = found["classes"]["distilled"]["balanced"]["mean"]
        stored = found["stored"]
        tail = "-" if stored is None else f"{stored['mean']:.2f}"
        print(f"{net:>12}  {cells[0]:>15}  {balanced:>8.2f}  {cells[1]:>15}  {tail}")
    names = next(iter(results.values()))["classes"]["names"]
    if per_class or len(names) <= SHOWN_CLASSES:
        _show_classes(results, [shown(name) for name in names])


def _show_classes(results: dict[str, Any], names: list[str]) -> None:
    """One row per class, one column per network."""
    width = max(5, *(len(name) for name in names))
    print(
        f"\n{'class':>{width}}  {'samples':>7}" + "".join(f"  {n:>12}" for n in results)
    )
    samples = next(iter(results.values()))["classes"]["samples"]
    for k, name in enumerate(names):
        means = [x["classes"]["distilled"]["mean"][k] for x in results.values()]
        cells = [f"{'-':>12}" if x is None else f"{x:>12.2f}" for x in means]
        print(f"{name:>{width}}  {samples[k]:>7}  " + "  ".join(cells))


def _work(config: Config) -> tuple[dict[str, Any], bool]:
    return run(config), config.per_class


def _tell(outcome: tuple[dict[str, Any], bool]) -> None:
    show(*outcome)


if __name__ == "__main__":
    main(Config, _work, _tell, planning.evaluation)
