"""Where stores are: folders of the cache of decoded datasets."""

from pathlib import Path

from jaxdd.storage.compiled import cache_folder


def store_folder(name: str, digest: str) -> Path:
    """The folder of the store of some samples.

    Args:
        name: of the dataset, as text that can be shown.
        digest: hexadecimal, of what the samples are made from.

    Raises:
        UserError: as `cache_folder`.
    """
    plain = "".join(c if c.isalnum() else "_" for c in name)[:100]
    return cache_folder() / f"{plain}-{digest[:24]}.rows"
