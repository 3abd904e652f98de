// The earlier study beside the present one: fetched when it is first asked for, moved with it in millimetres, in the same window.

import { Stage } from "./stage.js";

export class Prior {
  constructor(main, pane, folder) {
    this.main = main;
    this.pane = pane;
    this.folder = folder;
    this.stage = null;
    this.loading = false;
    this.linked = true;
    this.wanted = null; // where it would be if it had neither slices nor ends, in mm: else each step would be rounded, and lost on thicker slices
  }

  get shown() {
    return !this.pane.hidden;
  }

  say(text) {
    this.pane.querySelector(".place").textContent = text;
  }

  /** Show or hide it; what has not come yet is fetched, coarse and then full. */
  async toggle() {
    this.pane.hidden = this.shown;
    if (!this.shown || this.loading || this.pane.dataset.state === "shown") {
      if (this.shown) this.settle();
      return;
    }
    this.loading = true;
    try {
      await this.fetch();
      this.pane.dataset.state = "shown";
    } catch (error) {
      this.say(`The earlier study cannot be shown whole: ${error.message} Hide it and show it again to try once more.`);
      this.pane.dataset.state = "failed";
    } finally {
      this.loading = false;
    }
  }

  async fetch() {
    this.say("Fetching the earlier study …");
    const preview = Stage.ask(this.folder, { coarse: true });
    await this.attach();
    await this.stage.load(preview);
    await this.stage.load(Stage.ask(this.folder, { coarse: false }));
  }

  async attach() {
    if (this.stage) return;
    const stage = new Stage(this.pane.querySelector("canvas"));
    Object.assign(stage, { layout: this.main.layout, window: this.main.window, opacity: this.main.opacity, begins: this.main.shares });
    stage.onPlace = (vox) => {
      this.say(stage.words(vox));
      if (!this.moving) this.wanted = stage.place; // the reader moved it
    };
    stage.onLost = () => this.say("The graphics card let go of these images. Load this page again.");
    await stage.attach();
    this.stage = stage;
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
    if (!this.linked || !this.wanted) return;
    this.wanted = this.wanted.map((mm, axis) => mm + millimetres[axis]);
    if (this.shown) this.settle();
  }

  settle() {
    if (!this.wanted || !this.stage?.slices) return;
    this.moving = true;
    this.stage.goTo(this.wanted);
    this.moving = false;
  }
}
