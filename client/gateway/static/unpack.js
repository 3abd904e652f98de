// Beside the page's thread: unpacks volumes as their bytes come, and makes of each slab what the card takes.
//
// A message is {id, chunk} or {id, end}. What goes back: {id, head}, a {id, from, count, texels} for each slab that shows something, {id, whole} or {id, error}.

const HEADER_BYTES = 352;
const SLAB_BYTES = 1 << 22; // on the card: some milliseconds of work there, behind which nothing else waits long
const NOT_WHOLE = "The volume did not arrive whole.";
const BYTES = { 2: 1, 4: 2 }; // NIfTI datatypes that the hospital sends: labels and Hounsfield units

/** Half a float (IEEE 754 binary16): exact to ±2048 HU, to 2 HU beyond and to 16 at the end. */
function half(hu) {
  if (hu === 0) return 0;
  const size = Math.abs(hu);
  const power = 31 - Math.clz32(size);
  return (hu < 0 ? 0x8000 : 0) + ((power + 15) << 10) + Math.round((size / 2 ** power - 1) * 1024); // a full fraction carries into the power
}

// For each voxel two bytes: Hounsfield units by their bits, or how much is ground glass (the first byte) and consolidation.
const HALVES = Uint16Array.from({ length: 1 << 16 }, (_, bits) => half((bits << 16) >> 16));
const SHARES = Uint16Array.of(0, 0x00ff, 0xff00, ...new Array(253).fill(0));

class Volume {
  constructor(id, begun) {
    const view = new DataView(begun.buffer, begun.byteOffset, HEADER_BYTES);
    [this.width, this.height, this.slices] = [42, 44, 46].map((offset) => view.getInt16(offset, true));
    this.id = id;
    this.bytes = BYTES[view.getInt16(70, true)];
    this.plane = this.width * this.height;
    this.slab = Math.max(1, Math.floor(SLAB_BYTES / (2 * this.plane)));
    this.whole = new Uint8Array(HEADER_BYTES + this.slices * this.plane * this.bytes);
    this.have = 0;
    this.given = 0; // slices that went to the card
    postMessage({ id, head: { width: this.width, height: this.height, slices: this.slices, labels: this.bytes === 1 } });
    this.add(begun);
  }

  add(bytes) {
    if (this.have + bytes.length > this.whole.length) throw new Error(NOT_WHOLE);
    this.whole.set(bytes, this.have);
    this.have += bytes.length;
    const whole = Math.floor((this.have - HEADER_BYTES) / (this.plane * this.bytes));
    while (this.given < this.slices && whole >= Math.min(this.slices, this.given + this.slab)) this.give();
  }

  give() {
    const from = this.given;
    const count = Math.min(this.slab, this.slices - from);
    this.given += count;
    const offset = HEADER_BYTES + from * this.plane * this.bytes;
    const texels = new Uint16Array(count * this.plane);
    const shown = this.bytes === 1
      ? translate(new Uint8Array(this.whole.buffer, offset, texels.length), SHARES, texels)
      : translate(new Uint16Array(this.whole.buffer, offset, texels.length), HALVES, texels);
    if (shown) postMessage({ id: this.id, from, count, texels: texels.buffer }, [texels.buffer]);
  }

  close() {
    if (this.have !== this.whole.length) throw new Error(NOT_WHOLE);
    postMessage({ id: this.id, whole: this.whole.buffer }, [this.whole.buffer]);
  }
}

/** Look each voxel up in a table; say whether anything else than nothing came out. */
function translate(voxels, table, texels) {
  let any = 0;
  for (let index = 0; index < voxels.length; index += 1) {
    const value = table[voxels[index]];
    texels[index] = value;
    any |= value;
  }
  return any !== 0;
}

async function unpack(id, stream) {
  let [begun, volume] = [new Uint8Array(0), null];
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (volume) {
      volume.add(value);
      continue;
    }
    const joined = new Uint8Array(begun.length + value.length);
    joined.set(begun);
    joined.set(value, begun.length);
    begun = joined;
    if (begun.length >= HEADER_BYTES) volume = new Volume(id, begun);
  }
  if (!volume) throw new Error(NOT_WHOLE);
  volume.close();
}

const packed = new Map(); // by id, where the chunks go

onmessage = ({ data: { id, chunk, end } }) => {
  if (!packed.has(id)) {
    const unzip = new DecompressionStream("gzip");
    packed.set(id, unzip.writable.getWriter());
    unpack(id, unzip.readable).catch((error) => postMessage({ id, error: error.message }));
  }
  const done = end ? packed.get(id).close() : packed.get(id).write(chunk);
  done.catch(() => {}); // what is wrong with the bytes is said by whoever reads them
  if (end) packed.delete(id);
};
