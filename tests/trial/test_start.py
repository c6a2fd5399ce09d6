"""Starting from what was trained before, and training only a part of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeper.config import Misfit, Trial
from sweeper.game import Player
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import Training, train
from sweeper.trial.networks import probe
from sweeper.trial.start import lines

Tiny = Callable[..., dict[str, Any]]


def weights(training: Training, player: Player) -> dict[str, torch.Tensor]:
    state = training.gan.of(player)[0].state_dict()
    return {name: value.clone() for name, value in state.items()}


@pytest.fixture
def trained(tiny: Tiny, cache: Path, tmp_path: Path) -> tuple[Path, Training]:
    """A trial's folder with a checkpoint, and the training that it is of."""
    training = Training(Trial.read(tiny(seed=5)), cache)
    measured = training.advance()
    folder = tmp_path / "trial"
    Checkpoints(folder / "checkpoints").save(measured.images, training.state_dict())
    return folder, training


def test_every_weight_is_taken(trained: tuple[Path, Training], tiny: Tiny, cache: Path) -> None:
    folder, before = trained
    after = Training(Trial.read(tiny(init_from={"checkpoint": str(folder)})), cache)
    for player in Player:
        for name, value in weights(before, player).items():
            assert torch.equal(weights(after, player)[name], value), name
    plain = Training(Trial.read(tiny()), cache)
    assert any(
        not torch.equal(value, weights(plain, Player.G)[name])
        for name, value in weights(after, Player.G).items()
    )
    assert all("taken" in line for line in lines(after.gan.report))


def test_what_has_another_shape_is_reported_or_refused(
    trained: tuple[Path, Training], tiny: Tiny, cache: Path
) -> None:
    folder, before = trained
    other = {"prior": {"gaussian_latent": {"size": 9}}}
    with pytest.raises(Misfit, match=r"misshapen generator\.first\.weight.*match: some"):
        Training(Trial.read(tiny(**other, init_from={"checkpoint": str(folder)})), cache)
    some = {"checkpoint": str(folder), "match": "some"}
    after = Training(Trial.read(tiny(**other, init_from=some)), cache)
    assert after.gan.report["generator"]["misshapen"] == ["first.weight"]
    assert "1 misshapen (first.weight)" in "\n".join(lines(after.gan.report))
    for name, value in weights(before, Player.D).items():
        assert torch.equal(weights(after, Player.D)[name], value)


def test_missing_and_extra_weights_are_named(
    trained: tuple[Path, Training], tiny: Tiny, cache: Path
) -> None:
    folder, _ = trained
    side = tiny()["generator"] | {"normalization": "none"}
    some = {"checkpoint": str(folder), "match": "some"}
    after = Training(Trial.read(tiny(generator=side, init_from=some)), cache)
    assert "norms.0.weight" in after.gan.report["generator"]["extra"]
    side = tiny()["discriminator"] | {"constraint": "spectral_norm"}
    after = Training(Trial.read(tiny(discriminator=side, init_from=some)), cache)
    assert "first.conv.weight" in after.gan.report["discriminator"]["extra"]
    assert (
        "first.conv.parametrizations.weight.original"
        in after.gan.report["discriminator"]["missing"]
    )


@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_what_is_no_checkpoint_is_refused(
    content: bytes, tmp_path: Path, tiny: Tiny, cache: Path
) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(content)
    for path, law in ((file, "not a file of weights"), (tmp_path / "none.pt", "weights")):
        with pytest.raises(Misfit, match=law):
            Training(Trial.read(tiny(init_from={"checkpoint": str(path)})), cache)
    with pytest.raises(Misfit, match="no sound checkpoint"):
        Training(Trial.read(tiny(init_from={"checkpoint": str(tmp_path)})), cache)


def test_a_frozen_part_stays_bit_for_bit_and_the_rest_learns(tiny: Tiny, cache: Path) -> None:
    side = tiny()["generator"] | {"freeze": "first*, norms.0*"}
    training = Training(Trial.read(tiny(generator=side)), cache)
    before = weights(training, Player.G)
    training.advance()
    after = weights(training, Player.G)
    frozen = {name for name in before if name.startswith(("first", "norms.0."))}
    assert "norms.0.running_mean" in frozen
    for name in before:
        assert torch.equal(before[name], after[name]) == (name in frozen), name


def test_freezing_nothing_that_is_there_is_refused(tiny: Tiny, cache: Path) -> None:
    side = tiny()["generator"] | {"freeze": "frist*"}
    with pytest.raises(Misfit, match=r"none matches 'frist\*'; they begin with first"):
        Training(Trial.read(tiny(generator=side)), cache)
    side = tiny()["generator"] | {"freeze": "*"}
    with pytest.raises(Misfit, match="something to train"):
        Training(Trial.read(tiny(generator=side)), cache)


def test_a_way_to_match_needs_something_to_match(tiny: Tiny) -> None:
    with pytest.raises(Misfit, match="there is none"):
        Trial.read(tiny(init_from={"match": "some"}))


def test_a_trial_that_was_begun_needs_its_starting_point_no_more(
    trained: tuple[Path, Training], tiny: Tiny, cache: Path, tmp_path: Path
) -> None:
    folder, _ = trained
    trial, own = Trial.read(tiny(init_from={"checkpoint": str(folder)})), tmp_path / "own"
    own.mkdir()
    first = next(stream := train(trial, cache, own))
    stream.close()
    assert json.loads((own / "start.json").read_text())["generator"]["taken"]
    shutil.rmtree(folder)
    again = list(train(trial, cache, own))
    assert again[0].images == first.images
    assert again[-1].images == 48


def test_a_starting_point_is_looked_at_before_anything_starts(
    trained: tuple[Path, Training], tiny: Tiny, tmp_path: Path
) -> None:
    folder, _ = trained
    probe(Trial.read(tiny(init_from={"checkpoint": str(folder)})), (1, 8, 8))
    wide = {"dcgan": {"channels": 5}}
    with pytest.raises(Misfit, match="misshapen"):
        probe(Trial.read(tiny(architecture=wide, init_from={"checkpoint": str(folder)})), (1, 8, 8))
    with pytest.raises(Misfit, match="not a file of weights"):
        probe(Trial.read(tiny(init_from={"checkpoint": str(tmp_path / "gone.pt")})), (1, 8, 8))
