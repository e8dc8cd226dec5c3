"""The damages of the campaign tests/campaigns/damage.py do what their names say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from campaigns.damage import CLEANS, DAMAGES, RESUMES, flipped


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_leaves_another_file(tmp_path: Path, damage: Callable[[Path, float], None]) -> None:
    file, other = tmp_path / "results/one/prune.json", tmp_path / "results/other/prune.json"
    for path in (file, other):
        path.parent.mkdir(parents=True)
        path.write_text(str(path))
    before = file.stat()
    damage(file, 0.5)
    assert not file.is_file() or file.read_bytes() != str(file).encode()
    if damage is flipped:
        assert (file.stat().st_mtime_ns, file.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert other.read_text() == str(other)


@pytest.mark.parametrize("module", RESUMES)
def test_the_campaign_knows_the_line_that_deletes_finished_work(module: str) -> None:
    assert (Path(__file__).parents[2] / module).read_text().count(CLEANS) == 1
