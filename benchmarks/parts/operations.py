"""Where the time of a compiled program goes: its operations, traced and sorted by kind.

XLA's profiler tells when every instruction of the compiled program ran; its text tells
what the instruction does. The kinds:

products     convolutions and matrix products
sums         reductions
elementwise  fused arithmetic
moves        copies, transposes, slices, concatenations
gathers      gathers, scatters, sorts
random       drawing random numbers, whatever the instruction
control      loops, conditionals and calls, without what runs in them
"""

import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

KINDS = (
    "products", "elementwise", "sums", "moves", "gathers", "random", "control",
)  # fmt: skip

OTHER = "elementwise"
_CONTROL = {"while", "call", "conditional"}
# The first kind whose opcodes appear in an instruction, or in what it fuses, is its.
_OPCODES = {
    "products": {"convolution", "dot"},
    "gathers": {"gather", "scatter", "sort"},
    "sums": {"reduce", "reduce-window"},
}
_MOVES = {
    "copy", "transpose", "bitcast", "reshape", "slice", "concatenate", "pad",
    "dynamic-slice", "dynamic-update-slice", "reverse", "broadcast", "parameter",
    "constant", "tuple", "get-tuple-element", "iota",
}  # fmt: skip
# What a library's function or a kernel does, by a word in its name.
_LIBRARY = {
    "convolution": re.compile("conv(?!ert)|cudnn"),
    "dot": re.compile("gemm|cublas|matmul|cutlass"),
    "copy": re.compile("memcpy|memset"),
    "sort": re.compile("sort|topk"),
}
_RANDOM = ("threefry", "random_bits", "random_wrap", "random_fold_in", "random_split")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([^ ]+) \(.*\{$")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?%?(?P<name>[^ ]+) = "
    # A shape, perhaps a tuple of shapes with comments, then the opcode.
    r"(?:\(.*?\)|[^ (]+) (?P<opcode>[a-z][a-z0-9-]*)\("
)


class Instruction(NamedTuple):
    """What the text of a program tells of one instruction.

    Attributes:
        opcodes: its own, or of all that it fuses.
        source: the path of JAX operations it was made of.
    """

    opcodes: frozenset[str]
    source: str


class Share(NamedTuple):
    """What a kind, or one instruction, took of one run.

    Attributes:
        seconds: on all threads together.
        times: how often it ran.
    """

    seconds: float
    times: int


class Profile(NamedTuple):
    """Where one run of a program spent its time.

    Attributes:
        wall: seconds of the run, profiler included.
        busy: seconds of it in which any operation ran, loops apart.
        kinds: by kind, the largest first.
        longest: by instruction, the largest first, with its source.
        planes: of the trace, with the lines that were read.
    """

    wall: float
    busy: float
    kinds: dict[str, Share]
    longest: dict[str, tuple[Share, str]]
    planes: dict[str, list[str]]


def instructions(text: str) -> dict[str, Instruction]:
    """Every instruction of a compiled program's text, by name."""
    inside: dict[str, set[str]] = {}
    instructions: dict[str, tuple[str, str | None, str]] = {}
    current: set[str] = set()
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            current = inside.setdefault(head.group(1), set())
        elif made := _INSTRUCTION.match(line):
            current.add(made["opcode"])
            calls = re.search(r"calls=%?([^ ,}]+)", line)
            source = re.search(r'op_name="([^"]*)"', line)
            target = re.search(r'custom_call_target="([^"]*)"', line)
            if target:
                current.add(library_opcode(target.group(1)))
            instructions[made["name"]] = (
                library_opcode(target.group(1)) if target else made["opcode"],
                calls and calls.group(1),
                source.group(1) if source else "",
            )
    return {
        name: Instruction(
            frozenset(inside.get(calls, ()) if calls else ()) or frozenset({opcode}),
            source,
        )
        for name, (opcode, calls, source) in instructions.items()
    }


def library_opcode(name: str) -> str:
    """What a library's function or a kernel does, as an opcode; by its name."""
    for opcode, words in _LIBRARY.items():
        if words.search(name.lower()):
            return opcode
    return "custom-call"


def kind_of(instruction: Instruction) -> str:
    """One of `KINDS`."""
    opcodes = instruction.opcodes
    if opcodes & _CONTROL:
        return "control"
    if any(word in instruction.source for word in _RANDOM):
        return "random"
    for kind, words in _OPCODES.items():
        if opcodes & words:
            return kind
    return "moves" if opcodes <= _MOVES else OTHER


class Event(NamedTuple):
    """An instruction that ran: nanoseconds on one thread."""

    name: str
    start: float
    end: float


def read_trace(planes: Iterable[Any]) -> tuple[list[list[Event]], dict[str, list[str]]]:
    """The instructions that ran, by thread or stream, and where they were found.

    On an accelerator the device's planes count and not the host's, which tell when work
    was handed over. Their lines are streams of kernels (GPU), of which each names its
    instruction, or "XLA Ops" (TPU) beside lines that sum these up. A kernel that names
    no instruction, as in a graph of kernels, counts under its own name.

    Args:
        planes: of a `jax.profiler.ProfileData`.
    """
    by_plane: dict[str, list[tuple[str, list[Event]]]] = {}
    for plane in planes:
        on_device = plane.name.startswith("/device:")
        lines = list(plane.lines)
        if on_device and any(line.name == "XLA Ops" for line in lines):
            lines = [line for line in lines if line.name == "XLA Ops"]
        elif on_device and any(line.name.startswith("Stream") for line in lines):
            lines = [line for line in lines if line.name.startswith("Stream")]
        for line in lines:
            events = []
            for event in line.events:
                name = dict(event.stats).get("hlo_op")
                if name is None and not on_device:
                    continue
                start = event.start_ns
                named = str(name or event.name).lstrip("%")
                events.append(Event(named, start, start + event.duration_ns))
            if events:
                by_plane.setdefault(plane.name, []).append((line.name, events))
    devices = {name for name in by_plane if name.startswith("/device:")}
    kept = {name: x for name, x in by_plane.items() if not devices or name in devices}
    threads = [events for lines in kept.values() for _, events in lines]
    return threads, {name: [line for line, _ in x] for name, x in kept.items()}


def traced(
    work: Callable[[], Any],
) -> tuple[list[list[Event]], float, dict[str, list[str]]]:
    """What `read_trace` finds of `work`, and the seconds of it in between."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            work()
            took = time.perf_counter() - began
        (path,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
        threads, planes = read_trace(data.planes)
    return threads, took, planes


def own_seconds(events: Iterable[Event]) -> list[tuple[str, float]]:
    """What every event of a thread took without the events inside it."""
    entries: list[list[Any]] = []
    around: list[tuple[float, list[Any]]] = []  # (end, its entry)
    for event in sorted(events, key=lambda e: (e.start, -e.end)):
        while around and around[-1][0] <= event.start:
            around.pop()
        entry = [event.name, (event.end - event.start) / 1e9]
        if around:
            around[-1][1][1] -= entry[1]
        around.append((event.end, entry))
        entries.append(entry)
    return [(name, max(seconds, 0.0)) for name, seconds in entries]


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def profile(work: Callable[[], Any], text: str) -> Profile:
    """Where `work` spends its time.

    Args:
        work: runs the program once.
        text: of the compiled program.
    """
    known = instructions(text)
    kind = {name: kind_of(instruction) for name, instruction in known.items()}
    threads, wall, planes = traced(work)
    times: dict[str, list[float]] = {}
    for name, seconds in (x for events in threads for x in own_seconds(events)):
        times.setdefault(name, []).append(seconds)
    shares = {name: Share(sum(s), len(s)) for name, s in times.items()}
    for name in shares.keys() - kind.keys():
        # A kernel that names no instruction of the program.
        kind[name] = kind_of(Instruction(frozenset({library_opcode(name)}), ""))
    kinds = {}
    for each in KINDS:
        parts = [s for name, s in shares.items() if kind.get(name, OTHER) == each]
        if parts:
            total = sum(s.seconds for s in parts)
            kinds[each] = Share(total, sum(s.times for s in parts))
    running = [
        (e.start, e.end)
        for events in threads
        for e in events
        if kind.get(e.name, OTHER) != "control"
    ]
    longest = {
        name: (share, known[name].source if name in known else "")
        for name, share in _largest(shares).items()
    }
    return Profile(wall, covered(running) / 1e9, _largest(kinds), longest, planes)


def _largest(shares: Mapping[str, Share]) -> dict[str, Share]:
    return dict(sorted(shares.items(), key=lambda x: -x[1].seconds))
