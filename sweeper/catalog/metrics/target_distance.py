"""How far fakes are from what they should have become."""

from __future__ import annotations

import math

from torch import Tensor

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown

NAMES = ("l1", "l1_inside", "mse", "psnr", "ratio", "ratio_inside")
BESIDE = ("copied_l1", "copied_l1_inside", "mean_l1", "mean_l1_inside")


@metrics.register(paper="isola2017")
def target_distance(compared: Compared) -> dict[str, float]:
    """The distance of fakes from the images that belong to what they were made from.

    Of fakes x̂ and targets x in [-1, 1], which were never trained on where ``evaluation.held_out``
    is set: ``target_l1``, mean|x̂ - x|; ``target_mse``, mean(x̂ - x)²; ``target_psnr``,
    10 log₁₀(4 / mse), in dB; and ``target_l1_inside``, over what is inside of masks alone. Beside
    them the l1 of what takes no training: of the source itself (``copied_l1``), and of the mean
    target that was trained on (``mean_l1``). ``target_ratio`` is the l1 over the lesser of these
    two. NaN where nothing says what a fake should have become, as with unpaired data and images
    from elsewhere; so is what needs a mask, or a source of the target's shape, where there is none.
    """
    wanted, training, made = compared.wanted, compared.training, compared.fake.examples
    if wanted is None or training is None or not compared.finite or not len(made):
        return unknown(*(f"target_{name}" for name in NAMES), *BESIDE)
    x, source = wanted.target, wanted.source
    mask = None if wanted.mask is None else wanted.mask.amax(1, keepdim=True)
    alike = source is not None and source.shape == x.shape
    own, copied, mean = (
        (_l1(y, x), _l1(y, x, mask) if mask is not None else math.nan)
        for y in (made, source if alike else None, training.examples.mean(0, keepdim=True))
    )
    mse = float((made - x).double().square().mean())
    return {
        "target_l1": own[0],
        "target_l1_inside": own[1],
        "target_mse": mse,
        "target_psnr": 10 * math.log10(4 / mse) if mse else math.inf,
        "target_ratio": _over(own[0], copied[0], mean[0]),
        "target_ratio_inside": _over(own[1], copied[1], mean[1]),
        "copied_l1": copied[0],
        "copied_l1_inside": copied[1],
        "mean_l1": mean[0],
        "mean_l1_inside": mean[1],
    }


def _l1(y: Tensor | None, x: Tensor, mask: Tensor | None = None) -> float:
    """mean|y - x|, over what is inside of a mask alone, if there is one; NaN without a y."""
    if y is None:
        return math.nan
    off = (y - x).abs().double()
    if mask is None:
        return float(off.mean())
    inside = mask.double().expand_as(off)
    return float((inside * off).sum() / inside.sum())


def _over(own: float, *others: float) -> float:
    """What is left of the least of the others that are known."""
    known = [value for value in others if not math.isnan(value)]
    return own / min(known) if known and min(known) > 0 else math.nan
