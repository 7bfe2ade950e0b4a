"""Runs one after the other in one process: memory stays where it was."""

import pytest

#: What 90 runs may add [MiB]: pages that the C library keeps. A graph that stayed after each run
#: would be 10 MiB even of this network of two layers.
GROWTH_MIB = 40


@pytest.mark.long
@pytest.mark.parametrize("server", ["zygote", "other_zygote"], ids=["this", "other"])
def test_a_hundred_trainings(server, request, tmp_path, tried):
    zygote = request.getfixturevalue(server)
    child = zygote.start("successive", folder=str(tmp_path), count=100)
    sizes = []
    while child.code is None:
        event = child.next()
        if event["event"] == "memory":
            sizes.append(event["rss_mib"])
    assert child.code == 0, child.stderr
    assert len(sizes) == 100
    tried(
        "memory",
        zygote.backend,
        trainings=100,
        first_mib=sizes[0],
        tenth_mib=sizes[9],
        last_mib=sizes[-1],
    )
    assert sizes[-1] - sizes[9] < GROWTH_MIB
