"""What tasks do in the tests of clusters; workers import it."""

import json
import os
import signal
import sys
import time
from pathlib import Path


def note(folder, name, seconds=0.0):
    """Leave a file that says who did it and when it began, after some time."""
    begun = time.time()
    Path(folder, f"{name}.begun").write_text(str(os.getpid()))
    time.sleep(seconds)
    Path(folder, f"{name}.{os.getpid()}.done").write_text(str(begun))
    return name, begun


def fail(message):
    raise ValueError(message)


def main():
    """As the process of a task: do what the job says."""
    from ppn_tf import fresh_process

    job = json.loads(sys.stdin.readline())
    fresh_process.follow_parent()
    if job["do"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if job["do"] == "wait":
        Path(job["pid"]).write_text(str(os.getpid()))
        time.sleep(60)
    answer = {"threads": job["threads"], "variables": dict(os.environ)}
    Path(sys.argv[1], "answer.json").write_text(json.dumps(answer))
    os._exit(0)


if __name__ == "__main__":
    main()
