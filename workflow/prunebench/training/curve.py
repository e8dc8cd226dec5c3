"""The loss curve of a trained model as a figure: `python -m prunebench.training.curve RECORD FIGURE`."""

import math
import sys
from pathlib import Path
from typing import Any

from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.draw import save
from prunebench.storage.files import read_json

LINES = {"training_loss": ("Text trained on", Style(0, None)), "held_out_loss": ("Held-out text", Style(1, None))}


def curve_chart(record: dict[str, Any]) -> Chart:
    """The loss by number of tokens, from the record of stage train_model, with the losses of n-grams as levels."""
    entry = record["spec"]["entry"]
    window = record["spec"]["compute"]["batch_size"] * entry["source"]["context"]
    tokens = [point["step"] * window / 1e6 for point in record["curve"]]
    lines = [
        Series(label, style, tokens, [point[key] for point in record["curve"]], form="line")
        for key, (label, style) in LINES.items()
    ]
    score = record["scores"]["held_out"]
    nats = math.log(2) * score["bytes"] / score["tokens"]
    levels = {f"{name}s": score["bits_per_byte"][name] * nats for name in ("unigram", "trigram")}
    return Chart(
        title=f"{entry['title']}, trained here",
        x=Axis("Million tokens seen"),
        y=Axis("Loss (nats a token)"),
        panels=[Panel("", lines, levels)],
        notes=["Unigrams and trigrams have counted all of the training text."],
    )


if __name__ == "__main__":
    save(curve_chart(read_json(Path(sys.argv[1]))), Path(sys.argv[2]))
