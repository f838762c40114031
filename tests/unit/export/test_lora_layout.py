"""A LoRA configuration means the modules and ranks it was made of, even where one name is the end of another."""

from __future__ import annotations

import pytest
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from lrlora.export.lora_layout import Rank, make_lora_config

NESTED = ["0", "block.0", "block.1", "layer.1.0", "outer.block.0"]


@pytest.mark.parametrize(
    "ranks",
    [
        {"0": Rank(2, 2), "block.1": Rank(3, 3)},
        {"block.0": Rank(2, 4), "layer.1.0": Rank(2, 4)},
        {"0": Rank(2, 2), "block.0": Rank(3, 1.5), "outer.block.0": Rank(2, 2)},
        {name: Rank(index + 1, 7) for index, name in enumerate(NESTED)},
    ],
)
def test_exactly_the_named_modules_get_their_rank_and_alpha(ranks: dict[str, Rank]) -> None:
    config = make_lora_config(ranks, NESTED)
    assert {name for name in NESTED if check_target_module_exists(config, name)} == set(ranks)
    for name, rank in ranks.items():
        r = config.rank_pattern.get(get_pattern_key(list(config.rank_pattern), name), config.r)
        alpha = config.alpha_pattern.get(get_pattern_key(list(config.alpha_pattern), name), config.lora_alpha)
        assert (r, alpha) == rank


def test_plain_names_stay_a_plain_list() -> None:
    config = make_lora_config({"a.query": Rank(4, 4.0), "b.query": Rank(4, 4.0), "b.key": Rank(2, 2.0)}, ["a", "b"])
    assert config.target_modules == {"a.query", "b.query", "b.key"}
    assert (config.r, config.lora_alpha) == (4, 4)
    assert config.rank_pattern == config.alpha_pattern == {"b.key": 2}
    assert isinstance(config.lora_alpha, int), "some servers read whole numbers only"
