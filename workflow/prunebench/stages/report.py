"""Stage report: write all studies of a config to one HTML file that needs nothing else."""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from prunebench.plan.jobs.outputs import TEMPLATES
from prunebench.plan.plan import Plan, plan_of
from prunebench.report.data import gather
from prunebench.results.place import among_results
from prunebench.storage.files import write_text
from prunebench.tables.make import current_cells


def report(spec: str, *, cells: Path, page: Path) -> None:
    """Write the report of all studies of the plan that `spec` describes to `page`, from the CSV `cells`."""
    plan, cells, page = plan_of(spec), cells.absolute(), page.absolute()
    with among_results(plan, cells):
        write_report(plan, cells, page)


def write_report(plan: Plan, cells: Path, output: Path) -> None:
    """Write the report of all studies of `plan` to `output`, from the CSV `cells` and the current results."""
    write_text(output, render(gather(plan, current_cells(plan, cells))))


def render(page: dict[str, Any]) -> str:
    """Render the page: text and tables as HTML, packed data, and the libraries and the script that show them."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    datatables = files("itables") / "html"
    module = base64.b64encode((datatables / "dt_bundle.js").read_bytes()).decode()
    return environment.get_template("report.html.jinja").render(
        page,
        data=page["data"] | {"packed": packed([_json(page["data"])])},
        cells=packed(_members(page["details"])),
        downloads=packed([_json(page["downloads"])]),
        css=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "report.js").read_text(encoding="utf-8"),
        plotly=packed([get_plotlyjs()]),
        # Browsers import a module by its address, and a data: address can contain the text of the module itself.
        imports={"imports": {"datatables": f"data:text/javascript;base64,{module}"}},
        datatables_css=(datatables / "dt_bundle.css").read_text(encoding="utf-8"),
    )


def packed(parts: Iterable[str]) -> str:
    """Compress a text, given in parts, with gzip, and write it in base64: records of cells shrink to a tenth."""
    squeeze = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return base64.b64encode(b"".join([*(squeeze.compress(part.encode()) for part in parts), squeeze.flush()])).decode()


def _members(entries: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Write a JSON object of (key, value) part by part, so that it is never in memory as a whole."""
    before = "{"
    for key, value in entries:
        yield f"{before}{_json(key)}:{_json(value)}"
        before = ","
    yield "{}" if before == "{" else "}"


def _json(value: Any) -> str:
    """Write `value` as JSON. NaN and infinity are refused here: a browser would refuse the whole page."""
    return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
