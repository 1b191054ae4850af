"""The flags of a distillation, and what is wrong with them."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from jaxdd import fields
from jaxdd.data.problem import DataFlags
from jaxdd.errors import UserError, check_integer, quoted
from jaxdd.evaluation.protocol import MIN_RANDOM
from jaxdd.experts import DTYPES
from jaxdd.fields import option
from jaxdd.methods import presets
from jaxdd.methods.presets import Preset
from jaxdd.methods.settings import METHODS
from jaxdd.modifiers import masks
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.modifiers.segments import sizes
from jaxdd.primitives import DISTANCES
from jaxdd.storage.paths import existing_file, shown
from jaxdd.synthetic.initial import INITIALS

# Whatever else --init is given is the path of a set.
INITIAL_CHOICES = (
    f"choose one of {', '.join(INITIALS)}, or give the path of a distilled.npz"
)
SELECTIONS = ("last", "validation")


@dataclass(frozen=True)
class Config(DataFlags):
    """Flags of `experiments.distill`. None stands for the preset's value."""

    workdir: str = option(..., "folder for results and checkpoints", kind="path")
    method: str = option("dsa", f"one of {', '.join(METHODS)}")
    ipc: int = option(1, "synthetic images per class")
    seed: int = option(0, "of everything random", kind="seed")
    validation: float = option(0.1, "share of train held out for selection; 0 for none")
    split_seed: int | None = option(
        None, "of that share; default: the seed", kind="seed"
    )
    select: str = option("last", "which set to keep: last, or best on validation")
    zca: bool | None = option(None, "ZCA whitening instead of normalisation")
    constants: str | None = option(
        None, "the dataset whose mean and deviation normalise; default: the method's"
    )
    steps: int | None = option(None, "updates of the images")
    init: str | None = option(
        None, f"initial images: {', '.join(INITIALS)}, or the path of a distilled.npz"
    )
    # The network.
    net: str = option("convnet", "network to match and evaluate with")
    width: int | None = option(None, "channels of the ConvNet")
    depth: int | None = option(None, "blocks of the ConvNet")
    norm: str | None = option(None, "instance, batch, layer, group or none")
    activation: str | None = option(None, "relu, leaky_relu, sigmoid or swish")
    pooling: str | None = option(None, "avg, max or none")
    # The match.
    distance: str | None = option(None, f"of gradients: {', '.join(DISTANCES)}")
    tensors: str | None = option(None, "whose gradients are matched: all or kernels")
    features: str | None = option(None, "of distribution matching: last or all blocks")
    augmentation: str | None = option(None, "names joined by _, or none")
    batch_real: int | None = option(None, "real samples per class and step")
    sampling: str | None = option(None, "of real samples: independent or passes")
    batch_syn: int | None = option(
        None, "synthetic images per student step, or class and match; default: all"
    )
    matches: int | None = option(None, "steps per network")
    inner_epochs: int | None = option(None, "epochs on the set between matches")
    network_lr: float | None = option(None, "learning rate of that training")
    network_momentum: float | None = option(None, "its momentum")
    network_decay: float | None = option(None, "its weight decay")
    pool_samples: int | None = option(None, "real samples between matches (idc)")
    pool_batch: int | None = option(None, "of that training")
    pool_augmentation: str | None = option(None, "of the training between matches")
    warmup_networks: int | None = option(None, "networks before contrastive matching")
    warmup_matches: int | None = option(None, "matches of a network before it")
    image_lr: float | None = option(None, "learning rate of the images")
    image_momentum: float | None = option(None, "momentum of the images")
    image_steps: str | None = option(None, "joint, or sequential over classes")
    # The decoder.
    factor: int | None = option(None, "tiles along each side of a stored image")
    formation: str | None = option(None, "of tiles: single, multi or bound")
    space: str | None = option(None, "of stored images: input or pixels")
    # Trajectories.
    labels: str | None = option(None, "hard, soft (learned) or teacher")
    label_lr: float | None = option(None, "learning rate of soft labels")
    label_momentum: float | None = option(None, "momentum of soft labels")
    step_size: float | None = option(None, "the student's learning rate at the start")
    step_size_lr: float | None = option(None, "learning rate of the step size")
    student_steps: int | None = option(None, "N, steps of a student")
    expert_epochs: int | None = option(None, "M, epochs that a student has to bridge")
    min_start: int | None = option(None, "first start epoch")
    first_start: int | None = option(None, "bound of the start epochs at step 0")
    max_start: int | None = option(None, "bound of the start epochs, exclusive")
    expansion: int | None = option(None, "step at which the bound is reached")
    gradient: str | None = option(None, "of the unroll: exact or truncated")
    gate: float | None = option(None, "largest loss that updates anything; 0 for none")
    ema_decay: float | None = option(None, "of the averaged images; 0 for none")
    # Experts.
    experts: str | None = option(
        None, "folder of a bank; default: WORKDIR/experts", kind="path"
    )
    num_experts: int | None = option(None, "experts of a bank made here")
    bank_epochs: int | None = option(None, "epochs of a bank made here")
    bank_dtype: str = option("float32", "of a bank made here: float32 or bfloat16")
    expert_lr: float | None = option(None, "learning rate of experts")
    expert_batch: int | None = option(None, "batch size of experts")
    gsam_rho: float | None = option(None, "radius of the experts' GSAM; 0 for SGD")
    gsam_alpha: float | None = option(None, "weight of GSAM's orthogonal part")
    # FIEX: which samples are in play.
    score: str | None = option(None, "sorts each class easy to hard, e.g. el2n")
    scores: str | None = option(None, "the same from a scores.npz", kind="path")
    drop_easiest: float | None = option(None, "share of each class that is left out")
    drop_hardest: float | None = option(None, "share of each class that is left out")
    init_ratio: float | None = option(
        None, "IR: the experts' share of a class at first"
    )
    add_end_epoch: int | None = option(None, "AEE: epoch from which they see all of it")
    removals: str | None = option(None, "EPOCH:SHARE,... of the easiest, or none")
    # FIEM: which parameters are matched.
    mask: str | None = option(None, f"one of {', '.join(masks.KINDS)}")
    mask_ratio: float | None = option(None, "share that the mask drops")
    mask_granularity: str | None = option(None, "scalar or layer")
    # D4A.
    segments: int | None = option(None, "pieces in which the set is distilled")
    forgetting: str | None = option(None, "term against it: none, proxy or replay")
    forgetting_weight: float | None = option(None, "its weight")
    judges: int | None = option(None, "networks that decide what the next piece sees")
    judge_epochs: int | None = option(None, "of their training; default: eval_epochs")
    min_keep: int | None = option(None, "samples of a class that are kept at least")
    segment_experts: int | None = option(None, "short runs on the kept samples")
    segment_epochs: int | None = option(None, "epochs of each short run")
    # SDC.
    sdc_weight: float = option(0.0, "weight of the difficulty correction, any sign")
    sdc_norm: str = option("mean", "mean (of the gradient) or per_sample")
    sdc_at: str = option("start", "start, or path along a student")
    sdc_schedule: str = option("constant", "constant, linear or log")
    sdc_horizon: int | None = option(None, "step at which a rising weight arrives")
    sdc_relative: bool = option(False, "weight in units of the matching loss")
    sdc_share: bool = option(True, "log the term's share in the image gradient")
    # Evaluation and records.
    num_eval: int = option(5, "fresh networks of the final evaluation")
    num_random: int = option(10, "random real subsets to compare with, at least 5")
    eval_epochs: int | None = option(None, "epochs of the evaluation")
    eval_lr: float | None = option(
        None, "its learning rate; default 0.01, or the learned step size"
    )
    eval_batch: int | None = option(None, "batch size of the evaluation")
    eval_schedule: str | None = option(None, "of its learning rate: dc or idc")
    eval_augmentation: str | None = option(None, "of the evaluation's training")
    probes: int = option(5, "networks at which difficulty is measured")
    probe_steps: int = option(100, "SGD steps that they are trained on real data")
    log_every: int = option(10, "steps between lines of metrics.jsonl")
    measure_every: int | None = option(None, "steps between difficulty measurements")
    save_every: int = option(50, "steps between checkpoints")


