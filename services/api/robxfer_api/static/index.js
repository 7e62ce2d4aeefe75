import { ask, make, took, track, trouble, when } from "./common.js";

const REFRESH_MS = 3000;
let state = "";
let pages = 1;

function row(experiment) {
  return make("tr", {},
    make("td", {}, make("a", { href: `/experiments/${encodeURIComponent(experiment.id)}` }, experiment.name)),
    make("td", {}, make("span", { class: `pill ${experiment.state}` }, experiment.state)),
    make("td", { class: "wide" }, track(experiment.jobs)),
    make("td", { class: "muted" }, when(experiment.created_at)),
    make("td", { class: "muted" }, took(experiment.created_at, experiment.ended_at)));
}

async function load() {
  const rows = [];
  let cursor = null;
  for (let page = 0; page < pages; page++) {
    const asked = new URLSearchParams({ limit: "50", ...(state && { state }), ...(cursor && { cursor }) });
    const found = await ask(`/v1/experiments?${asked}`);
    rows.push(...found.items.map(row));
    cursor = found.next;
    if (!cursor) break;
  }
  document.getElementById("experiments").replaceChildren(...rows);
  document.getElementById("empty").hidden = rows.length > 0 || state !== "";
  document.getElementById("more").hidden = !cursor;
}

async function refresh() {
  try {
    await load();
    trouble(null);
  } catch (error) {
    trouble(error);
  }
}

for (const button of document.querySelectorAll("[data-state]")) {
  button.addEventListener("click", () => {
    state = button.dataset.state;
    pages = 1;
    for (const each of document.querySelectorAll("[data-state]")) each.setAttribute("aria-pressed", String(each === button));
    refresh();
  });
}
document.getElementById("more").addEventListener("click", () => { pages += 1; refresh(); });

await refresh();
setInterval(() => { if (!document.hidden) refresh(); }, REFRESH_MS);
