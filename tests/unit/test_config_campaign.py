"""A short run of the campaign of malformed configs, which `make test-faults` runs at length."""

import pytest

from tests.campaigns.configs import MEGABYTES, Counts, campaign


@pytest.fixture(scope="module")
def counts() -> Counts:
    return campaign(220, seed=18)


def test_every_malformed_config_is_refused_clearly_or_has_a_plain_meaning(counts: Counts) -> None:
    assert counts.wrong == [], "\n".join(counts.wrong)
    assert counts.tried >= 250 and MEGABYTES < 1000


def test_the_mutations_are_not_all_of_one_kind(counts: Counts) -> None:
    assert counts.refused > 100 and counts.valid > 30
