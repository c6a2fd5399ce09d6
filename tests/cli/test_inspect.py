"""Looking into trained networks: what is seen is what they compute, and pictures of it are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from sweeper.catalog.blocks.self_attention import Attention
from sweeper.catalog.datasets.store import pack
from sweeper.catalog.families import constraints
from sweeper.cli import app
from sweeper.config import Trial
from sweeper.game import Output
from sweeper.space.source import InputError
from sweeper.trial import looks
from sweeper.trial.checkpoint import Checkpoints
from sweeper.trial.loop import train
from sweeper.verify.contracts import LargeDigits, ToldDigits, tiny
from sweeper.verify.layers import Plain


def typed(*words: str | Path) -> str:
    """What a command that succeeds prints."""
    done = CliRunner().invoke(app, ["inspect", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def refused(*words: str | Path) -> str:
    done = CliRunner().invoke(app, ["inspect", *map(str, words)])
    assert isinstance(done.exception, InputError), done.exception
    return str(done.exception)


def trained(out: Path, tree: dict[str, Any]) -> Path:
    """The folder of a trial that was trained by itself."""
    folder, trial = out / "some-trial", Trial.read(tree)
    folder.mkdir()
    (folder / "trial.json").write_text(json.dumps(trial.plain()))
    list(train(trial, out / ".cache", folder))
    return folder


@pytest.fixture(scope="module")
def attentive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial of 16 px, with attention on both sides."""
    out = tmp_path_factory.mktemp("attentive")
    tree = tiny(data={"packed": {"path": str(pack(LargeDigits(), out / "data").path)}})
    tree["generator"]["blocks"] = tree["discriminator"]["blocks"] = "self_attention"
    tree["discriminator"]["constraint"] = "spectral_norm"
    return trained(out, tree)


def test_everything_there_is_to_see(attentive: Path, tmp_path: Path) -> None:
    output = tmp_path / "seen"
    shown = typed(attentive, "-o", output, "-n", "3", "--at", "0.5,0.5", "--at", "0,1")
    assert shown.startswith("some-trial after 48 images\n")
    written = {line.removeprefix("wrote ") for line in shown.splitlines() if "wrote" in line}
    assert written == {str(path) for path in output.iterdir()}
    names = {path.name for path in output.iterdir()}
    assert names >= {
        "singular_values.tsv",
        "generator.attention.after.1.0.png",
        "generator.features.output.png",
        "discriminator.attention.after.0.0.png",
        "discriminator.grad_cam.png",
    }
    # Rows of 3 fakes, each the place and what is seen from it, at two places; 4 px apart.
    with Image.open(output / "generator.attention.after.1.0.png") as picture:
        assert picture.size == (4 * (128 + 4) + 4, 3 * (128 + 4) + 4)
    # 3 real ones and 3 fakes.
    with Image.open(output / "discriminator.grad_cam.png") as picture:
        assert picture.size == (6 * (128 + 4) + 4, 2 * (128 + 4) + 4)
    lines = (output / "singular_values.tsv").read_text().splitlines()
    assert lines[0].split("\t")[:4] == ["network", "layer", "matrix", "largest"]
    found = {tuple(line.split("\t")[:2]): line.split("\t")[2:] for line in lines[1:]}
    assert found["generator", "first"][0] == "8x128"
    assert float(found["discriminator", "head.score"][1]) == pytest.approx(1, abs=1e-3)


def test_a_checkpoint_and_its_folder_are_the_same_trial(attentive: Path, tmp_path: Path) -> None:
    newest, older = Checkpoints(attentive / "checkpoints").paths()
    for what in (attentive, attentive / "checkpoints", newest):
        assert typed(what, "-o", tmp_path / what.name).startswith("some-trial after 48 images\n")
    assert typed(older, "-o", tmp_path / "older").startswith("some-trial after 32 images\n")
    folders = [tmp_path / what.name for what in (attentive, newest)]
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name


def test_layers_by_name(attentive: Path, tmp_path: Path) -> None:
    typed(attentive, "-o", tmp_path, "--layers", "acts.*")
    shown = {path.name for path in tmp_path.glob("*.features.*")}
    assert shown == {
        f"{side}.features.acts.{i}.png" for side in ("generator", "discriminator") for i in (0, 1)
    }
    said = refused(attentive, "-o", tmp_path, "--layers", "nothing")
    assert said == "--layers names layers, but none with images matches 'nothing'"


