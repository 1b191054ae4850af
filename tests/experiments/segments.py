"""Small runs in segments, one that is killed, and an evaluation by itself."""

from jaxdd.distillation import options, pieces
from jaxdd.evaluation import run as evaluate
from jaxdd.running import resume as runs
from jaxdd.running.schedule import Hooks
from tests.experiments.helpers import FOLLOWING, read_json
from tests.helpers import Killed

TINY = {
    "dataset": "digits",
    "method": "idc",
    "ipc": 3,
    "factor": 2,
    "net": "mlp",
    "width": 8,
    "tensors": "all",  # there are no convolutions
    "augmentation": "none",
    "pool_augmentation": "none+cutmix=0.5",
    "batch_real": 8,
    "batch_syn": 6,
    "matches": 2,
    "pool_samples": 16,
    "pool_batch": 8,
    "steps": 4,
    "num_eval": 2,
    "num_random": 5,
    "eval_epochs": 2,
    "eval_lr": 0.3,
    "eval_augmentation": "none+cutmix=0.5",
    "log_every": 1,
    "measure_every": 2,
    "save_every": 1,
}
# Of these flags those that DM has, too, which compiles in a fraction of the time.
SHARED = (
    "dataset", "ipc", "net", "width", "augmentation", "batch_real", "steps", "num_eval",
    "num_random", "eval_epochs", "eval_lr", "log_every", "measure_every", "save_every",
)  # fmt: skip
OF_DM = {
    **{name: TINY[name] for name in SHARED},
    "method": "dm",
    "eval_augmentation": "none",
}
SEGMENTS = {
    "segments": 2,
    "forgetting": "replay",
    "judges": 2,
    "judge_epochs": 3,
    "min_keep": 5,
}
TRAJECTORIES = {
    **FOLLOWING,
    "method": "datm",
    "ipc": 2,
    "bank_epochs": 3,
    "num_experts": 2,
    "gate": 100.0,  # so that nothing is left out by it
    "steps": 3,
    "eval_epochs": 2,
    "log_every": 1,
}


def config(workdir, base=TINY, **changes) -> options.Config:
    return options.Config(workdir=str(workdir), **{**base, **changes})


def assert_evaluates_by_itself(folder, tmp_path):
    """To the last bit, the random subsets beside it included."""
    asked = evaluate.Config(
        str(folder / "distilled.npz"), num_eval=2, workdir=str(tmp_path)
    )
    found, summary = (
        evaluate.run(asked)["mlp"].entry(),
        read_json(folder / "summary.json"),
    )
    assert found["distilled"] == found["stored"] == summary["distilled"]
    assert found["random"] == summary["random"]


def kill_in_segment(index, patch):
    """Die in the middle of a segment's steps, where a state was saved already."""
    original = pieces.Piece.hooks

    def hooks(piece, bar):
        found = original(piece, bar)

        def progress(step, loss, seconds):
            if piece.index == index and step >= 3:
                raise Killed

        return Hooks(found.measure, found.track, progress)

    patch.setattr(pieces.Piece, "hooks", hooks)
    patch.setattr(runs, "CHUNK_SECONDS", 0.0)
