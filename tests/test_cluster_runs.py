"""Runs on a cluster: the records are those of a serial call, one each, whatever is lost."""

import json
import threading

import pytest

pytest.importorskip("distributed")
pytest.importorskip("keras")

from local_cluster import Cluster, until  # noqa: E402

from ppn_tf import cluster, fresh_process  # noqa: E402
from ppn_tf.errors import ClusterError, OptionError, RecordError  # noqa: E402
from ppn_tf.training import TrainingConfig  # noqa: E402
from reproduce import cluster as on_cluster  # noqa: E402
from reproduce import options, schedule, trainings  # noqa: E402
from reproduce.options import Session  # noqa: E402
from reproduce.specification import RunSpec  # noqa: E402


def spec(model, seed=0, **values):
    return RunSpec(
        model,
        seed,
        TrainingConfig(epochs=2),
        object_name="stand-in",
        train_size=24,
        evaluation="rows",
        **values,
    )


def session_of(out, address=None):
    session = Session("paper", None, "stand-in", "cpu", "CPU (test)", out, train=True)
    return session if address is None else options.dataclasses.replace(session, scheduler=address)


def digests(session, specs):
    store = schedule.store_of(session)
    return [store.find(run)["results_digest"] for run in specs]


def scheduled(session, specs):
    """Make runs on the cluster; nothing may fail, and each is named once."""
    ended = list(trainings.outcomes(specs, session))
    assert [str(error) for _, error in ended if error is not None] == []
    assert sorted(run.hash for run, _ in ended) == sorted(run.hash for run in specs)
    return digests(session, specs)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    made.start_worker()
    yield made
    made.close()


@pytest.mark.long
def test_records_are_those_of_a_serial_call(workers, tmp_path):
    runs = [spec("trivial:mean-image"), spec("trivial:constant", 1)]
    serial = session_of(tmp_path / "serial")
    for run in runs:
        schedule.store_of(serial).ensure(run, progress=False)
    session = session_of(tmp_path / "shared", workers.address)
    assert scheduled(session, runs) == digests(serial, runs)
    # the mark by which workers know the folder is gone
    assert [path.name for path in (tmp_path / "shared" / "runs").glob(".*")] == []


def test_without_a_shared_folder_the_run_is_sent_back(workers, tmp_path):
    run = spec("trivial:mean-image")
    session = session_of(tmp_path / "here", workers.address)
    with on_cluster._marked(tmp_path / "here" / "runs") as mark:
        module, job, *rest = on_cluster._arguments(run, session, mark)
        elsewhere = {**job, "runs": str(tmp_path / "not-here")}
        tasks = [cluster.Task("t", (module, elsewhere, *rest))]
        ((_, files),) = cluster.outcomes(workers.address, fresh_process.run, tasks)
    assert not (tmp_path / "not-here").exists()
    store = schedule.store_of(session)
    assert store.find(run) is None
    assert on_cluster._received(run, files, session) is None
    record = store.find(run)
    assert record["hash"] == run.hash
    assert store.path(run, "npz").exists()
    # the same again is refused silently, or replaces; a damaged or foreign record is refused
    name = f"runs/{run.hash}/{store.path(run).name}"
    damaged = {**files, name: files[name].replace(b'"parameters": 0', b'"parameters": 1')}
    assert on_cluster._received(run, damaged, session) is None
    assert store.find(run) == record
    store.path(run).unlink()
    assert isinstance(on_cluster._received(run, damaged, session), RecordError)
    assert store.find(run) is None
    sent = {name.rpartition("/")[2]: content for name, content in files.items()}
    with pytest.raises(RecordError, match="expected the record of"):
        store.receive(spec("trivial:constant"), sent)
    with pytest.raises(RecordError, match="received \\['x'\\]"):
        store.receive(run, {"x": b""})


@pytest.mark.long
def test_a_refusal_on_a_worker_is_told_and_not_tried_again(workers, tmp_path):
    run = spec("ppn", options=(("decoder", "none"),))
    session = session_of(tmp_path, workers.address)
    ((failed, error),) = trainings.outcomes([run], session)
    assert failed == run
    assert isinstance(error, ClusterError)
    assert "OptionError: option 'decoder' of model 'ppn' must be one of" in str(error)
    assert "Traceback" in str(error)


def test_a_worker_with_another_version_refuses(tmp_path, monkeypatch):
    run = spec("trivial:constant")
    with on_cluster._marked(tmp_path) as mark:
        _, job, *_ = on_cluster._arguments(run, session_of(tmp_path), mark)
    work = json.loads(json.dumps({**job, "hash": "0" * 16, "threads": 1}))
    with pytest.raises(ClusterError, match="another version of this package"):
        on_cluster._make_here(work, tmp_path)


def test_jobs_and_scheduler_exclude_each_other():
    words = ["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"]
    with pytest.raises(OptionError, match="with --scheduler, start more workers"):
        options.prepare(options.parser("text").parse_args(words))


def draw():
    """Draw from Python's global random numbers for ever, as Dask's own threads do at times."""
    import random

    def always():
        while True:
            random.random()

    threading.Thread(target=always, daemon=True).start()


@pytest.mark.long
def test_killed_workers_and_scheduler_leave_the_records_of_a_serial_call(tmp_path):
    """Networks; a worker is killed in the middle, then the scheduler, and both replaced."""
    runs = [spec("ptynet"), spec("ptychonn"), spec("trivial:ridge"), spec("ppn")]
    serial = session_of(tmp_path / "serial")
    for _, error in trainings.outcomes(runs, serial):
        assert error is None
    made = Cluster(tmp_path)
    try:
        processes = [made.start_worker() for _ in range(2)]
        session = session_of(tmp_path / "cluster", made.address)
        with cluster.connect(made.address) as client:
            client.wait_for_workers(2)
            client.run(draw)
        found = []
        thread = threading.Thread(target=lambda: found.append(scheduled(session, runs)))
        thread.start()
        folder = tmp_path / "cluster" / "runs"
        # two runs are under way, none is finished
        until(lambda: len(list(folder.glob("*/*.lock"))) == 2)
        made.kill(processes[0])
        until(lambda: list(folder.glob("*/*.json")), 300)
        made.kill(made.scheduler)
        made.start_scheduler()
        made.start_worker()
        made.start_worker()
        thread.join(timeout=600)
        assert found == [digests(serial, runs)]
        records = sorted(path.parent.name for path in folder.glob("*/*.json"))
        assert records == sorted(run.hash for run in runs)
        assert list(folder.glob("*/*.partial*")) == []
    finally:
        made.close()
