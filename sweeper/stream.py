"""What training reports of itself, as plain numbers, and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

Level = Literal["healthy", "warn", "fail"]


@dataclass(frozen=True)
class Series:
    """One quantity over a window: how often it was taken, and what its values were like.

    ``ema`` is its exponential moving average (decay 0.98 a value) at the window's end; ``spikes``
    lie more than six median deviations from the median; ``crossings`` count changes of sign; a
    tenth of the values are at least ``p90``.
    """

    n: int
    mean: float
    deviation: float
    low: float
    p90: float
    high: float
    ema: float
    spikes: int
    crossings: int


@dataclass(frozen=True)
class Window:
    """A stretch of training, usually of 100 rounds: what was measured in each of its rounds, up to
    so many images."""

    images: int
    rounds: int
    series: dict[str, Series]


@dataclass(frozen=True)
class Layer:
    """The last gradient of one layer's weights: its L2 norm, and the share of it that is zero."""

    gradient_norm: float
    zero_share: float


@dataclass(frozen=True)
class Variety:
    """How varied samples are, in the features that the score is taken in.

    ``distance`` and ``deviation`` are the mean distance of two samples and the mean deviation of a
    feature, each as a share of that of real examples. Where the features come with classes,
    ``coverage`` is the share of classes that get a tenth of their fair share of samples or more
    (1 % of them, with ten classes), ``dominant`` the class of most samples, and ``reverse_kl`` the
    divergence (nats) of their class histogram from the real one.
    """

    distance: float
    deviation: float
    coverage: float | None = None
    dominant: int | None = None
    reverse_kl: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a diagnostic concludes: how bad it is, what was seen and what it means, and what to
    try."""

    level: Level
    says: str
    advice: str = ""
    name: str = ""


@dataclass(frozen=True)
class Measurement:
    """Where a trial stands: at so many real images, the score, the best so far, and what it took.

    ``losses`` are means since the measurement before, by player and term. ``seconds`` count
    training and evaluation from the start, over all attempts. ``heldout`` and the other ``metrics``
    are measured once, at the end, on the best checkpoint. ``protocol`` is the hash of how the score
    came about, ``full_protocol`` of how they did. ``windows`` are those that ended since the
    measurement before, and ``verdicts`` what the diagnostics conclude from all measurements up to
    this one.
    """

    images: int
    score: float
    best: float
    losses: dict[str, float]
    seconds: float
    images_per_second: float
    heldout: float | None = None
    best_images: int = 0
    d_steps: int = 0
    g_steps: int = 0
    windows: tuple[Window, ...] = ()
    layers: dict[str, Layer] = field(default_factory=dict)
    variety: Variety | None = None
    verdicts: tuple[Verdict, ...] = ()
    metrics: dict[str, float | None] = field(default_factory=dict)
    protocol: str = ""
    full_protocol: str | None = None

    def plain(self) -> dict[str, Any]:
        """The measurement as JSON-compatible data."""
        return asdict(self)

    @classmethod
    def read(cls, plain: dict[str, Any]) -> Measurement:
        """A measurement from plain data."""
        windows = [
            Window(w["images"], w["rounds"], {k: Series(**v) for k, v in dict(w["series"]).items()})
            for w in plain.get("windows", ())
        ]
        variety = plain.get("variety")
        return cls(
            **{
                **plain,
                "windows": tuple(windows),
                "layers": {k: Layer(**v) for k, v in plain.get("layers", {}).items()},
                "variety": None if variety is None else Variety(**variety),
                "verdicts": tuple(Verdict(**v) for v in plain.get("verdicts", ())),
            }
        )


class Stream(NamedTuple):
    """What a diagnostic is shown: all measurements of a trial so far, first to last, and what is
    known of its loss.

    ``equilibrium`` is what D pays when it cannot tell real from fake, if that is one number;
    ``critic`` says that D's scores are no logits but a difference of them is a distance;
    ``content`` names the terms of G's loss that compare its samples with real ones.
    """

    measurements: Sequence[Measurement]
    equilibrium: float | None = None
    critic: bool = False
    content: Sequence[str] = ()

    def windows(self) -> list[Window]:
        """The windows of all measurements, in order."""
        return [window for m in self.measurements for window in m.windows]

    def series(self, name: str) -> list[Series]:
        """One quantity in every window that has it, in order."""
        return [w.series[name] for w in self.windows() if name in w.series]

    def best_at(self, images: int) -> float:
        """The best score after so many images; the first score, before there was any."""
        earlier = [m.best for m in self.measurements if m.images <= images]
        return earlier[-1] if earlier else self.measurements[0].best


def pooled(parts: Sequence[Series]) -> Series:
    """Neighbouring stretches of one quantity as one; what cannot be pooled exactly (the 90th
    percentile) is their mean."""
    n = sum(part.n for part in parts)
    mean = sum(part.n * part.mean for part in parts) / n
    square = sum(part.n * (part.deviation**2 + (part.mean - mean) ** 2) for part in parts) / n
    return Series(
        n,
        rounded(mean),
        rounded(square**0.5),
        min(part.low for part in parts),
        rounded(sum(part.n * part.p90 for part in parts) / n),
        max(part.high for part in parts),
        parts[-1].ema,
        sum(part.spikes for part in parts),
        sum(part.crossings for part in parts),
    )


def rounded(value: float) -> float:
    """Six significant digits: what is kept of every measurement of every trial is read by people
    and plotted."""
    return float(f"{value:.6g}")
