"""The original archives of datasets: where they lie, how large they are, checksums.

Versions, addresses, sizes and SHA-256 sums are those that TensorFlow Datasets 4.9.10
has. It knows neither Tiny ImageNet nor the archives of CIFAR that hold pickles; their
sizes and MD5 sums are the ones that loaders of these archives compare.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Archive(NamedTuple):
    """One file of an original dataset.

    Attributes:
        address: where it is fetched from.
        size: its length in bytes.
        checksum: "sha256:..." or "md5:...".
    """

    address: str
    size: int
    checksum: str

    @property
    def name(self) -> str:
        """The file's name, the end of its address.

        Example:
            >>> ORIGINALS["tiny_imagenet"].archives[0].name
            'tiny-imagenet-200.zip'
        """
        return self.address.rpartition("/")[2]


class Original(NamedTuple):
    """The archives of one dataset.

    Attributes:
        version: of the TFDS builder that reads them; for Tiny ImageNet ours.
        archives: what is fetched; all of them are needed.
        instead: archives each of which holds the same, and that people may have.
    """

    version: str
    archives: tuple[Archive, ...]
    instead: tuple[Archive, ...] = ()


def _idx(place: str, *files: tuple[str, int, str]) -> tuple[Archive, ...]:
    return tuple(
        Archive(f"{place}/{name}-ubyte.gz", size, f"sha256:{digest}")
        for name, size, digest in files
    )


_MNIST = _idx(
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    (
        "train-images-idx3",
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    (
        "train-labels-idx1",
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    (
        "t10k-images-idx3",
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    (
        "t10k-labels-idx1",
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)
_FASHION_MNIST = _idx(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    (
        "train-images-idx3",
        26421880,
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    (
        "train-labels-idx1",
        29515,
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    (
        "t10k-images-idx3",
        4422102,
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    (
        "t10k-labels-idx1",
        5148,
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)
# TFDS also has the split `extra` (1.3 GB); no method here uses it.
_SVHN = (
    Archive(
        "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
        182040794,
        "sha256:435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    ),
    Archive(
        "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        64275384,
        "sha256:cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    ),
)
_CIFAR = "https://www.cs.toronto.edu/~kriz"

ORIGINALS: Mapping[str, Original] = {
    "mnist": Original("3.0.1", _MNIST),
    "fashion_mnist": Original("3.0.1", _FASHION_MNIST),
    "svhn_cropped": Original("3.1.0", _SVHN),
    "cifar10": Original(
        "3.0.2",
        (
            Archive(
                f"{_CIFAR}/cifar-10-binary.tar.gz",
                170052171,
                "sha256:"
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        (
            Archive(
                f"{_CIFAR}/cifar-10-python.tar.gz",
                170498071,
                "md5:c58f30108f718f92721af3b95e74349a",
            ),
        ),
    ),
    "cifar100": Original(
        "3.0.2",
        (
            Archive(
                f"{_CIFAR}/cifar-100-binary.tar.gz",
                168513733,
                "sha256:"
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
        (
            Archive(
                f"{_CIFAR}/cifar-100-python.tar.gz",
                169001437,
                "md5:eb9058c3a382ffc7106e4002c42a8d85",
            ),
        ),
    ),
    "tiny_imagenet": Original(
        "1.0.0",
        (
            Archive(
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                248100043,
                "md5:90528d7ca1a48142e341f4ef8d21d0de",
            ),
        ),
    ),
}