POSITIVE = (
    "ipc", "steps", "width", "depth", "batch_real", "matches", "inner_epochs",
    "network_lr", "image_lr", "label_lr", "step_size", "student_steps",
    "expert_epochs", "first_start", "max_start", "batch_syn", "num_experts",
    "bank_epochs", "expert_lr", "expert_batch", "sdc_horizon", "num_eval",
    "eval_epochs", "eval_lr", "eval_batch", "probes", "probe_steps", "log_every",
    "measure_every", "save_every", "pool_samples", "pool_batch", "factor", "segments",
    "judges", "judge_epochs", "min_keep", "segment_experts", "segment_epochs",
)  # fmt: skip
NOT_NEGATIVE = (
    "warmup_networks", "warmup_matches", "step_size_lr", "label_momentum",
    "image_momentum", "network_momentum", "network_decay", "min_start", "expansion",
    "gate", "ema_decay", "gsam_rho", "gsam_alpha",
)  # fmt: skip


# Flags that only some methods have a use for.
OF_GRADIENTS = ("distance", "tensors")
OF_FEATURES = ("features",)
OF_SAMPLES = ("batch_real", "sampling")
OF_NETWORKS = (
    "matches", "network_lr", "network_momentum", "network_decay", "pool_augmentation",
)  # fmt: skip
OF_POOL = ("inner_epochs",)
OF_REAL_POOL = ("pool_samples", "pool_batch")
OF_SEGMENTS = (
    "forgetting", "forgetting_weight", "judges", "judge_epochs", "min_keep",
    "segment_experts", "segment_epochs",
)  # fmt: skip
OF_TRAJECTORIES = (
    "step_size", "step_size_lr", "student_steps", "expert_epochs", "min_start",
    "first_start", "max_start", "expansion", "gradient",
)  # fmt: skip


