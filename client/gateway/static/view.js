// Draws the study with NiiVue: lung window, overlay of the measurement, patient's right on the left of the screen.

const desk = document.getElementById("desk");
const canvas = document.getElementById("canvas");
const volumes = `/vol/${desk.dataset.request}`;

const OVERLAY = 1;
const LABELS = {
  // 0 nothing, 1 ground glass, 2 consolidation: two hues that stay apart for every kind of colour vision
  R: [0, 53, 255], G: [0, 201, 166], B: [0, 255, 43], A: [0, 255, 255], I: [0, 1, 2],
  labels: ["", "ground glass", "consolidation"],
};
const KEYS = { 1: "multiplanar", 2: "axial", 3: "coronal", l: "-1350,150", m: "-160,240", b: "-500,1300" };

const viewer = new niivue.Niivue({
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  show3Dcrosshair: false,
  multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
  multiplanarPadPixels: 6,
  showAllOrientationMarkers: true,
  fontColor: [0.88, 0.95, 0.95, 1],
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.16, 0.63, 0.6, 0.8],
  crosshairWidth: 0.7,
  crosshairGap: 6,
  isNearestInterpolation: false,
  dragAndDropEnabled: false,
  dragMode: niivue.DRAG_MODE.measurement,
  loadingText: "",
  logLevel: "warn",
});

/** Fetch a file of the study and say how far it is. */
async function fetched(name, onShare) {
  const answer = await fetch(`${volumes}/${name}`);
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const expected = Number(answer.headers.get("Content-Length"));
  const buffer = new Uint8Array(expected);
  let have = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    buffer.set(value, have);
    have += value.length;
    onShare(have / expected);
  }
  return buffer.buffer;
}

function showProgress(share) {
  document.getElementById("progress").value = 100 * share;
}

async function addCt() {
  const buffer = await fetched("ct.nii.gz", showProgress);
  document.getElementById("loading-text").textContent = "Unpacking the volume …";
  const image = await niivue.NVImage.loadFromUrl({
    url: buffer, name: "ct.nii.gz", colormap: "gray", cal_min: -1350, cal_max: 150, trustCalMinMax: false,
  });
  viewer.addVolume(image);
}

async function addOverlay() {
  const buffer = await fetched("mask.nii.gz", () => {});
  const image = await niivue.NVImage.loadFromUrl({ url: buffer, name: "mask.nii.gz", opacity: opacityNow() });
  image.setColormapLabel(LABELS);
  viewer.addVolume(image);
}

function opacityNow() {
  const shown = document.getElementById("overlay").checked;
  return shown ? Number(document.getElementById("opacity").value) / 100 : 0;
}

function showOverlay() {
  if (viewer.volumes.length > OVERLAY) viewer.setOpacity(OVERLAY, opacityNow());
}

function press(attribute, value) {
  for (const button of document.querySelectorAll(`[data-${attribute}]`)) {
    button.setAttribute("aria-pressed", String(button.dataset[attribute] === value));
  }
}

function setLayout(name) {
  const { AXIAL, CORONAL, SAGITTAL } = niivue.SLICE_TYPE;
  const layouts = {
    // where each plane stands: left, top, width, height as shares of the canvas
    multiplanar: [[AXIAL, 0, 0, 0.63, 1], [CORONAL, 0.64, 0, 0.36, 0.495], [SAGITTAL, 0.64, 0.505, 0.36, 0.495]],
    axial: [[AXIAL, 0, 0, 1, 1]],
    coronal: [[CORONAL, 0, 0, 1, 1]],
  };
  viewer.setCustomLayout(layouts[name].map(([sliceType, ...position]) => ({ sliceType, position })));
  press("layout", name);
}

function setWindow(bounds) {
  [viewer.volumes[0].cal_min, viewer.volumes[0].cal_max] = bounds.split(",").map(Number);
  viewer.updateGLVolume();
  press("window", bounds);
}

function onKey(event) {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const wish = KEYS[event.key];
  if (event.key === "o") document.getElementById("overlay").click();
  else if (wish?.includes(",")) setWindow(wish);
  else if (wish) setLayout(wish);
}

function listen() {
  for (const button of document.querySelectorAll("[data-layout]")) {
    button.addEventListener("click", () => setLayout(button.dataset.layout));
  }
  for (const button of document.querySelectorAll("[data-window]")) {
    button.addEventListener("click", () => setWindow(button.dataset.window));
  }
  document.getElementById("overlay").addEventListener("change", showOverlay);
  document.getElementById("opacity").addEventListener("input", showOverlay);
  document.addEventListener("keydown", onKey);
  viewer.onLocationChange = ({ vox, values }) => {
    document.getElementById("place").textContent =
      `slice ${vox[2] + 1} of ${viewer.volumes[0].dims[3]} · ${Math.round(values[0].value)} HU`;
  };
}

try {
  await viewer.attachToCanvas(canvas);
  await addCt();
  await addOverlay();
  setLayout("multiplanar");
  listen();
  viewer.moveCrosshairInVox(0, 0, 0); // says where we are
  document.getElementById("loading").hidden = true;
  desk.dataset.state = "shown";
} catch (error) {
  document.getElementById("loading-text").textContent = `The study cannot be shown: ${error.message ?? "the viewer failed"}`;
  desk.dataset.state = "failed";
}
