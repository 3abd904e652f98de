// Voxels on the graphics card as they came, and planes through them that are coloured when they are drawn. NiiVue does the rest: geometry, tools, letters.
//
// NiiVue's own way is to make a colour of each voxel, once for volume and mask and again for each window: without a graphics card 14 seconds
// for a large study, in which the page waits. Here the card has Hounsfield units (half floats) and shares of labels, a slab at a time while the
// rest is on the line, and a window is two numbers. The parts of NiiVue that are held off fit the pinned bundle (`client/gateway/viewer.py`).

import { LABELS } from "./volumes.js";

const [VOLUME, OVERLAY, UPLOAD] = [0, 2, 9]; // texture units, as NiiVue numbers them
const LOOK_EVERY_MS = 4;
const NO_MEMORY = "The graphics card has no room for it. Close other tabs, or the earlier study, and load this page again.";
const AT_ONCE = 3; // slabs with the card: a preview has no more, and what the reader does waits behind so many at most
const [GROUND_GLASS, CONSOLIDATION] = [1, 2].map((label) => `vec3(${LABELS.R[label]}, ${LABELS.G[label]}, ${LABELS.B[label]}) / 255.0`);

// NiiVue looks for uniforms by `uniform … name;`: one a line. It sets those that it knows, `stored…` and `window` are ours.
const PLANE = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume;
uniform highp sampler3D overlay;
uniform highp sampler3D drawing;
uniform highp sampler2D colormap;
uniform mat4 storedVolume;
uniform mat4 storedOverlay;
uniform vec2 window;
uniform float overlayAlphaShader;
uniform float drawOpacity;
in vec3 texPos;
out vec4 color;

vec4 at(highp sampler3D image, mat4 stored) {
  return textureLod(image, (vec4(texPos, 1.0) * stored).xyz, 0.0);
}

