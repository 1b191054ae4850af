"""Train a teacher, one network with batch norm on real data, or import one.

    python -m experiments.teacher --dataset=digits --workdir=runs/teacher
    python -m experiments.teacher --dataset=folder:imagenet --image_size=224 \\
        --constants=imagenet --net=resnet18_imagenet --weights=resnet18.safetensors \\
        --workdir=runs/teacher

It is a bank of one expert with the running statistics of its batch norm beside it, of
which the accuracy on validation data is told. SRe2L and CDA make images from it, RDED
chooses crops by it, and all three label with it: `python -m experiments.distill
--experts=runs/teacher`, `python -m experiments.evaluate --teacher_bank=runs/teacher`.
"""

from typing import Any

from experiments.console.flags import main
from experiments.planning import plans as planning
from experiments.planning.estimate import Plan
from jaxdd.distillation.teachers import Config, TeacherFlags, bank_config, run
from jaxdd.errors import UserError


def show(summary: dict[str, Any]) -> None:
    reached = summary["accuracy"]
    print(
        f"the teacher reaches {reached['mean']:.2f} % on {reached['split']} data; "
        f"{summary['bytes'] / 1e6:.1f} MB"
    )


def plan(config: TeacherFlags) -> Plan:
    """What the training would need.

    Raises:
        UserError: nothing is trained.
    """
    if config.weights is not None:
        raise UserError(
            "--plan is about a training, and --weights imports a trained network: give "
            "one of them"
        )
    return planning.experts(bank_config(config))


if __name__ == "__main__":
    main(Config, run, show, plan)
