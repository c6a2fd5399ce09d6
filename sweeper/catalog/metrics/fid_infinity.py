"""What the Fréchet distance would be if there were no end of fakes."""

from __future__ import annotations

from sweeper.catalog.families import metrics
from sweeper.catalog.metrics.compared import Compared, unknown
from sweeper.catalog.metrics.frechet import frechet_distance, statistics


@metrics.register(paper="chong2020")
def fid_infinity(compared: Compared) -> dict[str, float]:
    """The Fréchet distance that more and more fakes lead to: 2 FID(N) less that of halves of them.

    The distance has a bias of about 1/N that differs from one generator to another. The line
    through two points, all N fakes and the mean of two random halves, is drawn to 1/N = 0;
    against known Gaussians it varied less than Chong and Forsyth's line through fifteen. What
    little real data there is biases it still. NaN with fewer than 4 fakes or 2 real examples.
    """
    n = len(compared.fake)
    if not compared.finite or n < 4 or len(compared.real) < 2:
        return unknown("fid_infinity")
    real, fake = statistics(compared.real.features), compared.fake.features
    all_of_them = frechet_distance(real, statistics(fake))
    halves = fake[compared.some(compared.fake, n)].tensor_split(2)
    of_halves = [frechet_distance(real, statistics(half)) for half in halves]
    return {"fid_infinity": 2 * all_of_them - sum(of_halves) / 2}
