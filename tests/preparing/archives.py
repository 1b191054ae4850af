"""Small archives in each original format, and the lines of the table that fit them."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image
from scipy.io import savemat

from jaxdd.data.originals import ORIGINALS, Archive, Original

CIFAR10_NAMES = [f"class {i}" for i in range(10)]
FINE_NAMES = [f"fine {i}" for i in range(100)]
COARSE_NAMES = [f"coarse {i}" for i in range(20)]


def images(count, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def labels(count, classes):
    return [(7 * i + 3) % classes for i in range(count)]


def digits(count, seed):
    return images(count, (28, 28), seed), labels(count, 10)


def batches(sizes, classes):
    return [
        (images(n, (32, 32, 3), i), labels(n, classes)) for i, n in enumerate(sizes)
    ]


def idx_bytes(array):
    array = np.asarray(array, np.uint8)
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(head + array.tobytes(), 1, mtime=0)


def mnist(folder, train, test):
    """Each split is (images [M, 28, 28], labels)."""
    for name, (pictures, classes) in (("train", train), ("t10k", test)):
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(idx_bytes(pictures))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(classes))
    return original("mnist", folder)


def tar(path, files):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def rows(pictures):
    """[M, 3072] as CIFAR stores images: channel by channel."""
    return pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)


def cifar10_binary(path, batches):
    """Each batch is (images [M, 32, 32, 3], labels); the sixth is the test split."""
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    files = {"batches.meta.txt": "\n".join([*CIFAR10_NAMES, ""]).encode()}
    for name, (pictures, classes) in zip(names, batches, strict=True):
        column = np.array(classes, np.uint8)[:, None]
        files[name] = np.concatenate([column, rows(pictures)], 1).tobytes()
    return tar(path, {f"cifar-10-batches-bin/{x}": y for x, y in files.items()})


def cifar10_python(path, batches):
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    files = {"batches.meta": old_pickle({"label_names": CIFAR10_NAMES})}
    for name, (pictures, classes) in zip(names, batches, strict=True):
        files[name] = old_pickle({"data": rows(pictures), "labels": classes})
    return tar(path, {f"cifar-10-batches-py/{x}": y for x, y in files.items()})


def cifar100_binary(path, splits):
    """Each split is (images, fine labels)."""
    files = {
        "fine_label_names.txt": "\n".join([*FINE_NAMES, ""]).encode(),
        "coarse_label_names.txt": "\n".join([*COARSE_NAMES, ""]).encode(),
    }
    for name, (pictures, fine) in zip(("train", "test"), splits, strict=True):
        columns = np.array([[y // 5, y] for y in fine], np.uint8)
        files[f"{name}.bin"] = np.concatenate([columns, rows(pictures)], 1).tobytes()
    return tar(path, {f"cifar-100-binary/{x}": y for x, y in files.items()})


def cifar100_python(path, splits):
    meta = {"fine_label_names": FINE_NAMES, "coarse_label_names": COARSE_NAMES}
    files = {"meta": old_pickle(meta)}
    for name, (pictures, fine) in zip(("train", "test"), splits, strict=True):
        coarse = [y // 5 for y in fine]
        batch = {"data": rows(pictures), "fine_labels": fine, "coarse_labels": coarse}
        files[name] = old_pickle(batch)
    return tar(path, {f"cifar-100-python/{x}": y for x, y in files.items()})


def old_pickle(content):
    """A pickle as Python 2 wrote it: its texts and numbers' bytes are of one type."""
    steps = [b"\x80\x02}("]
    for key, value in content.items():
        steps.append(_old_text(key.encode()))
        if isinstance(value, np.ndarray):
            steps.append(_old_array(value))
            continue
        steps.append(b"](")
        for entry in value:
            is_text = isinstance(entry, str)
            steps.append(_old_text(entry.encode()) if is_text else b"K%c" % entry)
        steps.append(b"e")
    return b"".join([*steps, b"u."])


def _old_text(text):
    return b"T" + struct.pack("<i", len(text)) + text


def _old_array(array):
    rebuild = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
    dtype = b"cnumpy\ndtype\n" + _old_text(b"u1") + b"K\x00K\x01\x87R"
    dtype += (
        b"(K\x03" + _old_text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"".join(b"J" + struct.pack("<i", n) for n in array.shape) + b"\x86"
    state = b"(K\x01" + shape + dtype + b"\x89" + _old_text(array.tobytes()) + b"tb"
    return rebuild + _old_text(b"b") + b"\x87R" + state


def hostile_pickle():
    return pickle.dumps(print)


def svhn(folder, train, test):
    for name, (pictures, digits) in (("train", train), ("test", test)):
        column = np.array([y or 10 for y in digits], np.uint8)[:, None]
        arrays = {"X": pictures.transpose(1, 2, 3, 0), "y": column}
        savemat(folder / f"{name}_32x32.mat", arrays)
    return original("svhn_cropped", folder)


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG")
    return file.getvalue()


def tiny_imagenet(path, words=(("n02", "cat, puss"), ("n01", "dog"))):
    """Two classes, two training pictures and one of validation each."""
    root = "tiny-imagenet-200"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/wnids.txt", "n02\nn01\n")
        lines = "".join(f"{number}\t{text}\n" for number, text in words)
        archive.writestr(f"{root}/words.txt", lines)
        annotations = ""
        for i, name in enumerate(("n02", "n01")):
            for j, picture in enumerate(images(3, (64, 64, 3), seed=i)):
                place = f"train/{name}/images/{name}_{j}.JPEG"
                if j == 2:
                    place = f"val/images/val_{i}.JPEG"
                    annotations += f"val_{i}.JPEG\t{name}\t0\t0\t62\t62\n"
                archive.writestr(f"{root}/{place}", jpeg(picture))
        archive.writestr(f"{root}/val/val_annotations.txt", annotations)
        archive.writestr(f"{root}/test/images/test_0.JPEG", jpeg(picture))
    return path


def line(path, address="http://localhost"):
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Archive(f"{address}/{path.name}", len(content), f"sha256:{digest}")


def original(name, folder, address="http://localhost"):
    """The dataset's line of the table, with sizes and checksums of small archives."""
    usual = ORIGINALS[name]

    def fitting(archives):
        there = [folder / x.name for x in archives]
        lines = [line(x, address) if x.exists() else None for x in there]
        return tuple(x or y for x, y in zip(lines, archives, strict=True))

    return Original(usual.version, fitting(usual.archives), fitting(usual.instead))
