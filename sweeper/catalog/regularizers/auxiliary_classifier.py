"""An auxiliary classifier."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt
from torch import Tensor
from torch.nn.functional import cross_entropy

from sweeper.catalog.families import regularizers
from sweeper.game import Batch, Output, Player, Turn
from sweeper.registry import Law, LogUniform, Options, Uniform


@regularizers.register(
    paper="odena2017",
    provides={"classes", "content"},
    conflicts={
        Law("packs", "the examples of a pack are of several classes"),
        Law("pool", "older fakes say nothing of the classes that G makes now"),
    },
    warns={
        Law(
            "critic", "a critic's scores have no scale of their own: keep d_weight and g_weight low"
        )
    },
    facts={"on": "both", "class_head": True, "told": ("label",)},
)
def auxiliary_classifier(
    turn: Turn,
    *,
    d_weight: Annotated[float, Ge(0), LogUniform(0.01, 10)] = 1.0,
    g_weight: Annotated[float, Ge(0), LogUniform(0.01, 10)] = 1.0,
    on_fakes: Annotated[bool, Options((False, True))] = True,
    smoothing: Annotated[float, Ge(0), Lt(1), Uniform(0.0, 0.2)] = 0.0,
) -> Tensor:
    """D also names the class of what it sees, and G is paid for fakes of the class it was told.

    D pays d_weight · (CE(c(x), y) + CE(c(G(z, y)), y)), G pays g_weight · CE(c(G(z, y)), y), where
    c are the logits of a second head of D and y the labels of the real examples; each CE is a mean
    over examples. The paper has both weights 1. Without ``on_fakes``, D learns classes from real
    examples alone. ``smoothing`` takes as much of every label's 1 and spreads it over all classes.

    G is told the label as a one-hot beside its latents, and is judged by samples whose labels are
    as frequent as in the data.
    """

    def named(output: Output, batch: Batch) -> Tensor:
        assert output.classes is not None
        assert batch.label is not None
        return cross_entropy(output.classes.float(), batch.label, label_smoothing=smoothing)

    scores = turn.scores
    if turn.player is Player.G:
        return g_weight * named(scores.fake_output, scores.fake_batch)
    real = named(scores.real_output, scores.real_batch)
    if not on_fakes:
        return d_weight * real
    return d_weight * (real + named(scores.fake_output, scores.fake_batch))
