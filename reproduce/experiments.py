"""The grid of runs behind each exhibit, as data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf import trivial
from ppn_tf.errors import OptionError, RecordError
from ppn_tf.training import TrainingConfig
from reproduce.specification import RunSpec

if TYPE_CHECKING:
    from reproduce.added import Added

#: Epochs of the paper (section V-A); PtyNet's are not stated: as many as PtychoNN.
EPOCHS = {
    "ppn": 30,
    "ppn-released": 30,
    "ptychonn": 45,
    "ptynet": 45,
    "dpi": 35,
    "ptychoformer": 30,
    "segformer": 30,
    "transunet": 30,
}

#: Seeds of each exhibit in the paper profile; Table I has its own in `PROFILES`.
SEEDS = {
    "table2": 5,
    "table3": 5,
    "table4": 3,
    "fig5": 3,
    "fig7": 10,
    "fig7-long": 3,
    "fig10": 1,
    "fig11": 1,
    "audit": 5,
}

#: A grid: names (of a block and a condition, mostly) to the runs that they stand for.
Grid = dict[tuple[str, ...], list[RunSpec]]

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
#: PtychoNN and PtyNet rows alone, and is absent until the audit has chosen.
BLOCKS = (
    Block("text", "what the paper's text says", "log1p", 3, "rows", "field"),
    Block("release", "what the authors' code does", "linear", 0, "lower-left", "flattened"),
    Block("sound", "no shared pixels, one SSIM per image", "log1p", 0, "gap", "per-image"),
)


#: Name of the fourth, and the exhibit that chooses it.
SELECTED = "selected"
_AUDIT = "audit.json"


def selected_block(folder: Path) -> Block | None:
    """Return the block that the audit chose; None before it has.

    Parameters
    ----------
    folder : Path
        Of the outputs, with ``audit.json``.

    Raises
    ------
    RecordError
        If the file cannot be read or names parts that no block has.
    """
    file = Path(folder) / _AUDIT
    if not file.exists():
        return None
    try:
        chosen = json.loads(file.read_text(encoding="utf-8")).get(SELECTED)
        if not chosen or chosen["block"] is None:
            return None
        parts = (chosen[key] for key in ("transform", "jitter_px", "region", "convention"))
        seeds = ", ".join(map(str, chosen["seeds"]))
        why = f"nearest to the clean PtychoNN and PtyNet rows, chosen on seeds {seeds}"
        if chosen["provisional"]:
            why += ", provisional"
        return Block(SELECTED, why, *parts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{file} does not say which block is selected ({error!r}): make it again with "
            "python reproduce/audit.py --no-train"
        ) from error


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
    added : tuple of Added
        Networks of ``--add-model``.
    selected : Block or None
        The block that the audit chose, in Table I alone.
    """

    name: str
    seeds: dict[str, int]
    blocks: tuple[str, ...]
    train_size: int | None
    epochs: int | None
    evaluation: str
    noisy_models: tuple[str, ...]
    note: str
    added: tuple[Added, ...] = ()
    selected: Block | None = None

    def block(self, name: str) -> Block:
        """Return a block of Table I by name, the selected one among them."""
        return self.selected if self.selected and name == self.selected.name else block(name)


#: Networks of Table I.
_NETWORKS = ("ppn", "ppn-released", "ptychonn", "ptynet", "dpi")

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


def seed_count(exhibit: str, profile: Profile, seeds: int | None) -> int:
    """Return the number of seeds of an exhibit: as asked for, else 1 outside `paper`."""
    return _checked(seeds) or (SEEDS[exhibit] if profile.name == "paper" else 1)


def table1(
    profile: Profile, object_name: str, seeds: int | None = None, selected: Block | None = None
) -> Grid:
    """Return the runs of Table I: (block, condition) to run specifications.

    Parameters
    ----------
    profile : Profile
    object_name : str
        ``"ltem"`` or ``"stand-in"``.
    seeds : int, optional
        Number of seeds in place of the profile's, in both halves.
    selected : Block, optional
        A further block: the one that the audit chose.

    Raises
    ------
    OptionError
        For fewer than one seed.
    """
    _checked(seeds)
    found: Grid = {}
    blocks = {name: block(name) for name in profile.blocks}
    if selected is not None:
        blocks[selected.name] = selected
    for name, protocol in blocks.items():
        for condition in CONDITIONS:
            count = profile.seeds[condition]
            if count:
                count = seeds or count
            found[name, condition] = [
                run_spec(model, seed, profile, object_name, protocol, condition=condition)
                for seed in range(count)
                for model in (*_networks(profile, condition), *_TRIVIAL)
            ]
            found[name, condition] += [
                run_spec(
                    added.model,
                    seed,
                    profile,
                    object_name,
                    protocol,
                    condition=condition,
                    epochs=added.epochs,
                )
                for seed in range(count)
                for added in profile.added
            ]
    return found


_TRIVIAL = tuple(f"trivial:{name}" for name in trivial.available())


def _networks(profile: Profile, condition: str) -> tuple[str, ...]:
    return profile.noisy_models if condition == "noisy" else _NETWORKS


def _checked(seeds: int | None) -> int | None:
    if seeds is not None and seeds < 1:
        raise OptionError(f"--seeds expects at least 1, received {seeds}")
    return seeds


def run_spec(
    model: str,
    seed: int,
    profile: Profile,
    object_name: str,
    protocol: Block,
    *,
    condition: str = "clean",
    options: Mapping[str, Any] | None = None,
    loss: str = "mse",
    epochs: int | None = None,
    train_size: int | None = None,
) -> RunSpec:
    """Return one run under a protocol block, within what the profile allows.

    Parameters
    ----------
    model : str
        Network, or ``trivial:NAME``.
    seed : int
    profile : Profile
        Its epochs, where it names them, take the place of all others; its number of
        training patches is an upper limit.
    object_name : str
    protocol : Block
    condition : {"clean", "noisy"}
    options : mapping, optional
        Options of the network that differ from its defaults.
    loss : str
        See `TrainingConfig`.
    epochs : int, optional
        In place of the paper's.
    train_size : int, optional
        Patches that train and validate.
    """
    if model.startswith("trivial:"):
        # no epochs: one, so that its name does not depend on a profile
        epochs = 1
    else:
        epochs = profile.epochs or epochs or EPOCHS[model]
    sizes = [size for size in (train_size, profile.train_size) if size is not None]
    return RunSpec(
        model,
        seed,
        TrainingConfig(epochs, loss=loss),
        options=tuple(sorted((options or {}).items())),
        object_name=object_name,
        transform=protocol.transform,
        jitter_px=protocol.jitter_px,
        noise=CONDITIONS[condition],
        train_size=min(sizes, default=None),
        evaluation=profile.evaluation,
    )


def most_informative_first(grid: Grid) -> list[RunSpec]:
    """Order runs: noise-free before noisy, seed by seed, the leak-free block first."""
    order = {"sound": 0, "text": 1, "release": 2, SELECTED: 3}
    ranked = [
        (("noisy" in key, spec.seed, min((order[k] for k in key if k in order), default=0)), spec)
        for key, specs in grid.items()
        for spec in specs
    ]
    ranked.sort(key=lambda pair: pair[0])
    return list({spec.hash: spec for _, spec in ranked}.values())
