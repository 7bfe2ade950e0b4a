"""Findings from the audit's own measurements: shift, receptive fields, PoCA."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reproduce.experiments import SEEDS
from reproduce.parts import audit_fields, audit_leaks, audit_pilot, audit_shift, audit_short
from reproduce.parts.audit_finding import Finding
from reproduce.parts.audit_records import results

#: What is told where a record is not there.
REMEDY = "`python reproduce/audit.py --measure {}`"

#: PSNR of 0.5 against targets of 0 and 1 [dB].
CONSTANT_DB = 10 * math.log10(4)

Record = Mapping[str, Any] | None


def how(record: Mapping[str, Any]) -> str:
    """Say how a record was made."""
    made = record["how"]
    commits = ", ".join(made["commits"])
    return f"Measured on {made['device']} in {made['seconds'] / 60:.0f} min, commit {commits}."


def shift(record: Record) -> Finding:
    """Say whether a learned centre finds a shift of the pattern."""
    title = "Does the centre follow a shifted pattern?"
    test = "test_the_shift_is_told_as_the_record_has_it"
    question = (
        "The paper says that the learned centre follows shifts of the illumination. Put to the "
        "test: trainings of `ppn` on patterns moved along the columns by 0 to "
        f"{max(audit_shift.SHIFTS_PX)} px, and where the two centres end. "
    )
    if record is None:
        missing = REMEDY.format(audit_shift.NAME)
        return Finding("shift", title, question.strip(), test=test, missing=missing)
    found = results(record)
    slopes = audit_shift.slopes(found)
    recovered = audit_shift.recovered(found)
    text = (
        f"{question}{len(found)} short trainings of {audit_shift.steps()} Adam steps (batch "
        f"{audit_shift.BATCH}); at its learning rate a centre could go "
        f"{audit_shift.steps() * audit_shift.SIDE_PX * audit_short.LEARNING_RATE:.1f} px, and "
        f"noise alone would carry it {audit_shift.walk_px():.2f} px (root mean square). "
        f"{_follows(slopes)} What a network would have from it: with both centres put where the "
        "pattern's is, the error on shifted test patterns falls by "
        f"{min(recovered.values()):+.2f} to {max(recovered.values()):+.2f} %, against centres in "
        "the middle. Short trainings leave open what long ones do. " + how(record)
    )
    rows = [
        {
            "layer": one["layer"],
            "axis": {"row": "across the shift", "col": "along the shift"}[one["axis"]],
            "px of centre per px of shift": f"{one['slope']:+.2f}",
            "95 % interval": "{:+.2f} to {:+.2f}".format(*one["ci95"]),
            "n": str(one["n"]),
        }
        for one in slopes
    ]
    measured = {"slopes": slopes, "recovered_percent": recovered, "how": record["how"]}
    return Finding("shift", title, text, rows, measured, test)


def _follows(slopes: Sequence[Mapping[str, Any]]) -> str:
    """Say whether the centre's end moves with the shift."""

    def holds(one: Mapping[str, Any], value: float) -> bool:
        return one["ci95"][0] <= value <= one["ci95"][1]

    along = [one for one in slopes if one["axis"] == "col"]
    zero = [one for one in along if holds(one, 0)]
    follows = [one for one in along if holds(one, 1) and one not in zero]
    if len(zero) == len(along):
        conclusion = "so nothing shows that a centre finds the shift."
    elif follows:
        conclusion = f"so {len(follows)} of {len(along)} centres find the shift."
    else:
        conclusion = "so a centre reacts to the shift without finding it."
    return (
        f"{len(zero)} of the {len(along)} slopes along the shift cannot be told from 0 and "
        f"{len([one for one in along if holds(one, 1)])} cannot be told from 1, which would be a "
        f"centre that follows; {conclusion}"
    )


