// What plays: one audio element, a list to go on in, and what is drawn of the sound.
//
// An item is {kind: "segment", row}, {kind: "drop", ...} or {kind: "blind", ...}; of a blind one
// nothing is known here but its address and its number.

import { get } from "./api.js";
import { $, announce, clock, complain, icon } from "./dom.js";
import { titleOf } from "./rows.js";
import { isMarked, keyOf, toggleMark } from "./marks.js";
import { emit, on, state } from "./state.js";
import { makeWave } from "./wave.js";

const audio = $("audio");
const wave = makeWave($("wave"), seek);
let list = [];
let index = -1;
let more = null; // async (direction) => the items of the next or the previous page
let view = { offset: 0, from: 0, to: 0 }; // offset: where in the track the audio element begins
let drawn = 0; // how often: an answer to an older question is dropped
let frame = 0;

export const current = () => list[index] ?? null;
export const itemsOf = (rows) => rows.map((row) => ({ kind: "segment", row }));
export const nameOf = (item) =>
  item.kind === "segment" ? `segment ${keyOf(item.row)}` : `${item.kind} ${item.id}`;
const whole = () => $("whole").checked;

/** Play item `n` of a list; next and previous then go along it. */
export async function play(items, n, { further = null, from = 0 } = {}) {
  list = items;
  index = n;
  more = further;
  await load(from);
}

/** Forget what was playing, and show nothing of it. */
export function stop() {
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
  list = [];
  index = -1;
  show();
  draw();
  emit("playing", null);
}

async function load(from = 0) {
  const item = current();
  const start = item.kind === "segment" ? item.row.start : 0;
  if (item.kind === "segment") {
    const { source, id, track } = item.row;
    audio.src = whole() ? `/audio/track/${source}/${track}` : `/audio/segment/${source}/${id}`;
    view = { offset: whole() ? 0 : start, from: start, to: start + item.row.seconds };
    if (whole() && !from) from = start;
  } else {
    audio.src = item.audio;
    view = { offset: 0, from: 0, to: item.seconds ?? 0 };
  }
  audio.currentTime = Math.max(0, from - (from ? view.offset : 0));
  show();
  draw();
  emit("playing", item);
  try {
    await audio.play();
  } catch (error) {
    if (error.name === "NotAllowedError") announce("The browser wants a click before it plays.");
    else if (error.name !== "AbortError") complain(new Error("This sound can't be played."));
  }
}

export function toggle() {
  if (!current()) emit("nothing", null);
  else if (audio.paused) audio.play().catch(() => {});
  else audio.pause();
}

export async function step(direction) {
  const next = index + direction;
  if (list[next]) {
    index = next;
    await load();
  } else if (more) {
    const found = await more(direction);
    if (found?.length) await play(found, direction > 0 ? 0 : found.length - 1, { further: more });
    else announce(direction > 0 ? "That was the last one." : "That was the first one.");
  } else if (list.length) announce(direction > 0 ? "That was the last one." : "That was the first one.");
  else emit("nothing", null);
}

export function mark() {
  if (current()?.kind === "segment") toggleMark(current().row);
}

function seek(place) {
  if (!current()) return;
  audio.currentTime = Math.max(0, place - view.offset);
  wave.place(place);
}

// --- what is shown ------------------------------------------------------------------------------

function show() {
  const item = current();
  const row = item?.kind === "segment" ? item.row : null;
  const words = row
    ? [titleOf(row), [row.group, `segment ${row.number + 1}`, row.labels?.join(", ")].filter(Boolean).join(" · ")]
    : item ? [item.title, item.about ?? ""] : ["Nothing is playing", "Choose a row, or press the space bar."];
  $("now-title").textContent = words[0];
  $("now-about").textContent = words[1];
  $("mark").disabled = !row;
  $("mark").setAttribute("aria-pressed", String(Boolean(row && isMarked(row))));
  $("which").disabled = Boolean(item && !row);
  sounding();
}

function sounding() {
  const item = current();
  const playing = Boolean(item) && !audio.paused && !audio.ended;
  $("toggle").replaceChildren(icon(playing ? "pause" : "play"));
  $("toggle").setAttribute("aria-label", playing ? "Pause" : "Play");
  const name = item ? nameOf(item) : "";
  for (const button of document.querySelectorAll("[data-play]")) {
    const own = button.dataset.play === name;
    button.setAttribute("aria-pressed", String(own && playing));
    button.classList.toggle("current", own);
    const drawing = own && playing ? "pause" : "play";
    if (!button.querySelector(`.${drawing}`)) button.replaceChildren(icon(drawing));
    button.closest("tr, li")?.classList.toggle("current", own);
  }
}
on("rendered", sounding);

