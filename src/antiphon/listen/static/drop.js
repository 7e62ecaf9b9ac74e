// A file of one's own: where it lands, its tags over time, and its neighbours.

import { get, postFile } from "./api.js";
import { $, announce, bar, clock, complain, el, icon, percent, plural, replace, svg } from "./dom.js";
import { isOpen } from "./blind.js";
import { drawMap, hearPoint, pointsOf } from "./map.js";
import { play } from "./player.js";
import { rowList } from "./rows.js";
import { emit, set } from "./state.js";

let room;
let busy = false;

async function take(file) {
  if (isOpen()) return complain(new Error("A blind session is open: finish it or leave it first."));
  if (busy) return complain(new Error("The file before is still being listened to."));
  busy = true;
  set({ tab: "file" });
  $("file-busy").textContent = `Listening to ${file.name} …`;
  $("file-busy").hidden = false;
  $("error").hidden = true; // what was wrong with the file before is none of this one's
  replace($("file-result"));
  announce(`Listening to ${file.name}.`);
  try {
    const found = await postFile(`/api/drop?name=${encodeURIComponent(file.name)}`, file);
    show(found);
    announce(`${found.name} has landed.`);
  } catch (error) {
    announce(""); // the alert says it
    complain(error);
  } finally {
    busy = false;
    $("file-busy").hidden = true;
    $("file-field").value = "";
  }
}

const itemOf = (found) => ({
  kind: "drop", id: found.upload, title: found.name, about: `your file · ${clock(found.seconds)}`,
  audio: `/audio/drop/${found.upload}`, seconds: found.seconds,
  sound: found.wave,
  line: async (feature) => {
    const { values } = await get(`/api/drop/${found.upload}/activation`, { feature });
    const legend = `Line: feature ${feature} along the file, a window at a time.`;
    return { times: found.windows, values, window: room.window, legend };
  },
});

function show(found) {
  const item = itemOf(found);
  $("dropzone").classList.add("done");
  replace($("file-result"),
    el("section", { class: "card", "aria-labelledby": "h-own" },
      el("p", { class: "row" },
        el("button", {
          type: "button", class: "round play", "data-play": `drop ${found.upload}`, "aria-pressed": "false",
          "aria-label": `Play ${found.name}`, onclick: () => play([item], 0),
        }, icon("play")),
        el("span", { class: "what" }, el("span", { id: "h-own", class: "title" }, found.name),
          el("span", { class: "about" }, `${clock(found.seconds)}, ${plural(found.windows.length, "segment")}`,
            found.truncated && "; only its beginning was heard"))),
      found.tags ? tags(found) : el("p", { class: "note" },
        `No tags: ${room.tags_about ?? "this run keeps no probe (antiphon probe RUN DATA --save makes one)"}.`)),
    el("div", { class: "two" },
      el("section", { class: "card", "aria-labelledby": "h-lands" }, el("h3", { id: "h-lands" }, "Where it lands"), el("div", { id: "file-map" })),
      el("section", { class: "card", "aria-labelledby": "h-near" }, el("h3", { id: "h-near" }, "Its neighbours"),
        rowList(found.neighbours, { figure: (row) => row.similarity, of: "Similarity" }))));
  lands(found);
  $("file-result").scrollIntoView(); // where it lands isn't left behind the player
  emit("rendered");
}

async function lands(found) {
  const box = $("file-map");
  const say = (words) => replace(box, el("p", { class: "note" }, words));
  if (!found.place) return say("There is no map to land on yet.");
  try {
    const source = found.place.source ?? "a";
    const { points } = await pointsOf(source, say);
    drawMap(box, points, { place: found.place, name: "Tracks around your file", hear: hearPoint(source) });
  } catch (error) {
    complain(error);
  }
}

// --- tags: the likeliest as bars, the same over time as a picture --------------------------------

function tags({ tags: found, seconds }) {
  const shown = found.top.slice(0, 8);
  return [
    el("h3", {}, "Its tags, by the probe's share"),
    el("div", { class: "taggram" },
      el("ul", { class: "tags" }, shown.map(({ tag, probability }) =>
        el("li", {}, el("span", {}, tag), el("span", { class: "number" }, percent(probability)), bar(probability)))),
      el("figure", {}, picture(found, shown, seconds),
        el("figcaption", {}, `Over time, 0:00 to ${clock(seconds, 0)}: the stronger the colour, the likelier the tag.`))),
    room.tags_about && el("p", { class: "note" }, `How sure the probe is, not how often it is right: it is a ${room.tags_about}.`),
  ];
}

function picture({ classes, times, probabilities }, shown, seconds) {
  const [width, each] = [600, 24];
  const cells = shown.flatMap(({ tag }, line) => times.map((time, n) => {
    const p = probabilities[n][classes.indexOf(tag)];
    const x = (time / seconds) * width;
    const end = ((times[n + 1] ?? seconds) / seconds) * width;
    return svg("rect", { x: x + 0.5, y: line * each + 1, width: Math.max(1, end - x - 1), height: each - 2, "fill-opacity": Math.max(0.03, p).toFixed(3) },
      svg("title", {}, `${tag}, ${clock(time)}: ${percent(p)}`));
  }));
  const drawn = svg("svg", {
    viewBox: `0 0 ${width} ${shown.length * each}`, preserveAspectRatio: "none", role: "img", class: "heat",
    "aria-label": `The likeliest tags over time; most of all ${shown[0].tag}, ${percent(shown[0].probability)} on the whole`,
  }, cells);
  drawn.style.setProperty("--lines", shown.length); // as high as the list of tags beside it
  return drawn;
}

// --- a file dropped anywhere, or chosen ------------------------------------------------------------

export function start(theRoom) {
  room = theRoom;
  $("file-field").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  let inside = 0;
  const lift = (change) => {
    inside = Math.max(0, inside + change);
    document.body.classList.toggle("dropping", inside > 0);
  };
  addEventListener("dragenter", (event) => carries(event) && lift(1));
  addEventListener("dragleave", (event) => carries(event) && lift(-1));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    lift(-inside);
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
