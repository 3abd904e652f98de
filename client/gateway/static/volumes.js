// Fetches volumes of the study; they are unpacked beside the page's thread, slab by slab, while the rest is on its way.

import { ask, Refusal } from "./answers.js";

const BROKEN_OFF = "The line broke off before all of it had come. Check your network and try again.";

// Our windows are fixed in Hounsfield units; looking for the darkest and brightest of 80 million voxels would only hold up the page.
niivue.NVImage.prototype.calMinMax = function calMinMax() {
  const [low, high] = [this.hdr.cal_min, this.hdr.cal_max];
  Object.assign(this, { cal_min: low, cal_max: high, robust_min: low, robust_max: high, global_min: low, global_max: high });
  return [low, high, low, high];
};

const asked = new Map(); // by id, who hears what the worker says
let worker = null;
let last = 0;

/** Return the worker; one that could not be fetched or fell is not kept. */
function unpacker() {
  if (worker) return worker;
  worker = new Worker("/static/unpack.js");
  worker.onmessage = ({ data }) => asked.get(data.id)?.(data);
  worker.onerror = () => {
    worker = null;
    for (const hear of asked.values()) hear({ error: "The browser could not unpack it. Close other tabs if memory is short, then try again." });
  };
  return worker;
}

async function send(address, id, onShare, signal) {
  const [answer, beside] = [await ask(address, { signal }), unpacker()];
  const expected = Number(answer.headers.get("Content-Length"));
  let have = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read().catch(() => {
      throw new Refusal(BROKEN_OFF, "", 0);
    });
    if (done) break;
    have += value.length;
    if (expected) onShare(Math.min(1, have / expected)); // whoever stands between may have left the length out
    beside.postMessage({ id, chunk: value }, [value.buffer]);
  }
  beside.postMessage({ id, end: true });
}

/** Begin to fetch a packed volume. What is returned says when somebody wants it: `onHead` and `onSlab` hear of it as it comes, the promise is of an
 * ArrayBuffer of exactly the size that its header states. Nothing more comes after `signal` says so. */
export function fetching(address, onShare = () => {}, signal = undefined) {
  const id = (last += 1);
  const early = []; // what came before anybody asked
  asked.set(id, (said) => early.push(said));
  send(address, id, onShare, signal).catch((fault) => asked.get(id)?.({ error: fault.message }));
  return (onHead, onSlab) => new Promise((resolve, reject) => {
    const hear = ({ head, texels, from, count, whole, error }) => {
      if (error) throw new Error(error);
      if (head) onHead(head);
      else if (texels) onSlab(from, count, texels);
      else resolve(whole);
    };
    asked.set(id, (said) => {
      try {
        hear(said);
      } catch (fault) {
        reject(fault);
      }
    });
    early.forEach(asked.get(id));
  }).finally(() => asked.delete(id));
}

export const LABELS = {
  // 0 nothing, 1 ground glass, 2 consolidation: two hues that stay apart for every kind of colour vision
  R: [0, 53, 255], G: [0, 201, 166], B: [0, 255, 43], A: [0, 255, 255], I: [0, 1, 2],
  labels: ["", "ground glass", "consolidation"],
};

/** Return an image of Hounsfield units. */
export function ctImage(buffer) {
  return niivue.NVImage.loadFromUrl({ url: buffer, name: "ct.nii", colormap: "gray", cal_min: -1024, cal_max: 3071 });
}

/** Return an image of labels. */
export function maskImage(buffer) {
  return niivue.NVImage.loadFromUrl({ url: buffer, name: "mask.nii", cal_min: 0, cal_max: 2 });
}
