"""Archives over a connection that is cut, resumed, refused or lies."""

import http.server
import re
import threading

import numpy as np
import pytest

from jaxdd.data import load
from jaxdd.preparing import transfer
from jaxdd.preparing.whole import prepare
from jaxdd.progress import Progress, listening
from tests.helpers import full_disk, refused
from tests.preparing import archives


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, each answer cut after so many bytes.

    Attributes:
        cuts: lengths of the next answers; None for whole ones. Whole ones follow.
        ranges: whether parts can be asked for.
        asked: the path and the range of every request.
    """

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.cuts, self.ranges, self.asked = folder, [], True, []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        given = self.headers.get("Range")
        self.server.asked.append((self.path.strip("/"), given))
        path = self.server.folder / self.path.strip("/")
        if not path.exists():
            self.send_error(404)
            return
        content, start = path.read_bytes(), 0
        if given and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", given)[1])
        self.send_response(206 if start else 200)
        if start:
            end = f"{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", f"bytes {start}-{end}")
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(rest[:cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "WAIT_SECONDS", 0.0)
    (tmp_path / "there").mkdir()
    server = Server(tmp_path / "there")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def archive(server):
    """A file of three megabytes on the server, and its line of the table."""
    path = server.folder / "images.tar"
    path.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    return archives.line(path, server.address)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


def content(server):
    return (server.folder / "images.tar").read_bytes()


def test_a_whole_transfer_tells_how_long_it_takes(server, archive, folder):
    events = []
    with listening(events.append):
        path = transfer.fetch(archive, folder)
    assert path.read_bytes() == content(server)
    assert [x.name for x in folder.iterdir()] == ["images.tar"]
    advances = [x for x in events if isinstance(x, Progress)]
    assert advances[-1].done == advances[-1].total == 3
    assert advances[0].unit == "MB"
    assert advances[0].seconds_left > 0
    transfer.fetch(archive, folder)  # is there
    assert len(server.asked) == 1


def test_a_cut_transfer_goes_on_where_it_was_cut(server, archive, folder):
    server.cuts = [1_000_000, 500_000]
    path = transfer.fetch(archive, folder)
    assert path.read_bytes() == content(server)
    ranges = [given for _, given in server.asked]
    assert ranges == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_start_goes_on_too(server, archive, folder, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 1)
    server.cuts = [1_000_000, 0]
    with refused(None, "images.tar", folder, "goes on from"):
        transfer.fetch(archive, folder)
    assert [x.name for x in folder.iterdir()] == ["images.tar.part"]
    assert transfer.fetch(archive, folder).read_bytes() == content(server)
    assert server.asked[-1][1] == "bytes=1000000-"


def test_a_server_without_ranges_begins_anew(server, archive, folder):
    server.cuts, server.ranges = [1_000_000], False
    assert transfer.fetch(archive, folder).read_bytes() == content(server)


def test_a_part_of_another_file_is_dropped(server, archive, folder):
    (folder / "images.tar.part").write_bytes(b"x" * 3_000_001)
    assert transfer.fetch(archive, folder).read_bytes() == content(server)


def test_another_content_is_refused_by_name_and_not_kept(server, archive, folder):
    (server.folder / "images.tar").write_bytes(b"x" * 3_000_000)
    with refused(None, "images.tar", "sha256"):
        transfer.fetch(archive, folder)
    assert not list(folder.iterdir())


def test_more_than_was_declared_is_refused(server, archive, folder):
    (server.folder / "images.tar").write_bytes(b"x" * 3_000_001)
    with refused(None, "images.tar", "more than"):
        transfer.fetch(archive, folder)
    assert not (folder / "images.tar").exists()


def test_nobody_who_answers(server, archive, folder):
    missing = archive._replace(address=f"{server.address}/absent.tar")
    with refused(None, "absent.tar", "404", folder):
        transfer.fetch(missing, folder)
    assert len(server.asked) == 1  # what is not there is not asked for again
    nobody = archive._replace(address="http://127.0.0.1:9/images.tar")
    with refused(None, "images.tar", "check the network"):
        transfer.fetch(nobody, folder)


def test_a_full_disk_keeps_what_has_arrived(server, archive, folder, monkeypatch):
    server.cuts = [1_000_000]
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "say", full_disk)
        with refused(None, folder / "images.tar.part", "No space left"):
            transfer.fetch(archive, folder)
    assert transfer.fetch(archive, folder).read_bytes() == content(server)
    assert server.asked[-1][1] == "bytes=1000000-"


def test_a_dataset_from_the_network(server, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXDD_CACHE", str(tmp_path / "cache"))
    split = archives.images(20, (28, 28)), archives.labels(20, 10)
    archives.mnist(server.folder, split, split)
    original = archives.original("mnist", server.folder, server.address)
    server.cuts = [5000]
    prepared = prepare("mnist", None, tmp_path / "tfds", original)
    assert prepared.counts == {"train": 20, "test": 20}
    assert len(load("mnist", tmp_path / "tfds").images) == 20
    assert len(server.asked) == 5
    names = sorted(x.name for x in (tmp_path / "tfds").iterdir())
    assert names == ["downloads", "mnist"]
