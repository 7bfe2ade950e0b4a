"""Tasks on a cluster of real processes: each answered once, whatever is killed."""

import asyncio
import concurrent.futures
import json
import os
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("distributed")

import cluster_tasks  # noqa: E402
from local_cluster import Cluster, until  # noqa: E402

from ppn_tf import cluster, fresh_process  # noqa: E402
from ppn_tf.cluster import Task  # noqa: E402
from ppn_tf.errors import ClusterError, OptionError  # noqa: E402

TESTS = str(Path(__file__).resolve().parent)


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory):
    """A cluster of one worker with a place for one task and two threads."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.start_worker("--nthreads", "2", "--resources", "RUN=1")
    yield made
    made.close()


def answers(made, function, tasks, **options):
    return [
        (task.name, answer)
        for task, answer in cluster.outcomes(made.address, function, tasks, **options)
    ]


def notes(folder, seconds):
    return [Task(name, (str(folder), name, s), s) for name, s in seconds.items()]


def test_tasks_are_answered_once_and_begun_longest_first(one_worker, tmp_path, capsys):
    tasks = notes(tmp_path, {"b": 0.1, "a": 0.3, "d": 0.02, "c": 0.05})
    found = answers(one_worker, cluster_tasks.note, tasks, label="notes")
    assert sorted(name for name, _ in found) == ["a", "b", "c", "d"]
    begun = dict(answer for _, answer in found)
    assert sorted(begun, key=begun.get) == ["a", "b", "c", "d"]
    assert len(list(tmp_path.glob("*.done"))) == 4
    said = capsys.readouterr().err
    assert f"dashboard of {one_worker.address}: " in said
    assert "notes: 4/4" in said
    assert "about 00:00 left" in said


def test_what_a_task_raises_is_its_answer(one_worker):
    (found,) = answers(one_worker, cluster_tasks.fail, [Task("t", ("too wide",))])
    assert isinstance(found[1], ValueError)
    assert str(found[1]) == "too wide"


def test_a_fresh_process_gets_job_threads_and_variables(one_worker, monkeypatch):
    variables = {"KERAS_BACKEND": "other", "NOWHERE": "/no/such/folder", "HOME": "mine"}
    arguments = ("cluster_tasks", {"do": "answer"}, TESTS, variables)
    (found,) = answers(one_worker, fresh_process.run, [Task("t", arguments)])
    assert set(found[1]) == {"answer.json"}
    answer = json.loads(found[1]["answer.json"])
    # two threads for one task at a time
    assert answer["threads"] == 2
    assert answer["variables"]["KERAS_BACKEND"] == "other"
    assert answer["variables"]["HOME"] == os.environ["HOME"]
    assert "NOWHERE" not in answer["variables"]


def test_a_process_that_dies_is_an_error_after_some_tries(one_worker):
    arguments = ("cluster_tasks", {"do": "kill"}, TESTS, {})
    (found,) = answers(one_worker, fresh_process.run, [Task("t", arguments)])
    assert isinstance(found[1], ClusterError)
    assert "ended by signal 9" in str(found[1])


def test_a_module_that_the_worker_lacks_is_named(one_worker):
    (found,) = answers(one_worker, fresh_process.run, [Task("t", ("no.such", {}, "/nowhere", {}))])
    assert "has no module no.such" in str(found[1])


def test_no_scheduler_is_said(tmp_path):
    with (
        pytest.raises(ClusterError, match="no scheduler answers at tcp://127.0.0.1:9"),
        cluster.connect("tcp://127.0.0.1:9", patience_s=0.2),
    ):
        pass
    with (
        pytest.raises(OptionError, match="expects tcp://HOST:PORT, received 'nonsense"),
        cluster.connect("nonsense://", patience_s=0.2),
    ):
        pass


def test_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(OptionError, match=r"pip install 'ppn-tf\[cluster\]'"), cluster.connect("x"):
        pass


@pytest.mark.parametrize(
    ("stated", "gpu", "expected"),
    [
        ([{}, {}], True, None),
        ([{}, {"GPU": 1}], True, "GPU"),
        ([{"GPU": 1}], False, None),
        ([{"GPU": 1, "RUN": 2}], False, "RUN"),
    ],
)
def test_a_task_takes_what_workers_state(stated, gpu, expected):
    workers = {str(number): {"resources": found} for number, found in enumerate(stated)}
    assert cluster.resource(workers, gpu) == expected


# --- losses ---


@pytest.fixture
def losses(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.close()


def test_a_killed_worker_and_a_killed_scheduler_lose_nothing(losses, tmp_path):
    workers = [losses.start_worker() for _ in range(2)]
    tasks = notes(tmp_path, {f"t{number}": 1.0 for number in range(6)})
    found = []

    def collect():
        found.extend(answers(losses, cluster_tasks.note, tasks))

    thread = threading.Thread(target=collect)
    thread.start()
    # a file is there before its text is
    killed = int(until(lambda: "".join(p.read_text() for p in list(tmp_path.glob("*.begun"))[:1])))
    losses.kill(next(worker for worker in workers if worker.pid == killed))
    until(lambda: list(tmp_path.glob("*.done")))
    losses.kill(losses.scheduler)
    losses.start_scheduler()
    losses.start_worker()
    thread.join(timeout=90)
    assert not thread.is_alive()
    assert sorted(name for name, _ in found) == [task.name for task in tasks]
    assert not any(isinstance(answer, Exception) for _, answer in found)


def test_the_process_of_a_task_ends_with_its_worker(losses, tmp_path):
    worker = losses.start_worker()
    pid = tmp_path / "pid"
    job = {"do": "wait", "pid": str(pid)}
    arguments = ("cluster_tasks", job, TESTS, {})
    with cluster.connect(losses.address) as client:
        future = client.submit(fresh_process.run, *arguments, pure=False)
        process = int(until(lambda: pid.exists() and pid.read_text()))
        losses.kill(worker)
        until(lambda: not Path(f"/proc/{process}").exists())
        future.release()


def test_what_nobody_waits_for_is_stopped(losses, tmp_path):
    losses.start_worker()
    pid = tmp_path / "pid"
    job = {"do": "wait", "pid": str(pid)}
    arguments = ("cluster_tasks", job, TESTS, {})
    with cluster.connect(losses.address) as client:
        future = client.submit(fresh_process.run, *arguments, pure=False)
        process = int(until(lambda: pid.exists() and pid.read_text()))
        future.cancel()
        until(lambda: not Path(f"/proc/{process}").exists())


class Broken:
    """A future that is done, whose answer cannot be fetched any more."""

    def __init__(self, status, error):
        self.status, self.error = status, error

    def result(self):
        raise self.error

    exception = result


@pytest.mark.parametrize("status", ["finished", "error"])
@pytest.mark.parametrize(
    "error", [OSError("closed"), asyncio.CancelledError(), concurrent.futures.CancelledError()]
)
def test_an_answer_that_is_lost_on_the_way_counts_as_a_lost_scheduler(status, error):
    with pytest.raises(cluster.SchedulerLostError):
        cluster._answer(Broken(status, error))
