"""Compared numbers and text of Fig. 8."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from reproduce import compare, paper, render
from reproduce.parts.iterative_facts import CHANNEL, ENGINES, GAIN, Facts, Series, acquisition
from reproduce.tables import Cell


def cells(found: Facts, profile: str, device: str, timed_block: str) -> list[Cell]:
    """Compare every published number of section IV-E3; absent measurements give empty cells."""
    judge = _Judge(found, compare.load_paper(), profile, device, timed_block)
    every = [*judge.ppn(), *judge.epie_ssim(), *judge.seconds(), *judge.ratios()]
    return every + judge.convergence()


@dataclasses.dataclass(frozen=True)
class _Judge:
    found: Facts
    paper: Mapping[str, paper.Published]
    profile: str
    device: str
    block: str

    def cell(
        self,
        name: str,
        method: str,
        series: Series | None,
        how: str,
        *,
        block: str = "",
        runs: Sequence[str] = (),
        cannot: str | None = None,
        exact: bool = False,
    ) -> Cell:
        """Return one compared number; `cannot` says why it gets no verdict."""
        published = self.paper[f"claims.{name}"]
        mean = None if series is None else series.mean
        sd = None if series is None or exact else series.sd
        n = None if exact else 0 if series is None else len(series.values)
        judged = None
        if series is not None and self.profile == "paper":
            if cannot:
                difference = mean - published.value
                judged = compare.Verdict(compare.CANNOT, None, difference, cannot)
            else:
                judged = compare.verdict(
                    published, mean, sd, n, column_gap=None, profile=self.profile
                )
        return Cell(
            published.id,
            "clean",
            block,
            method,
            name,
            published.value,
            published.sd,
            mean,
            sd,
            n,
            judged and judged.to_dict(),
            tuple(runs),
            published.unit,
            how,
        )

    def ppn(self) -> list[Cell]:
        """PPN's range over the overlaps, and its loss at the smallest."""
        made = []
        blocks = dict.fromkeys(self.found.runs) or {(self.block, "ppn"): None}
        for block, model in blocks:
            runs = self.found.runs.get((block, model), ())
            by_overlap = [
                self.found.ppn[block, model, overlap, CHANNEL]
                for overlap in sorted(self.found.epie)
                if (block, model, overlap, CHANNEL) in self.found.ppn
            ]
            # by seed, so that the spread is that of seeds
            table = np.array([series.values for series in by_overlap]).T
            there = table.size > 0
            loss = 100 * (1 - table[:, 0] / table.max(axis=1)) if there else ()
            for name, values, how in (
                ("ppn_ssim_min", table.min(axis=1) if there else (), "smallest"),
                ("ppn_ssim_max", table.max(axis=1) if there else (), "largest"),
                ("degradation_overlap_30_percent", loss, "100 (1 - SSIM at 30 % / largest)"),
            ):
                series = Series(tuple(map(float, values))) if there else None
                formula = f"{how}, amplitude SSIM of the stitched field over the overlaps, by seed"
                made.append(self.cell(name, model, series, formula, block=block, runs=runs))
        return made

    def epie_ssim(self) -> list[Cell]:
        """SSIM of ePIE at both ends."""
        how = "amplitude SSIM of ePIE, known probe, over repeats with an order of visits each"
        made = []
        for percent in (90, 30):
            there = percent / 100 in self.found.epie
            series = self.found.epie_ssim(percent / 100) if there else None
            made.append(self.cell(f"epie_ssim_overlap_{percent}", "epie", series, how))
        return made

    def seconds(self) -> list[Cell]:
        """Absolute times at 30 %: another device than the paper's."""
        other = f"other device ({self.device}; the paper: Tesla T4)"
        there = 0.30 in self.found.epie
        how = "reconstruction with phase unwrapping at 30 % overlap, mean over repeats"
        made = [
            self.cell(
                "epie_seconds_overlap_30",
                name,
                self.found.seconds(0.30, engine) if there else None,
                how,
                cannot=other,
            )
            for engine, name in ENGINES.items()
        ]
        how = "inference and stitching of both channels at 30 % overlap, mean over repeats"
        return made + [
            self.cell(
                "ppn_seconds_overlap_30",
                model,
                self.found.network_seconds(0.30, model)
                if there and model in self.found.networks
                else None,
                how,
                cannot=other,
            )
            for model in self.found.networks or ("ppn",)
        ]

    def ratios(self) -> list[Cell]:
        """Speed ratios, judged on a GPU alone, and acquisition ratios."""
        made = []
        # a CPU runs a network and a loop over patterns at other relative speeds than a GPU
        other = None
        if self.device.startswith("CPU"):
            other = f"a ratio on another kind of device ({self.device}; the paper: Tesla T4)"
        for percent in (30, 60):
            for engine, name in ENGINES.items():
                for model in self.found.networks or ("ppn",):
                    series = self._ratio(percent / 100, engine, model)
                    how = f"mean seconds of {name} over those of {model}, same device and process"
                    made.append(
                        self.cell(
                            f"speedup_overlap_{percent}",
                            f"{name} / {model}",
                            series,
                            how,
                            exact=True,
                            cannot=other,
                        )
                    )
        for method, value, how in acquisition(self.found):
            series = Series((value,))
            made.append(self.cell("acquisition_ratio_90_30", method, series, how, exact=True))
        best = self._ratio(0.30, "python_s", "ppn") if self.found.networks else None
        combined = best and Series((49 * best.mean,))
        how = "49 times the ratio of the Python loop to ppn at 30 %; two ratios of different things"
        product = self.cell("combined_efficiency", "ppn", combined, how, exact=True, cannot=other)
        return [*made, product]

    def _ratio(self, overlap: float, engine: str, model: str) -> Series | None:
        if overlap not in self.found.epie or model not in self.found.networks:
            return None
        slow = self.found.seconds(overlap, engine).mean
        return Series((slow / self.found.network_seconds(overlap, model).mean,))

    def convergence(self) -> list[Cell]:
        """Where gains end: iterations at 80 % overlap, and the overlap itself."""
        made = []
        iterations = self.found.converged_at(0.80) if 0.80 in self.found.epie else None
        enough = self.found.enough_overlap() if len(self.found.epie) > 2 else None
        for kind, value, how in (
            (
                "iterations",
                iterations,
                f"iterations at 80 % overlap after which SSIM stays within {GAIN} of its end",
            ),
            (
                "overlap",
                enough and 100 * enough,
                f"smallest measured overlap within {GAIN} SSIM of the best, in steps of 10 %",
            ),
        ):
            ends = {"iterations": ("_min", "_max"), "overlap": ("_min_percent", "_max_percent")}
            names = [f"epie_{kind}{end}" for end in ends[kind]]
            low, high = (self.paper[f"claims.{name}"].value for name in names)
            for name in names:
                made.append(self._in_range(name, value, low, high, how))
        return made

    def _in_range(self, name: str, value: float | None, low: float, high: float, how: str) -> Cell:
        series = None if value is None else Series((float(value),))
        cell = self.cell(name, "epie", series, how, exact=True)
        if cell.verdict is None:
            return cell
        inside = low <= value <= high
        status = compare.REPRODUCED if inside else compare.DIFFERS
        reason = f"{value:g} is {'within' if inside else 'outside'} {low:g} to {high:g}"
        verdict = compare.Verdict(status, None, cell.difference, reason)
        return dataclasses.replace(cell, verdict=verdict.to_dict())


