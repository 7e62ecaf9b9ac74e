// The waveform: peaks, the segment's bounds, the line of a feature, and a cursor that moves.

import { clock, el, svg } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 100;

const at = (x, view) => ((x - view.from) / (view.to - view.from)) * WIDTH;

function outline(peaks, seconds, view) {
  const each = seconds / peaks.length;
  const first = Math.max(0, Math.floor(view.from / each));
  const last = Math.min(peaks.length, Math.ceil(view.to / each));
  if (last <= first) return "";
  let loudest = 1e-4;
  for (const [low, high] of peaks) loudest = Math.max(loudest, -low, high);
  const y = (value) => (HEIGHT / 2) * (1 - (0.94 * value) / loudest);
  const shown = [...Array(last - first).keys()].map((n) => n + first);
  const x = (n) => at((n + 0.5) * each, view).toFixed(1);
  const up = shown.map((n) => `${x(n)} ${Math.min(y(peaks[n][1]), HEIGHT / 2 - 0.4).toFixed(1)}`);
  const down = shown.map((n) => `${x(n)} ${Math.max(y(peaks[n][0]), HEIGHT / 2 + 0.4).toFixed(1)}`);
  return `M${up.join("L")}L${down.reverse().join("L")}z`;
}

// Values that stand for a window each (its beginning is told) are drawn as steps, others as a line.
function curve(line, view) {
  const { times, values } = line;
  if (!times?.length) return "";
  const low = Math.min(...values);
  const high = Math.max(...values);
  const y = (value) => (HEIGHT * (0.94 - (0.88 * (value - low)) / (high - low || 1))).toFixed(1);
  const points = [];
  for (let n = 0; n < times.length; n++) {
    points.push(`${at(times[n], view).toFixed(1)} ${y(values[n])}`);
    if (line.window) {
      const end = times[n + 1] ?? Math.min(times[n] + line.window, view.to);
      points.push(`${at(end, view).toFixed(1)} ${y(values[n])}`);
    }
  }
  return `M${points.join("L")}`;
}

/** A waveform in `box`; `seek(seconds)` is called when a place is chosen, by pointer or keys. */
export function makeWave(box, seek) {
  const cursor = el("div", { class: "cursor" }); // apart from the picture, which need not be drawn again
  const pane = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const slider = el("div", {
    class: "wave", role: "slider", tabindex: "0", "aria-label": "Place in the sound",
    "aria-valuemin": "0", "aria-valuemax": "1", "aria-valuenow": "0",
  }, pane, cursor);
  box.replaceChildren(slider);
  let view = { from: 0, to: 1 };
  let now = 0;

  const go = (place) => seek(Math.max(view.from, Math.min(view.to - 0.01, place)));
  const pointed = (event) => {
    const { left, width } = slider.getBoundingClientRect();
    go(view.from + ((event.clientX - left) / width) * (view.to - view.from));
  };
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    pointed(event);
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) pointed(event);
  });
  slider.addEventListener("keydown", (event) => {
    const length = view.to - view.from;
    const places = {
      ArrowRight: now + length / 50, ArrowLeft: now - length / 50, ArrowUp: now + length / 50,
      ArrowDown: now - length / 50, PageUp: now + length / 10, PageDown: now - length / 10,
      Home: view.from, End: view.to,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    go(places[event.key]);
  });

  function draw({ from, to, seconds, peaks = null, segment = null, line = null }) {
    view = { from, to: Math.max(to, from + 0.01) };
    const parts = [svg("line", { class: "zero", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 })];
    if (segment) {
      const x = at(segment[0], view);
      const width = at(segment[1], view) - x;
      parts.push(svg("rect", { class: "segment", x, y: 0, width, height: HEIGHT }));
    }
    if (peaks) parts.push(svg("path", { class: "peaks", d: outline(peaks, seconds, view) }));
    if (line) parts.push(svg("path", { class: "activation", d: curve(line, view) }));
    pane.replaceChildren(...parts);
    slider.setAttribute("aria-valuenow", "");
    slider.setAttribute("aria-valuemax", (view.to - view.from).toFixed(1));
    place(now);
  }

  function place(seconds) {
    now = Math.max(view.from, Math.min(view.to, seconds));
    cursor.style.left = `${(at(now, view) / WIDTH) * 100}%`;
    const told = (now - view.from).toFixed(1);
    if (told === slider.getAttribute("aria-valuenow")) return;
    slider.setAttribute("aria-valuenow", told);
    slider.setAttribute("aria-valuetext", `${clock(now - view.from)} of ${clock(view.to - view.from)}`);
  }

  return { draw, place };
}
