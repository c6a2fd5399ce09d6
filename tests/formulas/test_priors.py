"""Priors: ranges and moments."""

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


@pytest.mark.parametrize("size", [32, 256])
def test_gaussian_latents_lie_near_a_sphere(size: int) -> None:
    z = priors["gaussian_latent"].make(size=size)(20_000, seeded())
    assert float(z.norm(dim=1).mean()) == pytest.approx(size**0.5, rel=0.01)
    assert float(z.mean()) == pytest.approx(0, abs=0.005)
    assert float(z.var()) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(("low", "variance"), [(-1, 1 / 3), (0, 1 / 12)])
def test_uniform_latents_fill_their_cube(low: int, variance: float) -> None:
    z = priors["uniform_latent"].make(size=32, low=low)(20_000, seeded())
    assert low <= float(z.min()) < low + 0.01
    assert 0.99 < float(z.max()) <= 1
    assert float(z.var()) == pytest.approx(variance, rel=0.01)
    assert float(z.mean()) == pytest.approx((low + 1) / 2, abs=0.005)