def check(config: Config) -> None:
    """Refuse numbers that make no sense, before anything is read or written."""
    fields.check(config)
    for names, smallest, what in ((POSITIVE, 1e-300, "positive"),
                                  (NOT_NEGATIVE, 0, "at least 0")):  # fmt: skip
        for name in names:
            value = getattr(config, name)
            if value is not None and value < smallest:
                raise UserError(f"--{name} must be {what}, not {value}")
    if config.ema_decay is not None and config.ema_decay >= 1:
        raise UserError(f"--ema_decay must be below 1, not {config.ema_decay}")
    if config.num_random < MIN_RANDOM:
        raise UserError(
            f"--num_random must be at least {MIN_RANDOM}, not {config.num_random}"
        )
    if config.init not in (None, *INITIALS):
        existing_file(config.init, "--init", INITIAL_CHOICES)
    if config.bank_dtype not in DTYPES:
        raise UserError(
            f"--bank_dtype must be {' or '.join(DTYPES)}, not "
            f"{quoted(config.bank_dtype)}"
        )
    if config.select not in SELECTIONS:
        raise UserError(
            f"unknown --select={quoted(config.select)}: choose one of "
            f"{', '.join(SELECTIONS)}"
        )
    if config.select == "validation" and config.validation == 0:
        raise UserError(
            "--select=validation needs validation data: leave out --validation=0"
        )
    if config.score is not None and config.scores is not None:
        raise UserError("--score and --scores exclude each other: give one of them")
    found = preset_of(config)
    if config.constants is not None and whitened(config, found):
        raise UserError(
            "--constants normalise images, and these are whitened: leave it out, or "
            "add --nozca"
        )
    _check_axes(config, found)
    _check_segments(config, found)
    _check_window(config, found)
    _check_mask(config, found)


def preset_of(config: Any, dataset: str | None = None) -> Preset:
    """The published settings that flags refer to.

    Args:
        config: the flags.
        dataset: its name where the data are known; by default --dataset.
    """
    net = config.net
    if config.norm == "batch" and not net.endswith("_bn"):
        net = f"{net}_bn"  # the same network under its other name
    name = config.dataset if dataset is None else dataset
    return presets.preset(config.method, name, config.ipc, config.factor, net)


def whitened(config: Any, preset: Preset) -> bool:
    """Whether images are ZCA-whitened: as --zca says, or the method's preset."""
    return preset.zca if config.zca is None else config.zca


def _check_segments(config: Config, found: Preset) -> None:
    """Refuse segments that cannot be, and flags that are about none."""
    count = found.settings.segments if config.segments is None else config.segments
    sizes(config.ipc, count)
    if count == 1:
        for name in OF_SEGMENTS:
            if getattr(config, name) is not None:
                raise UserError(
                    f"--{name} is about segments: add e.g. --segments=2, or leave it "
                    "out"
                )
        return
    if config.init not in (None, *INITIALS):
        raise UserError(
            f"--init={shown(config.init)} is a whole set, and each of the {count} "
            "segments begins with images of its own: leave out --init, or use "
            "--segments=1"
        )
    if config.select == "validation":
        raise UserError(
            "--select=validation chooses among the steps of one run, and there are "
            f"{count} segments: use --select=last"
        )
    if found.experts is None:
        for name in ("segment_experts", "segment_epochs"):
            if getattr(config, name) is not None:
                raise UserError(
                    f"--{name} is about experts, which --method={config.method} has "
                    "not: leave it out"
                )
        return
    length = config.expert_epochs or found.settings.expert_epochs
    if config.segment_epochs is not None and config.segment_epochs < length:
        raise UserError(
            f"--segment_epochs={config.segment_epochs} is too few: a span has {length} "
            "epochs"
        )


