import { RETRY_MS, createElement, fetchJson, formatDuration, formatTime, progressTrack, showError } from "./common.js";

const PAGE_SIZE = 50;
const body = document.getElementById("experiments");
const filters = document.querySelectorAll("[data-state]");
const rows = new Map(); // experiment id -> its table row, kept from one refresh to the next
let state = "";
let pages = 1;
let refreshes = 0;
let timer;

async function fetchExperiments() {
  const experiments = [];
  let cursor = null;
  for (let page = 0; page < pages; page++) {
    const query = new URLSearchParams({ limit: PAGE_SIZE, ...(state && { state }), ...(cursor && { cursor }) });
    const { items, next } = await fetchJson(`/v1/experiments?${query}`);
    experiments.push(...items);
    cursor = next;
    if (!cursor) break;
  }
  return { experiments, more: cursor !== null };
}

// The link stays the same element, so that it keeps the keyboard focus.
function rowOf(experiment) {
  if (!rows.has(experiment.id)) {
    const link = createElement("a", { href: `/experiments/${encodeURIComponent(experiment.id)}` }, experiment.name);
    rows.set(experiment.id, createElement("tr", {}, createElement("td", {}, link)));
  }
  const row = rows.get(experiment.id);
  while (row.children.length > 1) row.lastChild.remove();
  row.append(
    createElement("td", {}, createElement("span", { class: `pill ${experiment.state}` }, experiment.state)),
    createElement("td", { class: "wide" }, progressTrack(experiment.jobs)),
    createElement("td", { class: "muted" }, formatTime(experiment.created_at)),
    createElement("td", { class: "muted" }, formatDuration(experiment.created_at, experiment.ended_at)));
  return row;
}

function draw({ experiments, more }) {
  const ids = new Set(experiments.map((experiment) => experiment.id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  experiments.map(rowOf).forEach((row, index) => {
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null);
  });
  document.getElementById("empty").hidden = experiments.length > 0 || state !== "";
  document.getElementById("no-match").hidden = experiments.length > 0 || state === "";
  document.getElementById("more").hidden = !more;
}

// An answer that a newer refresh has overtaken is dropped.
async function refresh() {
  clearTimeout(timer);
  const number = ++refreshes;
  let list = null;
  let failure = null;
  try {
    list = await fetchExperiments();
  } catch (error) {
    failure = error;
  }
  if (number !== refreshes) return;
  if (list) draw(list);
  showError(failure);
  timer = setTimeout(() => { if (!document.hidden) refresh(); }, RETRY_MS);
}

for (const button of filters) {
  button.addEventListener("click", () => {
    state = button.dataset.state;
    pages = 1;
    for (const filter of filters) filter.setAttribute("aria-pressed", String(filter === button));
    refresh();
  });
}
document.getElementById("more").addEventListener("click", () => { pages += 1; refresh(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
