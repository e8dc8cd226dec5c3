"""The report in a real browser, opened from disk: no error, no request, sorts, filters, opens cells, light and dark."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

import pytest

from dag.test_failures import REASON
from dag.tree import STUDY, Tree

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e .[dev])")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium")

TITLE = "A title with <b>markup</b></script><script>document.title = 'broken'</script>"
FAILED = "broken/magnitude/uniform/unstructured-s0.50/none-seed0"
WANDA = "tiny/wanda/uniform/unstructured-s0.50/text_4x16-seed0"
MAKE = """
import pathlib, yaml
from prunebench.plan.plan import load_plan
from prunebench.stages.collect import write_cells
from prunebench.stages.outputs import write_outputs
plan = load_plan(yaml.safe_load(open(sys.argv[1])), sys.argv[1])
cells = pathlib.Path(plan.job('collect').outputs[0])
write_cells(plan, cells)
write_outputs(plan, cells)
"""


@pytest.fixture(scope="module")
def report(finished: Tree, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report with cells that are done, failed, skipped and missing."""
    tree = finished.copy(tmp_path_factory.mktemp("report") / "tree")
    dense, more = "{model: tiny, method: dense}", "{model: tiny, method: wanda, sparsity: 0.7}"
    skipped = "{model: tiny, method: wanda, allocator: owl, pattern: 2of4}"
    tree.edit(STUDY, dense, "\n      - ".join([dense, more, skipped]))
    tree.edit(STUDY, "  tiny:\n    suites", f'  tiny:\n    title: "{TITLE}"\n    suites')
    run = tree.python(f"exec({MAKE!r})", STUDY)
    assert run.returncode == 0, run.stdout
    return (tree.root / "results/of/tiny/report/index.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        # Without a sandbox, because as root (in CI) it has none.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: "sync_api.Browser", address: str, **context: object) -> Iterator["sync_api.Page"]:
    """A page that must neither complain nor fetch anything but the file itself."""
    session = browser.new_context(**context)
    page = session.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
    page.goto(address)
    page.wait_for_selector("#cells tbody tr")
    yield page
    session.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith(("data:", "blob:"))} == {address.partition("#")[0]}


def column(page: "sync_api.Page", head: str) -> list[str]:
    heads = page.locator("#cells thead th").all_inner_texts()
    (index,) = [i for i, text in enumerate(heads) if head in " ".join(text.split())]
    return [row.locator("td").nth(index).inner_text() for row in page.locator("#cells tbody tr").all()]


def test_a_page_that_was_sent_on_still_has_its_tables_and_figures(
    browser: "sync_api.Browser", report: str, tmp_path: Path
) -> None:
    """The copy lies alone, and with nothing beside it."""
    alone = tmp_path / "sent.html"
    alone.write_bytes(Path(urlparse(report).path).read_bytes())
    starts = {"md": b"**Perplexity", "csv": b"Model,", "html": b"<div", "tex": b"% Needs", "svg": b"<?xml",
              "png": b"\x89PNG"}  # fmt: skip
    with opened(browser, alone.as_uri()) as page:
        for ending, start in starts.items():
            link = page.locator(f'a[data-file$="perplexity.{ending}"]').first
            with page.expect_download() as saved:
                link.click()
            assert saved.value.suggested_filename == f"tiny-perplexity.{ending}"
            assert Path(saved.value.path()).read_bytes().startswith(start), ending


def test_the_toolbar_is_above_the_points_and_paper_has_the_legends(browser: "sync_api.Browser", report: str) -> None:
    with opened(browser, report, viewport={"width": 1280, "height": 844}, color_scheme="dark") as page:
        page.wait_for_selector(".figure .point")
        for plot in page.locator(".figure .plot").all():
            bar, area = plot.locator(".modebar").bounding_box(), plot.locator(".nsewdrag").first.bounding_box()
            assert bar and area and bar["y"] + bar["height"] <= area["y"] + 1
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.set_viewport_size({"width": 720, "height": 1000})
        assert page.locator(".legend").first.is_visible() and not page.locator(".modebar").first.is_visible()
        assert not page.evaluate("document.documentElement.classList.contains('dark')")
        edges = [plot.bounding_box() for plot in page.locator(".figure .plot .main-svg").all()]
        assert all(edge is None or edge["x"] + edge["width"] <= 720 for edge in edges)
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.documentElement.classList.contains('dark')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen_in_both_colours(browser: "sync_api.Browser", report: str, width: int, scheme: str) -> None:
    with opened(browser, report, viewport={"width": width, "height": 844}, color_scheme=scheme) as page:
        page.wait_for_selector(".figure .point")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("document.documentElement.classList.contains('dark')") == (scheme == "dark")
        page.locator(".plot .main-svg").nth(2).wait_for()  # plots are drawn one after the other
        assert page.locator("h1").inner_text() == TITLE and "broken" not in page.title()[:6]
        page.goto(f"{report}#cell/{WANDA}")
        page.wait_for_selector("dialog[open] .point")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        box = page.locator("dialog").bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width


