"""The figures draw the right things, which the tests read from the artists of the plots."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.text import Text

from prunebench.figures import palette
from prunebench.figures.agreement import AgreementFigure
from prunebench.figures.allocation import AllocationFigure
from prunebench.figures.calibration import CalibrationFigure
from prunebench.figures.chart import DECADES, Axis, Chart, Panel, Series, Style
from prunebench.figures.convergence import ConvergenceFigure
from prunebench.figures.cost import FRONT, CostFigure, pareto_front
from prunebench.figures.draw import draw, save
from prunebench.figures.look import Look
from prunebench.figures.perplexity import PerplexityFigure
from prunebench.figures.reconstruction import ReconstructionFigure
from prunebench.figures.search import SearchFigure
from prunebench.methods.wanda import Wanda
from prunebench.plan.plan import load_plan
from prunebench.registry import load
from prunebench.report.plots import plots, swatches
from prunebench.results.detail import facts, losses, share
from prunebench.stages.collect import COLUMNS
from studies import changed, grid

agreement_chart = AgreementFigure().chart
allocation_chart = AllocationFigure().chart_of
calibration_chart = CalibrationFigure().chart
convergence_chart = ConvergenceFigure().chart_of
cost_chart = CostFigure().chart
perplexity_chart = PerplexityFigure().chart
reconstruction_chart = ReconstructionFigure().chart_of
search_chart = SearchFigure().chart_of

LABELS = {
    "models/m": "Model M",
    "methods/wanda": "Wanda",
    "methods/magnitude": "Magnitude",
    "methods/dense": "Dense",
    "corpora/web": "Web text",
}
LOOK = Look(LABELS, ["magnitude", "wanda"], ["uniform", "owl"], ["c"], ["2of4"])
BAD = {"task": None, "metric": None, "reason": "it broke"}


def row(method: str, sparsity: str, value: float | None = None, seed: int = 0, **more: object) -> dict[str, object]:
    cell = {"study": "s", "model": "m", "allocator": "uniform", "pattern": "unstructured", "calibration": "c"}
    score = {"suite": "ppl", "task": "web", "metric": "perplexity", "status": "ok", "prune_seconds": 10.0}
    return {**cell, **score, "method": method, "sparsity": sparsity, "seed": seed, "value": value, **more}


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(baseline=lambda made: made["method"] == "dense")


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """x and y of everything with a label."""
    drawn = {str(line.get_label()): line for line in axes.get_lines()}
    drawn |= {str(bars.get_label()): bars.lines[0] for bars in axes.containers}
    return {label: (list(line.get_xdata()), list(line.get_ydata())) for label, line in drawn.items() if label[0] != "_"}


def notes(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_perplexity_joins_sparsities_and_leaves_patterns_apart() -> None:
    chart = perplexity_chart(
        table(
            row("dense", "0.00", 10.0),
            row("wanda", "0.70", 40.0),
            row("wanda", "0.50", 20.0),
            row("wanda", "0.50", 25.0, allocator="owl"),
            row("wanda", "0.50", 30.0, pattern="2of4"),
        ),
        LOOK,
    )
    (axes,) = draw(chart).axes
    assert axes.get_title(loc="left") == "Web text" and axes.get_yscale() == "log"
    drawn = lines(axes)
    assert drawn.pop("Dense")[1] == [10.0, 10.0]
    assert drawn == {
        "Wanda + uniform": ([0.5, 0.7], [20.0, 40.0]),
        "Wanda + owl": ([0.5], [25.0]),
        "Wanda, 2of4": ([0.5], [30.0]),
    }
    (pattern,) = axes.containers
    assert pattern.lines[0].get_linestyle() == "None" and same_color(pattern.lines[0].get_markerfacecolor(), "white")
    assert "Rests on 5 of 5 cells." in notes(draw(chart))


def test_seeds_become_their_geometric_mean_and_a_band() -> None:
    chart = perplexity_chart(table(*(row("wanda", "0.50", 20 * 2.0**seed, seed) for seed in range(3))), LOOK)
    (axes,) = draw(chart).axes
    assert lines(axes)["Wanda + uniform"][1] == pytest.approx([40])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]  # type: ignore[index]
    assert (heights.min(), heights.max()) == pytest.approx((20, 80))
    assert "3 seeds" in notes(draw(chart))


@pytest.mark.parametrize("status", ["failed", "missing", "skipped"])
def test_what_has_no_number_is_not_drawn_but_counted(status: str) -> None:
    cells = table(row("wanda", "0.50", 20.0), row("wanda", "0.70", status=status, **BAD))
    for make in (perplexity_chart, cost_chart):
        figure = draw(make(cells, LOOK))
        assert not any(0.7 in x or 0.0 in y for axes in figure.axes for x, y in lines(axes).values())
        assert f"1 of 2 cells (1 {status})" in notes(figure)


def test_a_point_of_which_a_seed_failed_is_not_that_of_the_others() -> None:
    chart = perplexity_chart(
        table(row("wanda", "0.50", 20.0), row("wanda", "0.50", seed=1, status="failed", **BAD)), LOOK
    )
    assert chart.panels[0].series == []


def test_a_study_without_any_number_makes_figures_that_say_so() -> None:
    cells = table(row("wanda", "0.50", status="missing", **BAD))
    for make in (perplexity_chart, cost_chart):
        figure = draw(make(cells, LOOK))
        assert all("no cell to show" in [text.get_text() for text in axes.texts] for axes in figure.axes)
        assert "0 of 1 cells (1 missing)" in notes(figure)


def test_a_collapsed_cell_is_an_arrow_at_the_edge_and_squashes_nothing() -> None:
    chart = perplexity_chart(
        table(row("dense", "0.00", 10.0), row("magnitude", "0.50", 1.6e8), row("wanda", "0.50", 20.0)), LOOK
    )
    figure = draw(chart)
    (axes,) = figure.axes
    assert axes.get_ylim()[1] == 10.0 * 10**DECADES
    (arrow,) = axes.texts
    assert (arrow.get_text(), arrow.xy) == ("↑", (0.5, 1))  # type: ignore[attr-defined]
    assert "Magnitude + uniform, 50%: 1.6e8" in notes(figure)
    (trace,) = [trace for trace in plots(chart)[0]["data"] if trace["text"] == ["↑"]]
    assert trace["y"] == [10.0 * 10**DECADES] and trace["hovertext"] == ["Magnitude + uniform, 50%: 1.6e8"]
    assert plots(chart)[0]["layout"]["yaxis"]["range"][1] == pytest.approx(1 + DECADES)


def test_every_series_reads_without_colour() -> None:
    keys = [("magnitude", "uniform"), ("magnitude", "owl"), ("wanda", "uniform"), ("wanda", "owl")]
    rows = [row(method, s, 20.0, allocator=allocator) for method, allocator in keys for s in ("0.50", "0.70")]
    rows += [row(method, "0.50", 30.0, pattern="2of4") for method in ("magnitude", "wanda")]
    (axes,) = draw(perplexity_chart(table(*rows), LOOK)).axes
    drawn = [line for line in axes.get_lines() if str(line.get_label())[0] != "_"]
    drawn += [bars.lines[0] for bars in axes.containers]
    shapes = {
        (line.get_marker(), line.get_linestyle(), line.get_fillstyle(), str(line.get_markerfacecolor()) == "white")
        for line in drawn
    }
    assert len(shapes) == len(keys) + 2


def test_two_allocators_of_an_n_m_pattern_are_told_apart() -> None:
    look = replace(LOOK, structured=["uniform", "half"])
    keys = [(method, allocator) for method in ("magnitude", "wanda") for allocator in ("uniform", "half")]
    rows = [row(method, "0.50", 30.0, pattern="2of4", allocator=allocator) for method, allocator in keys]
    made = perplexity_chart(table(*rows), look).panels[0].series
    assert [one.label for one in made] == [
        f"{LABELS[f'methods/{method}']} + {allocator}, 2of4" for method, allocator in keys
    ]
    assert len({palette.marker(one.style) for one in made}) == len(keys)


MANY = [f"allocator{i}" for i in range(11)]


def looks(series: list[Series]) -> set[tuple[object, ...]]:
    """The colour, marker, dash and fill of each line in a figure."""
    styles = [one.style for one in series]
    return {(palette.colour(of), palette.marker(of), palette.dash(of), of.fill) for of in styles}


@pytest.mark.parametrize(("methods", "allocators"), [(1, 11), (3, 11), (5, 6), (6, 5), (2, 4), (1, 1)])
def test_many_allocators_are_told_apart(methods: int, allocators: int) -> None:
    look = replace(LOOK, methods=[f"method{i}" for i in range(methods)], allocators=MANY[:allocators])
    rows = [row(method, "0.50", 20.0, allocator=allocator) for method in look.methods for allocator in look.allocators]
    (panel,) = perplexity_chart(table(*rows), look).panels
    assert len(looks(panel.series)) == len(panel.series) == methods * allocators
    colours = {palette.colour(one.style) for one in panel.series}
    assert len(colours) == min(6, max(methods, allocators if allocators > 4 else 0))


def test_many_allocations_differ_in_more_than_the_marker() -> None:
    rows = [blocks(allocator=name, id=name, calibration=c) for name in MANY for c in ("c", "d")]
    for look in (replace(LOOK, allocators=MANY), replace(LOOK, allocators=MANY, calibrations=["c", "d"])):
        shown = pd.concat([of for of in rows if of["calibration"].iloc[0] in look.calibrations])
        (panel,) = allocation_chart(shown, len(shown) // 2, look).panels
        assert len({(palette.colour(one.style), palette.dash(one.style)) for one in panel.series}) >= 11
        assert len(looks(panel.series)) == len(panel.series) == 11 * len(look.calibrations)


def test_cost_marks_what_nothing_beats_in_both() -> None:
    chart = cost_chart(
        table(
            row("dense", "0.00", 10.0),
            row("magnitude", "0.50", 90.0, prune_seconds=5.0),
            row("wanda", "0.50", 20.0, prune_seconds=30.0),
            row("wanda", "0.50", 25.0, prune_seconds=40.0, allocator="owl"),
            row("magnitude", "0.50", 50.0, prune_seconds=None, allocator="owl"),
        ),
        LOOK,
    )
    drawn = lines(draw(chart).axes[0])
    assert drawn[FRONT] == ([5.0, 30.0], [90.0, 20.0])
    assert drawn["Wanda + owl"] == ([40.0], [25.0])
    assert "Magnitude + owl" not in drawn and "1 without a time" in chart.notes[0]


def test_what_prunes_half_of_the_blocks_is_on_no_front_of_the_whole() -> None:
    whole = [row("magnitude", "0.50", 90.0, prune_seconds=5.0), row("wanda", "0.50", 20.0, prune_seconds=30.0)]
    half = [{**of, "allocator": "half", "value": of["value"] / 4} for of in whole]  # type: ignore[operator]
    look = replace(LOOK, allocators=["uniform", "half"], partial=["half"])
    drawn = lines(draw(cost_chart(table(*whole, *half), look)).axes[0])
    assert drawn[FRONT] == ([5.0, 30.0], [90.0, 20.0])
    assert drawn[f"{FRONT}, half of the blocks"] == ([5.0, 30.0], [22.5, 5.0])


def test_cost_compares_only_the_same_sparsity_of_the_same_text() -> None:
    rows = [row("wanda", s, 20.0, task=task) for s in ("0.50", "0.70") for task in ("web", "wiki")]
    chart = cost_chart(table(*rows, row("wanda", "0.50", 30.0, pattern="2of4")), LOOK)
    titles = [f"{text}, {point}" for text in ("Web text", "wiki") for point in ("50%", "70%", "2of4 (50%)")]
    assert [panel.title for panel in chart.panels] == titles and chart.columns == 3


SIZES = [f"web_{samples}x16" for samples in (4, 8, 32)]
SIZED = replace(LOOK, calibrations=[*SIZES, "web_4x32", "wiki_4x16", "wiki_8x16"])


def test_calibration_joins_sizes_of_the_same_samples() -> None:
    """Another length or corpus is no point of the line, and a series with only one size is no line."""
    rows = [row("wanda", "0.50", 20.0 / at, calibration=name, task=task) for at, name in enumerate(SIZES, 1)
            for task in ("web", "wiki")]  # fmt: skip
    rows += [row("wanda", "0.50", 30.0 / at, calibration=name, allocator="owl") for at, name in enumerate(SIZES[:2], 1)]
    rows += [row("wanda", "0.50", 5.0, calibration="web_4x32"), row("wanda", "0.70", 5.0, calibration=SIZES[0])]
    rows += [row("magnitude", "0.50", 90.0, calibration="none"), row("dense", "0.00", 4.0, calibration="none")]
    chart = calibration_chart(table(*rows), SIZED)
    figure = draw(chart)
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Web text, 50%", "wiki, 50%"]
    assert lines(first) == {
        "Dense": ([0, 1], [4.0, 4.0]),
        "Wanda + uniform": ([4, 8, 32], [20.0, 10.0, 20.0 / 3]),
        "Wanda + owl": ([4, 8], [30.0, 15.0]),
    }
    assert set(lines(second)) == {"Wanda + uniform"}
    assert list(first.get_xticks()) == chart.ticks == [4, 8, 32] and first.get_xscale() == "log"
    assert [tick.get_text() for tick in second.get_xticklabels()] == ["4", "8", "32"]
    axis = plots(chart)[0]["layout"]["xaxis"]
    assert (axis["tickvals"], axis["ticktext"]) == ([4, 8, 32], ["4", "8", "32"])
    assert "Rests on 5 of 5 cells. Samples: Web text, 16 tokens each." in notes(figure)


def test_calibration_on_two_corpora_has_a_panel_for_each_and_seeds_have_a_band() -> None:
    names = [*SIZES[:2], *SIZED.calibrations[-2:]]
    cells = table(*(row("wanda", "0.50", 20 * 2.0**s, s, calibration=name) for name in names for s in range(3)))
    chart = calibration_chart(cells, SIZED)
    kinds = [f"Web text, 50%, {corpus}, 16 tokens each" for corpus in ("Web text", "wiki")]
    assert [panel.title for panel in chart.panels] == kinds
    (series,) = chart.panels[0].series
    assert (series.x, series.y) == ([4, 8], pytest.approx([40, 40])) and series.low == pytest.approx([20, 20])


def test_calibration_without_any_number_says_so() -> None:
    cells = table(*(row("wanda", "0.50", status="missing", calibration=name, **BAD) for name in SIZES))
    figure = draw(calibration_chart(cells, SIZED))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no cell to show"]
    assert "0 of 3 cells (3 missing)" in notes(figure)


def test_pareto_front_drops_ties() -> None:
    front = pareto_front([(3.0, 5.0), (1.0, 9.0), (2.0, 9.0), (4.0, 5.0), (5.0, 1.0)])
    assert (front.x, front.y) == ([1.0, 3.0, 5.0], [9.0, 5.0, 1.0])


def blocks(**more: object) -> pd.DataFrame:
    cell = {"model": "m", "method": "wanda", "allocator": "owl", "pattern": "unstructured", "sparsity": "0.50"}
    columns = {"id": "a", "calibration": "c", "seed": 0, "block": [0, 1], "share": [0.4, 0.6], "zeros": [0.4, 0.6]}
    errors = {"low": [0.01, 0.02], "error": [0.1, 0.2], "high": [0.3, 0.4]}
    return pd.DataFrame({**cell, **columns, **errors, **more})


def test_allocation_shows_the_sparsity_of_each_block() -> None:
    chart = allocation_chart(pd.concat([blocks(), blocks(sparsity="0.70", share=0.7, id="b")]), 3, LOOK)
    figure = draw(chart)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Sparsity 50%", "Sparsity 70%"]
    drawn = lines(figure.axes[0])
    assert drawn["owl"] == ([0, 1], [0.4, 0.6]) and drawn["Target"][1] == [0.5, 0.5]
    assert "Rests on 2 of 3 allocations." in notes(figure)


def test_reconstruction_shows_median_and_range_over_linears() -> None:
    figure = draw(reconstruction_chart(blocks(), 2, LOOK))
    (axes,) = figure.axes
    assert lines(axes)["Wanda + owl"] == ([0, 1], [0.1, 0.2])
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]  # type: ignore[index]
    assert (heights.min(), heights.max()) == (0.01, 0.4)
    assert "Rests on 1 of 2 cells." in notes(figure)


def test_blocks_that_are_not_pruned_have_no_reconstruction_error() -> None:
    half = blocks(low=[0.01, None], error=[0.1, None], high=[0.3, None])
    (panel,) = reconstruction_chart(half, 1, LOOK).panels
    assert [list(series.x) for series in panel.series] == [[0.0]]


def test_finished_cells_that_record_no_error_are_not_expected() -> None:
    cell = blocks(id="b", method="dense_fit", low=None, error=None, high=None)
    figure = draw(reconstruction_chart(pd.concat([blocks(), cell], ignore_index=True), 3, LOOK))
    assert "Rests on 1 of 2 cells." in notes(figure)
    assert "Rests on 0 of 1 cells." in notes(draw(reconstruction_chart(cell, 2, LOOK)))
    assert reconstruction_chart(cell, 1, LOOK).notes == ["No method of this study records errors."]


def epochs(**more: object) -> pd.DataFrame:
    """The losses of two blocks of a cell, three epochs each. The second block kept its first epoch."""
    cell = {"model": "m", "method": "wanda", "allocator": "uniform", "pattern": "unstructured", "sparsity": "0.50"}
    columns = {"id": "a", "calibration": "c", "seed": 0, "block": [0] * 3 + [1] * 3, "epoch": [1, 2, 3] * 2}
    losses = {"loss": [10.0, 8.0, 6.0, 4.0, 4.0, 2.0], "reconstruction": [0.1, 0.2, 0.05, 0.2, 0.6, 0.3]}
    return pd.DataFrame({**cell, **columns, **losses, "kept": [3] * 3 + [1] * 3, **more})


def test_convergence_shows_both_losses_relative_to_the_first_epoch() -> None:
    chart = convergence_chart(epochs(), 2, LOOK)
    drawn = lines(draw(chart).axes[0])
    assert drawn["Wanda + uniform, training loss"] == ([1, 2, 3], pytest.approx([1, 0.9, 0.55]))
    assert drawn["Wanda + uniform, reconstruction loss"] == ([1, 2, 3], pytest.approx([1, 2.5, 1]))
    training, reconstruction = chart.panels[0].series
    assert list(training.low) == pytest.approx([1, 0.85, 0.525]) and list(training.high)[2] == pytest.approx(0.575)
    assert (training.style.dash, reconstruction.style.dash) == (0, 1)
    assert "Rests on 1 of 2 cells. In 1 of their 2 blocks the weights of an epoch after the first" in chart.notes[0]


def test_convergence_of_several_entries_reads_without_colour() -> None:
    look = replace(LOOK, allocators=["uniform", "owl", "half"])
    both = [epochs(method=method, allocator=allocator, id=f"{method} {allocator}")
            for method in look.methods for allocator in look.allocators]  # fmt: skip
    series = convergence_chart(pd.concat(both), 6, look).panels[0].series
    assert len({one.label for one in series}) == 12
    assert len({(palette.marker(one.style), palette.dash(one.style)) for one in series}) == 12
    other = epochs(pattern="2of4", id="c")
    assert [panel.title for panel in convergence_chart(pd.concat([*both, other]), 7, look).panels] == [
        "Sparsity 50%",
        "Sparsity 2of4 (50%)",
    ]


def test_losses_of_an_epoch_are_the_sum_of_its_terms() -> None:
    """The second block was not pruned."""
    first = {"terms": {"up": 3.0, "gate": 1.5, "down": 0.25, "activation": 0.25}, "reconstruction": 0.5}
    second = {"terms": {"up": 2.0, "down": 0.0, "activation": 1.0}, "reconstruction": 0.75}
    block = {"linears": {}, "epochs": [first, second], "kept": 2}
    assert losses([block, {"linears": {}}, {**block, "epochs": [first], "kept": 1}]) == [
        {"block": 0, "epoch": 1, "loss": 5.0, "reconstruction": 0.5, "kept": 2},
        {"block": 0, "epoch": 2, "loss": 3.0, "reconstruction": 0.75, "kept": 2},
        {"block": 2, "epoch": 1, "loss": 5.0, "reconstruction": 0.5, "kept": 1},
    ]


def test_a_block_without_any_loss_in_its_first_epoch_has_no_ratio() -> None:
    perfect = epochs(reconstruction=[0.0, 0.1, 0.0, 0.2, 0.6, 0.3])
    _, reconstruction = convergence_chart(perfect, 1, LOOK).panels[0].series
    assert list(reconstruction.y) == pytest.approx([1, 3, 1.5])


def test_seeds_of_blocks_are_averaged_within_their_range() -> None:
    both = pd.concat([blocks(), blocks(seed=1, share=[0.5, 0.5], id="b")])
    (series,) = allocation_chart(both, 2, LOOK).panels[0].series
    assert list(series.y) == pytest.approx([0.45, 0.55]) and list(series.low) == [0.4, 0.5]


def test_a_block_is_the_mean_of_its_linears_by_size() -> None:
    linears = {
        "a": {"weights": 300, "zeros": 30, "reconstruction_error": 0.5},
        "b": {"weights": 100, "zeros": 90, "reconstruction_error": 0.1},
        "c": {"weights": 100, "zeros": 30, "reconstruction_error": 0.2},
    }
    assert facts(linears) == {"zeros": 0.3, "low": 0.1, "error": 0.2, "high": 0.5}
    assert share({"a": 300, "b": 100, "c": 100}, {"a": 0.1, "b": 0.9, "c": 0.3}) == pytest.approx(0.3)
    assert facts({"a": {"weights": 4, "zeros": 2}}) == {"zeros": 0.5}


def test_without_any_pruned_cell_there_is_a_figure_that_says_so() -> None:
    for chart in (reconstruction_chart(blocks().iloc[:0], 2, LOOK), convergence_chart(epochs().iloc[:0], 2, LOOK)):
        figure = draw(chart)
        assert "Rests on 0 of 2 cells." in notes(figure)
        assert [text.get_text() for text in figure.axes[0].texts] == ["no cell to show"]


def test_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    chart = perplexity_chart(table(row("dense", "0.00", 10.0), row("wanda", "0.50", 20.0)), LOOK)
    for format in ("svg", "png"):
        files = [tmp_path / f"{name}.{format}" for name in "ab"]
        for file in files:
            save(chart, file)
        first, second = (file.read_bytes() for file in files)
        assert first == second and len(first) > 1000
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()


def promised(values: dict[str, tuple[float, list[float]]]) -> pd.DataFrame:
    """Rows of Wanda at 70%: for each allocator what a search promised, and the perplexity of each seed."""
    rows = [
        row("wanda", "0.70", value, seed, allocator=allocator, promised=promise)
        for allocator, (promise, found) in values.items()
        for seed, value in enumerate(found)
    ]
    return pd.DataFrame(rows)


def test_agreement_pairs_what_a_search_promised_with_what_came_out_and_correlates_the_ranks() -> None:
    cells = promised(
        {"a": (50.0, [40.0, 90.0]), "b": (60.0, [30.0, 30.0]), "c": (70.0, [80.0, 80.0]), "d": (900.0, [1e3, 1e3])}
    )
    chart = agreement_chart(cells, LOOK)
    (series,) = chart.panels[0].series
    assert (series.label, series.form) == ("Wanda, 70%", "points")
    assert list(series.x) == [50, 60, 70, 900] and list(series.y) == pytest.approx([60, 30, 80, 1000])
    assert series.names == ["a", "b", "c", "d"]
    # Ranks 1 2 3 4 against 2 1 3 4: 1 - 6 (1 + 1) / (4 (16 - 1)).
    assert "Spearman's rank correlation (points): Wanda, 70%, Web text 0.80 (4)." in chart.notes[0]
    backwards = promised({"a": (50.0, [9.0]), "b": (60.0, [8.0]), "c": (70.0, [7.0])})
    assert "Web text -1.00 (3)" in agreement_chart(backwards, LOOK).notes[0]


def charts() -> list[Chart]:
    many = [row(m, s, 20.0 + seed, seed, allocator=a) for m in ("magnitude", "wanda") for s in ("0.50", "0.70")
            for a in ("uniform", "owl") for seed in range(2)]  # fmt: skip
    cells = table(row("dense", "0.00", 10.0), *many, row("wanda", "0.50", 1e9, pattern="2of4"))
    both = pd.concat([blocks(), blocks(seed=1, id="b")])
    sized = table(*(row("wanda", "0.50", 20.0 + seed, seed, calibration=name) for name in SIZES for seed in range(2)))
    made = [perplexity_chart(cells, LOOK), cost_chart(cells, LOOK), calibration_chart(sized, SIZED)]
    made.append(convergence_chart(pd.concat([epochs(), epochs(seed=1, id="b")]), 2, LOOK))
    run = {
        "search": "a",
        "strategy": "random",
        "space": "functions",
        "model": "m",
        "pattern": "unstructured",
        "uniform": 30.0,
    }
    best = [{**run, "sparsity": "0.70", "seed": seed, "evaluation": i, "best": 40.0 / i + seed}
            for seed in range(2) for i in range(1, 4)]  # fmt: skip
    made.append(search_chart(pd.DataFrame(best), ["Rests on all."], LOOK))
    made.append(agreement_chart(promised({name: (i + 1.0, [20.0, 30.0 + i]) for i, name in enumerate("abc")}), LOOK))
    return [*made, allocation_chart(both, 2, LOOK), reconstruction_chart(both, 2, LOOK)]


@pytest.mark.parametrize("chart", charts(), ids=lambda chart: chart.title)
def test_screen_and_print_show_the_same_points(chart: Chart) -> None:
    import plotly.graph_objects as go

    figure = draw(chart)
    for axes, plot, panel in zip(figure.axes, plots(chart), chart.panels, strict=True):
        json.dumps(plot, allow_nan=False)
        checked = go.Figure(plot)  # raises where plotly knows no such property or value
        assert len(checked.layout.shapes) == len(panel.levels)
        drawn = lines(axes)
        for series in panel.series:
            trace = next(trace for trace in plot["data"] if trace["name"] == series.label and "text" in trace)
            assert trace["x"] == drawn[series.label][0]
            assert trace["y"] == drawn[series.label][1]
        if chart.span:
            ends = plot["layout"]["yaxis"]["range"]
            assert [10**end if chart.y.log else end for end in ends] == pytest.approx(axes.get_ylim())
    assert {swatch["label"] for swatch in swatches(chart)} == {series.label for series in chart.series}


def test_more_styles_than_colours_are_still_told_apart() -> None:
    shown = {(palette.colour(style), palette.marker(style)) for style in (Style(i, i) for i in range(30))}
    assert len(shown) == 30


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_titles_of_panels_stay_over_their_panels(columns: int) -> None:
    title = "A model with a name of many words, Some kind of web text that has a long name too, 1of4 (75%)"
    figure = draw(Chart("", Axis("x"), Axis("y"), [Panel(title, [])] * columns, [], columns=columns))
    figure.draw_without_rendering()
    titles = [text for text in figure.findobj(Text) if text.get_text().replace("\n", " ") == title]
    assert len(titles) == len(figure.axes) == columns
    boxes = [text.get_window_extent() for text in titles]
    ends = [*(box.x0 for box in boxes[1:]), figure.bbox.x1]
    assert all(box.x1 < end and box.y1 <= figure.bbox.y1 for box, end in zip(boxes, ends, strict=True))


def test_bars_are_distances_from_the_point() -> None:
    series = Series("a", Style(), [1.0], [10.0], low=[8.0], high=[15.0], names=["a"], form="points")
    assert series.bars == ([2.0], [5.0])
    (axes,) = draw(Chart("", Axis("x"), Axis("y", log=True), [Panel("", [series])], [])).axes
    ((segment,),) = (axes.containers[0].lines[2][0].get_segments(),)
    assert [y for _, y in segment] == [8.0, 15.0]


def shows(config: dict[str, object]) -> list[str]:
    return [figure for _, figure in load_plan(config).shown.figures]


def test_a_study_has_the_figures_that_have_something_to_show() -> None:
    assert shows(grid({"method": "dense"})) == []
    assert shows(grid({"method": "magnitude", "sparsity": 0.5})) == ["perplexity", "cost"]
    assert shows(grid({"method": "wanda", "pattern": "2of4"})) == ["perplexity", "reconstruction", "cost"]
    assert shows(grid({"method": "magnitude", "allocator": "owl", "sparsity": 0.5})) == [
        "perplexity",
        "allocation",
        "cost",
    ]
    skipped = {"method": "magnitude", "allocator": "owl", "pattern": "2of4"}
    assert shows(grid({"method": "dense"}, skipped)) == []
    assert shows(grid({"method": "wanda", "sparsity": 0.5}, suites=["few_tiny"])) == ["zeroshot", "reconstruction"]


def test_the_dense_method_under_another_name_is_no_pruned_cell() -> None:
    config = changed("methods.raw", {"method": "dense"}, grid({"method": "raw"}))
    assert load_plan(config).shown.baselines == {"dense", "raw"}
    assert shows(config) == []


def test_calibration_is_a_figure_of_studies_with_several_sizes() -> None:
    wanda = {"method": "wanda", "sparsity": 0.5}
    several, other = ["text_4x16", "text_8x16"], ["text_4x16", "text_8x8"]
    assert "calibration" in shows(grid({**wanda, "calibration": several}))
    assert "calibration" not in shows(grid({**wanda, "calibration": other}))
    assert "calibration" not in shows(grid({**wanda, "seed": [0, 1]}, {"method": "dense"}))
    assert "calibration" not in shows(grid({"method": "magnitude", "sparsity": 0.5, "calibration": several}))
    assert "calibration" not in shows(grid({**wanda, "calibration": several}, suites=["few_tiny"]))
    assert "perplexity" not in shows(grid({"method": "dense"}, {**wanda, "calibration": several})), "a single sparsity"
    mixed = grid({**wanda, "calibration": several}, {**wanda, "sparsity": 0.7}, {**wanda, "calibration": other})
    assert "perplexity" in shows(mixed)
    drawn = load("figures", "calibration").cells(load_plan(mixed).shown, "tiny")
    assert [(cell.sparsity, cell.calibration) for cell in drawn] == [("0.50", name) for name in several]


def test_convergence_is_a_figure_of_methods_that_work_in_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = grid({"method": ["magnitude", "wanda"], "sparsity": 0.5})
    assert "convergence" not in shows(config)
    monkeypatch.setattr(Wanda, "iterative", True)
    assert "convergence" in shows(config)
    assert {cell.method for cell in load("figures", "convergence").cells(load_plan(config).shown, "tiny")} == {"wanda"}


def test_levels_are_named_on_screen() -> None:
    plot = plots(Chart("", Axis("x"), Axis("y", log=True), [Panel("", [], {"Dense": 100.0})], []))[0]
    assert plot["layout"]["annotations"][0]["text"] == "Dense 100.0"
    assert plot["layout"]["annotations"][0]["y"] == math.log10(100)
