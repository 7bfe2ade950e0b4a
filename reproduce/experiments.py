"""The grid of runs behind each exhibit, as data."""

from __future__ import annotations

import dataclasses

from ppn_tf import models, trivial
from ppn_tf.errors import OptionError
from ppn_tf.training import TrainingConfig
from reproduce.specification import RunSpec

#: Epochs of the paper (section V-A); PtyNet's are not stated: as many as PtychoNN.
EPOCHS = {"ppn": 30, "ppn-released": 30, "ptychonn": 45, "ptynet": 45, "dpi": 35}

#: Noise model of each half of Table I; the paper's level is not published.
CONDITIONS = {"clean": "none", "noisy": "reference"}


@dataclasses.dataclass(frozen=True)
class Block:
    """A protocol block: how runs are trained and how they are scored.

    Attributes
    ----------
    name, why : str
    transform : str
        Input transform of the runs.
    jitter_px : int
        Jitter of the runs' scan.
    region : str
        Test region.
    convention : str
        Metric convention: ``"flattened"``, ``"per-image"`` or ``"field"``.
    """

    name: str
    why: str
    transform: str
    jitter_px: int
    region: str
    convention: str


#: Fixed beforehand. The fourth, "selected", is chosen by the audit from the clean
#: PtychoNN and PtyNet rows alone, and is absent until the audit has run.
BLOCKS = (
    Block("text", "what the paper's text says", "log1p", 3, "rows", "field"),
    Block("release", "what the authors' code does", "linear", 0, "lower-left", "flattened"),
    Block("sound", "no shared pixels, one SSIM per image", "log1p", 0, "gap", "per-image"),
)


@dataclasses.dataclass(frozen=True)
class Profile:
    """How much of the paper is run.

    Attributes
    ----------
    name : str
    seeds : dict
        Condition to number of seeds.
    blocks : tuple of str
        Blocks whose runs are trained.
    train_size : int or None
        Patches that train and validate; None for all 2928.
    epochs : int or None
        Epochs of every network; None for the paper's.
    evaluation : str
        See `RunSpec`.
    noisy_models : tuple of str
        Networks of the noisy half.
    note : str
        What the profile is, for people.
    """

    name: str
    seeds: dict[str, int]
    blocks: tuple[str, ...]
    train_size: int | None
    epochs: int | None
    evaluation: str
    noisy_models: tuple[str, ...]
    note: str


_NETWORKS = tuple(EPOCHS)

PROFILES = {
    "smoke": Profile(
        "smoke",
        {"clean": 1, "noisy": 1},
        ("sound",),
        68,
        1,
        "rows",
        ("ptynet",),
        "checks that everything runs: 68 patches, 1 epoch. Not the paper's protocol",
    ),
    "quick": Profile(
        "quick",
        {"clean": 1, "noisy": 0},
        ("sound",),
        512,
        10,
        "rows",
        (),
        "512 patches, 10 epochs, noise-free half. Not the paper's protocol",
    ),
    "paper": Profile(
        "paper",
        {"clean": 10, "noisy": 5},
        tuple(block.name for block in BLOCKS),
        None,
        None,
        "full",
        _NETWORKS,
        "the paper's protocol",
    ),
}


def block(name: str) -> Block:
    """Return a protocol block by name."""
    return next(found for found in BLOCKS if found.name == name)


def table1(
    profile: Profile, object_name: str, seeds: int | None = None
) -> dict[tuple[str, str], list[RunSpec]]:
    """Return the runs of Table I: (block, condition) to run specifications.

    Parameters
    ----------
    profile : Profile
    object_name : str
        ``"ltem"`` or ``"stand-in"``.
    seeds : int, optional
        Number of seeds in place of the profile's, in both halves.

    Raises
    ------
    OptionError
        For fewer than one seed.
    """
    if seeds is not None and seeds < 1:
        raise OptionError(f"--seeds expects at least 1, received {seeds}")
    found = {}
    for name in profile.blocks:
        for condition, noise in CONDITIONS.items():
            count = profile.seeds[condition]
            if count:
                count = seeds or count
            found[name, condition] = [
                _spec(model, seed, profile, object_name, block(name), noise)
                for seed in range(count)
                for model in (*_networks(profile, condition), *_TRIVIAL)
            ]
    return found


_TRIVIAL = tuple(f"trivial:{name}" for name in trivial.available())


def _networks(profile: Profile, condition: str) -> tuple[str, ...]:
    return profile.noisy_models if condition == "noisy" else _NETWORKS


def _spec(
    model: str, seed: int, profile: Profile, object_name: str, protocol: Block, noise: str
) -> RunSpec:
    network = model in models.available()
    # a trivial predictor has no epochs: one, so that its name does not depend on a profile
    epochs = (profile.epochs or EPOCHS[model]) if network else 1
    return RunSpec(
        model,
        seed,
        TrainingConfig(epochs),
        object_name=object_name,
        transform=protocol.transform,
        jitter_px=protocol.jitter_px,
        noise=noise,
        train_size=profile.train_size,
        evaluation=profile.evaluation,
    )


def most_informative_first(
    grid: dict[tuple[str, str], list[RunSpec]],
) -> list[RunSpec]:
    """Order runs: noise-free before noisy, seed by seed, the leak-free block first."""
    order = {name: rank for rank, name in enumerate(("sound", "text", "release"))}
    ranked = [
        ((condition != "clean", spec.seed, order[name]), spec)
        for (name, condition), specs in grid.items()
        for spec in specs
    ]
    ranked.sort(key=lambda pair: pair[0])
    return list({spec.hash: spec for _, spec in ranked}.values())
