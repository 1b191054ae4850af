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

As a referee it compares several sets, random and selected real samples and all training
data, under hard, own and a teacher's labels, by one protocol (`jaxdd.referee`):

    python -m experiments.evaluate --artifact=A.npz,B.npz --teacher --select_lr=auto \\
        --baselines=random,herding,el2n_easy,full
"""

from experiments.console.flags import main
from experiments.planning import refereeing as planning
from jaxdd.evaluation import referee
from jaxdd.evaluation import run as evaluation
from jaxdd.evaluation.options import Config, is_asked, plain
from jaxdd.evaluation.result import Evaluation
from jaxdd.evaluation.verdict import Verdict

# Up to this many classes their accuracies are printed without --per_class.
FEW_CLASSES = 20


def run(config: Config) -> tuple[Evaluation, bool] | Verdict:
    """A referee's table where one is asked for; else the accuracies, and whether those
    of many classes are asked for."""
    if is_asked(config):
        return referee.run(config)
    return evaluation.run(plain(config)), config.per_class


def show(outcome: tuple[Evaluation, bool] | Verdict) -> None:
    """Print the table, or the accuracies, class by class too where they are few or
    asked for."""
    if isinstance(outcome, Verdict):
        print(outcome)
        return
    accuracies, per_class = outcome
    print(accuracies)
    first = next(iter(accuracies.values()))
    if per_class or len(first.classes.names) <= FEW_CLASSES:
        print(f"\n{accuracies.by_class()}")


if __name__ == "__main__":
    main(Config, run, show, planning.evaluation)
