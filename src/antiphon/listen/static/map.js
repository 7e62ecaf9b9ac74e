// The map of a collection: one sign a track, by label; drawn as SVG, walked by the arrow keys.

import { get } from "./api.js";
import { $, announce, complain, count, el, replace, svg } from "./dom.js";
import { play } from "./player.js";
import { emit, on, set, state } from "./state.js";

// The signs of the report's map (maps.py): a colour and a shape, so that neither stands alone.
const SHAPES = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
  "M-3.6-3.6h7.2v7.2h-7.2z",
  "M0-5L4.6 3.6H-4.6z",
  "M0-5.2L4.4 0L0 5.2L-4.4 0z",
  "M0 5L4.6-3.6H-4.6z",
  "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
  "M5 0L-3.6 4.6V-4.6z",
  "M0-5.2L1.5-1.6L5-1.6L2.3 .8L3.2 4.4L0 2.3L-3.2 4.4L-2.3 .8L-5-1.6L-1.5-1.6z",
  "M-5 0L3.6 4.6V-4.6z",
  "M0-4.8L4.6-1.5L2.8 3.9H-2.8L-4.6-1.5z",
  "M-4.6-2.2h9.2v4.4h-9.2z",
  "M-2.2-4.8h4.4v9.6h-4.4z",
];
const OTHER = "M-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0z";
const STAR = "M0-11L2.7-3.7L10.5-3.4L4.4 1.4L6.5 8.9L0 4.6L-6.5 8.9L-4.4 1.4L-10.5-3.4L-2.7-3.7z";
const [WIDTH, TALLEST, MARGIN] = [720, 520, 16];

let room;
let asked = 0;
const maps = new Map();

function kindsOf(points) {
  const counts = new Map();
  for (const { label } of points) counts.set(label || "no label", (counts.get(label || "no label") ?? 0) + 1);
  let common = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  const many = common.length > SHAPES.length;
  if (many) common = common.slice(0, SHAPES.length - 1);
  const kinds = new Map(common.map(([name, n], k) => [name, { name, count: n, shape: SHAPES[k], class: `k${k % 6}` }]));
  const rest = points.length - common.reduce((sum, [, n]) => sum + n, 0);
  if (many) kinds.set("other", { name: "other", count: rest, shape: OTHER, class: "kNone" });
  return kinds;
}

/** Draw points into `box`; `place` {x, y} is where a sound of one's own lies, if any. */
export function drawMap(box, points, { place = null, name = "Map", hear }) {
  const kinds = kindsOf(points);
  const kind = (point) => kinds.get(point.label || "no label") ?? kinds.get("other");
  const all = place ? [...points, place] : points;
  const [xs, ys] = [all.map((p) => p.x), all.map((p) => p.y)];
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const size = [Math.max(...xs) - left || 1, Math.max(...ys) - top || 1];
  const scale = Math.min((WIDTH - 2 * MARGIN) / size[0], (TALLEST - 2 * MARGIN) / size[1]);
  const [width, height] = size.map((length) => Math.ceil(length * scale + 2 * MARGIN));
  const spot = (p) => [(p.x - left) * scale + MARGIN, (p.y - top) * scale + MARGIN];
  const spots = points.map(spot);

  const signs = points.map((point, n) => {
    const words = [point.title, point.group, point.label || "no label"].filter(Boolean).join(", ");
    return svg("g", {
      transform: `translate(${spots[n][0].toFixed(1)} ${spots[n][1].toFixed(1)})`, role: "option",
      class: `sign ${kind(point).class} ${points.length > 600 ? "many" : ""}`, tabindex: n ? "-1" : "0",
      "aria-selected": "false", "aria-label": words, "data-n": n, "data-label": kind(point).name,
    }, svg("circle", { r: 9, class: "reach" }), svg("path", { d: kind(point).shape }), svg("title", {}, words));
  });
  const said = el("p", { class: "note pointed", "aria-hidden": "true" }, "Click a sign to hear its track; with the keyboard, the arrow keys and Enter.");
  const own = place && svg("g", { class: "own", transform: `translate(${spot(place).map((v) => v.toFixed(1)).join(" ")})` },
    svg("circle", { r: 16 }), svg("path", { d: STAR }));
  const field = svg("g", { role: "listbox", "aria-label": name }, signs);
  const pane = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "plane" }, field, own);

  const number = (target) => Number(target.closest?.("[data-n]")?.dataset.n ?? -1);
  const choose = (n) => {
    for (const sign of signs) {
      sign.setAttribute("tabindex", "-1");
      sign.setAttribute("aria-selected", "false");
    }
    signs[n].setAttribute("tabindex", "0");
    signs[n].setAttribute("aria-selected", "true");
  };
  const show = (n) => { said.textContent = signs[n].getAttribute("aria-label"); };
  pane.addEventListener("click", (event) => {
    const n = number(event.target);
    if (n < 0) return;
    choose(n);
    hear(points[n]);
  });
  pane.addEventListener("pointerover", (event) => number(event.target) >= 0 && show(number(event.target)));
  pane.addEventListener("focusin", (event) => show(number(event.target)));
  pane.addEventListener("keydown", (event) => {
    const n = number(event.target);
    if (n < 0) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      choose(n);
      hear(points[n]);
    } else if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = towards(spots, n, event.key);
      if (next < 0) return;
      choose(next);
      signs[next].focus();
    }
  });
  const legend = el("ul", { class: "legend" }, [...kinds.values()].map((one) => {
    const button = el("button", {
      type: "button", class: "plain", "aria-pressed": "false",
      onclick: () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        for (const other of legend.querySelectorAll("button")) other.setAttribute("aria-pressed", String(on && other === button));
        for (const sign of signs) sign.classList.toggle("faint", on && sign.dataset.label !== one.name);
      },
    }, svg("svg", { viewBox: "-6 -6 12 12", "aria-hidden": "true", class: `sign ${one.class}` }, svg("path", { d: one.shape })),
    ` ${one.name} `, el("span", { class: "about" }, count(one.count)));
    return el("li", {}, button);
  }));
  const mine = place && el("p", { class: "note" }, svg("svg", { viewBox: "-12 -12 24 24", "aria-hidden": "true", class: "own key" }, svg("path", { d: STAR })), " your file");
  replace(box, el("div", { class: "sheet" }, el("div", { class: "field" }, pane), el("div", { class: "key" }, legend, mine)), said);
}

