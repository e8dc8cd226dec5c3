"""The jobs of the tiny study (tiny.yaml), by name."""

DENSE = "tiny dense uniform unstructured-s0.00 none 0"
MAGNITUDE = "tiny magnitude uniform unstructured-s0.50 none 0"
WANDA = "tiny wanda uniform unstructured-s0.50 text_4x16 0"
WANDA_2OF4 = "tiny wanda uniform 2of4 text_4x16 0"
BROKEN = "broken magnitude uniform unstructured-s0.50 none 0"
CALIBRATED = (WANDA, WANDA_2OF4)
TINY = (DENSE, MAGNITUDE, *CALIBRATED)
CELLS = (*TINY, BROKEN)
FIGURES = ("perplexity", "reconstruction", "cost")
"""The figures that have something to show for the tiny study."""


def pruned(*cells: str) -> set[str]:
    return {f"prune {cell}" for cell in cells}


def evaluated(*cells: str, suite: str = "ppl_tiny") -> set[str]:
    return {f"evaluate {cell} {suite}" for cell in cells}


def tables(study: str = "tiny", figures: tuple[str, ...] = FIGURES) -> set[str]:
    """Everything that is made from cells.csv."""
    drawn = {f"figures {study} {figure}" for figure in figures}
    return {"collect", f"tables {study} perplexity", "report", "all"} | drawn


def made_from_model(model: str, *cells: str, points: set[str]) -> set[str]:
    return {f"allocate {model} uniform {point} none 0" for point in points} | pruned(*cells) | evaluated(*cells)