def _check_axes(config: Config, found: Preset) -> None:
    """Refuse flags that the method has no use for, rather than ignore them."""
    bank = ("experts", "num_experts", "bank_epochs", "expert_lr", "expert_batch",
            "gsam_rho", "gsam_alpha", "init_ratio", "add_end_epoch",
            "removals")  # fmt: skip
    objective, source = found.settings.objective, found.settings.source
    for names, used, what in (
        (OF_GRADIENTS, objective in ("gradient", "contrastive"), "matching gradients"),
        (OF_FEATURES, objective == "distribution", "matching features"),
        (OF_SAMPLES, objective != "trajectory", "matching real samples"),
        (OF_NETWORKS, source in ("pool", "real_pool"), "networks in training"),
        (OF_POOL, source == "pool", "networks that are trained on the set"),
        (OF_REAL_POOL, source == "real_pool", "networks trained on real data"),
        (OF_TRAJECTORIES, objective == "trajectory", "matching trajectories"),
    ):
        for name in names:
            if getattr(config, name) is not None and not used:
                raise UserError(
                    f"--{name} is about {what}, which --method={config.method} does "
                    "without: leave it out"
                )
    if found.experts is not None:
        if config.experts is not None:
            for name in ("num_experts", "bank_epochs"):
                if getattr(config, name) is not None:
                    raise UserError(
                        f"--{name} is for a bank made here, and --experts names one: "
                        "give one of them"
                    )
        return
    for name in bank:
        if getattr(config, name) is not None:
            raise UserError(
                f"--{name} is about experts, which --method={config.method} has not; "
                "--drop_easiest and --drop_hardest choose its real samples"
            )
    if config.init == "correct":
        raise UserError(
            f"--init=correct needs experts, which --method={config.method} has not: "
            "use noise or real"
        )
    if config.labels not in (None, "hard"):
        raise UserError(
            f"--labels={config.labels} needs experts, which --method={config.method} "
            "has not: use hard"
        )


def _check_window(config: Config, found: Preset) -> None:
    """Refuse impossible windows, and a sorting that nothing is left out by."""
    base = Curriculum() if found.experts is None else found.experts.curriculum
    if curriculum_of(config, base) != Curriculum():
        return
    for name in ("score", "scores"):
        if getattr(config, name) is not None:
            raise UserError(
                f"--{name} sorts the samples, but nothing is left out by that order: "
                "add e.g. --drop_hardest=0.2"
            )


def _check_mask(config: Config, found: Preset) -> None:
    """Refuse impossible masks, and half of the flags of one."""
    pick = lambda flag, usual: usual if flag is None else flag
    kind = pick(config.mask, found.settings.mask)
    ratio = pick(config.mask_ratio, found.settings.mask_ratio)
    granularity = pick(config.mask_granularity, found.settings.mask_granularity)
    masks.make_mask(kind, ratio, granularity)
    asked = config.mask not in (None, "none") and config.mask_ratio is None
    if asked and ratio == 0:
        raise UserError(
            f"--mask={kind} drops nothing so far: add e.g. --mask_ratio=0.25"
        )
    if kind == "none" and (config.mask_ratio or config.mask_granularity):
        raise UserError(
            "--mask_ratio and --mask_granularity need a mask: add --mask=depth or loss"
        )


def parse_removals(text: str) -> tuple[tuple[int, float], ...]:
    """ "40:0.1,60:0.2" to ((40, 0.1), (60, 0.2)); "" and "none" to ()."""
    if text in ("", "none"):
        return ()
    try:
        pairs = [part.split(":") for part in text.split(",")]
        removals = tuple((int(epoch), float(share)) for epoch, share in pairs)
    except ValueError as error:
        raise UserError(
            f"--removals must be EPOCH:SHARE pairs joined by commas, not {quoted(text)}"
        ) from error
    for epoch, _ in removals:
        check_integer("an epoch of --removals", epoch)
    return removals


def curriculum_of(config: Any, base: Curriculum) -> Curriculum:
    """The preset's curriculum with the flags that were given."""
    names = ("init_ratio", "add_end_epoch", "drop_easiest", "drop_hardest")
    given = {n: getattr(config, n) for n in names if getattr(config, n) is not None}
    if config.removals is not None:
        given["removals"] = parse_removals(config.removals)
    return dataclasses.replace(base, **given)
