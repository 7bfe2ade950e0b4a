"""The command ``ppn-tf`` in this process, as tests call it."""

import json

from ppn_tf import cli


def call(*words):
    return cli.main([str(word) for word in words])


def answer(capsys, *words):
    """Run a command that succeeds; return what it prints with --json."""
    capsys.readouterr()
    assert call(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words):
    """Run a command that is refused; return the message."""
    capsys.readouterr()
    assert call(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"ppn-tf {words[0]}: ")
    return captured.err
