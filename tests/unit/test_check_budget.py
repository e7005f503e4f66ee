"""What a budget for reading means, and which packs it chooses."""

from __future__ import annotations

from datetime import timedelta

import pytest

from edurise_backup.errors import InputError
from edurise_backup.verification.budget import Budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("10GiB", Budget(size=10 << 30)),
        ("1.5MiB", Budget(size=3 << 19)),
        ("7KiB", Budget(size=7 << 10)),
        ("2TiB", Budget(size=2 << 40)),
        ("90s", Budget(time=timedelta(seconds=90))),
        ("30m", Budget(time=timedelta(minutes=30))),
        ("0.5h", Budget(time=timedelta(minutes=30))),
        ("5%", Budget(share=0.05)),
        ("100%", Budget(share=1.0)),
    ],
)
def test_a_size_a_time_or_a_share_is_a_budget(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize(
    "text",
    ["", "10", "10GB", "-5%", "0%", "101%", "0s", "5 %%", "1e3s", "GiB", "1..5h", "٣h", "9" * 12 + "s", "10GiB 5%"],
)
def test_anything_else_is_bad_input_that_says_how_to_write_one(text: str) -> None:
    with pytest.raises(InputError, match="is no budget") as caught:
        Budget.parse(text)
    assert "10GiB, 30m, 5%" in caught.value.hint


SIZES = {"a": 10, "b": 40, "c": 10, "d": 40}


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (Budget(size=1), "a"),  # at least one pack
        (Budget(size=49), "a"),
        (Budget(size=50), "ab"),
        (Budget(size=59), "ab"),  # c would fit if b had been passed over: b's turn comes first
        (Budget(share=0.6), "abc"),
        (Budget(share=1.0), "abcd"),
        (Budget(time=timedelta(seconds=1)), "abcd"),
        (Budget(), "abcd"),
    ],
)
def test_packs_are_chosen_in_their_order_until_one_does_not_fit(budget: Budget, chosen: str) -> None:
    assert budget.choose(list("abcd"), SIZES) == list(chosen)


def test_nothing_is_chosen_of_nothing() -> None:
    assert Budget(size=1).choose([], {}) == []
