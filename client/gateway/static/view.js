// The viewer page: a coarse study first, the full one behind it; tools by pointer and by keyboard.

import { Brush } from "./brush.js";
import { correctWith } from "./correct.js";
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
  u: () => brush?.begun && brush.undo(),
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
  stage.setTool(on ? "measure" : "look");
}

/** Our keys, and none of NiiVue's own: it binds letters to things that a reader must not do by accident. */
function onKey(event) {
  const typing = event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const wish = event.type === "keydown" ? KEYS[event.key] : undefined;
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
  document.getElementById("place").textContent =
    `slice ${vox[2] + 1} of ${stage.viewer.volumes[0].dims[3]} · ${Math.round(values[0].value)} HU${fine}`;
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

/** In steps of 5 %: each has the page drawn anew, a tenth of a second of work where there is no graphics card. */
function showShare(share) {
  const percent = 5 * Math.floor(20 * share);
  if (progress.value !== percent) progress.value = percent;
}

try {
  const preview = Stage.ask(volumes, { coarse: true, onShare: showShare });
  await stage.attach();
  stage.onPlace = showPlace;
  await stage.load(preview);
  listen();
  performance.mark("coarse");
  loading.classList.add("behind");
  document.getElementById("loading-text").textContent = "A preview. The full study is on its way …";
  desk.dataset.state = "preview";
  await nextFrame();
  const mask = await stage.load(Stage.ask(volumes, { coarse: false, onShare: showShare }));
  performance.mark("full");
  loading.hidden = true;
  desk.dataset.state = "shown";
  if (brush) {
    brush.own = mask;
    correctWith(brush);
  }
  stage.step(0); // the place says no longer that this is a preview
} catch (error) {
  document.getElementById("loading-text").textContent = `The study cannot be shown whole: ${error.message ?? "the viewer failed"}`;
  desk.dataset.state = "failed";
}
