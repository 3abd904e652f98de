// Brings a large volume onto the card a few slices at a time, so that the page goes on answering and the preview stays on the screen.
//
// NiiVue uploads all voxels and turns all slices into colours in one go, which can hold a page for seconds. Here its own function runs once
// with these two steps only written down; then they are done in slabs, with a frame for everybody else between them.

const OWN = WebGL2RenderingContext.prototype;
const SLAB = 16; // slices of one step
const HOOKED = ["texSubImage3D", "uniform1f", "framebufferTextureLayer", "drawArrays", "deleteTexture"];
const COLOURS = 1; // texture units, as NiiVue numbers them
const SOURCE = 9;
const BLEND = 10;
const SHOWN = [0, 2];
const FIELDS = ["volumeTexture", "overlayTexture"];

/** Let the browser draw, and whoever waits be served. */
export function nextFrame() {
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
}

function bound(gl, unit, binding) {
  gl.activeTexture(gl.TEXTURE0 + unit);
  return gl.getParameter(binding);
}

function stateOf(gl) {
  const [program, vertices, viewport] = [gl.CURRENT_PROGRAM, gl.VERTEX_ARRAY_BINDING, gl.VIEWPORT].map((name) => gl.getParameter(name));
  const colours = bound(gl, COLOURS, gl.TEXTURE_BINDING_2D);
  const [source, blend] = [SOURCE, BLEND].map((unit) => bound(gl, unit, gl.TEXTURE_BINDING_3D));
  return { program, vertices, viewport, colours, source, blend };
}

/** Run NiiVue's own function and write down what it would upload and draw. */
function writtenDown(viewer, image, layer) {
  const { gl } = viewer;
  const work = { upload: null, state: null, draws: [], dropped: [] };
  const ours = HOOKED.map((name) => Object.getOwnPropertyDescriptor(gl, name));
  let [depth, slice] = [null, null];
  gl.texSubImage3D = (...call) => {
    if (call[8] === gl.RED_INTEGER) work.upload = { width: call[5], height: call[6], slices: call[7], format: call[8], type: call[9], voxels: call[10] };
  };
  gl.uniform1f = (location, value) => {
    depth = [location, value];
    OWN.uniform1f.call(gl, location, value);
  };
  gl.framebufferTextureLayer = (_target, _attachment, texture, _level, index) => { slice = [texture, index]; };
  gl.drawArrays = () => {
    work.state ??= stateOf(gl);
    work.draws.push([...depth, ...slice]);
  };
  gl.deleteTexture = (texture) => work.dropped.push(texture);
  try {
    viewer.refreshLayers(image, layer);
  } finally {
    HOOKED.forEach((name, index) => {
      delete gl[name];
      if (ours[index]) Object.defineProperty(gl, name, ours[index]);
    });
  }
  return work;
}

function show(viewer, layer, texture) {
  const { gl } = viewer;
  viewer[FIELDS[layer]] = texture;
  if (layer === 1) viewer.overlayTextureID = texture;
  gl.activeTexture(gl.TEXTURE0 + SHOWN[layer]);
  gl.bindTexture(gl.TEXTURE_3D, texture);
}

function upload(gl, state, { width, height, slices, format, type, voxels }, from) {
  const count = Math.min(SLAB, slices - from);
  const plane = width * height;
  gl.activeTexture(gl.TEXTURE0 + SOURCE);
  gl.bindTexture(gl.TEXTURE_3D, state.source);
  gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, from, width, height, count, format, type, voxels.subarray(from * plane, (from + count) * plane));
}

function draw(viewer, state, frame, draws) {
  const { gl } = viewer;
  gl.useProgram(state.program);
  gl.bindVertexArray(state.vertices);
  gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
  gl.viewport(...state.viewport);
  gl.disable(gl.CULL_FACE);
  gl.disable(gl.BLEND);
  for (const [unit, kind, texture] of [[COLOURS, gl.TEXTURE_2D, state.colours], [SOURCE, gl.TEXTURE_3D, state.source], [BLEND, gl.TEXTURE_3D, state.blend]]) {
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(kind, texture);
  }
  for (const [location, value, texture, index] of draws) {
    gl.uniform1f(location, value);
    gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, texture, 0, index);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
  gl.activeTexture(gl.TEXTURE0 + COLOURS);
  gl.bindTexture(gl.TEXTURE_2D, viewer.colormapTexture);
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  gl.bindVertexArray(viewer.unusedVAO);
  gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
}

/** Make `image` the volume (layer 0) or the overlay (layer 1); until it is whole, what was there before stays on the screen. */
export async function refreshSlowly(viewer, image, layer) {
  const { gl } = viewer;
  const before = viewer[FIELDS[layer]];
  const { upload: whole, state, draws, dropped } = writtenDown(viewer, image, layer);
  const made = viewer[FIELDS[layer]];
  show(viewer, layer, before);
  for (let from = 0; from < whole.slices; from += SLAB) {
    upload(gl, state, whole, from);
    await nextFrame();
  }
  const frame = gl.createFramebuffer();
  const wanted = draws.filter(([, , texture]) => texture === made);
  for (let from = 0; from < wanted.length; from += SLAB) {
    draw(viewer, state, frame, wanted.slice(from, from + SLAB));
    await nextFrame();
  }
  gl.deleteFramebuffer(frame);
  show(viewer, layer, made);
  for (const texture of new Set([...dropped, before])) gl.deleteTexture(texture);
}