def fields(record: Record) -> Finding:
    """Say what the convolutional networks can see of a pattern."""
    title = "Receptive fields: what reaches across the pattern"
    test = "test_receptive_fields_span_the_pattern"
    if record is None:
        return Finding("fields", title, "Not measured.", test=test, missing=REMEDY.format("fields"))
    found = results(record)
    reach = {n: o["theoretical_px"] for n, o in found.items()}
    told = ", ".join(f"{n} {v} px" for n, v in reach.items() if v is not None)
    trained = {n: o["trained_px"] for n, o in found.items() if o["trained_px"] is not None}
    effective = ", ".join(f"{n} {v:.1f} px" for n, v in trained.items())
    text = (
        "The paper says that 3 x 3 convolutions cannot span the radial extent of a pattern. One "
        "layer cannot; the networks stack many, with strides. What the middle output pixel can "
        f"depend on by the layers alone is {told}; a pattern has 32 px. "
        "(PPN reaches all of it by attention and patches.) What it does depend on is measured by "
        "its derivative with every input pixel, on test patterns: the radius about the middle "
        f"that holds 90 % of the squared derivative is, after training, {effective or 'unknown'}; "
        f"an even spread would have {even_px():.1f} px. {_nearer(trained)}One training each. "
        + how(record)
    )
    rows = [
        {
            "network": name,
            "by its layers (px)": "whole pattern"
            if one["theoretical_px"] is None
            else str(one["theoretical_px"]),
            "radius of 90 %, initial (px)": f"{one['initial_px']:.1f}",
            "radius of 90 %, trained (px)": "no weights here"
            if one["trained_px"] is None
            else f"{one['trained_px']:.1f}",
            "run": one["run"] or "",
        }
        for name, one in found.items()
    ]
    return Finding("fields", title, text, rows, {"networks": found, "how": record["how"]}, test)


def _nearer(trained: Mapping[str, float]) -> str:
    """Compare the convolutional networks with PPN, where both are there."""
    networks = [name for name in ("ptychonn", "ptynet", "dpi") if name in trained]
    if not networks or "ppn" not in trained:
        return ""
    nearer = [name for name in networks if trained[name] < trained["ppn"]]
    text = f"{len(nearer)} of {len(networks)} convolutional networks depend on less than PPN does. "
    if len(nearer) == len(networks):
        text += (
            "So they can span the pattern and, trained, use it less far out: the milder form of "
            "the paper's statement, with a number. "
        )
    without = trained.get("ppn without NLB")
    if without is not None:
        text += (
            f"PPN without its Non-Local branch has {without:.1f} px: its patches and their "
            "attention span the pattern already. "
        )
    return text


def even_px() -> float:
    """Return the radius of 90 % of an even spread over the pattern [px]."""
    return audit_fields.radius(np.ones((audit_fields.SIDE_PX, audit_fields.SIDE_PX)))


def poca(record: Record, full: Mapping[str, Mapping[str, float]] | None = None) -> Finding:
    """Answer whether PoCA helps, as far as the intervals allow.

    Parameters
    ----------
    record : mapping or None
    full : mapping, optional
        Full trainings, as `audit_pilot.from_records` gives them.
    """
    title = "Does polar coordinate attention help?"
    test = "test_the_answer_on_poca_follows_the_intervals"
    trained = audit_pilot.comparisons(full or {})
    told, missing = _full(full or {}, trained)
    if record is None:
        missing = "; ".join([REMEDY.format("poca"), *missing])
        return Finding("poca", title, told, _poca_rows(trained), test=test, missing=missing)
    found = audit_pilot.comparisons(results(record))
    seeds = min(one["n"] for one in found)
    settings = record["settings"]
    text = (
        f"{told} A pilot: {answer(found)} Its trainings are short, in the sound block: "
        f"{settings['patches']} patches, {settings['epochs']} epochs of batch "
        f"{settings['batch']}, {seeds} paired seeds, {settings['tested']} test patches that "
        "share no pixel with training; what a full training does may differ. "
        f"{_level(results(record))}Differences are PoCA minus the other form; 'would be found' "
        "is the true difference that a comparison of this size finds in 80 % of its "
        "repetitions, and 'seeds for the published' how many it would take to find what Table "
        "II prints for PoCA: against plain attention for MHSA, else against no Non-Local branch. "
        + how(record)
    )
    measured = {"comparisons": found, "seeds": seeds, "full": trained, "how": record["how"]}
    return Finding(
        "poca",
        title,
        text,
        _poca_rows(found),
        measured,
        test,
        "; ".join(missing),
        _poca_rows(trained),
    )


