"""An archive over the network: in pieces, resumed where it was cut, then compared."""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from jaxdd.data.originals import Archive
from jaxdd.errors import UserError
from jaxdd.preparing.checked import check
from jaxdd.progress import Stage, say
from jaxdd.storage.paths import is_there, reason, shown

TRIES = 5  # that bring nothing, before the transfer is given up
WAIT_SECONDS = 2.0  # before a transfer that was cut goes on
_SILENCE_SECONDS = 60.0  # of a server, before the transfer counts as cut
_PIECE, _MEGABYTE = 2**18, 10**6  # bytes


class _Cut(Exception):
    """The transfer ended before the file did."""


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive in a folder, fetched unless it is there.

    What has arrived lies in NAME.part until the whole file has its checksum. A transfer
    that is cut goes on from there, in this call and in later ones.

    Args:
        archive: a line of the table `ORIGINALS`.
        folder: an existing folder that nobody else writes to.

    Raises:
        UserError: nobody answers at the address, the transfer stops again and again,
            the disk refuses, or the file does not have its size and checksum.
    """
    target = folder / archive.name
    if is_there(target):
        check(target, archive)
        return target
    part = folder / f"{archive.name}.part"
    try:
        _fill(archive, part)
        part.replace(target)
    except OSError as error:  # those of the network are none by now
        raise UserError(
            f"cannot write {shown(part)} ({reason(error)}): free the disk or choose "
            "another --data_dir"
        ) from error
    return target


def _fill(archive: Archive, part: Path) -> None:
    """Transfer what a part lacks, and compare the whole; a wrong one is removed.

    Raises:
        UserError: as `fetch`.
    """
    failures, have = 0, _length(part)
    with Stage(f"fetching {archive.name}", _megabytes(archive.size), unit="MB") as bar:
        while have != archive.size:
            if have > archive.size:  # of another file
                part.unlink()
            try:
                _transfer(archive, part, bar)
            except _Cut as cut:
                arrived = _length(part)
                failures = 0 if arrived > have else failures + 1
                if failures >= TRIES:
                    raise _given_up(archive, part, str(cut)) from None
                say(
                    f"the transfer of {archive.name} stopped ({cut}); it is tried again"
                )
                time.sleep(WAIT_SECONDS)
            have = _length(part)
    try:
        check(part, archive)
    except UserError:
        part.unlink()  # or every later start would fail alike
        raise


def _transfer(archive: Archive, part: Path, bar: Stage) -> None:
    """Append to the part what it lacks.

    Raises:
        _Cut: the connection fails or ends early.
        UserError: the server refuses the file, or sends more than the file has.
    """
    have = _length(part)
    headers = {"User-Agent": "jaxdd", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        request = urllib.request.Request(archive.address, headers=headers)
        with urllib.request.urlopen(request, timeout=_SILENCE_SECONDS) as answer:
            _receive(answer, archive, part, have, bar)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # a part that the server cannot continue
            part.unlink(missing_ok=True)
            raise _Cut("the server cannot continue it") from None
        if error.code < 500:
            raise _given_up(archive, part, f"the server says {error.code}") from None
        raise _Cut(f"the server says {error.code}") from None
    except urllib.error.URLError as error:
        raise _Cut(shown(error.reason)) from None
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Cut(reason(error)) from None
    if _length(part) < archive.size:
        raise _Cut(f"after {_length(part)} of {archive.size} bytes")


def _receive(answer, archive: Archive, part: Path, have: int, bar: Stage) -> None:
    """Write what a server sends, behind what is there if it says that it continues."""
    goes_on = answer.status == 206
    if goes_on and not answer.headers.get("Content-Range", "").startswith(
        f"bytes {have}-"
    ):
        raise _Cut("the server continues at another place")
    done = have if goes_on else 0
    began, first = time.monotonic(), done
    with open(part, "ab" if goes_on else "wb") as file:
        while piece := answer.read(_PIECE):
            done += len(piece)
            if done > archive.size:
                raise UserError(
                    f"{archive.address} sends more than the {archive.size} bytes that "
                    f"{archive.name} has: fetch the original elsewhere and give it as "
                    "--archive"
                )
            file.write(piece)
            seconds = (time.monotonic() - began) / (done - first) * _MEGABYTE
            bar.count(_megabytes(done), _megabytes(archive.size), seconds)


def _megabytes(size: int) -> int:
    return -(-size // _MEGABYTE)


def _length(path: Path) -> int:
    return path.stat().st_size if is_there(path) else 0


def _given_up(archive: Archive, part: Path, why: str) -> UserError:
    kept = f"; the same command goes on from {shown(part)}" if _length(part) else ""
    return UserError(
        f"{archive.name} cannot be fetched from {archive.address} ({why}): check the "
        f"network, or fetch it elsewhere and put it into {shown(part.parent)}{kept}"
    )
