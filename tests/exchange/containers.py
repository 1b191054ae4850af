"""Files as PyTorch writes them, put together here by hand, and hostile ones."""

import io
import pickle
import struct
import zipfile

import numpy as np

NAMES = {"<f4": "Float", "<f8": "Double", "<f2": "Half", "<i8": "Long", "|u1": "Byte"}


def steps(value):
    """The instructions of a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def named(module, name):
    """The instruction that asks for an object by its name."""
    return f"c{module}\n{name}\n".encode()


def tensor(key, numel, size, stride=None, offset=0, kind="Float", legacy=False):
    """The instructions that describe a tensor; by default a contiguous one."""
    if stride is None:
        stride = tuple(int(np.prod(size[i + 1 :])) for i in range(len(size)))
    place = steps("storage") + named("torch", f"{kind}Storage")
    place += steps(key) + steps("cpu") + steps(numel) + (b"N" if legacy else b"")
    view = steps(offset) + steps(tuple(size)) + steps(tuple(stride)) + b"\x89"
    hooks = named("collections", "OrderedDict") + b")R"
    rebuilt = named("torch._utils", "_rebuild_tensor_v2")
    return rebuilt + b"((" + place + b"tQ" + view + hooks + b"tR"


class Built:
    """A pickle in the making, and the storages of its tensors."""

    def __init__(self, legacy=False):
        self.storages, self.legacy = {}, legacy

    def steps(self, value):
        """The instructions of nested lists, dicts, numbers and arrays."""
        if isinstance(value, np.ndarray):
            key = str(len(self.storages))
            self.storages[key] = np.ascontiguousarray(value).tobytes()
            kind = NAMES[value.dtype.str]
            return tensor(key, value.size, value.shape, kind=kind, legacy=self.legacy)
        if isinstance(value, list):
            return b"](" + b"".join(map(self.steps, value)) + b"e"
        if isinstance(value, dict):
            pairs = (x for pair in value.items() for x in pair)
            return b"}(" + b"".join(map(self.steps, pairs)) + b"u"
        return steps(value)


def zipped(path, program, storages=(), order=b"little", packed=zipfile.ZIP_STORED):
    """A zip container with this pickle (without its frame) and these storages."""
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr("set/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("set/byteorder", order)
        for key, data in dict(storages).items():
            archive.writestr(f"set/data/{key}", data)
        archive.writestr("set/version", b"3\n")
    return path


def saved(value, path):
    """What `torch.save(value, path)` writes, with arrays for tensors."""
    built = Built()
    program = built.steps(value)
    return zipped(path, program, built.storages)


def saved_before(value, path):
    """The same in the container of PyTorch before 1.6."""
    built, file = Built(legacy=True), io.BytesIO()
    program = built.steps(value)
    pickle.dump(0x1950A86A20F9469CFC6C, file, 2)
    pickle.dump(1001, file, 2)
    pickle.dump({"protocol_version": 1001, "little_endian": True}, file, 2)
    file.write(b"\x80\x02" + program + b".")
    pickle.dump(list(built.storages), file, 2)
    for data in built.storages.values():
        file.write(struct.pack("<q", len(data) // 4) + data)
    path.write_bytes(file.getvalue())
    return path
