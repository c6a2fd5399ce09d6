"""What outweighs what in G's loss."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt

from sweeper.catalog.families import diagnostics
from sweeper.registry import Integers, LogUniform
from sweeper.stream import Stream, Verdict


@diagnostics.register()
def adversarial_ratio(
    stream: Stream,
    *,
    windows: Annotated[int, Ge(1), Integers(1, 20)] = 5,
    limit: Annotated[float, Gt(0), LogUniform(0.1, 10)] = 1.0,
) -> Verdict | None:
    """Warns when G's adversarial loss outweighs the content that its loss asks for beside it.

    In each of the last so many windows |L_adv| > limit · Σ |L_content|, each as a mean with its
    weight. It applies where G's loss compares samples with real examples, as feature matching does.
    """
    last = stream.windows()[-windows:]
    names = [f"generator.{name}" for name in stream.content]
    shares = []
    for window in last:
        content = sum(abs(window.series[n].mean) for n in names if n in window.series)
        if content and "generator.adversarial" in window.series:
            shares.append((abs(window.series["generator.adversarial"].mean), content))
    if len(shares) < windows or any(game <= limit * content for game, content in shares):
        return None
    game, content = shares[-1]
    return Verdict(
        "warn",
        f"G's adversarial loss, {game:.3g}, is {game / content:.3g} times its content terms, "
        f"{content:.3g}, over {windows} windows: what they ask for is drowned",
        f"a larger weight of {', '.join(stream.content)}, or a smaller one of the adversarial loss",
    )