// Waveform, then activation: both come after the sound has begun, and late answers are dropped.
async function draw() {
  const mine = ++drawn;
  const item = current();
  $("wave-legend").textContent = "";
  wave.draw({ from: view.from, to: view.to });
  wave.place(view.from);
  if (!item || item.kind === "blind") return;
  try {
    const sound = await (item.kind === "segment" ? soundOf(item.row) : item.sound);
    if (mine !== drawn) return;
    const all = whole() || item.kind !== "segment";
    if (all) view.to = sound.seconds;
    const shown = { ...sound, from: all ? 0 : view.from, to: view.to };
    wave.draw(shown);
    tick();
    if (state.feature === "") return;
    const line = await (item.kind === "segment" ? lineOf(item.row, sound) : item.line(state.feature));
    if (mine !== drawn) return;
    wave.draw({ ...shown, line });
    $("wave-legend").textContent = line.legend;
    tick();
  } catch (error) {
    if (mine === drawn) complain(error);
  }
}

async function soundOf(row) {
  const path = `/api/track/${row.source}/${row.track}`;
  const track = await get(path);
  const points = whole() ? 1000 : Math.min(10000, Math.ceil((500 * track.seconds) / row.seconds));
  const { seconds, peaks } = await get(`${path}/wave`, { points });
  const segment = whole() ? [row.start, row.start + row.seconds] : null;
  return { seconds, peaks, segment, windows: track.windows };
}

async function lineOf(row, sound) {
  const feature = state.feature;
  if (whole()) {
    const { values } = await get(`/api/track/${row.source}/${row.track}/activation`, { feature });
    const legend = `Line: feature ${feature} along the track, a window at a time. Shaded: the segment.`;
    return { times: sound.windows, values, window: row.seconds, legend };
  }
  const line = await get(`/api/segment/${row.source}/${row.id}/saliency`, { feature, points: 200 });
  return { ...line, legend: `Line: where in this segment feature ${feature} listens (its gradient).` };
}

function tick() {
  const item = current();
  const place = audio.currentTime + view.offset;
  wave.place(place);
  const from = whole() || item?.kind !== "segment" ? 0 : view.from;
  const length = from ? view.to - from : audio.duration || view.to;
  const words = item ? `${clock(Math.max(0, place - from))} / ${clock(length)}` : "";
  if ($("clock").textContent !== words) $("clock").textContent = words;
  cancelAnimationFrame(frame);
  if (!audio.paused) frame = requestAnimationFrame(tick);
}

// --- wiring -------------------------------------------------------------------------------------

audio.addEventListener("play", () => { sounding(); tick(); });
audio.addEventListener("pause", sounding);
audio.addEventListener("seeked", tick);
audio.addEventListener("loadedmetadata", () => {
  if (current()?.kind !== "blind") return;
  view = { offset: 0, from: 0, to: audio.duration };
  wave.draw({ from: 0, to: audio.duration });
  tick();
});
audio.addEventListener("ended", () => {
  sounding();
  const then = $("then").value;
  if (then === "repeat") audio.play();
  else if (then === "next") step(1);
});
audio.addEventListener("error", () => {
  if (!audio.getAttribute("src")) return;
  sounding();
  complain(new Error("This sound can't be played: the file is gone, or the browser doesn't know its format."));
});
$("toggle").addEventListener("click", toggle);
$("next").addEventListener("click", () => step(1));
$("previous").addEventListener("click", () => step(-1));
$("mark").addEventListener("click", mark);
for (const choice of [$("whole"), $("part")]) {
  choice.addEventListener("change", () => {
    if (current()?.kind !== "segment") return;
    const from = audio.currentTime + view.offset;
    const { start, seconds } = current().row;
    load(whole() || (from >= start && from < start + seconds) ? from : 0);
  });
}
on("mark", ({ row, marked }) => {
  const item = current();
  if (item?.kind === "segment" && keyOf(item.row) === keyOf(row)) {
    $("mark").setAttribute("aria-pressed", String(marked));
  }
});
on("state", (changed) => changed.has("feature") && draw());
show();
