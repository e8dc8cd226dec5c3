"""How far the outputs of each block's linears moved."""

import pandas as pd

from prunebench.figures import blocks
from prunebench.figures.chart import Axis, Chart, Panel
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES


def reconstruction_chart(errors: pd.DataFrame, expected: int, look: Look) -> Chart:
    """The reconstruction error per block: a line per method and allocator, a panel per model and sparsity.

    `errors` has a row per cell and block: the median over its linears, the least and the largest. Methods that look
    at no text record none, nor do blocks that are not to be pruned. `expected` is how many cells should have them.
    """
    errors = errors.dropna(subset="error")
    panels = [
        Panel(
            title,
            [
                blocks.line(
                    part, look.label(part.iloc[0]), look.style(part.iloc[0]), value="error", low="low", high="high"
                )
                for _, part in rows.groupby(SERIES, sort=False)
            ],
        )
        for title, _, rows in blocks.panels(errors, look)
    ]
    return Chart(
        title="Reconstruction error of each block",
        x=Axis("Block"),
        y=Axis("Reconstruction error", log=True),
        panels=panels,
        notes=[
            f"{blocks.rests_on(errors, expected, 'cells')} Lines: median over the linears of a block. "
            "Bands: from the least to the largest. 1: all is gone."
        ],
        columns=3,
    )
