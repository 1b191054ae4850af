"""One choice on every axis: the settings of a method, and the published recipes."""

from dataclasses import dataclass

DSA = "color_crop_cutout_flip_scale_rotate"


@dataclass(frozen=True)
class Settings:
    """One choice on every axis. Defaults are DC's; see `METHODS` for the others.

    Attributes:
        objective: "gradient", "contrastive" (gradients of all classes at once),
            "distribution" or "trajectory".
        source: "pool" (trained on the synthetic set between matches), "real_pool" (on
            real data), "fresh" or "spans" (of experts' training; with the objective
            "trajectory").
        distance: of gradients, one of `primitives.DISTANCES`.
        tensors: which gradients are matched, "all" or "kernels" of convolutions.
        features: of distribution matching, "last" or "all" blocks.
        augmentation: of the match, names joined by "_" as in `augment.pipeline`, or
            "none"; Siamese between real and synthetic samples, per image for students.
        pool_augmentation: of a pool's training, as in `augment.training`; None for the
            same as the match's.
        batch_real: real samples per class and step.
        sampling: how they are drawn: "independent", anew in every step, or in "passes"
            over a class, each in a new random order (IDC).
        matches: steps per network of the pool.
        inner_epochs: epochs of training on the synthetic set between two matches.
        network_lr, network_momentum, network_decay: of that training; the last is the
            weight decay.
        pool_samples, pool_batch: of a "real_pool", samples between two matches and per
            minibatch.
        warmup_networks, warmup_matches: as long as neither is over, the objective
            "contrastive" is "gradient": the first networks, and of each network the
            first matches.
        image_lr, image_momentum: SGD on the images.
        image_steps: "joint", one update of all classes; "sequential", as if classes
            were updated one after another by one optimiser (IDC).
        space: in which images are stored, "input" of the network or "pixels", where
            they are clipped to [0, 1] whenever a network is new (IDC).
        factor, formation: of `decoders.Formation`.
        labels: "hard", "soft" (learned logits) or "teacher" (the sampled target's
            probabilities, anew in every step).
        label_lr, label_momentum: SGD on the label logits.
        step_size: the student's learning rate at the start.
        step_size_lr: SGD with momentum 0.5 on it; 0 keeps it.
        student_steps: N, steps of a student.
        expert_epochs: M, epochs that a span covers.
        min_start, first_start, max_start, expansion: the start epochs, see
            `learners.StartEpochs`; first_start None for a constant range, max_start
            None where it is left to the length of the bank.
        batch_syn: synthetic images per student step, or per class and match; None for
            all of them.
        gradient: "exact" or "truncated" (TESLA's, without Hessian products).
        gate: largest matching loss that still updates anything; 0 for no gate.
        ema_decay: of the average of the images that is the result; 0 for none.
        mask: which parameters are matched: "none", "depth" or "loss".
        mask_ratio: share that the mask drops.
        mask_granularity: "scalar" or "layer".
        segments: D4A, see `segments`; 1 distils in one piece.
        forgetting, forgetting_weight: its term, "none", "proxy" or "replay".
        judges: networks that decide which samples a segment leaves to the next ones.
        min_keep: samples of a class that are kept at least, the hardest.
        segment_experts, segment_epochs: of the short expert runs on kept samples; None
            for the bank's number and for just one span.
        sdc_weight: weight of the difficulty correction; 0 leaves it out.
        sdc_norm: "mean" or "per_sample".
        sdc_at: "start", or "path" along an unrolled student.
        sdc_schedule: "constant", "linear" or "log".
        sdc_horizon: step at which a rising schedule arrives.
        sdc_relative: measure the weight in units of the matching loss.
    """

    objective: str = "gradient"
    source: str = "pool"
    distance: str = "ours"
    tensors: str = "all"
    features: str = "last"
    augmentation: str = "none"
    pool_augmentation: str | None = None
    batch_real: int = 256
    sampling: str = "independent"
    matches: int = 1
    inner_epochs: int = 1
    network_lr: float = 0.01
    network_momentum: float = 0.0
    network_decay: float = 0.0
    pool_samples: int = 500
    pool_batch: int = 64
    warmup_networks: int = 0
    warmup_matches: int = 0
    image_lr: float = 0.1
    image_momentum: float = 0.5
    image_steps: str = "joint"
    space: str = "input"
    factor: int = 1
    formation: str = "single"
    labels: str = "hard"
    label_lr: float = 0.0
    label_momentum: float = 0.9
    step_size: float = 0.01
    step_size_lr: float = 0.0
    student_steps: int = 20
    expert_epochs: int = 3
    min_start: int = 0
    first_start: int | None = None
    max_start: int | None = 25
    expansion: int = 0
    batch_syn: int | None = None
    gradient: str = "exact"
    gate: float = 0.0
    ema_decay: float = 0.0
    mask: str = "none"
    mask_ratio: float = 0.0
    mask_granularity: str = "scalar"
    segments: int = 1
    forgetting: str = "none"
    forgetting_weight: float = 1.0
    judges: int = 3
    min_keep: int = 10
    segment_experts: int | None = None
    segment_epochs: int | None = None
    sdc_weight: float = 0.0
    sdc_norm: str = "mean"
    sdc_at: str = "start"
    sdc_schedule: str = "constant"
    sdc_horizon: int = 1000
    sdc_relative: bool = False


def _trajectory(**changes) -> Settings:
    """MTT's defaults (official code), changed."""
    base = {
        "objective": "trajectory",
        "source": "spans",
        "augmentation": DSA,
        "image_lr": 1000.0,
        "step_size_lr": 1e-5,
    }
    return Settings(**{**base, **changes})


def _idc(**changes) -> Settings:
    """IDC's defaults (official code) where they do not depend on the dataset."""
    base = {
        "source": "real_pool",
        "distance": "mse",
        "tensors": "kernels",
        "augmentation": "idc:color_crop_cutout",
        "pool_augmentation": "idc:color_crop+cutmix=0.5",
        "batch_real": 64,
        "sampling": "passes",
        "batch_syn": 128,
        "matches": 100,
        "network_momentum": 0.9,
        "network_decay": 5e-4,
        "pool_samples": 2000,
        "image_lr": 5e-3,
        "image_steps": "sequential",
        "space": "pixels",
        "factor": 2,
    }
    return Settings(**{**base, **changes})


# The published methods. What depends on dataset and ipc is in `presets`.
METHODS: dict[str, Settings] = {
    "dc": Settings(),
    "dsa": Settings(augmentation=DSA),
    "dcc": Settings(objective="contrastive", warmup_networks=250, warmup_matches=10),
    "dsac": Settings(
        objective="contrastive",
        warmup_networks=250,
        warmup_matches=10,
        augmentation=DSA,
    ),
    "idc": _idc(),
    # IDC in segments; their number and the term are ours.
    "d4a": _idc(segments=5, forgetting="replay"),
    "dm": Settings(
        objective="distribution", source="fresh", augmentation=DSA, image_lr=1.0
    ),
    "mtt": _trajectory(),
    "ftd": _trajectory(ema_decay=0.999),
    # Half of the official rate: see `published.TESLA`.
    "tesla": _trajectory(gradient="truncated", image_lr=500.0),
    "datm": _trajectory(labels="soft", label_lr=10.0, gate=1.0),
    # DATM with a mask; its curriculum belongs to the experts.
    "pad": _trajectory(labels="soft", label_lr=10.0, gate=1.0, mask="depth"),
}
