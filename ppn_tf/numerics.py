"""The version of everything that decides a trained network's numbers."""

#: Raised by hand when results would change: forward model, data order, layers, losses,
#: optimiser settings. `tests/test_golden.py` fails when numbers move without it.
NUMERICS_VERSION = 1
