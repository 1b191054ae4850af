"""A whitened set without the matrices of its whitening, and made whole again."""

from dataclasses import replace

import numpy as np

from jaxdd.artifact.artifact import Artifact, is_finite
from jaxdd.artifact.given import Source, artifact_of
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.unfitted import Unfitted, unfitted
from jaxdd.data.zca import EPS
from jaxdd.errors import UserError
from jaxdd.modality import check_pixels


def slim(distilled: Source, eps: float = EPS) -> Artifact:
    """A whitened set that weighs what its images weigh.

    The matrices are left out, which follow from the training data: whoever evaluates
    the set has these, and `jaxdd.evaluate` and every program fit the matrices again.
    Pixels of 8 bits are stored instead, so that it can be looked at without the data.

    Args:
        distilled: a set of images, whitened whole or in blocks: its path, what
            `jaxdd.load` returns, or a result that has it.
        eps: by which it was whitened; every method of the library takes 0.1.

    Raises:
        UserError: it is no set, is not whitened or has no images, its eps was
            smaller, or the file cannot be read.

    Source: ours.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> from jaxdd.data import fit_zca
        >>> pixels = np.random.default_rng(0).random((2, 9, 4, 4, 1), np.float32)
        >>> whitening = fit_zca(pixels.reshape(-1, 4, 4, 1))
        >>> whole = replace(_example(), images=whitening.apply(pixels),
        ...                 preprocess=whitening)
        >>> slim(whole).is_slim, slim(whole).displayable().shape
        (True, (2, 9, 4, 4, 1))
    """
    artifact = artifact_of(distilled)
    if isinstance(artifact.preprocess, Unfitted):
        return artifact
    check_pixels("a slim set", artifact.images.shape[2:])
    known = unfitted(artifact.preprocess, eps)
    levels = None
    if artifact.space == "input":
        levels = _levels(artifact)
    return replace(artifact, preprocess=known, levels=levels)


def filled(artifact: Artifact, whitening: Preprocess) -> Artifact:
    """A slim set made whole; the only place where one is. Others are as they were.

    Args:
        artifact: the set.
        whitening: of the set's training data, `Unfitted.fit` of them.

    Raises:
        UserError: the whitening is another one than the set's, or does not fit the
            values of its images.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> filled(_example(), _example().fitted).is_slim
        False
    """
    if not isinstance(artifact.preprocess, Unfitted):
        return artifact
    artifact.preprocess.check(whitening)
    whole = replace(artifact, preprocess=whitening, levels=None)
    if not is_finite(whole):
        raise UserError(
            "the whitening of this slim set does not fit the values of its images: it "
            "may be damaged; copy it again"
        )
    if artifact.levels is not None:
        distance = np.abs(_levels(whole).astype(int) - artifact.levels)
        if distance.max() > 1:
            raise UserError(
                "the pictures of this slim set are not those of its images: it may be "
                "damaged; copy it again"
            )
    return whole


def _levels(artifact: Artifact) -> np.ndarray:
    """Pixels of 8 bits of a whole set."""
    return np.round(255 * artifact.displayable()).astype(np.uint8)
