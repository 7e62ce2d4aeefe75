import { ask, ENDS, make, segment, took, trouble, when, whole } from "./common.js";

const id = decodeURIComponent(location.pathname.split("/").pop());
const root = `/v1/experiments/${encodeURIComponent(id)}`;
let experiment;
const bars = new Map(); // job id -> its bars: several nodes may be one job
const groups = new Map(); // group -> { nodes, count }
let open = null; // the job that is shown below

function paint(node) {
  for (const bar of bars.get(node.job_id) || []) {
    const progress = node.state === "running" && node.progress && node.progress.total ? node.progress.done / node.progress.total : null;
    bar.className = `node ${node.state}`;
    bar.title = `${node.name}: ${node.state}${progress === null ? "" : ` ${Math.round(100 * progress)} %`}`;
    bar.setAttribute("aria-label", bar.title);
    bar.replaceChildren(segment(node.state, node.state === "running" ? progress ?? 0.08 : 1));
  }
}

function count(name) {
  const { nodes, label } = groups.get(name);
  label.textContent = `${nodes.filter((node) => node.state === "done").length}/${nodes.length}`;
}

function head() {
  document.title = `${experiment.name} · robxfer`;
  document.getElementById("name").textContent = experiment.name;
  const pill = document.getElementById("state");
  pill.textContent = experiment.state;
  pill.className = `pill ${experiment.state}`;
  const labels = Object.entries(experiment.labels).map(([key, value]) => `${key}=${value}`);
  document.getElementById("facts").textContent =
    [when(experiment.created_at), experiment.created_by && `by ${experiment.created_by}`, took(experiment.created_at, experiment.ended_at), ...labels, experiment.id].filter(Boolean).join(" · ");
}

function draw() {
  head();
  bars.clear();
  groups.clear();
  for (const node of experiment.nodes) {
    if (!groups.has(node.group)) groups.set(node.group, { kind: node.kind, nodes: [], label: make("span", { class: "count" }) });
    groups.get(node.group).nodes.push(node);
  }
  const rows = [...groups].map(([name, group]) => {
    const members = group.nodes.map((node) => {
      const bar = make("button", { class: "node", onclick: () => show(node) });
      bars.set(node.job_id, [...(bars.get(node.job_id) || []), bar]);
      return bar;
    });
    return make("div", { class: "group" },
      make("span", { class: "title", title: name }, name, make("small", {}, group.kind)),
      group.label, make("div", { class: "nodes" }, ...members));
  });
  document.getElementById("groups").replaceChildren(...rows);
  experiment.nodes.forEach(paint);
  [...groups.keys()].forEach(count);
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.filter(([, value]) => value).flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, String(value))]));
}

async function show(node) {
  try {
    const job = await ask(`/v1/jobs/${node.job_id}`);
    const logs = await ask(`/v1/jobs/${node.job_id}/logs?limit=200`);
    open = node.job_id;
    document.getElementById("job").hidden = false;
    document.getElementById("job-name").textContent = node.name;
    const waiting = job.waiting_for.map((each) => each.detail || each.reason).join("; ");
    facts(document.getElementById("job-facts"), [
      ["kind", job.kind], ["state", job.state], ["waits for", waiting], ["outcome", job.outcome],
      ["error", job.error && (job.error.message || JSON.stringify(job.error))],
      ...job.attempts.map((a) => [`attempt ${a.number}`, [a.worker_id, a.device, a.outcome || "running", took(a.started_at, a.ended_at)].filter(Boolean).join(" · ")]),
      ["job", job.id], ["key", job.key],
    ]);
    const box = document.getElementById("job-log");
    box.hidden = logs.items.length === 0;
    box.textContent = logs.items.map((event) => event.data.line).join("\n");
    document.getElementById("job").scrollIntoView({ behavior: "smooth", block: "nearest" });
  } catch (error) {
    trouble(error);
  }
}

function verdicts(rows) {
  const cells = (row) => [row.target, row.variant, row.verdict].map((value) => make("td", {}, String(value).replaceAll("_", " ")));
  const titles = ["Target", "Variant", "Does robustness help?"].map((title) => make("th", {}, title));
  return make("table", { class: "verdicts" }, make("thead", {}, make("tr", {}, ...titles)),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row)))));
}

function table({ columns, rows }) {
  const cells = (tag, row) => make("tr", {}, ...row.map((value) => make(tag, {}, value === null ? "-" : String(value))));
  return make("table", { class: "verdicts" }, make("thead", {}, cells("th", columns)), make("tbody", {}, ...rows.map((row) => cells("td", row))));
}

async function article(node) {
  const [report, artifact] = await Promise.all([
    ask(`${root}/report?node=${encodeURIComponent(node.name)}`), ask(`/v1/artifacts/${node.artifact_id}`)]);
  const file = (path) => `/v1/artifacts/${node.artifact_id}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
  const paths = artifact.files.map((each) => each.path);
  const links = paths.filter((path) => path !== "result.json").map((path) => make("a", { href: file(path) }, path));
  return make("article", {}, make("p", { class: "links" }, make("strong", {}, report.title || node.name), ...links),
    report.verdicts && report.verdicts.length ? verdicts(report.verdicts) : null,
    report.table ? table(report.table) : null,
    report.headline && report.headline.text ? make("p", {}, report.headline.text) : null,
    ...paths.filter((path) => /^figure\w*\.png$/.test(path)).map((path) => make("img", { class: "figure", src: file(path), alt: `Figure of ${report.title || node.name}` })));
}

async function reports() {
  const parts = await Promise.all(experiment.nodes.filter((node) => /(^|_)report$/.test(node.kind) && node.state === "done").map(article));
  document.getElementById("reports").replaceChildren(...parts);
  document.getElementById("report").hidden = parts.length === 0;
}

function heard(event) {
  if (event.job_id) {
    for (const node of experiment.nodes.filter((each) => each.job_id === event.job_id)) {
      if (event.type === "state") node.state = event.data.state;
      if (event.type === "progress") node.progress = event.data;
      paint(node);
      count(node.group);
    }
    if (event.type === "log" && event.job_id === open) document.getElementById("job-log").append(`\n${event.data.line}`);
  } else if (event.type === "state") {
    experiment.state = event.data.state;
    head();
  }
}

function follow() {
  const source = new EventSource(whole(`${root}/events`));
  for (const type of ["state", "progress", "log"]) source.addEventListener(type, (line) => heard(JSON.parse(line.data)));
  source.addEventListener("end", async () => {
    source.close();
    await load();
  });
}

async function load() {
  experiment = await ask(root);
  draw();
  await reports();
}

document.getElementById("job-close").addEventListener("click", () => { open = null; document.getElementById("job").hidden = true; });

try {
  await load();
  if (!ENDS.includes(experiment.state)) {
    follow();
    setInterval(head, 1000);
  }
} catch (error) {
  trouble(error);
}
