import DataTable from "datatables";

// The data of the page, most of them JSON, and plotly.js are compressed, in base64, and unpacked when they are needed.
function inflated(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

const unpack = (id) => inflated(id).json();

const plotly = document.createElement("script");
plotly.textContent = await inflated("plotly").text();
document.head.append(plotly); // runs before the next line

const report = await unpack("data");
let details = null; // of all cells, once somebody has opened one
const root = document.documentElement;

// ---- elements: text is always set as text, so nothing in a result can become markup

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function facts(entries) {
  const shown = Object.entries(entries).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { class: "facts" }, ...shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

function badge(status) {
  return element("span", { class: `badge ${status}` }, status === "ok" ? "done" : status);
}

// ---- theme

const toggle = document.getElementById("theme");

function pageColours() {
  const styles = getComputedStyle(root);
  const ink = styles.getPropertyValue("--ink").trim();
  const line = styles.getPropertyValue("--line").trim();
  const axes = ["xaxis", "yaxis"].flatMap((axis) => [[`${axis}.gridcolor`, line], [`${axis}.linecolor`, line]]);
  return { "font.color": ink, "modebar.color": ink, ...Object.fromEntries(axes) };
}

function showTheme() {
  const dark = root.classList.contains("dark");
  toggle.setAttribute("aria-pressed", dark);
  toggle.textContent = dark ? "Light" : "Dark";
  for (const plot of document.querySelectorAll(".plot.js-plotly-plot")) Plotly.relayout(plot, pageColours());
}

toggle.addEventListener("click", () => {
  const dark = root.classList.toggle("dark");
  try { localStorage.setItem("prunebench-theme", dark ? "dark" : "light"); } catch { /* not remembered then */ }
  showTheme();
});

// ---- figures

const LAYOUT = {
  margin: { l: 56, r: 12, t: 34, b: 44 }, // above, the toolbar has room of its own
  paper_bgcolor: "rgba(0,0,0,0)",
  plot_bgcolor: "rgba(0,0,0,0)",
  font: { family: "system-ui, sans-serif", size: 12 },
  showlegend: false,
  modebar: { bgcolor: "rgba(0,0,0,0)" },
  hovermode: "closest",
};
const CONFIG = { responsive: true, displaylogo: false, modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]] };

function draw(place, { data, layout }) {
  Plotly.newPlot(place, data, { ...LAYOUT, ...layout }, CONFIG);
  Plotly.relayout(place, pageColours());
}

function showSeries(place, button) {
  const visible = button.getAttribute("aria-pressed") !== "false";
  const traces = (place.data ?? []).flatMap((trace, i) => (trace.name === button.dataset.label ? [i] : []));
  if (traces.length) Plotly.restyle(place, { visible }, traces);
}

const drawings = []; // of the figures, in their order
for (const figure of document.querySelectorAll("[data-figure]")) {
  const places = [...figure.querySelectorAll(".plot")];
  const legend = figure.querySelector(".legend");
  places.forEach((place, i) => drawings.push(() => {
    draw(place, report.plots[figure.dataset.figure][i]);
    for (const button of legend.querySelectorAll('[aria-pressed="false"]')) showSeries(place, button);
  }));
  legend.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "false");
    for (const place of places) showSeries(place, button);
  });
}

// Paper is white and narrower than most screens. A plot keeps its colours and its width unless it is told.
const wide = new Map();
addEventListener("beforeprint", () => {
  wide.set("dark", root.classList.contains("dark"));
  root.classList.remove("dark");
  for (const plot of document.querySelectorAll(".plot.js-plotly-plot")) {
    const alone = plot.closest(".panels")?.childElementCount === 1;
    Plotly.relayout(plot, { ...pageColours(), width: alone ? 660 : 330, height: 260 });
  }
});
addEventListener("afterprint", () => {
  root.classList.toggle("dark", wide.get("dark"));
  for (const plot of document.querySelectorAll(".plot.js-plotly-plot")) Plotly.relayout(plot, { width: null, height: null, autosize: true });
  showTheme();
});

// ---- files: they are in the page, so that a page that was sent on still has them

let downloads = null; // unpacked when somebody saves the first

function save(blob, name) {
  const anchor = element("a", { href: URL.createObjectURL(blob), download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 10000);
}

async function picture(svg) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  await image.decode();
  const canvas = element("canvas", { width: 2 * image.width, height: 2 * image.height });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(image.src);
  return new Promise((made) => canvas.toBlob(made, "image/png"));
}

