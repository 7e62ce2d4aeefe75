import {
  FINAL_STATES, RETRY_MS, absoluteUrl, createElement, fetchJson, formatDuration, formatTime, isTransient, progressSegment, showError, unreachable,
} from "./common.js";

const id = location.pathname.split("/").pop();
const root = `/v1/experiments/${id}`;
const bars = new Map(); // node name -> the button that shows it
const counts = new Map(); // group -> the element with its number of finished jobs
let experiment = null;
let panel = null; // what is shown below: a node, the lines of its job's log by event id, whether it is drawn yet

function isRunning() {
  return !FINAL_STATES.includes(experiment.state);
}

function drawHead() {
  document.title = `${experiment.name} · robxfer`;
  document.getElementById("name").textContent = experiment.name;
  const pill = document.getElementById("state");
  pill.textContent = experiment.state;
  pill.className = `pill ${experiment.state}`;
  const labels = Object.entries(experiment.labels).map(([key, value]) => `${key}=${value}`);
  document.getElementById("facts").textContent = [
    formatTime(experiment.created_at), experiment.created_by && `by ${experiment.created_by}`,
    formatDuration(experiment.created_at, experiment.ended_at), ...labels, experiment.id,
  ].filter(Boolean).join(" · ");
}

function drawGroups() {
  const rows = [...Map.groupBy(experiment.nodes, (node) => node.group)].map(([group, nodes]) => {
    const buttons = nodes.map(({ name }) => {
      bars.set(name, createElement("button", { class: "node", onclick: () => openPanel(name) }));
      return bars.get(name);
    });
    counts.set(group, createElement("span", { class: "count" }));
    return createElement("div", { class: "group" },
      createElement("span", { class: "title", title: group }, group, createElement("small", {}, nodes[0].kind)),
      counts.get(group), createElement("div", { class: "nodes" }, ...buttons));
  });
  document.getElementById("groups").replaceChildren(...rows);
}

function drawNode(node) {
  const bar = bars.get(node.name);
  const share = node.state === "running" && node.progress?.total ? node.progress.done / node.progress.total : null;
  bar.className = `node ${node.state}`;
  bar.title = `${node.name}: ${node.state}${share === null ? "" : ` ${Math.round(100 * share)} %`}`;
  bar.setAttribute("aria-label", bar.title);
  bar.replaceChildren(progressSegment(node.state, node.state === "running" ? share ?? 0.08 : 1));
}

function drawCount(group) {
  const nodes = experiment.nodes.filter((node) => node.group === group);
  counts.get(group).textContent = `${nodes.filter((node) => node.state === "done").length}/${nodes.length}`;
}

function draw() {
  drawHead();
  if (!bars.size) drawGroups(); // the nodes of an experiment never change
  experiment.nodes.forEach(drawNode);
  [...counts.keys()].forEach(drawCount);
}

async function fetchLog(jobId) {
  const lines = [];
  let cursor = null;
  do {
    const page = await fetchJson(`/v1/jobs/${jobId}/logs?limit=10000${cursor ? `&cursor=${cursor}` : ""}`);
    lines.push(...page.items);
    cursor = page.next;
  } while (cursor);
  return lines;
}

function drawLog() {
  const box = document.getElementById("job-log");
  box.hidden = panel.lines.size === 0;
  box.textContent = [...panel.lines].sort(([a], [b]) => a - b).map(([, line]) => line).join("\n");
}

function drawFacts(job) {
  const error = job.error && (job.error.message || JSON.stringify(job.error));
  const facts = [
    ["kind", job.kind], ["state", job.state],
    ["waits for", job.waiting_for.map((reason) => reason.detail || reason.reason).join("; ")],
    ["outcome", job.outcome], ["error", error],
    ...job.attempts.map((attempt) => [`attempt ${attempt.number}`, [
      attempt.worker_id, attempt.device, attempt.outcome || "running", formatDuration(attempt.started_at, attempt.ended_at),
    ].filter(Boolean).join(" · ")]),
    ["job", job.id], ["key", job.key],
  ];
  document.getElementById("job-facts").replaceChildren(...facts.filter(([, value]) => value)
    .flatMap(([term, value]) => [createElement("dt", {}, term), createElement("dd", {}, String(value))]));
}

// Draws the panel anew. Lines that the event stream brings meanwhile are kept: the log is held by event id.
async function fillPanel(filled) {
  const [job, log] = await Promise.all([fetchJson(`/v1/jobs/${filled.node.job_id}`), fetchLog(filled.node.job_id)]);
  if (panel !== filled) return;
  for (const event of log) panel.lines.set(event.id, event.data.line);
  document.getElementById("job-name").textContent = panel.node.name;
  drawFacts(job);
  drawLog();
  document.getElementById("job").hidden = false;
  panel.drawn = true;
}

