// Fetches volumes of the study and unpacks them beside the page's thread, so that the page goes on answering.

const HEADER_BYTES = 352;
const BYTES = { 2: 1, 4: 2 }; // NIfTI datatypes that the hospital sends: labels and Hounsfield units

// Our windows are fixed in Hounsfield units; looking for the darkest and brightest of 80 million voxels would only hold up the page.
niivue.NVImage.prototype.calMinMax = function calMinMax() {
  const [low, high] = [this.hdr.cal_min, this.hdr.cal_max];
  Object.assign(this, { cal_min: low, cal_max: high, robust_min: low, robust_max: high, global_min: low, global_max: high });
  return [low, high, low, high];
};

/** Return how many bytes a volume has, by its header. */
function sizeOf(head) {
  const view = new DataView(head.buffer, head.byteOffset, HEADER_BYTES);
  const dims = [42, 44, 46].map((offset) => view.getInt16(offset, true));
  return HEADER_BYTES + dims.reduce((product, n) => product * n, BYTES[view.getInt16(70, true)]);
}

/** Count what comes over the line. */
function counting(answer, onShare) {
  const expected = Number(answer.headers.get("Content-Length"));
  let have = 0;
  return new TransformStream({
    transform(chunk, out) {
      have += chunk.length;
      onShare(Math.min(1, have / expected));
      out.enqueue(chunk);
    },
  });
}

/** Fetch a packed volume and return it unpacked, an ArrayBuffer of exactly the size that its header states. */
export async function unpacked(address, onShare = () => {}) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error((await answer.json()).detail);
  const stream = answer.body.pipeThrough(counting(answer, onShare)).pipeThrough(new DecompressionStream("gzip"));
  let [begun, whole, have] = [new Uint8Array(0), null, 0];
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (whole === null) {
      const joined = new Uint8Array(begun.length + value.length);
      joined.set(begun);
      joined.set(value, begun.length);
      begun = joined;
      if (begun.length < HEADER_BYTES) continue;
      whole = new Uint8Array(sizeOf(begun));
      whole.set(begun);
      have = begun.length;
    } else {
      whole.set(value, have);
      have += value.length;
    }
  }
  if (whole === null || have !== whole.length) throw new Error("The volume did not arrive whole.");
  return whole.buffer;
}

export const LABELS = {
  // 0 nothing, 1 ground glass, 2 consolidation: two hues that stay apart for every kind of colour vision
  R: [0, 53, 255], G: [0, 201, 166], B: [0, 255, 43], A: [0, 255, 255], I: [0, 1, 2],
  labels: ["", "ground glass", "consolidation"],
};

/** Return an image of Hounsfield units in a window. */
export function ctImage(buffer, [low, high]) {
  return niivue.NVImage.loadFromUrl({ url: buffer, name: "ct.nii", colormap: "gray", cal_min: low, cal_max: high });
}

/** Return an image of labels, laid over the other. */
export async function maskImage(buffer) {
  const image = await niivue.NVImage.loadFromUrl({ url: buffer, name: "mask.nii", cal_min: 0, cal_max: 2 });
  image.setColormapLabel(LABELS);
  return image;
}
