"""Foreign sets in, and our sets out: what other codes write and read.

opening       `load_foreign`: read this first; `assembly`, `labels` and `scale` help
formats       the foreign formats by name; their readers are in `readers/`
targets       the formats that are written, by name; their writers are in `writers/`
shortening    `shorten`: a set with fewer images per class, by a score
content       what each container of ours holds
weights       those of networks that PyTorch has trained
containers    files of arrays: `torch_files` (with `pickles` and `tensors`),
              `torch_writer`, `safetensors` and `parquet`
"""

from jaxdd.exchange.opening import load_foreign
from jaxdd.exchange.shortening import shorten
from jaxdd.exchange.targets import write_as

__all__ = ["load_foreign", "shorten", "write_as"]