/** The nearest point in the direction of an arrow key: along counts once, aside thrice. */
export function towards(spots, n, key) {
  const [dx, dy] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key] ?? [0, 0];
  let best = -1;
  let least = Infinity;
  for (let other = 0; other < spots.length; other++) {
    const [x, y] = [spots[other][0] - spots[n][0], spots[other][1] - spots[n][1]];
    const along = x * dx + y * dy;
    if (along <= 0.01) continue;
    const cost = along + 3 * Math.abs(x * dy - y * dx);
    if (cost < least) [best, least] = [other, cost];
  }
  return best;
}

/** The points of a collection; waits where they are still computed. */
export async function pointsOf(source, waiting = () => {}) {
  while (!maps.has(source)) {
    const found = await get("/api/map", { source });
    if (found.points) maps.set(source, found);
    else {
      waiting(typeof found.pending === "string" ? found.pending : "The map is being computed.");
      await new Promise((later) => setTimeout(later, 1000));
    }
  }
  return maps.get(source);
}

/** Play the segment that stands for a point's track. */
export const hearPoint = (source) => async (point) => {
  try {
    const track = await get(`/api/track/${source}/${point.track}`);
    announce(`Playing ${point.title}.`);
    await play([{ kind: "segment", row: row(source, point, track) }], 0);
  } catch (error) {
    complain(error);
  }
};

function row(source, point, track) {
  const number = Math.max(0, track.segments.indexOf(point.id));
  const next = track.windows[number + 1] ?? track.windows[number] + room.window;
  return {
    source, id: point.id, track: point.track, number, title: track.title, group: track.group,
    labels: track.labels, start: track.windows[number], seconds: Math.min(room.window, next - track.windows[number]),
  };
}

async function load() {
  if (state.tab !== "map") return;
  const mine = ++asked;
  const source = state.source;
  for (const radio of document.querySelectorAll("input[name=map-source]")) radio.checked = radio.value === source;
  $("map-plane").setAttribute("aria-busy", "true");
  try {
    const found = await pointsOf(source, (words) => { if (mine === asked) $("map-about").textContent = words; });
    if (mine !== asked) return;
    drawMap($("map-plane"), found.points, { name: "Tracks of the collection", hear: hearPoint(source) });
    const left = found.left_out ? ` ${count(found.left_out)} more are left out.` : "";
    $("map-about").textContent = found.method === "none"
      ? "There is no map of so few tracks, or of tracks that are all alike: they stand in a row."
      : `${found.method} of ${count(found.points.length)} ${found.unit}s: neighbours are alike to the encoder; distances between far groups mean nothing.${left}`;
    emit("rendered");
  } catch (error) {
    if (mine === asked) {
      $("map-about").textContent = "";
      complain(error);
    }
  } finally {
    if (mine === asked) $("map-plane").removeAttribute("aria-busy");
  }
}

export function start(theRoom) {
  room = theRoom;
  $("map-sources").hidden = room.sources.length < 2;
  $("map-sources").append(...room.sources.map((source) => el("label", {},
    el("input", { type: "radio", name: "map-source", value: source.key, onchange: () => set({ source: source.key, page: "1" }) }),
    el("span", {}, source.name))));
  on("state", (changed) => (changed.has("tab") || changed.has("source")) && load());
  load();
}
