"""One seed, one record: in fresh processes, whatever else draws random numbers."""

import pytest

STREAMS = {"noise", "split", "order", "initial weights", "dropout"}


def run(zygote, folder, **options):
    child = zygote.start("deterministic", folder=str(folder), noise="reference", **options)
    assert child.wait() == 0, child.stderr
    return child.result


@pytest.mark.parametrize(
    "server",
    ["zygote", pytest.param("other_zygote", marks=pytest.mark.long)],
    ids=["this", "other"],
)
def test_the_same_seed_in_fresh_processes(server, request, tmp_path, tried):
    zygote = request.getfixturevalue(server)
    first = run(zygote, tmp_path / "first")
    assert set(first["streams"]) == STREAMS
    # nor must it matter what others draw from the global generators
    again = run(zygote, tmp_path / "again", disturbed=True)
    assert again == first
    other = run(zygote, tmp_path / "other", seed=1)
    assert other["digest"] != first["digest"]
    same = {name for name in STREAMS if other["streams"][name] == first["streams"][name]}
    assert same == set()
    tried("determinism", zygote.backend, processes=2, digests=1, streams=sorted(STREAMS))
