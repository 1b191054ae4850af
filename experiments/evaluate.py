"""Re-evaluate a distilled set from its file alone, on any network.

    python -m experiments.evaluate --artifact=runs/digits/distilled.npz \\
        --nets=convnet,mlp,resnet18 --num_eval=5

The protocol (schedule, augmentation, preprocessing, seeds) is the one stored in the
artifact, so its own network gives exactly the number measured when it was made, on the
same kind of device and versions. `evaluation.json` collects the results network by
network: those of other networks stay, and so do those of the same one under another
protocol, as its "earlier" ones.

With --test_dataset the set is measured on other data of the same classes. In Python,
`jaxdd.evaluate` does the same and writes nothing.
"""

from experiments.console.flags import main
from experiments.planning import plans as planning
from jaxdd.evaluation.result import Evaluation
from jaxdd.evaluation.run import Config, run

# Up to this many classes their accuracies are printed without --per_class.
FEW_CLASSES = 20


def evaluate(config: Config) -> tuple[Evaluation, bool]:
    """The accuracies, and whether those of many classes are asked for."""
    return run(config), config.per_class


def show(outcome: tuple[Evaluation, bool]) -> None:
    """Print the accuracies, class by class too where they are few or asked for."""
    evaluation, per_class = outcome
    print(evaluation)
    first = next(iter(evaluation.values()))
    if per_class or len(first.classes.names) <= FEW_CLASSES:
        print(f"\n{evaluation.by_class()}")


if __name__ == "__main__":
    main(Config, evaluate, show, planning.evaluation)
