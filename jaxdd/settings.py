"""One choice on every axis: the settings of a method, and the published recipes."""

from dataclasses import dataclass

DSA = "color_crop_cutout_flip_scale_rotate"


@dataclass(frozen=True)
class Settings:
    """One choice on every axis. Defaults are DC's; see `METHODS` for the others.

    Attributes:
        objective: "gradient", "contrastive" (gradients of all classes at once),
            "distribution" or "trajectory".
        source: "pool" (trained on the synthetic set between matches), "fresh" or
            "spans" (of experts' training; with the objective "trajectory").
        distance: of gradients, one of `primitives.DISTANCES`.
        features: of distribution matching, "last" or "all" blocks.
        augmentation: names joined by "_", as in `augment.dsa`, or "none"; Siamese in
            the match, per image in a pool's or student's training.
        batch_real: real samples per class and step.
        matches: steps per network of the pool.
        inner_epochs: epochs of training on the synthetic set between two matches.
        network_lr: of that training.
        warmup_networks, warmup_matches: as long as neither is over, the objective
            "contrastive" is "gradient": the first networks, and of each network the
            first matches.
        image_lr, image_momentum: SGD on the images.
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
        batch_syn: images per student step; None for the whole set.
        gradient: "exact" or "truncated" (TESLA's, without Hessian products).
        gate: largest matching loss that still updates anything; 0 for no gate.
        ema_decay: of the average of the images that is the result; 0 for none.
        mask: which parameters are matched: "none", "depth" or "loss".
        mask_ratio: share that the mask drops.
        mask_granularity: "scalar" or "layer".
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
    features: str = "last"
    augmentation: str = "none"
    batch_real: int = 256
    matches: int = 1
    inner_epochs: int = 1
    network_lr: float = 0.01
    warmup_networks: int = 0
    warmup_matches: int = 0
    image_lr: float = 0.1
    image_momentum: float = 0.5
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
    "dm": Settings(
        objective="distribution", source="fresh", augmentation=DSA, image_lr=1.0
    ),
    "mtt": _trajectory(),
    "ftd": _trajectory(ema_decay=0.999),
    "tesla": _trajectory(gradient="truncated"),
    "datm": _trajectory(labels="soft", label_lr=10.0, gate=1.0),
    # DATM with a mask; its curriculum belongs to the experts.
    "pad": _trajectory(labels="soft", label_lr=10.0, gate=1.0, mask="depth"),
}
