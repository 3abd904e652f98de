// What a stroke changed, on its way to the hospital: runs of voxels in the order of the file. Pure; `client/gateway/strokes.py` reads it.

const LABELS = 4; // a label takes two bits

/** Where the voxels of a drawing lie: in the file as it was written, in NiiVue's drawing turned to right, anterior, superior. */
export class Grid {
  /** `dims` are the file's, as NIfTI has them; `perm` says for each turned axis which of the file's it is, from 1, negative if it runs the other way. */
  constructor(dims, perm) {
    const strides = [1, dims[1], dims[1] * dims[2]];
    this.axes = Array.from(perm, (signed) => {
      const axis = Math.abs(signed) - 1;
      const [size, stride] = [dims[axis + 1], strides[axis]];
      return { size, first: signed < 0 ? (size - 1) * stride : 0, step: signed < 0 ? -stride : stride };
    });
    this.size = this.axes.map(({ size }) => size);
    this.strides = [1, this.size[0], this.size[0] * this.size[1]];
  }

  /** Where in the file a voxel of the drawing is. */
  inFile(place) {
    const [width, height] = this.size;
    const at = [place % width, Math.floor(place / width) % height, Math.floor(place / (width * height))];
    return this.axes.reduce((sum, { first, step }, axis) => sum + first + step * at[axis], 0);
  }

  /** Return labels of the file as a drawing has them, or with `back` the other way. */
  turned(labels, back = false) {
    const to = new Uint8Array(labels.length);
    const [across, down, deep] = this.axes;
    let drawn = 0;
    for (let z = 0; z < deep.size; z += 1) {
      for (let y = 0; y < down.size; y += 1) {
        let filed = across.first + down.first + y * down.step + deep.first + z * deep.step;
        for (let x = 0; x < across.size; x += 1, drawn += 1, filed += across.step) {
          if (back) to[filed] = labels[drawn];
          else to[drawn] = labels[filed];
        }
      }
    }
    return to;
  }

  /** Visit the voxels of a plane across an axis of the drawing, row by row. */
  visit(axis, index, see) {
    const [along, beyond] = [0, 1, 2].filter((other) => other !== axis);
    let order = 0;
    for (let row = 0; row < this.size[beyond]; row += 1) {
      let place = index * this.strides[axis] + row * this.strides[beyond];
      for (let column = 0; column < this.size[along]; column += 1, order += 1, place += this.strides[along]) see(place, order);
    }
  }

  /** Return the labels of a plane, row by row. */
  plane(labels, axis, index) {
    const found = new Uint8Array((this.size[0] * this.size[1] * this.size[2]) / this.size[axis]);
    this.visit(axis, index, (place, order) => { found[order] = labels[place]; });
    return found;
  }
}

function put(bytes, number) {
  let left = number;
  for (; left > 127; left = Math.floor(left / 128)) bytes.push((left % 128) + 128);
  bytes.push(left);
}

/** Return the runs of changed voxels: for each how many are left out before it, and its length times four plus its label, in LEB128. */
export function writeRuns(grid, places, labels) {
  const changed = Float64Array.from(places, (place, order) => grid.inFile(place) * LABELS + labels[order]).sort();
  const bytes = [];
  for (let from = 0, end = 0, length; from < changed.length; from += length) {
    for (length = 1; changed[from + length] === changed[from] + length * LABELS; ) length += 1;
    const begin = Math.floor(changed[from] / LABELS);
    put(bytes, begin - end);
    put(bytes, length * LABELS + (changed[from] % LABELS));
    end = begin + length;
  }
  return Uint8Array.from(bytes);
}
