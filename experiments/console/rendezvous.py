"""Processes wait for each other here before JAX joins them.

JAX's own service aborts a process that waits in vain, without a sentence, and crashes
on a port that is taken. So the first process listens on the coordinator's port for a
moment, the others say who they are, and once all are there everybody starts JAX.
"""

import contextlib
import re
import socket
import time
from collections.abc import Iterator

from jaxdd.errors import UserError, quoted
from jaxdd.progress import say
from jaxdd.storage.paths import reason, shown

WAIT_SECONDS = 300.0  # machines of a cluster do not start at once
LINE_SECONDS = 10.0  # between lines that say who is missing
_RETRY_SECONDS = 0.2
_LONGEST_LINE = 128  # bytes

_ADDRESS = re.compile(
    r"(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<host>[^:\s]+)):(?P<port>\d+)"
)


def meet(coordinator: str, processes: int, index: int) -> None:
    """Wait until all processes are there.

    Args:
        coordinator: HOST:PORT of the first process.
        processes, index: how many there are, and which this one is.

    Raises:
        UserError: no such address, the port is taken, or somebody did not come within
            WAIT_SECONDS.
    """
    host, port = address_of(coordinator)
    if processes == 1:
        _listener(coordinator, port).close()
    elif index == 0:
        _gather(coordinator, port, processes)
    else:
        _arrive(coordinator, host, port, processes, index)


def address_of(coordinator: str) -> tuple[str, int]:
    """HOST and PORT of HOST:PORT; an IPv6 address stands in brackets.

    Raises:
        UserError: it is something else.

    Example:
        >>> address_of("[::1]:1234")
        ('::1', 1234)
    """
    match = _ADDRESS.fullmatch(coordinator)
    if match is None or not 0 < int(match["port"][:9]) < 2**16:
        raise UserError(
            f"--coordinator must be HOST:PORT, such as 10.0.0.1:1234, or auto, not "
            f"{quoted(coordinator)}"
        )
    return match["six"] or match["host"], int(match["port"])


def _listener(coordinator: str, port: int) -> socket.socket:
    """A socket on the port, at all addresses of this machine as JAX's service has."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True
            )
        return socket.create_server(("", port))
    except OSError as error:
        raise UserError(
            f"the port of --coordinator={shown(coordinator)} cannot be opened on this "
            f"machine ({reason(error)}): choose another port"
        ) from error


def _gather(coordinator: str, port: int, processes: int) -> None:
    """Of the first process: hear from all others, then let them go."""
    arrived: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listener(coordinator, port))
        listener.settimeout(_RETRY_SECONDS)
        for _ in _waiting(lambda: _missing(arrived, processes), coordinator):
            try:
                guest, _address = listener.accept()
            except TimeoutError:
                continue
            stack.enter_context(guest)
            guest.settimeout(2.0)
            other = _greeting(guest, processes, arrived)
            if other is not None:
                arrived[other] = guest
            if len(arrived) == processes - 1:
                break
        listener.close()  # the port is JAX's from here on
        for guest in arrived.values():
            with contextlib.suppress(OSError):
                guest.sendall(b"go\n")


def _greeting(
    guest: socket.socket, processes: int, arrived: dict[int, socket.socket]
) -> int | None:
    """Which process a guest is; whoever does not fit is told so."""
    with contextlib.suppress(OSError):
        words = _line(guest).split()
        if len(words) != 3 or words[0] != "jaxdd":
            return None
        other, count = (
            int(x) if re.fullmatch(r"\d{1,10}", x) else -1 for x in words[1:]
        )
        if count != processes:
            told = f"the first process has --num_processes={processes}"
        elif not 0 < other < processes or _is_open(arrived.get(other)):
            told = f"there is another process with --process_id={other}"
        else:
            return other
        guest.sendall(f"no: {told}\n".encode())
    return None


def _arrive(coordinator: str, host: str, port: int, processes: int, index: int) -> None:
    """Of all others: say which one this is, and wait for a word."""
    what = "nobody answers there"
    with contextlib.ExitStack() as stack:
        link: socket.socket | None = None
        for left in _waiting(lambda: what, coordinator):
            try:
                if link is None:
                    new = socket.create_connection((host, port), min(left, 5.0))
                    stack.enter_context(new)
                    new.sendall(f"jaxdd {index} {processes}\n".encode())
                    link = new
                    what = "the first process is there and waits for others"
                # The link stays: a word may come while a new one were made.
                link.settimeout(min(left, LINE_SECONDS))
                answer = _line(link)
            except (OSError, UnicodeError) as error:
                if isinstance(error, TimeoutError) and link is not None:
                    continue
                what = f"nobody answers there ({reason(error)})"
                answer = ""
            if answer == "go":
                return
            if answer.startswith("no: "):
                raise UserError(
                    f"the process at --coordinator={shown(coordinator)} does not take "
                    f"this one: {shown(answer[4:])}; start every process with the same "
                    "flags but its own --process_id"
                )
            # Not there yet, or no name yet: clusters start in any order.
            stack.close()
            link = None
            time.sleep(_RETRY_SECONDS)


def _is_open(link: socket.socket | None) -> bool:
    """Whether the process at the other end, which says nothing more, still waits."""
    if link is None:
        return False
    try:
        return link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _line(link: socket.socket) -> str:
    """A line, without its end; what is longer or no text is cut or replaced."""
    content = b""
    while not content.endswith(b"\n") and len(content) < _LONGEST_LINE:
        more = link.recv(_LONGEST_LINE - len(content))
        if not more:
            break
        content += more
    return content.decode(errors="replace").strip()


def _missing(arrived: dict[int, socket.socket], processes: int) -> str:
    absent = [i for i in range(1, min(processes, 1000)) if i not in arrived]
    named = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
    return f"{processes - 1 - len(arrived)} of {processes} are missing (number {named})"


def _waiting(what, coordinator: str) -> Iterator[float]:
    """The seconds that are left, again and again, telling now and then what for.

    Raises:
        UserError: none are left.
    """
    began = told = time.monotonic()
    while (left := WAIT_SECONDS + began - time.monotonic()) > 0:
        yield left
        if time.monotonic() - told > LINE_SECONDS:
            told = time.monotonic()
            say(f"waiting at --coordinator={shown(coordinator)}: {what()}")
    raise UserError(
        f"the processes did not meet at --coordinator={shown(coordinator)} within "
        f"{WAIT_SECONDS:.0f} s: {what()}; start one process per machine with the same "
        "flags but --process_id"
    )
