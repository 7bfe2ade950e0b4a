"""A process that has imported the backend and computed nothing; it forks one child a job.

A fresh interpreter pays for the imports each time, and a forked TensorFlow hangs only where
it has computed before. Jobs come as lines of JSON on standard input; what happens to the
children goes out as lines of JSON on standard output.
"""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]


def say(**values):
    """Write one line; short writes to a pipe are never mixed."""
    os.write(1, (json.dumps(values) + "\n").encode())


def serve():
    """Fork a child for every job until standard input ends."""
    import jobs

    say(ready=True)
    children = set()
    while True:
        readable, _, _ = select.select([0], [], [], 0.005)
        if readable:
            line = sys.stdin.readline()
            if not line:
                break
            pid = os.fork()
            if pid == 0:
                child(jobs, json.loads(line))
            children.add(pid)
            say(pid=pid, event="started")
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            children.discard(pid)
            say(pid=pid, event="ended", code=os.waitstatus_to_exitcode(status))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def child(jobs, order):
    """Do one job and leave; nothing returns to the server's loop."""
    code = 1
    try:
        error = os.open(order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(error, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if order.get("file_limit"):
            # Python ignores SIGXFSZ: writes beyond the limit fail as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"], resource.RLIM_INFINITY))
        if order.get("user"):
            os.setgid(order["user"])
            os.setuid(order["user"])
        getattr(jobs, order["job"])(
            lambda **values: say(pid=os.getpid(), **values), **order["with"]
        )
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
