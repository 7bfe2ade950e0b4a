"""Fixtures of the fault tests: figures of what was tried, and children that can be killed."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
#: File that the figures of what was tried are merged into, if it is named.
VARIABLE = "PPN_TF_RELIABILITY"
#: Longest wait for anything that a child does [s]; a hang fails there.
PATIENCE_S = 300


@pytest.fixture
def tried():
    """Return a function that keeps the figures of one kind of test."""

    def keep(kind, part, **figures):
        path = os.environ.get(VARIABLE)
        if not path:
            return
        from ppn_tf.files import write_json

        path = Path(path)
        known = json.loads(path.read_text()) if path.exists() else {}
        known.setdefault(kind, {})[part] = figures
        write_json(path, known)

    return keep


class Zygote:
    """Starts children quickly; see zygote.py."""

    def __init__(self, folder, backend):
        self.backend = backend
        self._folder = folder
        self._events = {}
        self._count = 0
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend}
        self._process = subprocess.Popen(
            [sys.executable, HERE / "zygote.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "zygote.err").open("w"),
            text=True,
            env=environment,
        )
        self._started = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._started.get(timeout=PATIENCE_S)

    def _listen(self):
        for line in self._process.stdout:
            if not line.startswith("{"):
                continue
            event = json.loads(line)
            pid = event.pop("pid", None)
            if pid is None or event["event"] == "started":
                self._started.put(pid)
            else:
                # events of a child may come before that of its start
                self._of(pid).put((time.monotonic(), event))

    def _of(self, pid):
        return self._events.setdefault(pid, queue.Queue())

    def start(self, job, *, file_limit=None, user=None, **arguments):
        """Begin a job; return its `Child`."""
        self._count += 1
        stderr = self._folder / f"{self._count}.err"
        stderr.touch(mode=0o666)
        stderr.chmod(0o666)
        order = {"job": job, "with": arguments, "stderr": str(stderr)}
        order |= {"file_limit": file_limit, "user": user}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        pid = self._started.get(timeout=PATIENCE_S)
        return Child(pid, self._of(pid), stderr)

    def close(self):
        """End the server and its children."""
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_S)


class Child:
    """A job under way."""

    def __init__(self, pid, events, stderr):
        self.pid = pid
        self.phases = []  # (time, name)
        self.result = None
        self.code = None
        self._events, self._stderr = events, stderr

    def next(self, patience_s=PATIENCE_S):
        """Take in what the child said next; raise `queue.Empty` if it stays silent."""
        moment, event = self._events.get(timeout=patience_s)
        if event["event"] == "phase":
            self.phases.append((moment, event["phase"]))
        elif event["event"] == "result":
            self.result = event
        elif event["event"] == "ended":
            self.code = event["code"]
        return event

    def until(self, phase):
        """Wait until a phase begins; return False if the child ends before."""
        while self.code is None:
            self.next()
            if self.phases and self.phases[-1][1] == phase:
                return True
        return False

    def wait(self):
        """Wait for the end; return the exit status, negative for a signal."""
        while self.code is None:
            self.next()
        return self.code

    def send(self, number=signal.SIGKILL):
        """Send a signal, unless the child has ended."""
        # it may have ended and not have said so yet
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def stderr(self):
        """What it wrote on standard error."""
        return self._stderr.read_text(errors="replace")


#: Backend of all children but those of `other_zygote`.
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
OTHER = "jax" if BACKEND == "tensorflow" else "tensorflow"


def _server(tmp_path_factory, backend):
    folder = tmp_path_factory.mktemp("children")
    for parent in (folder, folder.parent, folder.parent.parent):
        # children that give up their rights write here
        parent.chmod(0o755)
    server = Zygote(folder, backend)
    yield server
    server.close()


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    """The server of children."""
    yield from _server(tmp_path_factory, BACKEND)


@pytest.fixture(scope="module")
def other_zygote(tmp_path_factory):
    """A server of children that compute on the other backend."""
    pytest.importorskip(OTHER)
    yield from _server(tmp_path_factory, OTHER)
