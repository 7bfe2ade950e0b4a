import dataclasses
import hashlib
import http.server
import re
import threading

import pytest

from ppn_tf.data import sources
from ppn_tf.errors import OptionError, SourceError, SourceMissingError

CONTENT = b"forty-two bytes of a file that is public.."
NAME = "place/file.bin"


@pytest.fixture
def public(monkeypatch, tmp_path):
    """One small public file, an empty data directory and an empty cache."""
    file = sources.PublicFile(
        NAME,
        "http://127.0.0.1:9/file.bin",  # port 9: nothing listens
        hashlib.sha256(CONTENT).hexdigest(),
        len(CONTENT),
        "MIT",
        "nobody",
    )
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(sources, "PUBLIC_FILES", {NAME: file})
    monkeypatch.setattr(sources, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setenv(sources.DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.delenv(sources.OFFLINE_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def served(public, monkeypatch):
    """Serve bytes on the loopback interface: returns the setter of the content."""
    answer = {"content": CONTENT, "status": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(answer["content"])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    file = dataclasses.replace(
        sources.PUBLIC_FILES[NAME], url=f"http://127.0.0.1:{server.server_port}/file.bin"
    )
    monkeypatch.setattr(sources, "PUBLIC_FILES", {NAME: file})
    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


def _put(folder, content):
    path = folder / NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_every_named_file_is_complete():
    for name, file in sources.PUBLIC_FILES.items():
        assert file.name == name
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert file.size_bytes > 0
        assert file.licence
        assert file.citation
        assert file.url is None or file.url.startswith("https://")


def test_data_directory_comes_before_the_cache(public):
    _put(public / "cache", CONTENT)
    path = _put(public / "data", CONTENT)
    assert sources.fetch(NAME) == path


def test_cache_is_used_where_the_data_directory_lacks_the_file(public):
    path = _put(public / "cache", CONTENT)
    assert sources.fetch(NAME, download=False) == path


def test_unset_variable_means_no_data_directory(monkeypatch):
    monkeypatch.delenv(sources.DATA_VARIABLE, raising=False)
    assert sources.data_directory() is None


def test_data_directory_that_is_none_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv(sources.DATA_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match=r"PPN_TF_DATA must name an existing folder, received"):
        sources.data_directory()


def test_unknown_name_lists_the_known():
    with pytest.raises(OptionError, match=r"unknown public file 'x'.*probe/pxy_probe1000.npy"):
        sources.fetch("x")


@pytest.mark.parametrize("place", ["data", "cache"])
def test_wrong_checksum_names_file_and_both_checksums(public, place):
    wrong = CONTENT[:-1] + b"!"
    path = _put(public / place, wrong)
    expected, received = (hashlib.sha256(part).hexdigest() for part in (CONTENT, wrong))
    message = f"{path} is not the expected file: expected sha256 {expected}, received {received}"
    with pytest.raises(SourceError, match=re.escape(message)) as caught:
        sources.fetch(NAME)
    assert not isinstance(caught.value, SourceMissingError)


def test_truncated_file_names_both_lengths(public):
    path = _put(public / "data", CONTENT[:-2])
    message = f"{path} is not the expected file: expected 42 bytes, received 40: remove it"
    with pytest.raises(SourceError, match=re.escape(message)):
        sources.fetch(NAME)


def test_a_file_that_changes_is_verified_again(public):
    path = _put(public / "data", CONTENT)
    sources.fetch(NAME)
    path.write_bytes(CONTENT.upper())
    with pytest.raises(SourceError, match="expected sha256"):
        sources.fetch(NAME)


def test_offline_forbids_the_download(public, monkeypatch):
    monkeypatch.setenv(sources.OFFLINE_VARIABLE, "1")
    with pytest.raises(SourceMissingError, match="PPN_TF_OFFLINE=1 forbids the download from"):
        sources.fetch(NAME)


def test_download_that_was_not_asked_for(public):
    with pytest.raises(SourceMissingError, match="was not asked for. Place it at place/file.bin"):
        sources.fetch(NAME, download=False)


def test_file_without_an_address(public, monkeypatch):
    file = dataclasses.replace(sources.PUBLIC_FILES[NAME], url=None)
    monkeypatch.setattr(sources, "PUBLIC_FILES", {NAME: file})
    with pytest.raises(SourceMissingError, match="can only lie in PPN_TF_DATA"):
        sources.fetch(NAME)


def test_no_network_says_what_to_do(public):
    with pytest.raises(SourceMissingError, match=r"failed \(ConnectionError.*set PPN_TF_DATA to"):
        sources.fetch(NAME, timeout_s=2)


def test_download_is_verified_and_cached(public, served):
    path = sources.fetch(NAME)
    assert path == public / "cache" / NAME
    assert path.read_bytes() == CONTENT


def test_wrong_download_is_removed(public, served):
    served["content"] = b"<html>moved</html>"
    with pytest.raises(SourceError, match="is not the expected file and was removed") as caught:
        sources.fetch(NAME)
    assert not isinstance(caught.value, SourceMissingError)
    assert [path for path in (public / "cache").rglob("*") if path.is_file()] == []


def test_missing_at_the_address(public, served):
    served["status"] = 404
    with pytest.raises(SourceMissingError, match="failed .HTTPError: 404"):
        sources.fetch(NAME)


def test_cache_that_cannot_be_written(public, served):
    (public / "cache").write_text("a file where the folder should be")
    with pytest.raises(SourceError, match="could not write .*free space in the cache"):
        sources.fetch(NAME)


def test_real_files_have_their_checksums(data_dir, monkeypatch):
    monkeypatch.setenv(sources.DATA_VARIABLE, str(data_dir))
    names = [name for name in sources.PUBLIC_FILES if not name.startswith("ptychonn/")]
    assert [sources.fetch(name, download=False) for name in names] == [
        data_dir / name for name in names
    ]