def _level(found: Mapping[str, Mapping[str, float]]) -> str:
    """Say how far the pilot's networks are from a constant."""
    values = [one["psnr_amplitude"] for one in found.values()]
    text = (
        f"Its networks reach {min(values):.1f} to {max(values):.1f} dB in amplitude, where a "
        f"constant of 0.5 has {CONSTANT_DB:.1f} dB on a chart of two values"
    )
    if max(values) < CONSTANT_DB + 1:
        return f"{text}: they have hardly begun to learn it, and the pilot says little. "
    return f"{text}. "


def _full(
    full: Mapping[str, Mapping[str, float]], trained: Sequence[Mapping[str, Any]]
) -> tuple[str, list[str]]:
    """Say what full trainings tell, and which are missing."""
    held = audit_pilot.by_form(full)
    complete = sum(len(by_seed) >= SEEDS["audit"] for by_seed in held.values())
    told = (
        f"Full trainings are there for {len(held)} of {len(audit_pilot.FORMS)} forms of the "
        "network, with one seed or more"
    )
    pairs = {one["form"]: one["n"] for one in trained}
    if not pairs:
        told += ", of no two of them two paired seeds."
    else:
        listed = ", ".join(f"{form} (n {n})" for form, n in pairs.items())
        told += f"; PoCA has paired seeds with {listed}. {answer(trained)}{_outside(trained)}"
    wanted = "full trainings of every form with 5 paired seeds (`python reproduce/audit.py`)"
    return told, [] if complete == len(audit_pilot.FORMS) else [wanted]


def _outside(trained: Sequence[Mapping[str, Any]]) -> str:
    """Say where the published advantage over no branch lies outside our interval of the same."""
    same = [one for one in trained if one["form"].endswith("no NLB") and one["published"]]
    beyond = [
        f"{one['form']}, {one['metric']}"
        for one in same
        if not one["ci95"][0] <= one["published"] <= one["ci95"][1]
    ]
    if not beyond:
        return ""
    return (
        f" The published advantage over no Non-Local branch lies outside {len(beyond)} of "
        f"{len(same)} intervals ({'; '.join(beyond)})."
    )


def answer(found: Sequence[Mapping[str, Any]]) -> str:
    """Say in one or two sentences what the intervals say."""
    better = [one for one in found if one["ci95"][0] > 0]
    worse = [one for one in found if one["ci95"][1] < 0]
    weak = [one for one in found if one["published"] and one["detectable"] > abs(one["published"])]
    power = (
        f"In {len(weak)} of {len(found)} comparisons it could not have found the published "
        "advantage: underpowered."
        if weak
        else "It could have found the published advantage in all of them."
    )
    if not better and not worse:
        return (
            f"No 95 % interval of {len(found)} comparisons excludes 0: they show neither a gain "
            f"nor a loss from PoCA. {power}"
        )
    told = [
        f"{len(group)} {word} ({', '.join(sorted({one['form'] for one in group}))})"
        for group, word in ((better, "in favour of PoCA"), (worse, "against it"))
        if group
    ]
    expected = 0.05 * len(found)
    return (
        f"{' and '.join(told)} of {len(found)} intervals of 95 % exclude 0, where chance alone "
        f"gives {expected:.1f}; none is corrected for their number. {power}"
    )


def _poca_rows(found: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    rows = []
    for one in found:
        unit = "dB" if one["metric"].startswith("psnr") else "points"
        rows.append(
            {
                "PoCA against": one["form"],
                "metric": audit_leaks.name_of(one["metric"]),
                "difference": audit_leaks.told(one, unit),
                "n": str(one["n"]),
                "would be found": f"{one['detectable']:.2f} {unit}",
                "published": f"{one['published']:+.2f} {unit}",
                "seeds for the published": "> 1000"
                if one["needed"] is None
                else str(one["needed"]),
            }
        )
    return rows