def test_it_counts_cells_by_status(browser: "sync_api.Browser", report: str) -> None:
    with opened(browser, report) as page:
        words, numbers = (page.locator(f".tile {part}").all_inner_texts() for part in ("dt", "dd"))
        tiles = dict(zip(words, numbers, strict=True))
        assert tiles == {"done": "4", "failed": "1", "skipped": "1", "missing": "1"}
        problems = " ".join(page.locator(".problems li").all_inner_texts())
        for reason in (REASON, "owl has nothing to decide", "not run, or stopped by an error"):
            assert reason in problems


def test_it_sorts_numbers_with_empty_ones_last(browser: "sync_api.Browser", report: str) -> None:
    with opened(browser, report) as page:
        head = page.locator("#cells thead th", has_text="Perplexity")
        head.click()
        page.wait_for_selector("#cells th[aria-sort=ascending]")  # the table sorts in a task after the click's
        shown = column(page, "Perplexity")
        numbers = [float(text) for text in shown if text]
        assert len(numbers) == 4 and numbers == sorted(numbers) and shown[4:] == [""] * 3
        head.click()
        page.wait_for_selector("#cells th[aria-sort=descending]")
        assert [float(text) for text in column(page, "Perplexity") if text] == sorted(numbers, reverse=True)


def test_it_filters_and_searches(browser: "sync_api.Browser", report: str) -> None:
    with opened(browser, report) as page:
        page.get_by_role("combobox", name="Status").select_option("failed")
        sync_api.expect(page.locator("#cells tbody tr")).to_have_count(1)
        assert column(page, "Method") == ["Magnitude"] and column(page, "Status") == ["failed"]
        page.get_by_role("combobox", name="Status").select_option("")
        page.get_by_role("combobox", name="Method").select_option("Wanda")
        sync_api.expect(page.locator("#cells tbody tr")).to_have_count(4)
        assert column(page, "Method") == ["Wanda"] * 4
        page.get_by_role("combobox", name="Method").select_option("")
        page.get_by_role("searchbox").fill("2of4")
        sync_api.expect(page.locator("#cells tbody tr")).to_have_count(2)


def test_a_row_opens_its_cell_and_escape_closes_it(browser: "sync_api.Browser", report: str) -> None:
    with opened(browser, report) as page:
        page.get_by_role("combobox", name="Status").select_option("failed")
        page.locator("#cells tbody tr td").last.click()
        page.wait_for_selector("dialog[open]")
        sync_api.expect(page).to_have_url(f"{report}#cell/{FAILED}")
        assert REASON.removeprefix("prune: ") in page.locator("dialog").inner_text()
        assert "logs/prune/broken" in page.locator("dialog").inner_text()
        page.keyboard.press("Escape")  # the dialog closes and clears the address in tasks after the key's
        sync_api.expect(page.locator("dialog[open]")).to_have_count(0)
        sync_api.expect(page).to_have_url(report)


def test_a_cell_has_an_address_and_is_reached_by_keyboard(browser: "sync_api.Browser", report: str) -> None:
    with opened(browser, f"{report}#cell/{WANDA}") as page:
        page.wait_for_selector("dialog[open] .point")
        text = page.locator("dialog").inner_text()
        assert "Evaluation ppl_tiny" in text and "Zeros of each block" in text and "Reconstruction error" in text
        page.get_by_role("button", name="Close").click()
        sync_api.expect(page).to_have_url(report)
        page.locator("#cells tbody tr a").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open]")
        assert "dense" in page.locator("dialog h2").inner_text()


def test_the_theme_can_be_changed_and_is_remembered(browser: "sync_api.Browser", report: str) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, report, color_scheme="light") as page:
        light = page.evaluate(colour)
        page.get_by_role("button", name="Dark").click()
        dark = page.evaluate(colour)
        assert dark != light
        page.reload()
        page.wait_for_selector("#cells tbody tr")
        assert page.evaluate(colour) == dark


def test_a_legend_entry_hides_its_series(browser: "sync_api.Browser", report: str) -> None:
    with opened(browser, report) as page:
        figure = page.locator("[data-figure=tiny-perplexity]")
        figure.locator(".point").first.wait_for()
        before = figure.locator(".point").count()
        button = figure.get_by_role("button", name="Magnitude")
        button.click()
        sync_api.expect(button).to_have_attribute("aria-pressed", "false")
        sync_api.expect(figure.locator(".point")).to_have_count(before - 1)
        button.click()
        sync_api.expect(figure.locator(".point")).to_have_count(before)
