"""Layers as loops of NumPy in float64, which know nothing of ours: [B, H, W, C]."""

import numpy as np

EPSILON = 1e-5


def conv(x, kernel):
    """Stride 1, zeros around the image: a loop over pixels."""
    size, padding = kernel.shape[0], kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    out = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            window = padded[:, i : i + size, j : j + size]
            out[:, i, j] = np.tensordot(window, kernel, 3)
    return out


def norm(x, params, axes):
    """Over (1, 2) an instance norm, over (0, 1, 2) a batch norm in training."""
    centred = x - x.mean(axes, keepdims=True)
    variance = (centred**2).mean(axes, keepdims=True)
    return centred / np.sqrt(variance + EPSILON) * params["scale"] + params["bias"]


def pool(x):
    """2x2 means; an odd last row or column is left out."""
    h, w = x.shape[1] // 2, x.shape[2] // 2
    means = [x[:, i : 2 * h : 2, j : 2 * w : 2] for i in (0, 1) for j in (0, 1)]
    return sum(means) / 4


def relu(x):
    return np.maximum(x, 0)


def convnet_bn(params, x):
    """Features of every block of a ConvNet with batch norm in training, flattened."""
    features = []
    for name in sorted(n for n in params if n.startswith("block")):
        block = params[name]
        x = conv(x, block["conv"]["kernel"]) + block["conv"]["bias"]
        x = pool(relu(norm(x, block["norm"], (0, 1, 2))))
        features.append(x.reshape(len(x), -1))
    return features