async function openPanel(name) {
  const opened = { node: experiment.nodes.find((node) => node.name === name), lines: new Map(), drawn: false };
  panel = opened;
  try {
    await fillPanel(opened);
    document.getElementById("job").scrollIntoView({ behavior: "smooth", block: "nearest" });
  } catch (error) {
    if (panel === opened) closePanel();
    showError(error);
  }
}

function closePanel() {
  document.getElementById("job").hidden = true;
  bars.get(panel.node.name).focus();
  panel = null;
}

function table(className, columns, rows) {
  const line = (tag, values) => createElement("tr", {}, ...values.map((value) => createElement(tag, {}, value === null ? "-" : String(value))));
  return createElement("table", { class: className },
    createElement("thead", {}, line("th", columns)), createElement("tbody", {}, ...rows.map((row) => line("td", row))));
}

function verdictTable(verdicts) {
  const rows = verdicts.map((row) => [row.target, row.variant.replaceAll("_", " "), row.verdict.replaceAll("_", " ")]);
  return table("results verdicts", ["Target", "Variant", "Does robustness help?"], rows);
}

async function reportArticle(node) {
  const [report, artifact] = await Promise.all([
    fetchJson(`${root}/report?node=${encodeURIComponent(node.name)}`), fetchJson(`/v1/artifacts/${node.artifact_id}`)]);
  const url = (path) => `/v1/artifacts/${node.artifact_id}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
  const paths = artifact.files.map((file) => file.path);
  const title = report.title || node.name;
  const links = paths.filter((path) => path !== "result.json").map((path) => createElement("a", { href: url(path) }, path));
  const figures = paths.filter((path) => /^figure\w*\.png$/.test(path))
    .map((path) => createElement("img", { class: "figure", src: url(path), alt: `Figure of ${title}` }));
  return createElement("article", {},
    createElement("p", { class: "links" }, createElement("strong", {}, title), ...links),
    report.verdicts?.length ? verdictTable(report.verdicts) : null,
    report.table ? table("results", report.table.columns, report.table.rows) : null,
    report.headline?.text ? createElement("p", {}, report.headline.text) : null,
    ...figures);
}

// A report that cannot be read leaves the others shown.
async function drawReports() {
  const nodes = experiment.nodes.filter((node) => /(^|_)report$/.test(node.kind) && node.state === "done");
  const articles = await Promise.all(nodes.map((node) => reportArticle(node).catch(
    (error) => createElement("p", { class: "error" }, `${node.name}: ${error.message}`))));
  document.getElementById("reports").replaceChildren(...articles);
  document.getElementById("report").hidden = articles.length === 0;
}

function applyJobEvent(event) {
  for (const node of experiment.nodes.filter((candidate) => candidate.job_id === event.job_id)) {
    if (event.type === "state") node.state = event.data.state;
    if (event.type === "progress") node.progress = event.data;
    drawNode(node);
    drawCount(node.group);
  }
  if (panel?.node.job_id !== event.job_id) return;
  if (event.type === "state") fillPanel(panel).catch(showError);
  if (event.type === "log") {
    panel.lines.set(event.id, event.data.line);
    if (panel.drawn) drawLog();
  }
}

function applyEvent(event) {
  if (event.job_id) {
    applyJobEvent(event);
  } else if (event.type === "state") {
    experiment.state = event.data.state;
    drawHead();
  }
}

// The browser reconnects by itself, unless the server refuses: then the experiment is fetched, which tells the reason.
function followEvents() {
  const source = new EventSource(absoluteUrl(`${root}/events?after=${experiment.last_event_id}`));
  for (const type of ["state", "progress", "log"]) source.addEventListener(type, (message) => applyEvent(JSON.parse(message.data)));
  source.addEventListener("open", () => showError(null));
  source.addEventListener("end", () => {
    source.close();
    start();
  });
  source.addEventListener("error", () => {
    showError(unreachable());
    if (source.readyState === EventSource.CLOSED) setTimeout(start, RETRY_MS);
  });
}

async function start() {
  try {
    experiment = await fetchJson(root);
    draw();
    await drawReports();
    if (panel) await fillPanel(panel);
    showError(null);
    if (isRunning()) followEvents();
    else if (experiment.nodes.some((node) => node.state === "running")) setTimeout(start, RETRY_MS); // being stopped
  } catch (error) {
    showError(error);
    if (isTransient(error)) setTimeout(start, RETRY_MS);
  }
}

document.getElementById("job-close").addEventListener("click", closePanel);
setInterval(() => { if (experiment && isRunning()) drawHead(); }, 1000);
start();
