// One canvas with a study on it: radiological convention, layouts, windows, overlay; a finer copy takes the place of a coarse one.

import { Card, done } from "./card.js";
import { withFewPrograms } from "./programs.js";
import { ctImage, fetching, maskImage } from "./volumes.js";

const { AXIAL, CORONAL, SAGITTAL } = niivue.SLICE_TYPE;
const LAYOUTS = {
  // where each plane stands: left, top, width, height as shares of the canvas
  multiplanar: [[AXIAL, 0, 0, 0.63, 1], [CORONAL, 0.64, 0, 0.36, 0.495], [SAGITTAL, 0.64, 0.505, 0.36, 0.495]],
  axial: [[AXIAL, 0, 0, 1, 1]],
  coronal: [[CORONAL, 0, 0, 1, 1]],
  sagittal: [[SAGITTAL, 0, 0, 1, 1]],
};
const ACROSS = { axial: 2, coronal: 1, sagittal: 0, multiplanar: 2 }; // along which voxel axis one scrolls

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.layout = "multiplanar";
    this.window = [-1350, 150];
    this.opacity = 0.45;
    this.overlayHidden = false;
    this.begins = null; // where the first volume opens, as shares of it; else in its middle
    this.onPlace = () => {};
    this.onLost = () => {};
    this.viewer = new niivue.Niivue({
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
  }

  /** Make the card ready, once. */
  async attach() {
    if (this.card) return;
    const antialias = navigator.hardwareConcurrency > 6; // as NiiVue decides
    const gl = this.canvas.getContext("webgl2", { alpha: true, antialias }); // the one that NiiVue then gets
    if (!gl) throw new Error("This browser draws no volumes (WebGL 2 is missing, or switched off). Use a current one with hardware acceleration.");
    await done(gl); // without a graphics card each of these three takes its time
    await withFewPrograms(gl, () => this.viewer.attachToCanvas(this.canvas));
    await done(gl);
    this.card = new Card(this.viewer);
    this.canvas.addEventListener("webglcontextlost", () => this.onLost());
    this.viewer.onLocationChange = ({ vox, values }) => this.onPlace(vox, values);
  }

  /** Begin to fetch volume and mask: it may be before the stage is attached. */
  static ask(folder, { coarse, onShare }) {
    const [suffix, both] = [coarse ? "-coarse" : "", new AbortController()];
    const coming = [
      fetching(`${folder}/ct${suffix}.nii.gz`, onShare, both.signal),
      fetching(`${folder}/mask${suffix}.nii.gz`, undefined, both.signal),
    ];
    return { coarse, coming, giveUp: () => both.abort() };
  }

  /** Show volume and mask when they are here; slice, window, zoom and overlay stay as they are. Return the mask's bytes.
   *
   * Where one of the two fails nothing of the other is waited for or kept.
   */
  async load({ coarse, coming, giveUp }) {
    const stacks = coming.map(() => this.card.stack());
    try {
      const [ct, mask] = await Promise.all(coming.map((one, index) => stacks[index].take(one)));
      performance.mark(coarse ? "coarse arrived" : "full arrived");
      const images = [await ctImage(ct), await maskImage(mask)];
      await Promise.all(stacks.map((stack) => stack.finish()));
      this.show(images, stacks);
      return mask;
    } catch (fault) {
      giveUp();
      for (const stack of stacks) stack.drop();
      throw fault;
    }
  }

  show(images, stacks) {
    const { viewer, place } = this;
    this.hold(...images);
    if (place) viewer.scene.crosshairPos = viewer.mm2frac(place);
    this.card.show(...stacks);
    if (!place) this.begin();
    if (!place && this.begins) viewer.scene.crosshairPos = [...this.begins];
    viewer.moveCrosshairInVox(0, 0, 0); // draws, and says where we are
  }

  begin() {
    this.card.setWindow(this.window);
    this.viewer.overlayAlphaShader = this.opacity;
    this.setLayout(this.layout);
  }

  hold(ct, mask) {
    const { viewer } = this;
    viewer.volumes = [ct, mask];
    viewer.back = ct;
    viewer.overlays = [mask];
  }

  setLayout(name) {
    this.layout = name;
    if (this.viewer.volumes.length === 0) return; // it takes effect with the first volume
    this.viewer.setCustomLayout(LAYOUTS[name].map(([sliceType, ...position]) => ({ sliceType, position })));
  }

  setWindow(bounds) {
    this.window = bounds;
    if (this.viewer.volumes.length === 0) return; // it takes effect with the first volume
    this.card.setWindow(bounds);
    this.viewer.drawScene();
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    this.viewer.overlayAlphaShader = this.overlayHidden ? 0 : opacity; // of the drawing, not of the volume: it costs nothing
    if (this.viewer.volumes.length === 0) return;
    if (this.overlayHidden) this.viewer.setDrawOpacity(opacity); // the drawing stands in its place
    else this.viewer.drawScene();
  }

  /** Let a drawing stand in place of the machine's mask. */
  hideOverlay(hidden) {
    this.overlayHidden = hidden;
    this.setOpacity(this.opacity);
  }

  setTool(name) {
    const { measurement, crosshair } = niivue.DRAG_MODE;
    this.viewer.opts.dragModePrimary = name === "measure" ? measurement : crosshair;
  }

  /** Return the measured lines, in mm. */
  measured() {
    return this.viewer.document.completedMeasurements.map((line) => line.distance);
  }

  clearMeasurements() {
    this.viewer.clearAllMeasurements();
    this.viewer.drawScene();
  }

  /** Go a number of slices along the axis that the layout scrolls. */
  step(slices) {
    const move = [0, 0, 0];
    move[ACROSS[this.layout]] = slices;
    this.viewer.moveCrosshairInVox(...move);
  }

  /** Where the cross-hairs are, in millimetres: right, anterior, superior. */
  get place() {
    const { viewer } = this;
    return viewer.volumes.length ? [...viewer.frac2mm(viewer.scene.crosshairPos)].slice(0, 3) : null;
  }

  /** Where the cross-hairs are, as shares of the volume. */
  get shares() {
    return [...this.viewer.scene.crosshairPos];
  }

  /** Go to a place in millimetres, or as near to it as the volume reaches. */
  goTo(to) {
    const { viewer } = this;
    viewer.scene.crosshairPos = viewer.mm2frac(to).map((share) => Math.min(1, Math.max(0, share)));
    viewer.moveCrosshairInVox(0, 0, 0);
  }

  /** How many slices the layout scrolls through. */
  get slices() {
    return this.viewer.volumes[0]?.dimsRAS[ACROSS[this.layout] + 1] ?? 0;
  }

  /** Which of them the cross-hairs are in, for the reader: counted from 1. */
  words(vox) {
    return `slice ${vox[ACROSS[this.layout]] + 1} of ${this.slices}`;
  }
}
