// The viewer page: a coarse study first, the full one behind it; tools by pointer and by keyboard.

import { Brush, HEADER_BYTES } from "./brush.js";
import { correctWith, takeBack } from "./correct.js";
import { Prior } from "./prior.js";
import { nextFrame } from "./card.js";
import { Stage } from "./stage.js";

const desk = document.getElementById("desk");
export const stage = new Stage(document.getElementById("canvas"));
const volumes = `/vol/${desk.dataset.request}`;
const pane = document.getElementById("prior");
export const prior = pane ? new Prior(stage, pane, `/prior/${desk.dataset.request}`) : null;
export const brush = document.getElementById("correct") ? new Brush(stage, desk.dataset.claim) : null;
const FAR = 1e6; // slices: to the end of every stack

const KEYS = {
  1: () => setLayout("multiplanar"),
  2: () => setLayout("axial"),
  3: () => setLayout("coronal"),
  4: () => setLayout("sagittal"),
  l: () => setWindow("-1350,150"),
  m: () => setWindow("-160,240"),
  b: () => setWindow("-500,1300"),
  o: () => document.getElementById("overlay").click(),
  d: () => document.getElementById("measure").click(),
  c: () => stage.clearMeasurements(),
  x: () => document.getElementById("correct")?.click(),
  u: () => brush?.begun && takeBack(brush),
  p: () => document.getElementById("beside")?.click(),
  "+": () => changeOpacity(10),
  "-": () => changeOpacity(-10),
  "?": () => document.getElementById("keys").togglePopover(),
  ArrowUp: () => stage.step(1),
  ArrowDown: () => stage.step(-1),
  PageUp: () => stage.step(10),
  PageDown: () => stage.step(-10),
  Home: () => stage.step(FAR),
  End: () => stage.step(-FAR),
};
const MOVES = new Set(["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"]);

function opacityNow() {
  const shown = document.getElementById("overlay").checked;
  return shown ? Number(document.getElementById("opacity").value) / 100 : 0;
}

function showOpacity() {
  stage.setOpacity(opacityNow());
  prior?.follow("opacity");
}

function changeOpacity(percent) {
  const range = document.getElementById("opacity");
  range.value = Number(range.value) + percent;
  showOpacity();
}

function press(attribute, value) {
  for (const button of document.querySelectorAll(`[data-${attribute}]`)) {
    button.setAttribute("aria-pressed", String(button.dataset[attribute] === value));
  }
}

function setLayout(name) {
  stage.setLayout(name);
  stage.step(0); // the place counts slices of this layout
  prior?.follow("layout");
  press("layout", name);
}

function setWindow(bounds) {
  stage.setWindow(bounds.split(",").map(Number));
  prior?.follow("window");
  press("window", bounds);
}

function togglePrior(event) {
  prior.toggle();
  event.currentTarget.setAttribute("aria-pressed", String(prior.shown));
}

function toggleMeasure(event) {
  const button = event.currentTarget;
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(on));
  if (on) document.querySelector("#correct[aria-pressed=true]")?.click(); // the left button does one of the two
  stage.setTool(on ? "measure" : "look");
}

/** Whether the key belongs to what has the focus: letters to a field, the keys that move to a slider, a choice, or the report, which scrolls. */
function belongsThere({ target, key }) {
  if (target.closest("input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select")) return true;
  return MOVES.has(key) && target.closest("input[type=radio], input[type=range], .report, [popover]") !== null;
}

/** Our keys, and none of NiiVue's own: it binds letters to things that a reader must not do by accident. */
function onKey(event) {
  if (belongsThere(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  const [held, key] = [event.repeat && !MOVES.has(event.key), event.key.length === 1 ? event.key.toLowerCase() : event.key];
  const wish = event.type === "keydown" && !held ? KEYS[key] : undefined;
  if (event.target.tagName === "CANVAS" || wish) event.stopPropagation();
  if (!wish || stage.slices === 0) return;
  event.preventDefault();
  wish();
}

let last = null;

function showPlace(vox, values) {
  const now = stage.place;
  if (last) prior?.move(now.map((mm, axis) => mm - last[axis]));
  last = now;
  const fine = desk.dataset.state === "shown" ? "" : " · preview";
  document.getElementById("place").textContent = `${stage.words(vox)} · ${Math.round(values[0].value)} HU${fine}`;
}

function listen() {
  for (const button of document.querySelectorAll("[data-layout]")) {
    button.addEventListener("click", () => setLayout(button.dataset.layout));
  }
  for (const button of document.querySelectorAll("[data-window]")) {
    button.addEventListener("click", () => setWindow(button.dataset.window));
  }
  document.getElementById("overlay").addEventListener("change", showOpacity);
  document.getElementById("opacity").addEventListener("input", showOpacity);
  document.getElementById("measure").addEventListener("click", toggleMeasure);
  document.getElementById("clear").addEventListener("click", () => stage.clearMeasurements());
  document.getElementById("beside")?.addEventListener("click", togglePrior);
  document.getElementById("linked")?.addEventListener("change", (event) => { prior.linked = event.target.checked; });
  for (const kind of ["keydown", "keyup"]) document.addEventListener(kind, onKey, true);
}

const loading = document.getElementById("loading");
const progress = document.getElementById("progress");
const again = document.getElementById("again");

function say(text) {
  document.getElementById("loading-text").textContent = text;
}

/** In steps of 5 %: each has the page drawn anew, a tenth of a second of work where there is no graphics card. */
function showShare(share) {
  const percent = 5 * Math.floor(20 * share);
  if (progress.value !== percent) progress.value = percent;
}

function wants(coarse) {
  progress.value = 0;
  return Stage.ask(volumes, { coarse, onShare: showShare });
}

async function showPreview() {
  const preview = wants(true); // on its way while the card is made ready
  await stage.attach();
  stage.onPlace = showPlace;
  await stage.load(preview);
  listen();
  performance.mark("coarse");
  loading.classList.add("behind");
}

async function showWhole() {
  say("A preview. The full study is on its way …");
  desk.dataset.state = "preview";
  await nextFrame();
  const mask = await stage.load(wants(false));
  performance.mark("full");
  loading.hidden = true;
  desk.dataset.state = "shown";
  stage.step(0); // the place says no longer that this is a preview
  if (!brush) return;
  brush.header = mask.slice(0, HEADER_BYTES);
  correctWith(brush);
}

/** Coarse first, then full. Where that fails the reader may try again, and what is there already stays. */
async function showStudy() {
  again.hidden = true;
  try {
    if (!stage.slices) await showPreview();
    await showWhole();
  } catch (error) {
    say(`The study cannot be shown whole: ${error.message ?? "the viewer failed. Load this page again."}`);
    [again.hidden, desk.dataset.state] = [false, "failed"];
  }
}

stage.onLost = () => {
  loading.hidden = false;
  loading.classList.remove("behind");
  progress.hidden = true;
  say("The graphics card let go of the images. Load this page again; close other tabs if it happens often.");
  desk.dataset.state = "lost";
};

addEventListener("beforeunload", (event) => {
  if (brush?.uploads.waiting.length) event.preventDefault(); // strokes that only this page has
});
again.addEventListener("click", showStudy);

await showStudy();