def rows(found: Facts) -> list[dict[str, str]]:
    """Return the table of overlaps."""
    table = []
    for overlap in sorted(found.epie):
        record = found.epie[overlap]
        row = {"overlap": f"{100 * overlap:.0f} %", "points": str(record["results"]["patterns"])}
        for channel in ("amplitude", "phase"):
            row[f"SSIM ePIE {channel}"] = _spread(found.epie_ssim(overlap, channel), ".3f")
        for (block, model, at, channel), series in found.ppn.items():
            if at == overlap:
                row[f"SSIM {model} {channel} ({block})"] = _spread(series, ".3f")
        for engine, name in ENGINES.items():
            row[f"{name} (s)"] = _spread(found.seconds(overlap, engine), ".3g")
        for model in found.networks:
            row[f"{model} (s)"] = _spread(found.network_seconds(overlap, model), ".3g")
        settled = found.converged_at(overlap)
        last = record["results"]["curve"][-1]["iterations"]
        row["iterations to converge"] = f"more than {last}" if settled is None else str(settled)
        table.append(row)
    return table


def _spread(series: Series, form: str) -> str:
    text = f"{series.mean:{form}}"
    return text if series.sd is None else f"{text} ± {series.sd:{'.1g' if 'g' in form else form}}"


def body(found: Facts, every: Sequence[Cell], profile: str) -> str:
    """Return the text below the title."""
    lines = []
    table = rows(found)
    if table:
        times = [name for name in table[0] if name.endswith(" (s)")]
        scores = [name for name in table[0] if name not in times]
        lines += [
            render.aligned(compare.markdown_table([{k: row[k] for k in names} for row in table]))
            for names in (scores, ["overlap", *times])
        ]
    else:
        lines.append("No measurement of ePIE is there yet.\n")
    if not found.ppn:
        held = "the runs of this profile hold none" if profile != "paper" else "none is there yet"
        lines += [f"PPN's SSIM by overlap comes from records of Table I: {held}.", ""]
    lines += ["| number | published | ours | of, verdict |", "| --- | ---: | ---: | --- |"]
    for cell in every:
        who = ", ".join(part for part in (cell.method, cell.block) if part)
        text = f" {cell.verdict['text']}" if cell.verdict else ""
        value = "-" if cell.ours is None else f"{cell.ours:.4g}"
        value += "" if cell.ours_sd is None else f" ± {cell.ours_sd:.2g}"
        unit = "" if cell.unit in ("1", "ratio") else f" {cell.unit}"
        lines.append(
            f"| {cell.id.removeprefix('claims.')} | {cell.published:g}{unit} | {value} | "
            f"{who}{';' if text else ''}{text} |"
        )
    return "\n".join([*lines, "", *notes(found)])


