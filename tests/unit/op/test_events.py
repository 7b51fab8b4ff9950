"""One object's events never drown those of others."""

from __future__ import annotations

import pytest

from slipway_operator.events import BURST, NOTE_LIMIT, OBJECTS_LIMIT, REFILL_SECONDS, Allowance, event_body
from slipway_operator.status import Note
from tests.unit.op.observations import NOW, model

pytestmark = pytest.mark.unit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_object_that_flaps_is_told_in_a_burst_and_then_once_a_minute() -> None:
    clock = Clock()
    allowance = Allowance(clock)
    assert [allowance.take("a") for _ in range(BURST + 5)] == [True] * BURST + [False] * 5
    clock.now += REFILL_SECONDS
    assert [allowance.take("a") for _ in range(2)] == [True, False]
    clock.now += 100 * BURST * REFILL_SECONDS
    assert sum(allowance.take("a") for _ in range(2 * BURST)) == BURST


def test_others_are_told_meanwhile() -> None:
    allowance = Allowance(Clock())
    for _ in range(2 * BURST):
        allowance.take("a")
    assert allowance.take("b")


def test_what_is_remembered_is_bounded_and_the_quietest_is_forgotten_first() -> None:
    allowance = Allowance(Clock())
    for _ in range(BURST):
        allowance.take("loud")
    for number in range(OBJECTS_LIMIT - 1):
        allowance.take(f"object-{number}")
        if number % 1000 == 0:
            assert not allowance.take("loud")
    assert not allowance.take("loud")


@pytest.mark.parametrize("letter", ["x", "ü", "…", "🙂"])
@pytest.mark.parametrize("spare", range(5))
def test_a_long_message_is_cut_to_what_the_api_server_takes(letter: str, spare: int) -> None:
    """It counts bytes."""
    message = "a" * spare + letter * NOTE_LIMIT
    text = event_body(model(), Note("Warning", "ChildRefused", message), NOW, "operator-a")["message"]
    assert NOTE_LIMIT - 6 <= len(text.encode()) <= NOTE_LIMIT
    assert message.startswith(text.removesuffix("…"))
    short = "ü" * (NOTE_LIMIT // 2)
    assert event_body(model(), Note("Warning", "ChildRefused", short), NOW, "operator-a")["message"] == short
