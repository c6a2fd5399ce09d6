"""A pool of older fakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, cast

import torch
from annotated_types import Ge
from torch import Tensor, nn

from sweeper.catalog.families import tricks
from sweeper.catalog.scores import along
from sweeper.game import Batch, Networks, Progress, Trick
from sweeper.registry import Law, Options


@tricks.register(
    paper="shrivastava2017",
    provides={"pool"},
    conflicts={Law("relativistic", "older fakes are no partners for the real examples at hand")},
    facts={"stage": 40},
)
class ImagePool(Trick):
    """D learns from older fakes, too, so that it does not forget what G used to make.

    A pool of ``size`` fakes for every discriminator. While it is not full, each new fake is kept
    and shown. Then, one after another and with probability ½ each, a fake takes the place of a
    random one of the pool, which is shown instead; otherwise it is shown itself and not kept. What
    is known of a fake, such as its label, stays with it. The pool holds no gradients, and G learns
    from its new fakes alone.
    The paper shows half a batch of each; this is the form of CycleGAN.
    """

    seen: Tensor

    def __init__(self, *, size: Annotated[int, Ge(1), Options((10, 50, 100))] = 50) -> None:
        super().__init__()
        self.size = size
        self.others = nn.ModuleDict()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def setup(self, networks: Networks, batch: Batch) -> None:
        for name, value in known(batch).items():
            self.register_buffer(name, value.new_zeros(self.size, *value.shape[1:]))

    def fakes(self, batch: Batch, progress: Progress, pair: str = "main") -> Batch:
        if pair != "main":
            return self._other(pair, batch).fakes(batch, progress)
        ranks, device, random = progress.ranks, batch.image.device, progress.random["image_pool"]
        n = ranks.size * len(batch)
        turn = self.seen + torch.arange(n, device=device)
        free = turn < self.size
        swapped = ~free & (torch.rand(n, generator=random, device=device) < 0.5)
        drawn = torch.randint(self.size, (n,), generator=random, device=device)
        place, kept = torch.where(free, turn, drawn), free | swapped
        before = last((kept & (place == place[:, None])).tril(-1))
        after = last(kept & (place == torch.arange(self.size, device=device)[:, None]))
        self.seen.add_(n)
        shown = dict[str, Tensor]()
        for name, own in known(batch).items():
            pool, new = self.get_buffer(name), ranks.gathered(own)
            older = chosen(before >= 0, new.detach()[before], pool[place])
            shown[name] = ranks.own(chosen(swapped, older, new))
            pool.copy_(chosen(after >= 0, new.detach()[after], pool))
        return Batch(**shown)

    def _other(self, pair: str, batch: Batch) -> ImagePool:
        """The pool of another pair, whose fakes may be of another shape."""
        if pair not in self.others:
            pool = ImagePool(size=self.size)
            pool.setup({}, batch)
            self.others[pair] = pool.to(batch.image.device)
        return cast(ImagePool, self.others[pair])

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any
    ) -> None:
        # The pools of other pairs come with what they hold, before their values are read.
        for key, value in state_dict.items():
            if key.startswith(f"{prefix}others."):
                pair, _, name = key.removeprefix(f"{prefix}others.").partition(".")
                if pair not in self.others:
                    self.others[pair] = ImagePool(size=self.size).to(value.device)
                if name not in dict(self.others[pair].named_buffers()):
                    self.others[pair].register_buffer(name, torch.zeros_like(value))
        super()._load_from_state_dict(dict(state_dict), prefix, *rest)


def known(batch: Batch) -> dict[str, Tensor]:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if value is not None}


def last(marked: Tensor) -> Tensor:
    """The last column marked in each row, (R, N) to (R,); -1 if there is none."""
    columns = torch.arange(marked.shape[1], device=marked.device)
    return torch.where(marked, columns, -1).amax(1)


def chosen(rows: Tensor, these: Tensor, others: Tensor) -> Tensor:
    """Some rows of one tensor, the rest of another."""
    return torch.where(along(rows, these), these, others)
