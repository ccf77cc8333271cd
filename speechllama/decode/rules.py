"""What a search makes of a model's scores before it takes the best: penalties, then draws.

SearchConfig, names of the utterances -> Rules
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from speechllama.decode.penalties import Penalties
from speechllama.decode.sampling import Sampler
from speechllama.decode.search_config import SearchConfig


class Rules(NamedTuple):
    """Penalties, none of which may be, and what draws; None: nothing is drawn, the best is taken."""

    penalties: Penalties
    sampler: Sampler | None = None

    @staticmethod
    def of(config: SearchConfig, names: Sequence[str]) -> Rules:
        """Make what the settings ask for, for a batch of utterances."""
        return Rules(Penalties(config), Sampler(config, names) if config.num_samples else None)

    def select(self, rows: Tensor) -> None:
        """Keep some utterances."""
        if self.sampler:
            self.sampler.select(rows)


NO_RULES = Rules(Penalties(SearchConfig()))
