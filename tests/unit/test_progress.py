"""Progress as a bar, as lines of a log, and as calls of a function."""

import logging

import pytest

from prunebench.runtime import progress
from prunebench.runtime.progress import Step, about, resuming, shown, tally, track, within


def work(items: int = 2) -> None:
    for _ in track(range(items), "block"):
        within(0.5, "q_proj")
        within(0.25, "q_proj again")


def test_a_function_is_called_for_each_step_and_part() -> None:
    steps: list[Step] = []
    with shown(steps.append), about("model"):
        work()
    assert [(step.done, step.note) for step in steps[:3]] == [(0.5, "q_proj"), (0.5, "q_proj again"), (1, "")]
    assert {(step.what, step.total, step.subject) for step in steps} == {("block", 2, "model")}
    assert steps[-1].left == 0 and Step("block", 0, 2, 1.0).left is None
    assert Step("block", 0.5, 2, 1.0).left == pytest.approx(3.0)
    steps.clear()
    work()
    assert not steps, "only inside the context"


def test_a_log_has_a_line_for_each_tenth_and_rare_ones_for_parts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "prunebench"):
        for _ in track(range(2), "block"):
            now[0] += 1.0
        assert caplog.messages == ["block 1 of 2 done after 1 s, about 1 s left", "block 2 of 2 done after 2 s"]
        caplog.clear()
        with about("small"):
            for _ in track(range(95), "block"):
                now[0] += 0.5
                for _ in track(range(20), "window"):
                    within(0.5, "q_proj")
        assert len(caplog.messages) == 11 and all(line.startswith("small: block ") for line in caplog.messages)
        assert caplog.messages[-1].startswith("small: block 95 of 95 done after "), "the end is always said"
        caplog.clear()
        list(track(range(95), "block"))
        assert len(caplog.messages) == 2, "fast work is told by its first step and its last"
        caplog.clear()
        for _ in track(range(2), "block"):
            for second in range(3600):
                now[0] += 1.0
                within(second / 3600, "q_proj")
        assert caplog.messages[0] == "block 1 of 2 is 1% done after 30 s: q_proj"
        assert 20 < len(caplog.messages) < 60, "lines get rarer, for else two hours had 240"
        caplog.clear()
        with tally(1, "evaluation") as report, about("other"):
            report("best 3.0")
        assert caplog.messages == ["evaluation 1 of 1 done after 0 s: best 3.0"]
        caplog.clear()
        with shown(False):
            work()
        assert not caplog.messages


def test_bars_count_parts_and_large_numbers(capfd: pytest.CaptureFixture[str]) -> None:
    with shown(True):
        for _ in track(range(12345), "window"):
            pass
    assert "window: 100%|" in (drawn := capfd.readouterr().err) and "12345/12345" in drawn
    with shown(True), about("small"), tally(1, "block") as report:
        within(1 / 3, "q_proj")
        progress._watch.work[-1].bar.refresh()
        report("")
    drawn = capfd.readouterr().err
    assert "small: block:" in drawn and "0.33/1" in drawn and "q_proj" in drawn


def test_work_within_work_and_none() -> None:
    within(0.5, "nobody listens")
    steps: list[Step] = []
    with shown(steps.append):
        for _ in track(range(1), "task", label=lambda number: f"task {number}"):
            work(1)
            within(1.0, "rows")
    assert [step.what for step in steps] == ["task", "block", "block", "block", "task", "task"]
    assert steps[0].note == "task 0" and steps[-2].note == "rows"
    with pytest.raises(RuntimeError), shown(steps.append):
        for _ in track(range(2), "block"):
            raise RuntimeError
    assert not progress._watch.work and progress._watch.listener is None


def test_a_resumed_work_starts_after_the_steps_of_an_earlier_run(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    steps: list[Step] = []
    with shown(steps.append), resuming(3):
        assert list(track(range(5), "block")) == [0, 1, 2, 3, 4], "the work itself goes through all of them"
        assert [step.done for step in steps] == [4, 5]
        assert steps[0].left == pytest.approx(steps[0].seconds), "one step is done, and one is left"
        steps.clear()
        work(1)
        assert steps[-1].done == steps[-1].total == 1, "only the first piece of work is resumed"
    with caplog.at_level(logging.INFO, "prunebench"), resuming(3):
        list(track(range(5), "block"))
    assert [line.partition(" done")[0] for line in caplog.messages] == ["block 4 of 5", "block 5 of 5"]
    with shown(True), resuming(3):
        list(track(range(4), "block"))
    assert "| 3/4 [" in (drawn := capfd.readouterr().err) and "| 0/4 [" not in drawn and "| 1/4 [" not in drawn
    with resuming(9):
        assert list(track(range(2), "block")) == [0, 1]
