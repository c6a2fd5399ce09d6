"""What regularizers of weights remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from sweeper.game import Networks, Player


class Memory(nn.Module):
    """Tensors that are remembered of each network a regularizer is ``on``: of a player's, or of
    both."""

    def __init__(
        self, networks: Networks, on: str, what: Callable[[nn.Module], Iterable[Tensor]]
    ) -> None:
        super().__init__()
        for pair, both in networks.items():
            for player in Player:
                if on in (player, "both"):
                    for i, tensor in enumerate(what(both.of(player))):
                        self.register_buffer(f"{pair}:{player}:{i}", tensor)

    def of(self, pair: str, player: Player) -> list[Tensor]:
        """Those of one network, in order."""
        return [b for name, b in self.named_buffers() if name.startswith(f"{pair}:{player}:")]


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The weights that are trained."""
    return [p for p in network.parameters() if p.requires_grad]
