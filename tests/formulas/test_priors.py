"""What every prior owes the trainer."""

from __future__ import annotations

import pytest
import torch

from sweeper.catalog.families import priors


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", priors)
def test_latents_have_their_size_and_follow_their_generator(name: str) -> None:
    prior = priors[name].make(size=7)
    z = prior(5, seeded())
    assert z.shape == (5, 7)
    assert torch.equal(z, prior(5, seeded()))
    assert not torch.equal(z, prior(5, seeded(1)))
    generator = seeded()
    assert not torch.equal(prior(5, generator), prior(5, generator))
