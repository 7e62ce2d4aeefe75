// What both pages use. Text from the service only ever becomes text nodes, never markup.

export const STATES = ["done", "running", "ready", "waiting", "failed", "cancelled"];
export const ENDS = ["done", "failed", "cancelled"];

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Addresses are made whole: where the page's own holds a user and a token, a relative one would, and fetch refuses that.
export function whole(path) {
  return location.origin + path;
}

export async function ask(path) {
  const response = await fetch(whole(path), { headers: { Accept: "application/json" } });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(body.detail || body.title || response.statusText), { status: response.status });
  return body;
}

export function trouble(error) {
  const box = document.getElementById("trouble");
  box.hidden = !error;
  box.textContent = error ? error.message : "";
}

export function when(seconds) {
  return seconds ? new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "";
}

export function took(from, to) {
  const seconds = Math.max(0, Math.round((to || Date.now() / 1000) - from));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

// Widths go through the style object, which a strict content security policy allows.
export function segment(state, share) {
  const part = make("i", { class: state });
  part.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return part;
}

export function track(counts) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const parts = STATES.filter((state) => counts[state] && state !== "waiting").map((state) => segment(state, counts[state] / total));
  return make("div", { class: "progress" }, make("div", { class: "track" }, ...parts),
    make("span", { class: "muted tally" }, `${counts.done || 0}/${total}`));
}
