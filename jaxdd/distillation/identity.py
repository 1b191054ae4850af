"""The identity of a run: which of its values make it this run and no other."""

from collections.abc import Mapping
from typing import Any

from jaxdd.data import normalisation
from jaxdd.data.problem import FORM, Problem
from jaxdd.devices import precision
from jaxdd.distillation.choices import Run
from jaxdd.distillation.options import FLAGS
from jaxdd.distillation.resolution import constants_of
from jaxdd.fields import flags_of, stored
from jaxdd.nets import NETS
from jaxdd.training.schedules import EvaluationSpec

# Values that alter no step: where things are, how far to go, what is measured on the
# way and at the end. A start may change them.
PLACES = ("workdir", "data_dir", "dataset", "subset", "scores", "constants", "stream",
          *FORM)  # fmt: skip
PACE = ("steps", "save_every", "log_every", "measure_every")
MEASURED = ("probes", "probe_steps", "probe_kinds", "sdc_share", "tensorboard",
            "num_eval", "num_random")  # fmt: skip
SCHEDULE = tuple(name for name in flags_of(EvaluationSpec) if name not in MEASURED)
# What the numbers in a summary depend on beside the set.
RESULT = ("probes", "probe_steps", "probe_kinds", "num_eval", "num_random", *SCHEDULE)


def identity(values: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """What of a run's values makes it this run and no other: all that alters a step.

    Data is known by its fingerprint and its normalisation, whatever it was read by; a
    bank by its digest, and scores from a file by what is in them (`sorting.sorted_real`
    compares that), never by a path. Where networks are trained by the evaluation's
    schedule during the run, to select the best set or to judge segments, the schedule
    counts.

    Args:
        values: as `resolve` gives them, or an earlier version of it; a value that a
            version did not have stands for its default.
        problem: the data of this start.
    """
    before = "sampling" not in values  # written by a version that had one way only
    others = {name: x for name, x in values.items() if name not in FLAGS}
    values = {"precision": precision.unspecified(), **values}
    values = {**others, **stored(Run, values)}
    if values["objective"] == "distribution" and _has_batch_norm(values["network"]):
        # Of real images, in batch norm: each class by itself then, all together now.
        values["statistics"] = "of each class" if before else "of all classes"
    if "normalisation" not in values:  # it followed from the name alone
        name, images = str(values["dataset"]), problem.splits.train.images
        affine = normalisation(name, images)
        values["normalisation"] = None if values["zca"] else constants_of(affine)
    free = {*PLACES, *PACE, *MEASURED, *SCHEDULE}
    if values["select"] == "validation":
        free -= {*SCHEDULE, "measure_every"}
    if values["segments"] != 1:
        free -= {*SCHEDULE}
        if values["judge_epochs"] is not None:
            free.add("eval_epochs")
    return {name: value for name, value in values.items() if name not in free}


def _has_batch_norm(network: Any) -> bool:
    """Whether options of `nets.make_network`, perhaps from a file, ask for it."""
    if not isinstance(network, dict) or network.get("name") not in NETS:
        return False
    return {**network, **NETS[network["name"]].fixed}.get("norm") == "batch"
