// Small tools: elements, numbers in words, and what is said aloud.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return node;
}

/** An element: `el("p", {class: "note", onclick}, "text", other)`. */
export const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An SVG element, likewise. */
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

export const $ = (id) => document.getElementById(id);

/** Put new children in place of the old; the focus stays on what has the same `data-focus`. */
export function replace(node, ...children) {
  const focused = document.activeElement;
  const name = node.contains(focused) ? focused.dataset.focus : null;
  node.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
  if (name) node.querySelector(`[data-focus="${CSS.escape(name)}"]`)?.focus();
}

const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  next: "M6 5l9 7-9 7zM16 5h2.5v14H16z",
  previous: "M18 5l-9 7 9 7zM5.5 5H8v14H5.5z",
  mark: "M6 3.5h12v17l-6-4.5-6 4.5z",
};

export const icon = (name) =>
  svg("svg", { viewBox: "0 0 24 24", class: `icon ${name}`, "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }));

const rounded = new Intl.NumberFormat("en", { maximumFractionDigits: 2, minimumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A value of a feature: three digits that mean something, a true minus. */
export function value(x) {
  if (x == null || Number.isNaN(x)) return "–";
  const size = Math.abs(x);
  const words = size !== 0 && (size < 0.01 || size >= 10000) ? x.toExponential(1) : rounded.format(x);
  return words.replace("-", "−");
}

export const count = (x) => whole.format(x);
export const percent = (x) => (x == null ? "–" : `${(100 * x).toFixed(x < 0.0995 && x > 0 ? 1 : 0)} %`);
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

/** Seconds as a clock: 75.32 is 1:15.3. */
export function clock(seconds, digits = 1) {
  if (!Number.isFinite(seconds)) return "–";
  const scale = 10 ** digits;
  const all = Math.round(seconds * scale) / scale;
  const minutes = Math.floor(all / 60);
  return `${minutes}:${(all - 60 * minutes).toFixed(digits).padStart(digits ? digits + 3 : 2, "0")}`;
}

export const when = (at) =>
  new Date(typeof at === "number" ? at * 1000 : at).toLocaleString("en-GB", {
    dateStyle: "medium", timeStyle: "short",
  });

/** Say it in the live region. */
export function announce(words) {
  $("status").textContent = words;
}

/** Show what went wrong, in words, until it is closed or something else goes wrong. */
export function complain(error) {
  if (error.name === "AbortError") return;
  $("error-words").textContent = error.message;
  $("error").hidden = false;
}

/** A bar of a share from 0 to 1, as an image that says nothing: its number stands beside it. */
export function bar(share, kind = "") {
  const width = Math.max(0, Math.min(1, share || 0)) * 100;
  return svg("svg", { class: `bar ${kind}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { width: 100, height: 6, class: "rest" }), svg("rect", { width, height: 6, class: "part" }));
}

/** The name of the person, asked once and remembered on this machine. */
export const person = {
  get: () => localStorage.getItem("antiphon.by") ?? "",
  set: (name) => {
    localStorage.setItem("antiphon.by", name);
    for (const field of document.querySelectorAll("input[data-person]")) field.value = name;
  },
};

/** A random name of this browser: so that who gives no name is known again, by nothing else. */
export function browserId() {
  let id = localStorage.getItem("antiphon.browser");
  if (!id) {
    id = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    localStorage.setItem("antiphon.browser", id);
  }
  return id;
}
