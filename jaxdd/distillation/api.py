"""`jaxdd.distill`: a whole run in one call."""

from pathlib import Path
from typing import Any

from jaxdd.calling import called
from jaxdd.data.accepted import as_problem_data
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.options import Config
from jaxdd.distillation.result import Result
from jaxdd.distillation.run import run_in, run_in_memory
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.fields import plain
from jaxdd.fields.keywords import takes
from jaxdd.methods.recipe import Recipe
from jaxdd.progress import Callback
from jaxdd.storage.paths import local_path


@takes(Config, without=("dataset", "method"))
def distill(
    data: Any,
    method: str | Recipe = "dsa",
    ipc: int = 1,
    *,
    workdir: str | Path | None = None,
    progress: Callback | None = None,
    seed: int = 0,
    **flags: Any,
) -> Result:
    """Distil a dataset into a few synthetic images per class, and measure the set.

    The same values give the same bits as `python -m experiments.distill`.

    Args:
        data: (images, labels), of which a fifth is held out for the test; (images,
            labels, test_images, test_labels); a `Dataset`; or a name, as `--dataset`
            takes it. Images may be vectors [n, F] as well, and with
            `modality="sequences"` sequences [n, L, C].
        method: a name in `METHODS`, or a recipe of your own.
        ipc: synthetic images per class.
        workdir: the folder of the run. The same call continues a stopped run there, and
            reads a finished one. Without it nothing is kept on disk; the experts of
            trajectory matching lie in a temporary folder meanwhile.
        progress: called with every event, such as `jaxdd.report.bar`; see
            `jaxdd.progress`.
        seed: of everything random.
        flags: every other flag of `experiments.distill`, such as `steps=300` or
            `sdc_weight=1.0`; what is left out is the method's published value, or what
            stands in where there is none, which is said. A tenth of the training data
            is held out unless `validation=0.0`. `jaxdd.keywords` lists them; `experts`
            may be what `jaxdd.train_experts` returns.

    Returns:
        The set, its accuracy beside random real subsets, and the course of the run.

    Raises:
        UserError: bad input, in one sentence.
        signals.Interrupted: a signal stopped the run, whose state a workdir keeps.

    Example:
        >>> import jaxdd
        >>> result = jaxdd.distill(
        ...     "digits", method="dm", ipc=1, steps=1, net="mlp", num_eval=1,
        ...     num_random=5, eval_epochs=1, probes=1, probe_steps=1)
        >>> result.displayable().shape
        (10, 1, 8, 8, 1)
    """
    with called(Config, progress, {"dataset": "data"}):
        if "dataset" in flags:
            raise UserError("the dataset is the first argument: leave out dataset=")
        # Of data by name it is a flag like others.
        if isinstance(flags.get("experts"), Bank):
            flags["experts"] = flags["experts"].folder
        modality = None if isinstance(data, str) else flags.pop("modality", None)
        dataset, name = as_problem_data(data, modality)
        flags = {**flags, "ipc": ipc, "seed": seed, "dataset": name}
        opened = open_run(method, flags, dataset=dataset)
        if workdir is None:
            outcome = run_in_memory(opened)
        else:
            folder = local_path(plain(workdir), "workdir")
            # A callback may go to another folder while the run lasts.
            outcome = run_in(folder.absolute(), opened, given=str(folder))
        return Result.of(outcome.artifact, outcome.metrics, outcome.summary)