def test_what_is_no_trial_is_refused_in_words(attentive: Path, tmp_path: Path) -> None:
    law = "inspect takes a results folder, a trial's folder, or a checkpoint in one, but "
    assert refused(tmp_path) == f"{law}{tmp_path} is none of them"
    assert refused(tmp_path / "gone.pt").startswith(law)
    assert refused(attentive, "--trial", "3").startswith("--trial is one of a results folder")
    for text in ("0.5", "2,0", "a,b", "-1,0.5", "nan,0"):
        assert f"but got '{text}'" in refused(attentive, "--at", text)
    broken = attentive / "checkpoints" / "000000000099-0123456789abcdef.pt"
    broken.write_bytes(b"broken")
    try:
        assert "its bytes are not those that its name tells of" in refused(broken)
    finally:
        broken.unlink()


def test_points_have_weights_but_no_pictures(tmp_path: Path) -> None:
    tree = tiny(data={"ring": {"length": 200}}, architecture={"mlp_gan": {"hidden": 8}})
    shown = typed(trained(tmp_path, tree), "-o", tmp_path / "seen")
    assert shown.endswith("its examples are points, of which there are no pictures\n")
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["singular_values.tsv"]


@pytest.mark.slow
def test_every_pair_is_looked_at(tmp_path: Path) -> None:
    tree = tiny(data={"packed": {"path": str(pack(ToldDigits(), tmp_path / "data").path)}})
    tree |= {"architecture": "coarse_to_fine", "regularizers": ["reconstruction_loss"]}
    shown = typed(trained(tmp_path, tree), "-o", tmp_path / "seen")
    for name in ("generator", "coarse.generator", "discriminator"):
        assert f"wrote {tmp_path}/seen/{name}.features." in shown
    assert "coarse.discriminator" not in shown


class Pooled(nn.Module):
    """Scores that are linear in the means of the last hidden activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Output:
        h = self.conv(x).relu()
        return Output(self.head(h.mean((2, 3))).flatten(), (h,))


def test_grad_cam_of_a_linear_head() -> None:
    # ∂D/∂A_c is w_c/HW everywhere.
    d, x = Pooled(), torch.randn(4, 1, 6, 6)
    cam = looks.grad_cam(d, lambda: d(x))
    weights = d.head.weight[0] / 36
    assert cam is not None
    torch.testing.assert_close(cam, (weights[:, None, None] * d.conv(x).relu()).sum(1).relu())
    assert all(p.grad is None for p in d.parameters())
    assert looks.grad_cam(d, lambda: d(x)._replace(features=())) is None


def test_attention_is_what_the_block_computes() -> None:
    block = Attention(4, 2, Plain())
    network, x = nn.Sequential(nn.Identity(), block), torch.randn(3, 4, 5, 5)
    points = [(0.0, 0.0), (0.99, 0.5), (1.0, 1.0)]
    (maps,) = looks.attention(network, lambda: network(x), points).values()
    assert maps.shape == (3, 3, 5, 5)
    torch.testing.assert_close(maps.sum((2, 3)), torch.ones(3, 3))
    whole = block.attention(x)
    for k, row in enumerate((0, 14, 24)):
        torch.testing.assert_close(maps[:, k].flatten(1), whole[:, row])
    assert not any(m._forward_hooks for m in network.modules())


def test_singular_values_are_those_of_constrained_weights() -> None:
    constrained = constraints["spectral_norm"].make(iterations=5)(nn.Linear(6, 4))
    for _ in range(50):
        constrained(torch.zeros(1, 6))
    network = nn.Sequential(nn.ConvTranspose2d(3, 5, 4), constrained, nn.BatchNorm1d(4))
    with torch.no_grad():
        network[0].weight.zero_()
    first, second = looks.singular_values(network)
    assert (first.layer, first.rows, first.columns) == ("0", 5, 48)
    assert (first.largest, first.condition) == (0, float("inf"))
    assert (second.layer, second.rows, second.columns) == ("1", 4, 6)
    assert second.largest == pytest.approx(1, abs=1e-4)
    assert second.condition == pytest.approx(second.largest / second.smallest)


def test_heat_goes_from_dark_to_bright() -> None:
    shown = looks.heat(torch.tensor([[[0.0, 1.0], [2.0, 4.0]], [[5.0, 5.0], [5.0, 5.0]]]))
    assert shown.shape == (2, 3, 2, 2)
    brightness = shown.mean(1)
    order = brightness[0].flatten().diff()
    assert (order > 0).all()
    assert brightness[1].unique().numel() == 1
    torch.testing.assert_close(shown[0, :, 0, 0], looks.HEAT[0])
    torch.testing.assert_close(shown[0, :, 1, 1], looks.HEAT[-1])
