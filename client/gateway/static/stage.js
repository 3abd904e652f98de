// One canvas with a study on it: radiological convention, layouts, windows, overlay; a finer copy takes the place of a coarse one.

import { ctImage, maskImage, unpacked } from "./volumes.js";

const OVERLAY = 1;
const { AXIAL, CORONAL, SAGITTAL } = niivue.SLICE_TYPE;
const LAYOUTS = {
  // where each plane stands: left, top, width, height as shares of the canvas
  multiplanar: [[AXIAL, 0, 0, 0.63, 1], [CORONAL, 0.64, 0, 0.36, 0.495], [SAGITTAL, 0.64, 0.505, 0.36, 0.495]],
  axial: [[AXIAL, 0, 0, 1, 1]],
  coronal: [[CORONAL, 0, 0, 1, 1]],
  sagittal: [[SAGITTAL, 0, 0, 1, 1]],
};
const ACROSS = { axial: 2, coronal: 1, sagittal: 0, multiplanar: 2 }; // along which voxel axis one scrolls

/** NiiVue prepares three-dimensional rendering with each volume, by two passes over all voxels. We show planes only: let them be empty. */
function skipGradients(viewer) {
  const { gl } = viewer;
  for (const shader of [viewer.blurShader, viewer.sobelFirstOrderShader]) {
    const use = shader.use.bind(shader);
    shader.use = (context) => {
      use(context);
      gl.enable(gl.RASTERIZER_DISCARD);
    };
  }
  const useRender = viewer.renderShader.use.bind(viewer.renderShader);
  viewer.renderShader.use = (context) => {
    gl.disable(gl.RASTERIZER_DISCARD);
    useRender(context);
  };
}

export class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.layout = "multiplanar";
    this.window = [-1350, 150];
    this.opacity = 0.45;
    this.onPlace = () => {};
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

  async attach() {
    await this.viewer.attachToCanvas(this.canvas);
    skipGradients(this.viewer);
    this.viewer.onLocationChange = ({ vox, values }) => this.onPlace(vox, values);
  }

  /** Fetch volume and mask and show them; slice, window, zoom and overlay stay as they are. */
  async load(folder, { coarse, onShare }) {
    const suffix = coarse ? "-coarse" : "";
    const [ct, mask] = await Promise.all([
      unpacked(`${folder}/ct${suffix}.nii.gz`, onShare),
      unpacked(`${folder}/mask${suffix}.nii.gz`),
    ]);
    this.show(await ctImage(ct, this.window), await maskImage(mask, this.opacity));
    return mask;
  }

  show(ct, mask) {
    const { viewer } = this;
    const first = viewer.volumes.length === 0;
    const place = first ? null : viewer.frac2mm(viewer.scene.crosshairPos);
    const zoom = [...viewer.scene.pan2Dxyzmm];
    ct.cal_min = this.window[0];
    ct.cal_max = this.window[1];
    mask.opacity = this.opacity;
    viewer.volumes = [ct, mask];
    viewer.back = ct;
    viewer.overlays = [mask];
    viewer.updateGLVolume();
    if (first) this.setLayout(this.layout);
    else viewer.scene.crosshairPos = viewer.mm2frac(place.slice(0, 3));
    viewer.scene.pan2Dxyzmm = zoom;
    viewer.moveCrosshairInVox(0, 0, 0); // draws, and says where we are
  }

  setLayout(name) {
    this.layout = name;
    this.viewer.setCustomLayout(LAYOUTS[name].map(([sliceType, ...position]) => ({ sliceType, position })));
  }

  setWindow(bounds) {
    this.window = bounds;
    const [ct] = this.viewer.volumes;
    if (!ct) return;
    [ct.cal_min, ct.cal_max] = bounds;
    this.viewer.updateGLVolume();
  }

  setOpacity(opacity) {
    this.opacity = opacity;
    if (this.viewer.volumes.length > OVERLAY) this.viewer.setOpacity(OVERLAY, opacity);
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

  get slices() {
    return this.viewer.volumes[0]?.dimsRAS[ACROSS[this.layout] + 1] ?? 0;
  }
}
