"""Short versions of the campaigns of tests/campaigns."""

from random import Random

import pytest

from campaigns import kills
from campaigns.counts import counted


@pytest.mark.usefixtures("warm_python")
def test_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """One try; snakemake is killed, because its death leaves locks and jobs behind."""
    monkeypatch.setattr(kills, "VICTIMS", ("snakemake",))
    assert counted("kills", kills.campaign(Random(0), 1)) == 0


def test_a_wrong_try_is_counted() -> None:
    assert counted("made up", iter([("recovered", "one"), ("wrong", "two")])) == 1
