// Shared by both pages. Text from the service becomes text nodes only, never markup.

export const STATES = ["done", "running", "ready", "waiting", "failed", "cancelled"];
export const FINAL_STATES = ["done", "failed", "cancelled"];
export const RETRY_MS = 3000;

export function createElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// The page's own address may hold a user and a token. A relative URL would inherit them, and fetch refuses such URLs.
export function absoluteUrl(path) {
  return location.origin + path;
}

// Rejects with an Error whose `status` is that of the answer, or 0 where the server could not be reached.
export async function fetchJson(path) {
  let response;
  try {
    response = await fetch(absoluteUrl(path), { headers: { Accept: "application/json" } });
  } catch {
    throw unreachable();
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(body.detail || body.title || response.statusText), { status: response.status });
  return body;
}

export function unreachable() {
  return Object.assign(new Error("The server does not answer. Trying again."), { status: 0 });
}

export function isTransient(error) {
  return error.status === 0 || error.status === 429 || error.status >= 500;
}

export function showError(error) {
  const box = document.getElementById("error");
  box.hidden = !error;
  box.textContent = error ? error.message : "";
}

export function formatTime(seconds) {
  return seconds ? new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "";
}

export function formatDuration(from, to) {
  const seconds = Math.max(0, Math.round((to || Date.now() / 1000) - from));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

// The width is set through the style object, which a strict content security policy allows.
export function progressSegment(state, share) {
  const segment = createElement("i", { class: state });
  segment.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return segment;
}

export function progressTrack(counts) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const segments = STATES.filter((state) => counts[state] && state !== "waiting").map((state) => progressSegment(state, counts[state] / total));
  return createElement("div", { class: "progress" }, createElement("div", { class: "track" }, ...segments),
    createElement("span", { class: "muted tally" }, `${counts.done || 0}/${total}`));
}
