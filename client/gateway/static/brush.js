// Correcting the mask: a brush on the full study, undo, and the way back to the hospital. The machine's own mask stays as it is.

import { LABELS, maskImage } from "./volumes.js";

const HEADER_BYTES = 352;

export class Brush {
  constructor(stage, claim) {
    this.stage = stage;
    this.address = `/masks/${claim}`;
    this.own = null; // the machine's mask as it came, header and all
    this.begun = false;
  }

  /** Begin, or go on: the machine's mask becomes a drawing, and the overlay makes room for it. */
  async start() {
    const { viewer } = this.stage;
    if (!this.begun) {
      viewer.setDrawColormap(LABELS);
      if (!viewer.loadDrawing(await maskImage(this.own.slice(0)))) throw new Error("The mask does not fit the study.");
      this.begun = true;
    }
    viewer.setDrawingEnabled(true);
    this.stage.hideOverlay(true);
  }

  stop() {
    this.stage.viewer.setDrawingEnabled(false);
  }

  /** Draw ground glass (1) or consolidation (2), or take away (0), with a pen of so many voxels; `filled` closes and fills a line. */
  use({ label, size, filled }) {
    this.stage.viewer.opts.penSize = size;
    this.stage.viewer.setPenValue(label, filled && label > 0);
  }

  undo() {
    this.stage.viewer.drawUndo();
  }

  /** Begin again from the machine's mask. */
  async reset() {
    this.begun = false;
    await this.start();
  }

  /** Send the drawing as the mask came: the same header, other labels. Return what the hospital says of it. */
  async send() {
    const drawn = await this.stage.viewer.saveImage({ filename: "", isSaveDrawing: true });
    const whole = new Blob([this.own.slice(0, HEADER_BYTES), drawn.subarray(HEADER_BYTES)]);
    const packed = await new Response(whole.stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
    const answer = await fetch(this.address, { method: "POST", headers: { "Content-Type": "application/gzip" }, body: packed });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.detail);
    return content;
  }
}