document.addEventListener("click", async (event) => {
  const file = event.target.closest("a[data-file]")?.dataset.file;
  if (!file) return;
  event.preventDefault(); // at once: later is too late
  downloads ??= unpack("downloads");
  const texts = await downloads;
  const name = file.split("/").slice(-2).join("-");
  const drawing = texts[file.replace(/\.png$/, ".svg")];
  if (file in texts) save(new Blob([texts[file]], { type: file.endsWith(".svg") ? "image/svg+xml" : "text/plain" }), name);
  else if (file.endsWith(".png") && drawing) save(await picture(drawing), name);
  else location.href = event.target.href; // drawn after this page was made: the file beside it
});

// ---- the table of all cells

const escapeHtml = DataTable.util.escapeHtml;
const link = (id) => `#cell/${id}`;

function show(column, entry, type, row) {
  if (type === "sort" || type === "type") return entry.sort;
  if (type === "filter") return entry.display;
  const text = escapeHtml(entry.display);
  if (column.key === "method") return `<a href="${escapeHtml(link(row.id))}">${text}</a>`;
  if (column.key === "status") return `<span class="badge ${text}">${text === "ok" ? "done" : text}</span>`;
  return text;
}

// A spreadsheet takes a text that begins like this for a formula.
const inert = (text) => (/^[=+\-@\t\r]/.test(text) && !/^[+-]?[\d.,]*%?$/.test(text) ? `'${text}` : text);
const exportOptions = { orthogonal: "filter", format: { body: inert, header: inert } };

const { columns, rows } = report.table;
const table = new DataTable("#cells", {
  data: rows,
  columns: columns.map((column) => ({
    // Not the key itself: a dot in it would be taken for a path.
    data: (row) => row[column.key],
    title: escapeHtml(column.title),
    visible: column.shown,
    type: column.kind === "number" ? "num" : "string",
    className: column.kind === "number" ? "number wrap" : "",
    render: (entry, type, row) => show(column, entry, type, row),
  })),
  order: [],
  pageLength: 50,
  autoWidth: false,
  language: { entries: { _: "cells", 1: "cell" } },
  layout: {
    topStart: { buttons: [{ extend: "csvHtml5", text: "Save as CSV", exportOptions }] },
    topEnd: "search",
    bottomStart: "info",
    bottomEnd: rows.length > 50 ? "paging" : null,
  },
});

columns.forEach((column, i) => {
  const values = [...new Set(rows.map((row) => row[column.key].display))];
  if (column.kind !== "text" || !column.shown || values.length < 2) return;
  const options = values.map((value) => element("option", { value }, column.key === "status" && value === "ok" ? "done" : value));
  const select = element("select", { "data-column": column.key }, element("option", { value: "" }, "all"), ...options);
  select.addEventListener("change", () => table.column(i).search(select.value, { exact: Boolean(select.value) }).draw());
  document.getElementById("filters").append(element("label", {}, column.title, select));
});

table.on("click", "tbody tr", (event) => {
  const row = table.row(event.target.closest("tr")).data();
  if (row && !event.target.closest("a") && getSelection().isCollapsed) location.hash = link(row.id);
});

// ---- the panel of a cell

const dialog = document.getElementById("cell");
const percent = (value) => `${(100 * value).toFixed(2)}%`;

function measurement(measured) {
  if (!measured) return {};
  const versions = Object.entries(measured.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  return {
    Seconds: measured.resumed_at || measured.resumed ? `${measured.seconds} (resumed: the last part only)` : String(measured.seconds),
    "CPU seconds": measured.cpu_seconds,
    "Peak memory": `${measured.peak_memory_mb} MiB`,
    Device: `${measured.device}; ${measured.machine}, ${measured.threads} of ${measured.cpus} CPUs`,
    Versions: versions,
    Code: measured.code,
  };
}

function command(measured) {
  if (!measured) return null;
  return element("details", {}, element("summary", {}, "Command"), element("pre", { tabindex: 0 }, measured.command));
}

function scores(evaluation) {
  const form = (score, value) => (score.percent ? percent(value) : String(Number(value.toPrecision(3))));
  const head = ["Task", "Metric", "Value", "± stderr", "n"].map((text, i) => element("th", { scope: "col", class: i > 1 ? "number" : "" }, text));
  const lines = evaluation.scores.map((score) => element("tr", {},
    element("td", {}, score.task),
    element("td", {}, score.metric),
    element("td", { class: "number" }, score.shown),
    element("td", { class: "number" }, score.stderr === null ? "" : form(score, score.stderr)),
    element("td", { class: "number" }, String(score.n))));
  return element("div", { class: "scroll" }, element("table", { class: "scores" },
    element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines)));
}

