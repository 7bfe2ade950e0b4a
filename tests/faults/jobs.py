"""What the children of the zygote do: small runs of the real run store, and the real scripts.

Each announces the phase it enters, so that the test can end it there.
"""

import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import sys
import time
import warnings
from pathlib import Path

import keras
import numpy as np
import psutil
import test_runs

from ppn_tf import data, devices, files, inference, models, training
from ppn_tf.errors import PpnError
from ppn_tf.training import TrainingConfig
from reproduce import (
    backends,
    evaluate,
    options,
    protocol,
    report,
    runs,
    specification,
    trainings,
)

SPEC = specification.RunSpec(
    "ptynet", 0, TrainingConfig(epochs=3), object_name="stand-in", train_size=24, evaluation="rows"
)
TRIVIAL = test_runs.TRIVIAL


def small():
    """Take the time out of a run: a network of two layers and a short evaluation."""
    models.create = test_runs.small_network
    evaluate.evaluate = test_runs.quick_evaluation


def announce(say, slow_s=0.0):
    """Say which phase of a run begins; writes take `slow_s` longer, so that kills meet them."""
    watched = [
        (protocol, "prepare", "data"),
        (training.ResourceMonitor, "on_epoch_begin", "epoch"),
        (training.Checkpoint, "on_epoch_end", "checkpoint"),
        (protocol, "score", "evaluation"),
        (runs.RunStore, "_write", "record"),
        (report, "write", "report"),
    ]
    for owner, name, phase in watched:
        setattr(owner, name, _announced(getattr(owner, name), say, phase))
    sync = os.fsync

    def slow_sync(handle):
        time.sleep(slow_s)
        sync(handle)

    files.os.fsync = slow_sync


def _announced(function, say, phase):
    def wrapped(*args, **kwargs):
        say(event="phase", phase=phase)
        return function(*args, **kwargs)

    return wrapped


def run(say, folder, slow_s=0.0, spec="SPEC", retrain=False):
    """Make one small run and a report of the folder."""
    small()
    announce(say, slow_s)
    store = runs.RunStore(Path(folder) / "runs", "CPU (test)", deterministic=True)
    record = store.ensure(globals()[spec], progress=False, retrain=retrain)
    # what an exhibit would write
    document = {"exhibit": "table1", "title": "t", "cells": [], "environments": {}}
    files.write_json(Path(folder) / "table1.json", document)
    report.write(Path(folder))
    say(event="phase", phase="end")
    say(event="result", digest=record["results_digest"], processes=_processes(record))


def script(say, folder, slow_s=0.0, retrain=False):
    """Make a paper-style run by its script: PtyNet, the sound block, 68 patches, and the report."""
    announce(say, slow_s)
    from reproduce import experiments

    smoke = experiments.PROFILES["smoke"]
    longer = experiments.dataclasses.replace(smoke, epochs=3)
    experiments.PROFILES = {**experiments.PROFILES, "smoke": longer}
    options = ["--profile", "smoke", "--gpu", "cpu", "--deterministic", "--out", folder]
    backends.main([*options, "--retrain"] if retrain else options)
    out = Path(folder) / ("smoke" if (Path(folder) / "smoke").is_dir() else "stand-in/smoke")
    report.write(out)
    say(event="phase", phase="end")
    (path,) = out.glob("runs/*/[!.]*.json")
    record = json.loads(path.read_text())
    say(event="result", digest=record["results_digest"], processes=_processes(record))


def _processes(record):
    return 1 + max((epoch["process"] for epoch in record["cost"]["epochs"]), default=0)


def warm(say):
    """Load what all runs need, to see that a forked backend computes."""
    data.load("stand-in", jitter_px=0, noise="none", seed=0)
    say(event="result")


def interrupted(say, folder):
    """Make a run under the frame of a script, to be stopped with Ctrl-C."""
    sys.argv = ["reproduce/table1.py", "--profile", "smoke", "--seeds", "2"]
    options.run_script(lambda _argv: run(say, folder))


