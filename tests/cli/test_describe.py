"""What networks are made of, told before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from sweeper.catalog.families import architectures
from sweeper.cli import app
from sweeper.config import Trial
from sweeper.game import Known, Player
from sweeper.space.source import InputError
from sweeper.trial.networks import build
from sweeper.trial.summary import summaries, watched
from sweeper.verify.contracts import tiny

TTUR = Path(__file__).parents[2] / "search_spaces" / "ttur.yaml"


def typed(*words: str | Path) -> str:
    """What a command that succeeds prints."""
    done = CliRunner().invoke(app, ["describe", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def refused(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["describe", *map(str, words)])
    assert isinstance(done.exception, InputError), done.exception
    return str(done.exception)


def test_a_dcgan_in_closed_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = typed(TTUR, "--set", "architecture={dcgan: {channels: 8}}", "--set", "batch.size=16")
    latent, c = 64, 8
    g, d = 16 * latent * c + 2 * c + 16 * c + 1, 16 * c + c + 16 * c + 1
    assert f"generator: {g:,} parameters\n" in shown
    assert f"discriminator: {d:,} parameters\n" in shown
    assert f"{g + d:,} parameters in all" in shown
    assert "layer      kind             output  parameters  batch of 16\n" in shown
    (line,) = [x.split() for x in shown.splitlines() if x.split()[:1] == ["first"]]
    assert line == ["first", "ConvTranspose2d", "8x4x4", f"{16 * latent * c:,}", "8", "KiB"]
    assert list(tmp_path.iterdir()) == [], "nothing is packed and nothing is written"


def test_as_json() -> None:
    g, d = map(json.loads, typed(TTUR, "--json", "--set", "batch.size=16").splitlines())
    assert (g["player"], d["player"]) == ("generator", "discriminator")
    for network in (g, d):
        assert network["parameters"] == sum(layer["parameters"] for layer in network["layers"])
        assert network["parameters"] == network["trained"]
        assert network["bytes"] == 16 * sum(layer["bytes"] for layer in network["layers"])
        for layer in network["layers"]:
            size = 4
            for side in layer["shape"]:
                size *= side
            assert layer["bytes"] == size


def test_every_layer_of_every_kind_is_counted_once() -> None:
    tree = tiny()
    tree["generator"] |= {"blocks": {"self_attention": {"at": 8}}, "upsampling": "upsample_conv"}
    tree["generator"] |= {"convolution": "acnet_block", "freeze": "first.*"}
    tree["discriminator"] |= {"constraint": "spectral_norm", "activation": "prelu", "scales": 2}
    g, d = summaries(Trial.read(tree), (1, 16, 16), Known())
    for network in (g, d):
        assert network.parameters == sum(layer.parameters for layer in network.layers)
    assert (g.player, d.player) == (Player.G, Player.D)
    assert g.parameters - g.trained == 8 * 8 * 16
    kinds = {layer.kind for layer in d.layers}
    assert kinds == {"Conv2d + SpectralNorm", "Prelu"}
    shapes = {layer.name: layer.shape for layer in g.layers}
    assert shapes["after.1.0"] == (4, 8, 8)
    assert d.layers[0].name == "scales.0.first.conv"


@pytest.mark.parametrize("architecture", architectures)
def test_all_weights_of_any_architecture_are_some_layers(architecture: str) -> None:
    told = Known(classes=2, source=1, reference=1, mask=1, paired=1)
    tree = tiny(architecture=architecture, regularizers=["reconstruction_loss"])
    found = list(summaries(Trial.read(tree), (1, 32, 32), told))
    assert {network.pair for network in found} >= {"main"}
    for network in found:
        assert network.parameters == sum(layer.parameters for layer in network.layers)
        assert network.parameters or network.pair == "coarse"


def test_what_listens_is_taken_away() -> None:
    network = build(Trial.read(tiny()), (1, 16, 16)).generator
    with watched(network, 1):
        assert any(m._forward_hooks for m in network.modules())
    assert not any(m._forward_hooks for m in network.modules())
    assert network.training


@pytest.mark.parametrize("data", ["glyphs", "ring", "digits"])
def test_any_data(data: str) -> None:
    architecture = "mlp_gan" if data == "ring" else "dcgan"
    shown = typed(TTUR, "--data", data, "--set", f"architecture={architecture}")
    shape = {"glyphs": "1x32x32", "ring": "2", "digits": "1x8x8"}[data]
    assert shown.startswith(f"ttur: {architecture} for examples of {shape}\n")


def test_draws_differ() -> None:
    widths = "architecture={dcgan: {channels: {choice: [4, 8, 16, 32, 64]}}}"
    shown = {typed(TTUR, "--set", widths, "--sample", str(n)) for n in range(5)}
    assert len(shown) > 1


def test_what_does_not_fit_is_refused_in_words() -> None:
    said = refused(TTUR, "--set", "generator.blocks={self_attention: {at: 16}}")
    assert "self_attention has no place: the hidden layers of the generator are 4 px wide" in said
    assert "nowhere.yaml" in refused("nowhere.yaml")


def test_modules_without_weights_are_not_all_layers() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.nothing = nn.Linear(2, 3), nn.Identity()

        def forward(self, x: object) -> object:
            return self.nothing(self.inner(x))

    network = Twice()
    with watched(network, 5) as layers:
        network(torch.zeros(5, 2))
    assert list(layers) == ["inner"]
    with watched(network, 5) as layers:
        pass
    assert layers["inner"].shape is None
    assert layers["inner"].parameters == 9