void main() {
  float grey = clamp((at(volume, storedVolume).r - window.x) / (window.y - window.x), 0.0, 1.0);
  color = vec4(grey, grey, grey, 1.0);
  if (overlayAlphaShader > 0.0) {
    vec2 share = at(overlay, storedOverlay).rg * overlayAlphaShader;
    color.rgb *= 1.0 - share.r - share.g;
    color.rgb += share.r * ${GROUND_GLASS} + share.g * ${CONSOLIDATION};
  }
  if (textureSize(drawing, 0).x > 2) { // NiiVue's empty drawing has two voxels along a side
    float rows = float(textureSize(colormap, 0).y);
    float label = textureLod(drawing, texPos, 0.0).r * 255.0;
    vec4 drawn = textureLod(colormap, vec2((label + 0.5) / 256.0, (rows - 0.5) / rows), 0.0);
    color.rgb = mix(color.rgb, drawn.rgb, drawn.a * drawOpacity);
  }
}`;

/** Let the browser draw, and whoever waits be served. */
export function nextFrame() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

/** Wait until the card has done what it was given, while the page answers. */
export async function done(gl) {
  const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
  gl.flush();
  do {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  } while (gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED);
  gl.deleteSync(fence);
}

/** One volume on its way to the card. */
class Stack {
  constructor(gl) {
    this.gl = gl;
    this.texture = null;
    this.dropped = false;
    this.whole = Promise.resolve(); // until all that came was given to the card
    this.behind = []; // until the card has done each slab that it may still be at
  }

  begin({ width, height, slices, labels }) {
    const { gl } = this;
    const most = gl.getParameter(gl.MAX_3D_TEXTURE_SIZE);
    if (Math.max(width, height, slices) > most) {
      throw new Error(`It has ${width} × ${height} × ${slices} voxels, and this browser draws at most ${most} along a side.`);
    }
    [this.width, this.height] = [width, height];
    this.kind = labels ? [gl.RG, gl.UNSIGNED_BYTE, Uint8Array] : [gl.RED, gl.HALF_FLOAT, Uint16Array];
    this.texture = gl.createTexture();
    this.bind(UPLOAD);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, name, gl.LINEAR);
    for (const name of [gl.TEXTURE_WRAP_R, gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_3D, name, gl.CLAMP_TO_EDGE);
    gl.texStorage3D(gl.TEXTURE_3D, 1, labels ? gl.RG8 : gl.R16F, width, height, slices); // filled with zeros, as WebGL promises
  }

  /** Take a volume that is on its way; return its bytes. */
  take(coming) {
    return coming((head) => this.begin(head), (...slab) => this.give(...slab));
  }

  /** Wait until the card has all of it. Only then is it asked for errors: before, the page would wait for what it is at. */
  async finish() {
    await this.whole;
    await Promise.all(this.behind);
    if (this.gl.getError() === this.gl.OUT_OF_MEMORY) throw new Error(NO_MEMORY); // else all of it would look like water
  }

  /** Let go of the card's memory. */
  drop() {
    this.gl.deleteTexture(this.texture);
    this.dropped = true;
  }

  bind(unit) {
    this.gl.activeTexture(this.gl.TEXTURE0 + unit);
    this.gl.bindTexture(this.gl.TEXTURE_3D, this.texture);
  }

  give(from, count, texels) {
    const { gl, width, height, kind: [format, type, View] } = this;
    this.whole = this.whole.then(async () => {
      if (this.dropped) return;
      if (this.behind.length === AT_ONCE) await this.behind.shift();
      this.bind(UPLOAD);
      gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
      gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, from, width, height, count, format, type, new View(texels));
      this.behind.push(done(gl));
    });
  }
}

export class Card {
  /** Take over the planes of a viewer that is attached and empty. */
  constructor(viewer) {
    this.viewer = viewer;
    this.shown = [null, null]; // the volume and its overlay
    this.own = viewer.refreshLayers.bind(viewer);
    viewer.refreshLayers = (image, layer) => this.refresh(image, layer);
    viewer.setCustomSliceShader(PLANE);
    const { program } = viewer.customSliceShader;
    [this.window, ...this.stored] = ["window", "storedVolume", "storedOverlay"].map((name) => viewer.gl.getUniformLocation(program, name));
  }

  /** Return room for a volume. */
  stack() {
    return new Stack(this.viewer.gl);
  }

  /** Show these stacks from now on; the viewer has their images already. */
  show(...stacks) {
    const before = this.shown;
    this.shown = stacks;
    this.viewer.volumes.forEach((image, layer) => this.viewer.refreshLayers(image, layer));
    for (const stack of before) stack?.drop();
  }

  setWindow([low, high]) {
    const { gl, customSliceShader } = this.viewer;
    customSliceShader.use(gl);
    gl.uniform2f(this.window, low, high);
  }

  /** NiiVue's `refreshLayers` without its voxels: it learns the geometry, the card where in the stored volume a place of the study lies. */
  refresh(image, layer) {
    const { viewer, viewer: { gl } } = this;
    const matrix = this.geometry(image, layer);
    viewer.customSliceShader.use(gl);
    gl.uniformMatrix4fv(this.stored[layer], false, matrix);
    viewer[["volumeTexture", "overlayTexture"][layer]] = this.shown[layer].texture;
    this.shown[layer].bind([VOLUME, OVERLAY][layer]);
  }

  geometry(image, layer) {
    const { viewer, viewer: { gl } } = this;
    let matrix = null;
    const instead = {
      uniformMatrix4fv: (_location, _transpose, values) => { matrix = values; },
      checkFramebufferStatus: () => gl.FRAMEBUFFER_COMPLETE, // asked twice for each slice, and each time the page would wait for the card
    };
    for (const name of ["texStorage3D", "texSubImage3D", "texParameteri", "framebufferTextureLayer", "drawArrays"]) instead[name] = () => {};
    Object.assign(gl, instead);
    viewer.rgbaTex = () => null; // four bytes for each voxel
    try {
      this.own(image, layer);
    } finally {
      for (const name of Object.keys(instead)) delete gl[name];
      delete viewer.rgbaTex;
    }
    return matrix;
  }
}
