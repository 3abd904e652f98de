// NiiVue compiles 47 programs before it shows anything. Of these we need a few; the others become one that draws nothing.
//
// Without a graphics card each program costs the page's thread a tenth of a second. The patterns fit the pinned bundle (`client/gateway/viewer.py`).

const NEEDED = [
  [/canvasWidthHeight/, /lineColor|circleColor|fontTexture|bmpTexture/], // lines and letters on a plane
  [/mvpMtx/, /surfaceColor/], // the cross-hairs
];
const NOTHING = [
  "#version 300 es\nvoid main() { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); }",
  "#version 300 es\nprecision lowp float;\nout vec4 colour;\nvoid main() { colour = vec4(0.0); }",
];
const OWN = WebGL2RenderingContext.prototype;
const DURING = ["shaderSource", "compileShader", "attachShader", "linkProgram", "getProgramParameter", "getUniformLocation"];

function needed(vertex, fragment) {
  return NEEDED.some(([one, other]) => one.test(vertex) && other.test(fragment));
}

/** Let `attach` make its programs on `gl`, and only those that we need in earnest. */
export async function withFewPrograms(gl, attach) {
  const [texts, parts, empty] = [new Map(), new Map(), new Set()];
  const link = (program, pairs) => {
    for (const [shader, text] of pairs) {
      OWN.shaderSource.call(gl, shader, text);
      OWN.compileShader.call(gl, shader);
      OWN.attachShader.call(gl, program, shader);
    }
    OWN.linkProgram.call(gl, program);
  };
  const nothing = gl.createProgram();
  link(nothing, NOTHING.map((text, index) => [gl.createShader(index ? gl.FRAGMENT_SHADER : gl.VERTEX_SHADER), text]));

  gl.shaderSource = (shader, text) => texts.set(shader, text);
  gl.compileShader = () => {};
  gl.attachShader = (program, shader) => parts.set(program, [...(parts.get(program) ?? []), shader]);
  gl.linkProgram = (program) => {
    const pairs = parts.get(program).map((shader) => [shader, texts.get(shader)]);
    if (needed(...pairs.map(([, text]) => text))) link(program, pairs);
    else empty.add(program);
  };
  gl.getProgramParameter = (program, what) => empty.has(program) || OWN.getProgramParameter.call(gl, program, what);
  gl.getUniformLocation = (program, name) => (empty.has(program) ? null : OWN.getUniformLocation.call(gl, program, name));
  gl.useProgram = (program) => OWN.useProgram.call(gl, empty.has(program) ? nothing : program);
  try {
    await attach();
  } finally {
    for (const name of DURING) delete gl[name]; // the last one stays: it is called whenever a volume is shown
  }
}
