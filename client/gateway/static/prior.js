// The earlier study beside the present one: fetched when it is first asked for, moved with it in millimetres, in the same window.

import { Stage } from "./stage.js";

export class Prior {
  constructor(main, pane, folder) {
    this.main = main;
    this.pane = pane;
    this.folder = folder;
    this.stage = null;
    this.linked = true;
  }

  get shown() {
    return !this.pane.hidden;
  }

  /** Show or hide it; the first time it is fetched, coarse and then full. */
  async toggle() {
    this.pane.hidden = this.shown;
    if (!this.shown || this.stage) return;
    this.stage = new Stage(this.pane.querySelector("canvas"));
    const place = this.pane.querySelector(".place");
    this.stage.onPlace = (vox) => {
      place.textContent = `slice ${vox[2] + 1} of ${this.stage.viewer.volumes[0].dims[3]}`;
    };
    Object.assign(this.stage, { layout: this.main.layout, window: this.main.window, opacity: this.main.opacity });
    const preview = Stage.ask(this.folder, { coarse: true });
    await this.stage.attach();
    try {
      await this.stage.load(preview);
      await this.stage.load(Stage.ask(this.folder, { coarse: false }));
      this.pane.dataset.state = "shown";
    } catch (error) {
      place.textContent = `The earlier study cannot be shown: ${error.message}`;
      this.pane.dataset.state = "failed";
    }
  }

  /** Take over what the reader chose for the present study. */
  follow(...what) {
    if (!this.stage) return;
    if (what.includes("layout")) this.stage.setLayout(this.main.layout);
    if (what.includes("window")) this.stage.setWindow(this.main.window);
    if (what.includes("opacity")) this.stage.setOpacity(this.main.opacity);
  }

  /** Move as far as the present study moved; two scans share no slice numbers, but they share millimetres. */
  move(millimetres) {
    if (this.linked && this.shown && this.stage?.slices) this.stage.moveMillimetres(millimetres);
  }
}
