"""torchvision's ResNet-18 in our network, against a forward pass in plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.exchange.safetensors import write_safetensors
from jaxdd.exchange.torch_writer import write_torch
from jaxdd.exchange.weights import read_weights
from jaxdd.nets import make_network
from tests.helpers import refused, to64

WIDTH, CLASSES, SHAPE = 2, 3, (40, 40, 3)  # maps of 10, 5, 3 and 2 pixels
NETWORK = make_network("resnet18_imagenet", SHAPE, CLASSES, width=WIDTH)


def torch_weights(classes=CLASSES):
    """Random tensors with the names and shapes of torchvision's, fewer channels."""
    rng, tensors = np.random.default_rng(0), {}

    def conv(name, inside, outside, size):
        shape = (outside, inside, size, size)
        scale = (inside * size**2) ** -0.5
        tensors[f"{name}.weight"] = scale * rng.normal(size=shape)

    def norm(name, channels):
        tensors[f"{name}.weight"] = rng.uniform(0.5, 1.5, channels)
        tensors[f"{name}.bias"] = 0.1 * rng.normal(size=channels)
        tensors[f"{name}.running_mean"] = 0.1 * rng.normal(size=channels)
        tensors[f"{name}.running_var"] = rng.uniform(0.5, 1.5, channels)
        tensors[f"{name}.num_batches_tracked"] = np.array(7)

    conv("conv1", 3, WIDTH, 7)
    norm("bn1", WIDTH)
    inside = WIDTH
    for stage in (1, 2, 3, 4):
        width = WIDTH * 2 ** (stage - 1)
        for block in (0, 1):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", inside, width, 3)
            norm(f"{name}.bn1", width)
            conv(f"{name}.conv2", width, width, 3)
            norm(f"{name}.bn2", width)
            if stage > 1 and block == 0:
                conv(f"{name}.downsample.0", inside, width, 1)
                norm(f"{name}.downsample.1", width)
            inside = width
    tensors["fc.weight"] = rng.normal(size=(classes, inside))
    tensors["fc.bias"] = rng.normal(size=classes)
    return {
        name: x if x.dtype == np.int64 else x.astype(np.float32)
        for name, x in tensors.items()
    }


def by_loops(tensors, images):
    """Logits of images [B, C, H, W] in PyTorch's layout, window by window."""

    def padded(x, by, value=0.0):
        return np.pad(x, ((0, 0), (0, 0), (by, by), (by, by)), constant_values=value)

    def conv(name, x, stride, padding):
        kernel = tensors[f"{name}.weight"].astype(float)
        size = kernel.shape[-1]
        x = padded(x, padding)
        rows, columns = ((n - size) // stride + 1 for n in x.shape[2:])
        out = np.empty((len(x), len(kernel), rows, columns))
        for i in range(rows):
            for j in range(columns):
                top, left = i * stride, j * stride
                part = x[:, :, top : top + size, left : left + size]
                out[:, :, i, j] = np.tensordot(part, kernel, ([1, 2, 3], [1, 2, 3]))
        return out

    def norm(name, x):
        scale, bias, mean, variance = (
            tensors[f"{name}.{part}"].astype(float)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias

    def pooled(x):
        x = padded(x, 1, -np.inf)
        rows, columns = ((n - 3) // 2 + 1 for n in x.shape[2:])
        out = np.empty((*x.shape[:2], rows, columns))
        for i in range(rows):
            for j in range(columns):
                part = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                out[:, :, i, j] = part.max(axis=(2, 3))
        return out

    x = pooled(np.maximum(norm("bn1", conv("conv1", images, 2, 3)), 0))
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{stage}.{block}", 1 + (stage > 1 and block == 0)
            y = np.maximum(norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride, 1)), 0)
            y = norm(f"{name}.bn2", conv(f"{name}.conv2", y, 1, 1))
            if stride == 2:
                shortcut = conv(f"{name}.downsample.0", x, 2, 0)
                x = norm(f"{name}.downsample.1", shortcut)
            x = np.maximum(x + y, 0)
    features = x.mean(axis=(2, 3))
    return features @ tensors["fc.weight"].astype(float).T + tensors["fc.bias"]


def test_the_network_is_torchvisions_in_float64(tmp_path, x64):
    tensors = torch_weights()
    write_safetensors(tensors, tmp_path / "weights.safetensors")
    learner, _ = read_weights(tmp_path / "weights.safetensors", NETWORK)
    images = np.random.default_rng(1).normal(size=(2, 3, 40, 40))
    apply = jax.jit(lambda learner, x: NETWORK.apply(*learner[:2], x, False)[0])
    outputs = apply(to64(learner), jnp.asarray(images.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(outputs.logits, by_loops(tensors, images), rtol=1e-9)


def test_a_checkpoint_of_pytorch_has_the_same_weights(tmp_path):
    """In a training's dict, behind the names of its parallel module."""
    tensors = torch_weights()
    write_safetensors(tensors, tmp_path / "weights.safetensors")
    state = {f"module.{name}": x for name, x in tensors.items()}
    write_torch({"epoch": 3, "state_dict": state}, tmp_path / "weights.pt")
    plain, digest = read_weights(tmp_path / "weights.safetensors", NETWORK)
    nested, other = read_weights(tmp_path / "weights.pt", NETWORK)
    for ours, theirs in zip(*map(jax.tree.leaves, (plain, nested)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert digest != other
    kernel = tensors["layer2.0.downsample.0.weight"]
    found = plain.params["block3"]["shortcut_conv"]["kernel"]
    np.testing.assert_array_equal(found, kernel.transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bn1.running_var": None}, "has no tensor 'bn1.running_var'"),
        ({"fc.bias": np.zeros(5, np.float32)}, r"'fc.bias' of shape \[5\]"),
        (
            {"bn1.bias": np.full(WIDTH, np.nan, np.float32)},
            "numbers in 'bn1.bias' that",
        ),
    ],
)
def test_other_weights_are_refused(tmp_path, change, sentence):
    tensors = {name: x for name, x in {**torch_weights(), **change}.items() if
               x is not None}  # fmt: skip
    write_safetensors(tensors, tmp_path / "weights.safetensors")
    with refused(sentence, "give the weights" if "fc" in sentence else "weights"):
        read_weights(tmp_path / "weights.safetensors", NETWORK)
    with refused("the file of weights .* does not exist"):
        read_weights(tmp_path / "other.pt", NETWORK)
    with refused("has no tensor"):
        read_weights(
            tmp_path / "weights.safetensors", make_network("mlp", (4, 4, 1), 2)
        )
