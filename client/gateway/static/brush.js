// Correcting the mask: a brush on the full study, its undo, and each stroke on its way to the hospital. The machine's own mask stays as it is.
//
// NiiVue draws. What it would do after each movement and each stroke with the whole volume (bring it to the card, pack it for its undo, which goes
// round in a ring past its beginning) is done here with the planes that the pen has touched.

import { ask } from "./answers.js";
import { Grid, writeRuns } from "./strokes.js";
import { Uploads } from "./uploads.js";
import { LABELS } from "./volumes.js";

export const HEADER_BYTES = 352;
const DRAWING = 7; // the texture unit of the drawing, as NiiVue numbers them
const UNDO_MOST = 100;

function hex(buffer) {
  return Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function through(stream, parts) {
  return new Response(new Blob(parts).stream().pipeThrough(stream)).arrayBuffer();
}

export class Brush {
  constructor(stage, claim) {
    this.stage = stage;
    this.header = null; // of the machine's mask; what goes back has the same
    this.handedIn = false;
    this.uploads = new Uploads(claim, () => this.packed());
    this.begun = false;
    this.touched = new Map(); // planes of the stroke at hand as they were before it
    this.stale = new Set(); // planes that the card does not have yet as they are
    this.undoable = [];
    this.onStroke = () => {};
  }

  get own() {
    return this.stage.viewer.overlays[0];
  }

  /** Begin, or go on: the reader's own drawing if the hospital holds one, else the machine's mask, in place of the overlay. */
  async start() {
    const { viewer } = this.stage;
    if (!this.begun) {
      const labels = (await this.recall()) ?? this.own.img;
      this.grid = new Grid(this.own.hdr.dims, this.own.permRAS);
      viewer.setDrawColormap(LABELS);
      this.load(labels);
      this.takeOver();
      this.begun = true;
    }
    viewer.setDrawingEnabled(true);
    this.stage.hideOverlay(true);
  }

  /** Return the labels that the hospital holds of this drawing, or null before the first stroke. */
  async recall() {
    const { number, sha256, handed_in: handedIn } = await this.uploads.held();
    this.uploads.number = number;
    this.handedIn = handedIn;
    if (!sha256) return null; // none yet, or one over another measurement: then the next stroke takes the whole along
    const answer = await ask(`${this.uploads.address}/drawing.nii.gz`);
    return new Uint8Array(await through(new DecompressionStream("gzip"), [await answer.arrayBuffer()]), HEADER_BYTES);
  }

  load(labels) {
    const { hdr, permRAS } = this.own;
    if (!this.stage.viewer.loadDrawing({ hdr, permRAS, img: labels })) throw new Error("The mask does not fit the study. Ask the hospital to measure it again.");
  }

  /** Stand between NiiVue's pen and what it does for each movement. */
  takeOver() {
    const { viewer } = this.stage;
    const { drawPt, drawPenLine, drawPenFilled } = viewer;
    viewer.drawPt = (...point) => {
      this.settle(); // a stroke begins
      this.touch(point, point);
      drawPt.apply(viewer, point);
    };
    viewer.drawPenLine = (from, to, label) => {
      this.touch(from, to);
      drawPenLine.call(viewer, from, to, label);
    };
    viewer.drawPenFilled = () => {
      for (const key of this.touched.keys()) this.stale.add(key);
      drawPenFilled.call(viewer);
    };
    viewer.drawAddUndoBitmap = () => this.settle();
    viewer.refreshDrawing = (draw = true) => {
      this.bring();
      if (draw) viewer.drawScene();
    };
    viewer.canvas.addEventListener("mouseleave", () => this.settle()); // where NiiVue drops the pen and its undo
  }

  /** Remember the planes that a line of the pen goes through. */
  touch(from, to) {
    const axis = 2 - this.stage.viewer.drawPenAxCorSag; // NiiVue: axial 0, coronal 1, sagittal 2
    const inside = (index) => Math.min(this.grid.size[axis] - 1, Math.max(0, index));
    const last = inside(Math.max(from[axis], to[axis]));
    for (let index = inside(Math.min(from[axis], to[axis])); index <= last; index += 1) {
      const key = 3 * index + axis;
      if (!this.touched.has(key)) this.touched.set(key, this.grid.plane(this.stage.viewer.drawBitmap, axis, index));
      this.stale.add(key);
    }
  }

  /** Bring planes that have changed to the card. */
  bring() {
    const { viewer, viewer: { gl } } = this.stage;
    gl.activeTexture(gl.TEXTURE0 + DRAWING);
    gl.bindTexture(gl.TEXTURE_3D, viewer.drawTexture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    for (const key of this.stale) {
      const [axis, index] = [key % 3, Math.floor(key / 3)];
      const [at, size] = [[0, 0, 0], [...this.grid.size]];
      [at[axis], size[axis]] = [index, 1];
      gl.texSubImage3D(gl.TEXTURE_3D, 0, ...at, ...size, gl.RED, gl.UNSIGNED_BYTE, this.grid.plane(viewer.drawBitmap, axis, index));
    }
    this.stale.clear();
  }

  /** End the stroke at hand: what it changed can be taken back, and goes to the hospital. */
  settle() {
    const { drawBitmap } = this.stage.viewer;
    const [places, before] = [[], []];
    for (const [key, plane] of this.touched) {
      this.grid.visit(key % 3, Math.floor(key / 3), (place, order) => {
        if (drawBitmap[place] === plane[order]) return;
        places.push(place);
        before.push(plane[order]);
      });
    }
    const planes = [...this.touched.keys()];
    this.touched.clear();
    if (places.length) this.note({ places: Uint32Array.from(places), before: Uint8Array.from(before), planes });
  }

  note(change) {
    this.undoable.push(change);
    if (this.undoable.length > UNDO_MOST) this.undoable.shift();
    this.tell(change.places);
  }

  tell(places) {
    const { drawBitmap } = this.stage.viewer;
    this.handedIn = false;
    this.uploads.put(writeRuns(this.grid, places, Uint8Array.from(places, (place) => drawBitmap[place])));
    this.onStroke();
  }

  stop() {
    this.settle();
    this.stage.viewer.setDrawingEnabled(false);
  }

  /** Draw ground glass (1) or consolidation (2), or take away (0), with a pen of so many voxels; `filled` closes and fills a line. */
  use({ label, size, filled }) {
    this.stage.viewer.opts.penSize = size;
    this.stage.viewer.setPenValue(label, filled && label > 0);
  }

  /** Take the last stroke back; the hospital hears of it as of any other. Return whether there was one. */
  undo() {
    this.settle();
    const change = this.undoable.pop();
    if (!change) return false;
    const { viewer } = this.stage;
    change.places.forEach((place, order) => { viewer.drawBitmap[place] = change.before[order]; });
    for (const key of change.planes) this.stale.add(key);
    viewer.refreshDrawing();
    this.tell(change.places);
    return true;
  }

  /** Begin again from the machine's mask; this too can be taken back. */
  reset() {
    this.settle();
    const { viewer } = this.stage;
    const [drawn, machines] = [viewer.drawBitmap, this.grid.turned(this.own.img)];
    const places = [];
    for (let place = 0; place < drawn.length; place += 1) if (drawn[place] !== machines[place]) places.push(place);
    if (!places.length) return;
    const planes = [...new Set(places.map((place) => 3 * Math.floor(place / this.grid.strides[2]) + 2))]; // axial ones
    const change = { places: Uint32Array.from(places), before: Uint8Array.from(places, (place) => drawn[place]), planes };
    viewer.drawBitmap = machines;
    for (const key of planes) this.stale.add(key);
    viewer.refreshDrawing();
    this.note(change);
  }

  /** The drawing's labels as the file has them. */
  labels() {
    return this.grid.turned(this.stage.viewer.drawBitmap, true);
  }

  /** The drawing as the mask came: the same header, other labels, packed. It is taken as it is now. */
  packed() {
    return through(new CompressionStream("gzip"), [this.header, this.labels()]);
  }

  /** Let the drawing be the reader's mask. Return what the hospital says of it. */
  async handIn() {
    this.settle();
    this.handedIn = true; // until the next stroke, which may come while this is on its way
    try {
      return await this.uploads.handIn(async () => hex(await crypto.subtle.digest("SHA-256", this.labels())));
    } catch (fault) {
      this.handedIn = false;
      throw fault;
    }
  }
}