def notes(found: Facts) -> list[str]:
    """Say how the numbers were obtained."""
    lines = [
        "- ePIE: known probe kept fixed, object starts from ones, one visit per pattern and "
        "iteration in a random order (another for each repeat); phase unwrapping is timed. "
        "Global phase and amplitude scale are removed against the truth before scoring.",
        "- Both methods: noise-free scans of the lower-right 128 x 128 px, the same stitched area "
        "and metrics. SSIM compared with the paper: amplitude, since the paper names no channel.",
        "- Speed ratios are those of the device named below; the paper's are of a Tesla T4.",
        f"- Converged: SSIM of the first repeat stays within {GAIN} of its last value; a rule of "
        "ours. Other repeats may need more or fewer iterations.",
        "- The product of 49 and 852 multiplies an acquisition ratio with a computing ratio: no "
        "speed-up of anything, and the published SSIM of ePIE where it is claimed is 0.12.",
    ]
    if not found.epie:
        return lines
    first = next(iter(found.epie.values()))
    settings = first["settings"]
    spread = "mean ± standard deviation (the variance is in the JSON file)"
    lines.append(
        f"- Times: {settings['repeats']} repeats, {settings['iterations']} iterations, {spread}, "
        f"on {settings['device']}; the first call of the compiled loop, "
        f"{max(r['cost']['first_call_s'] for r in found.epie.values()):.1f} s at most with "
        "compilation, is not among them."
    )
    short = {
        overlap: record["cost"]["python_iterations_timed"]
        for overlap, record in found.epie.items()
        if record["cost"]["python_iterations_timed"] < settings["iterations"]
    }
    if short:
        listed = ", ".join(f"{100 * overlap:.0f} %: {count}" for overlap, count in short.items())
        lines.append(
            "- The Python loop ran fewer iterations at some overlaps, and its cost per iteration "
            f"counts for the rest ({listed})."
        )
    used = first["cost"]["networks"]
    for model, entry in used.items():
        weights = entry["weights"]
        how = weights if weights == "untrained" else f"with weights of {weights}"
        lines.append(f"- {model}: timed {how}.")
    return lines
