"""Data as a person hands it to a function: arrays, a `Dataset`, or a name."""

from typing import Any, TypeAlias

from jaxdd.data.checks import as_array, as_labels
from jaxdd.data.dataset import Dataset, from_arrays, validate
from jaxdd.data.splits import held_out_remark, with_test_split
from jaxdd.errors import UserError
from jaxdd.progress import say

# (images, labels), (images, labels, test_images, test_labels), a Dataset or a name.
Data: TypeAlias = tuple[Any, ...] | Dataset | str

_FORMS = (
    "give (images, labels), (images, labels, test_images, test_labels), a "
    "jaxdd.data.Dataset, or a name such as 'digits' or 'folder:PATH'"
)
_NAME = "arrays"


def as_problem_data(
    data: Any, modality: str | None = None
) -> tuple[Dataset | None, str | None]:
    """The dataset that a function was given, or its name.

    Reports what was left out or held out of a dataset in memory, as readers do.

    Args:
        data: (images, labels), of which a stratified fifth is held out as the test
            split, always the same; (images, labels, test_images, test_labels); a
            `Dataset`; or a name, as `--dataset` takes it. Images are as in
            `data.from_arrays`.
        modality: what samples of arrays are, as in `data.from_arrays`.

    Returns:
        (the dataset, None), or (None, its name), which is not read yet.

    Raises:
        UserError: the argument has another form, or the arrays cannot be used.

    Example:
        >>> images, labels = np.zeros((10, 8, 8, 1), np.float32), np.arange(10) % 2
        >>> dataset, name = as_problem_data((images, labels))
        >>> len(dataset.labels), len(dataset.test_labels), name
        (8, 2, None)
        >>> as_problem_data("digits")
        (None, 'digits')
    """
    if isinstance(data, str):
        return None, data
    if isinstance(data, Dataset):
        dataset = validate(data)
    elif isinstance(data, tuple | list) and len(data) == 2:
        images, labels = data
        dataset = _held_out(images, labels, modality)
    elif isinstance(data, tuple | list) and len(data) == 4:
        images, labels, test_images, test_labels = data
        dataset = from_arrays(
            images, labels, test_images, test_labels, name=_NAME, modality=modality
        )
    else:
        size = f" of {len(data)}" if isinstance(data, tuple | list) else ""
        raise UserError(f"data cannot be a {type(data).__name__}{size}: {_FORMS}")
    for remark in dataset.remarks:
        say(remark)
    return dataset, None


def _held_out(images: Any, labels: Any, modality: str | None) -> Dataset:
    """A dataset whose test split is a fifth of its images."""
    array = as_array(f"images of {_NAME!r}", images)
    if array.ndim == 0:
        raise UserError(f"images cannot be a single value: {_FORMS}")
    remark = held_out_remark("this data", len(array))
    integers = as_labels(f"labels of {_NAME!r}", labels)
    return with_test_split(_NAME, array, integers, None, [remark], modality)
