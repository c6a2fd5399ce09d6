"""Top-k training."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor

from sweeper.catalog.families import tricks
from sweeper.catalog.scores import of_examples
from sweeper.game import Progress, Trick
from sweeper.registry import Law, Uniform


@tricks.register(
    paper="sinha2020",
    conflicts={
        Law("relativistic", "every real example is compared with fakes, also with bad ones")
    },
    warns={Law("accumulation", "the best of each part are not the best of the whole batch")},
    facts={"stage": 40},
)
class TopK(Trick):
    """G learns only from the fakes of its batch that D scores highest.

    k = max(1, round(N · final_share^min(1, t / until))) of N fakes, where t is the share of the
    horizon that lies behind: all at first, then by a constant factor fewer, as the paper's k falls
    by a factor of γ an epoch, down to its ν. Where D scores patches, fakes are chosen by their mean
    score. D learns from all.
    """

    def __init__(
        self,
        *,
        final_share: Annotated[float, Gt(0), Le(1), Uniform(0.25, 0.9)] = 0.5,
        until: Annotated[float, Gt(0), Le(1), Uniform(0.1, 1.0)] = 0.5,
    ) -> None:
        super().__init__()
        self.final_share, self.until = final_share, until

    def count(self, n: int, progress: Progress) -> int:
        share: float = self.final_share ** min(1.0, progress.fraction / self.until)
        return max(1, round(n * share))

    def fake_scores(self, scores: Tensor, progress: Progress) -> Tensor:
        everyone = progress.ranks.gathered(scores)
        best = of_examples(everyone).topk(self.count(len(everyone), progress)).indices
        return everyone[best]