def again(say, folder, damage):
    """Evaluate a finished run again from weights that were damaged."""
    small()
    announce(say)
    runs.EVALUATION_VERSION += 1
    store = runs.RunStore(Path(folder) / "runs", "CPU (test)", deterministic=True)
    path = store.path(SPEC, "keras")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "changed":
        content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if damage == "without checksum":
        record = json.loads(store.path(SPEC).read_text())
        del record["files"], record["digest"]
        files.write_json(store.path(SPEC), record)
        path.write_bytes(content[: len(content) // 2])
    try:
        store.ensure(SPEC, progress=False)
    except PpnError as error:
        say(event="result", error=type(error).__name__, message=str(error))


def clock_set_back(say, folder):
    """Make a run while the clock of the machine goes backwards."""
    start = time.time()
    calls = itertools.count()
    time.time = lambda: start - 3600.0 * next(calls)
    small()
    store = runs.RunStore(Path(folder) / "runs", "CPU (test)")
    record = store.ensure(TRIVIAL, progress=False)
    say(event="result", cost=record["cost"], found=store.find(TRIVIAL) == record)


def refused(say, folder, spec="SPEC"):
    """Make a run where that cannot be written, and report how it is refused."""
    small()
    store = runs.RunStore(Path(folder) / "runs", "CPU (test)", deterministic=True)
    try:
        record = store.ensure(globals()[spec], progress=False)
    except PpnError as error:
        say(event="result", error=type(error).__name__, message=str(error))
    else:
        say(event="result", digest=record["results_digest"])


def session_in(folder, jobs):
    """What the command line of a script would say."""
    return options.Session(
        "paper",
        None,
        "stand-in",
        "cpu",
        "CPU (test)",
        Path(folder),
        train=True,
        deterministic=True,
        jobs=jobs,
    )


def side_by_side(say, folder, count):
    """Make runs by the pool of ``--jobs``; its processes are forked, to spare the imports."""
    small()
    multiprocessing.get_context = lambda _method: MULTIPROCESSING("fork")
    specs = [dataclasses.replace(SPEC, seed=seed) for seed in range(3)]
    session = session_in(folder, jobs=count)
    if count == 1:
        # as the scripts do where they read their options
        devices.set_threads(options.threads_per_run(count, session.deterministic), 0)
    failed = [str(error) for _, error in trainings.outcomes(specs, session) if error]
    store = runs.RunStore(Path(folder) / "runs")
    records = [store.find(spec) for spec in specs]
    say(event="result", failed=failed, digests=[r and r["results_digest"] for r in records])


MULTIPROCESSING = multiprocessing.get_context


def fuzz(say, **where):
    """Read damaged files, see fuzzing.py."""
    import fuzzing

    warnings.simplefilter("ignore")
    fuzzing.loop(say, **where)


def numerics(say, network, policy, batch_size, loss, case, rate=1e-3):
    """Train two epochs on patterns or targets that are easy to stumble over."""
    small()
    keras.config.set_dtype_policy(policy)
    samples = awkward(case)
    model = models.create(network, (32, 32, 1))
    training.seed_weights(0)
    config = TrainingConfig(2, batch_size=batch_size, loss=loss, learning_rate=rate)
    try:
        history = training.train(model, samples, samples, config, seed=0)
    except PpnError as error:
        say(event="result", error=type(error).__name__, message=str(error))
        return
    patches = inference.predict(model, samples.patterns)
    # mixed_float16 leaves out a step whose scaled gradient overflows, and halves the scale
    scale = getattr(model.optimizer, "dynamic_scale", None)
    skipped = 0 if scale is None else np.log2(model.optimizer.initial_scale / float(scale))
    say(
        event="result",
        losses=[epoch["loss"] for epoch in history],
        finite=bool(np.isfinite(patches.phase).all() and np.isfinite(patches.amplitude).all()),
        steps=int(model.optimizer.iterations),
        skipped=int(skipped),
    )


def awkward(case):
    """Seven samples: with batches of 4 the last one is partial."""
    rng = np.random.default_rng(0)
    patterns = rng.poisson(9, (7, 32, 32, 1)).astype(np.float32)
    targets = rng.random((7, 32, 32, 1)).astype(np.float32)
    if case == "one dark pattern":
        patterns[2] = 0
    elif case == "dark patterns":
        patterns[:] = 0
    elif case == "constant targets":
        targets[:] = 0.5
    elif case == "targets of zero":
        targets[:] = 0
    elif case == "large counts":
        patterns *= 1e6
    return training.Samples(patterns, targets, targets)


def deterministic(say, folder, disturbed=False, **options):
    """Make a run in a fresh process; return its digest and those of each random stream."""
    small()
    if disturbed:
        prepare = protocol.prepare

        def drawing(*args):
            random.random()
            np.random.random()
            return prepare(*args)

        protocol.prepare = drawing
    spec = dataclasses.replace(SPEC, **options)
    store = runs.RunStore(Path(folder) / "runs", "CPU (test)", deterministic=True)
    record = store.ensure(spec, progress=False)
    prepared = protocol.prepare(spec)
    batches = training.Batches(
        training.Samples.of(prepared.dataset, prepared.train, prepared.scaling), 8, spec.seed
    )
    training.make_repeatable(spec.seed)
    model = models.create("x", (32, 32, 1))
    kernel = model.get_layer("conv").kernel
    # two draws of dropout: its masks differ from one another, and repeat with the seed
    dropout = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))
    masks = [dropout(np.ones((1, 64)), training=True) for _ in range(2)]
    streams = {
        "noise": prepared.dataset.patterns,
        "split": prepared.validation,
        "order": batches[0][0],
        "initial weights": keras.ops.convert_to_numpy(kernel),
        "dropout": np.stack([keras.ops.convert_to_numpy(mask) for mask in masks]),
    }
    say(
        event="result",
        digest=record["results_digest"],
        streams={
            name: hashlib.sha256(np.ascontiguousarray(v)).hexdigest() for name, v in streams.items()
        },
    )


def successive(say, folder, count):
    """Make run after run in one process, as a grid does; say how much memory it has after each."""
    small()
    specs = [dataclasses.replace(SPEC, seed=seed) for seed in range(count)]
    process = psutil.Process()
    for number, (_, failed) in enumerate(trainings.outcomes(specs, session_in(folder, jobs=1))):
        if failed is not None:
            raise failed
        say(event="memory", number=number, rss_mib=process.memory_info().rss / 2**20)
