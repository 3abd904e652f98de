// Adds "Save as PNG" beside each chart's SVG: the same file, drawn by this browser at three times its size. Nothing is sent anywhere.

const TIMES = 3;

/** Draw the SVG at an address of ours and return the picture as a PNG. */
async function drawn(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = document.createElement("canvas");
  const box = new DOMParser().parseFromString(await (await fetch(address)).text(), "image/svg+xml").documentElement.viewBox.baseVal;
  canvas.width = box.width * TIMES;
  canvas.height = box.height * TIMES;
  const paper = canvas.getContext("2d");
  paper.fillStyle = "#fff";
  paper.fillRect(0, 0, canvas.width, canvas.height);
  paper.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

async function save(link) {
  const address = URL.createObjectURL(await drawn(link.href));
  const file = document.createElement("a");
  file.href = address;
  file.download = new URL(link.href).pathname.split("/").pop().replace(".svg", ".png");
  file.click();
  URL.revokeObjectURL(address);
}

for (const link of document.querySelectorAll("a[data-picture]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = link.dataset.picture;
  button.addEventListener("click", () => save(link));
  link.after(" ", button);
}
