// Strokes on their way to the hospital: numbered, in order, one at a time; each stays here until the hospital has it.

import { ask, Refusal, tell } from "./answers.js";

const RUNS = "application/octet-stream";
const PACKED = "application/gzip";
const STROKE_BYTES = 256 * 1024; // more than that the hospital takes only as a whole drawing
const [SOON_MS, LATE_MS] = [2000, 60000];
const MENDED_MOST = 3;
const ELSEWHERE = "The mask was corrected in another tab or window meanwhile. Reload this page to go on from there; what you drew here since is not kept.";

function differs(fault) {
  return fault.code === "stale-drawing" || fault.code === "bad-request"; // a stroke that the hospital cannot lay over what it has
}

export class Uploads {
  /** `pack` returns a promise of the whole drawing as it is when it is called, packed. */
  constructor(claim, pack) {
    this.address = `/masks/${claim}`;
    this.pack = pack;
    this.number = 0; // of the last stroke that was made
    this.waiting = [];
    this.sending = null;
    this.fault = null; // why the first of them is not there yet
    this.stopped = false;
    this.pause = SOON_MS;
    this.onChange = () => {};
    addEventListener("online", () => this.go());
  }

  /** What the hospital holds of the drawing: number, digest, whether it was handed in. */
  async held() {
    return (await ask(this.address)).json();
  }

  put(runs) {
    if (runs.length > STROKE_BYTES) this.putWhole();
    else this.queue(RUNS, runs);
  }

  putWhole() {
    this.queue(PACKED, this.pack());
  }

  queue(kind, body) {
    this.number += 1;
    this.waiting.push({ number: this.number, kind, body });
    this.go();
  }

  /** Send what waits; return a promise of all of it being there, or not. */
  go() {
    if (this.stopped) return Promise.resolve();
    clearTimeout(this.timer);
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
      this.onChange();
    });
    this.onChange();
    return this.sending;
  }

  async sendAll() {
    for (let mended = 0; this.waiting.length; ) {
      const one = this.waiting[0];
      try {
        await this.send(one);
        this.waiting.shift();
        [this.fault, this.pause, mended] = [null, SOON_MS, 0];
        this.onChange();
      } catch (fault) {
        if (!differs(fault) || mended === MENDED_MOST) return this.hold(fault);
        mended += 1;
        try {
          await this.mend(one);
        } catch (other) {
          return this.hold(other);
        }
      }
    }
  }

  async send(one) {
    const body = await one.body; // a whole drawing may still be on the press
    await ask(`${this.address}/strokes/${one.number}`, { method: "PUT", headers: { "Content-Type": one.kind }, body });
  }

  /** The hospital has another drawing: it lost strokes, or wants the whole, unless somebody else goes on with it. */
  async mend(one) {
    const { number } = await this.held();
    if (number >= one.number) throw new Refusal(ELSEWHERE, "stale-drawing", 409);
    this.number = number + 1;
    this.waiting = [{ number: this.number, kind: PACKED, body: this.pack() }];
  }

  hold(fault) {
    this.fault = fault;
    this.stopped = !fault.passes;
    if (this.stopped) return;
    this.timer = setTimeout(() => this.go(), this.pause);
    this.pause = Math.min(2 * this.pause, LATE_MS);
  }

  /** Let the drawing be the reader's mask; `digest` returns a promise of its SHA-256 as it is now. Return what the hospital says of it. */
  async handIn(digest) {
    if (this.number === 0) this.putWhole(); // the machine's mask as it is: the reader means it
    for (let whole = false; ; whole = true) {
      const { number } = this; // and the digest of the same moment
      const sha256 = await digest();
      await this.go();
      if (this.fault) throw this.fault;
      try {
        return await tell(`${this.address}/hand-in`, { number, sha256 });
      } catch (fault) {
        if (whole || fault.code !== "stale-drawing") throw fault;
        this.putWhole();
      }
    }
  }
}
