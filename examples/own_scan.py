"""From a scan on disk to a picture of its object: the steps of docs/own-data.md in Python.

The scan here is simulated and written as the pair of files that ptychodus uses, so that
the example needs no data; replace step 1 by the path of your own.

    python examples/own_scan.py --out own_scan

With the defaults about ten minutes on two cores; --patterns and --epochs make it shorter.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from ppn_tf import (
    api,
    comparison,
    data,
    detector,
    fitting,
    pairs,
    pictures,
    reconstruction,
    stitching,
)
from ppn_tf.data import formats


def write_a_scan(folder: Path) -> Path:
    """Step 1: your own file. Here a drawn chart, a computed probe, Poisson noise."""
    chart = data.load_object("stand-in")
    probe = data.stand_in_probe(32)
    positions = data.raster((160, 160), 32, step_px=8, jitter_px=2, seed=1).positions_px
    field = chart.complex[10:170, 340:500]
    scan = formats.Scan(
        patterns=data.simulate(field, probe, positions, "poisson-only"),
        positions_px=positions.astype(np.float64),
        probe=probe[None],
        object=field,  # the truth: a measured scan has none
        energy_eV=9000.0,
        distance_m=1.2,
        object_pixel_m=(10e-9, 10e-9),
    )
    formats.write(folder / "scan_para.h5", scan, patterns=folder / "scan_dp.h5")
    return folder / "scan_para.h5"


def main() -> None:
    """Run the steps and print what they give."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("own_scan"))
    parser.add_argument("--patterns", type=int, default=2048, help="simulated, to train on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--network", default="ppn")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    path = write_a_scan(arguments.out)

    # 2. read it; where a file does not say how it is meant, this names the flag to pass
    scan = formats.read(path)
    truth, scan = scan.object, formats.read(path, with_object=False)

    # 3. train on random objects with the probe of the scan; the counts are those of the scan.
    # The phase of each patch counts from the mean that the light sees
    fit = detector.Fit()  # 64 px detector, 32 px network: Fit(crop_px=32) or Fit(bin_px=2)
    drawn = pairs.simulated(
        scan,
        fit,
        pairs.Simulation(arguments.patterns, phase_range_rad=(-2.0, 0.0)),
    )
    model, history = fitting.fit(
        drawn, arguments.network, fitting.FitOptions(arguments.epochs), label="train"
    )
    api.save_model(arguments.out / "own.keras", model)
    print(f"held-out loss after {len(history)} epochs: {history[-1]['val_loss']:.4f}")

    # 4. patterns -> patches, turned to each other where they overlap -> one complex object
    corners, shape = detector.placed(scan, fit)
    weights = stitching.weights(fit.window_px(scan.window_px))
    field, _ = reconstruction.reconstruct_turned(
        model, scan.patterns, corners, shape, weights, fit=fit, label="reconstruct"
    )

    # 5. a file that ptychodus opens, and a picture
    result = dataclasses.replace(scan, positions_px=corners, object=np.nan_to_num(field))
    formats.write(arguments.out / "object.h5", result)
    pictures.draw(arguments.out / "object.png", pictures.object_panels(field))

    # 6. only here: the truth is known
    if truth is not None:
        reference = truth[: shape[0], : shape[1]]
        centres = corners + np.array(scan.window_px) / 2
        scores = comparison.compare(field, reference, centres).scores
        for name in ("amplitude", "phase"):
            psnr, ssim = scores[name]["psnr_db"], scores[name]["ssim"]
            print(f"{name}: PSNR {psnr:.2f} dB, SSIM {ssim:.3f}")
    print(f"written: {arguments.out}/object.h5, object.png, own.keras")


if __name__ == "__main__":
    main()
