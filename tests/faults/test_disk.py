"""Full disks, folders that cannot be written, files damaged by hand, a clock set back."""

import errno
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ppn_tf.errors import RecordError
from ppn_tf.files import write_json


def long(*values):
    """Leave a case out by default."""
    return pytest.param(*values, marks=pytest.mark.long)


#: Neither owner nor group of anything, for children of a test that runs as root.
NOBODY = 65534


@pytest.fixture(scope="module")
def finished(zygote, tmp_path_factory):
    """A folder with one finished run, and its digest."""
    folder = tmp_path_factory.mktemp("finished")
    child = zygote.start("run", folder=str(folder))
    assert child.wait() == 0, child.stderr
    return folder, child.result["digest"]


@pytest.mark.parametrize("limit", [long(200), 3000, long(12_000)])
def test_a_disk_that_fills_up_loses_nothing(zygote, finished, tmp_path, tried, limit):
    """No file may grow beyond the limit: the system then refuses, as on a full disk."""
    child = zygote.start("refused", folder=str(tmp_path), file_limit=limit)
    assert child.wait() == 0, child.stderr
    assert child.result.get("error") == "RecordError", child.result
    message = child.result["message"]
    assert message.startswith("could not write ")
    assert os.strerror(errno.EFBIG) in message
    assert "nothing was changed. Free space or choose another folder" in message
    assert list(tmp_path.rglob(".*.partial*")) == []
    assert list(tmp_path.glob("runs/*/*.json")) == []
    child = zygote.start("refused", folder=str(tmp_path))
    assert child.wait() == 0, child.stderr
    assert child.result.get("digest") == finished[1], child.result
    tried("disk", f"full at {limit} bytes a file", refused=1, digests_that_differ=0)


def test_no_space_left_on_a_real_file_system(tmp_path, tried):
    """A file system of 16 KiB, in name spaces of its own where the system allows them."""
    script = f"""
        mount -t tmpfs -o size=16k none {tmp_path} && cd {tmp_path} && exec python -c "
from ppn_tf.errors import RecordError
from ppn_tf.files import write_text
write_text('kept.txt', 'old')
try:
    write_text('kept.txt', 'x' * 100_000)
except RecordError as error:
    print(error)
import os
print(sorted(os.listdir()), open('kept.txt').read())
"
    """
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "bash", "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no file system of its own: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("could not write kept.txt: No space left on device; nothing was")
    assert lines[1] == "['kept.txt'] old"
    tried("disk", "a file system of 16 KiB", refused=1)


@pytest.fixture
def locked(finished):
    """The finished folder, in which nothing can be written, as a user without rights."""
    # below the system's folder: those of pytest are closed to other users
    folder = Path(tempfile.mkdtemp())
    shutil.copytree(finished[0], folder / "out")
    (folder / "empty").mkdir()
    paths = [folder, *folder.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in paths:
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_read_only_results(zygote, finished, locked, tried):
    user = NOBODY if os.geteuid() == 0 else None
    child = zygote.start("refused", folder=str(locked / "empty"), user=user)
    assert child.wait() == 0, child.stderr
    assert child.result.get("error") == "RecordError", child.result
    assert "could not write" in child.result["message"]
    assert (
        "Permission denied; nothing was changed. Choose another folder with"
        in (child.result["message"])
    )
    # a finished run needs no writing
    child = zygote.start("refused", folder=str(locked / "out"), user=user)
    assert child.wait() == 0, child.stderr
    assert child.result.get("digest") == finished[1], child.result
    tried("disk", "read-only results", refused=1, read=1)


def test_a_file_in_place_of_a_folder(tmp_path, tried):
    (tmp_path / "results").write_text("")
    with pytest.raises(RecordError, match="could not write .*: Not a directory; nothing was ch"):
        write_json(tmp_path / "results" / "runs" / "a.json", {})
    tried("disk", "a file in place of a folder", refused=1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        long("truncated", "are not those that the run wrote: expected sha256 "),
        ("changed", "are not those that the run wrote: expected sha256 "),
        ("without checksum", "cannot be read ("),
    ],
)
def test_damaged_weights_are_never_evaluated(zygote, finished, tmp_path, tried, damage, message):
    shutil.copytree(finished[0], tmp_path / "out")
    child = zygote.start("again", folder=str(tmp_path / "out"), damage=damage)
    assert child.wait() == 0, child.stderr
    assert child.result["error"] == "RecordError"
    assert message in child.result["message"]
    assert "train again with --retrain" in child.result["message"]
    (path,) = (tmp_path / "out").glob("runs/*/tensorflow.json")
    # the older record is as it was
    assert json.loads(path.read_text())["results_digest"] == finished[1]
    child = zygote.start("run", folder=str(tmp_path / "out"), retrain=True)
    assert child.wait() == 0, child.stderr
    assert child.result["digest"] == finished[1]
    tried("disk", f"weights {damage}", refused=1, digests_that_differ=0)


def test_a_clock_that_is_set_back(zygote, tmp_path, tried):
    child = zygote.start("clock_set_back", folder=str(tmp_path))
    assert child.wait() == 0, child.stderr
    cost = child.result["cost"]
    assert child.result["found"]
    assert cost["total_seconds"] >= cost["evaluate_seconds"] >= 0
    tried("disk", "clock set back", runs=1, negative_times=0)