function evaluationPart(evaluation) {
  return [
    element("h3", {}, `Evaluation ${evaluation.suite}`, evaluation.title ? ` (${evaluation.title}) ` : " ", badge(evaluation.status)),
    evaluation.reason ? element("p", {}, evaluation.reason) : null,
    evaluation.scores.length ? scores(evaluation) : null,
    facts({ ...measurement(evaluation.measured), Log: evaluation.log }),
    command(evaluation.measured),
  ];
}

function prunePart({ prune, blocks }) {
  return [
    element("h3", {}, "Pruning ", badge(prune.status)),
    prune.reason ? element("p", {}, prune.reason) : null,
    facts({
      Zeros: prune.achieved_sparsity === undefined ? null : `${percent(prune.achieved_sparsity)} of ${prune.prunable_weights.toLocaleString("en")} weights`,
      "Zero before": prune.already_zero === undefined ? null : prune.already_zero.toLocaleString("en"),
      ...measurement(prune.measured),
      Log: prune.log,
      "Made again by": `snakemake --cores all ${prune.target}`,
    }),
    blocks.length ? element("h3", {}, "Zeros of each block") : null,
    blocks.length ? element("div", { class: "plot", id: "plot-share", role: "img", "aria-label": "Zeros of each block" }) : null,
    blocks.some((block) => "error" in block) ? element("h3", {}, "Reconstruction error of each block: median and range of its linears") : null,
    blocks.some((block) => "error" in block) ? element("div", { class: "plot", id: "plot-error", role: "img", "aria-label": "Reconstruction error of each block" }) : null,
    command(prune.measured),
    prune.spec ? element("details", {}, element("summary", {}, "Spec: all that can change its numbers"), element("pre", { tabindex: 0 }, JSON.stringify(prune.spec, null, 1))) : null,
    prune.inputs ? element("details", {}, element("summary", {}, "Digests of what it was made from"), element("pre", { tabindex: 0 }, JSON.stringify(prune.inputs, null, 1))) : null,
  ];
}

function drawBlocks(blocks) {
  const x = blocks.map((block) => block.block);
  const line = (key, name, style) => ({ x, y: blocks.map((block) => block[key]), name, mode: "lines+markers", hovertemplate: `block %{x}: %{y:.4g}<extra>${name}</extra>`, ...style });
  const axis = { title: { text: "Block" }, zeroline: false };
  const share = document.getElementById("plot-share");
  if (share) {
    const asked = line("share", "asked for", { mode: "lines", line: { color: "#7f7f7f", dash: "dash" } });
    const zeros = line("zeros", "zeros", { line: { color: "#0072b2" }, marker: { size: 5 } });
    draw(share, { data: [asked, zeros], layout: { xaxis: axis, yaxis: { tickformat: ".0%", rangemode: "tozero", automargin: true } } });
  }
  const error = document.getElementById("plot-error");
  if (error) {
    const style = { mode: "lines", line: { width: 0, color: "#d55e00" }, hoverinfo: "skip", hovertemplate: null };
    const band = [line("low", "least", style), line("high", "largest", { ...style, fill: "tonexty", fillcolor: "#d55e0033" })];
    const median = line("error", "median", { line: { color: "#d55e00" }, marker: { size: 5 } });
    draw(error, { data: [...band, median], layout: { xaxis: axis, yaxis: { type: "log", dtick: 1, exponentformat: "none", automargin: true } } });
  }
}

async function openCell(id) {
  details ??= unpack("details");
  const cell = (await details)[id];
  if (!cell || decodeURIComponent(location.hash) !== link(id)) return;
  const close = element("button", { type: "button", autofocus: "" }, "Close");
  close.addEventListener("click", () => dialog.close());
  const body = cell.skipped
    ? [element("h3", {}, badge("skipped")), element("p", {}, cell.skipped)]
    : [...cell.evaluations.flatMap(evaluationPart), ...prunePart(cell)];
  dialog.replaceChildren(
    element("div", { class: "head" }, element("h2", { id: "cell-title" }, cell.title), close),
    element("div", { class: "body" }, ...body.filter(Boolean)),
  );
  if (!dialog.open) dialog.showModal();
  drawBlocks(cell.blocks ?? []);
}

function followHash() {
  const hash = decodeURIComponent(location.hash);
  if (hash.startsWith("#cell/")) openCell(hash.slice("#cell/".length));
  else if (dialog.open) dialog.close();
}

dialog.addEventListener("close", () => {
  if (location.hash.startsWith("#cell/")) history.replaceState(null, "", location.pathname + location.search);
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
addEventListener("hashchange", followHash);
showTheme();
followHash();

// The plots of a large study take seconds: one at a time, so that the page answers meanwhile.
for (const drawing of drawings) {
  drawing();
  await new Promise((drawn) => setTimeout(drawn));
}
