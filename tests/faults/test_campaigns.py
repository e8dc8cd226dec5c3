"""How campaigns of faults (tests/campaigns) count their tries."""

from campaigns.counts import counted


def test_a_wrong_try_is_counted() -> None:
    assert counted("made up", iter([("recovered", "one"), ("wrong", "two")])) == 1
