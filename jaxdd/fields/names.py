"""What somebody means who gives a name that there is not."""

import difflib
from collections.abc import Collection, Mapping

from jaxdd.errors import UserError, quoted

# What the official codes call our flags: those of DC, DSA and DM, of IDC, of MTT, FTD
# and TESLA, and of DATM.
OFFICIAL: Mapping[str, str] = {
    "Iteration": "steps",
    "Momentum_y": "label_momentum",
    "alpha_max": "gsam_alpha",
    "buffer_path": "experts",
    "current_max_start_epoch": "first_start",
    "data_path": "data_dir",
    "decode_type": "formation",
    "dis_metric": "distance",
    "dsa_strategy": "augmentation",
    "epoch_eval_train": "eval_epochs",
    "expansion_end_epoch": "expansion",
    "inner_loop": "inner_epochs",
    "lr_img": "image_lr",
    "lr_lr": "step_size_lr",
    "lr_net": "network_lr",
    "lr_teacher": "step_size",
    "lr_y": "label_lr",
    "max_start_epoch": "max_start",
    "min_start_epoch": "min_start",
    "model": "net",
    "niter": "steps",
    "outer_loop": "matches",
    "pix_init": "init",
    "rho_max": "gsam_rho",
    "save_path": "workdir",
    "syn_steps": "student_steps",
    "train_epochs": "bank_epochs",
}


def meant(name: str, known: Collection[str]) -> str | None:
    """The known name that an unknown one stands for; None where none is near.

    Example:
        >>> meant("lr_img", ["image_lr", "ipc"]), meant("sdc_wieght", ["sdc_weight"])
        ('image_lr', 'sdc_weight')
        >>> meant("lr_img", ["ipc"]) is None
        True
    """
    official = OFFICIAL.get(name)
    if official in known:
        return official
    close = difflib.get_close_matches(name, known, 1)
    return close[0] if close else None


def unknown_keyword(name: str, known: Collection[str]) -> UserError:
    """The refusal of a keyword that there is not.

    Example:
        >>> print(unknown_keyword("lr_img", ["image_lr"]))
        there is no keyword 'lr_img': image_lr is meant?
    """
    near = meant(name, known)
    hint = f"{near} is meant?" if near else "help and docs/commands.md list them"
    return UserError(f"there is no keyword {quoted(name)}: {hint}")
