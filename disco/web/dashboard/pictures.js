// Examples from images on disk, drawn to the size that the model takes.

/** Tell a file's label by its folder, or by its name's beginning: `7/a.png`, `7_a.png`. */
export function labelOf(file, labels) {
  const folders = (file.webkitRelativePath || file.name).split("/");
  const candidates = [...folders.slice(0, -1).reverse(), file.name.split(/[_.\-\s]/)[0]];
  return candidates.find((candidate) => labels.includes(candidate)) ?? null;
}

/** Read one image as numbers from 0 to 255, or to 1 if the task says normalize: rows, columns, channels. */
export async function readPicture(file, [height, width, channels], normalize) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} is not an image that this browser can read.`);
  }
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const values = new Float32Array(height * width * channels);
  const unit = normalize ? 255 : 1;
  for (let pixel = 0; pixel < height * width; pixel++) {
    const [red, green, blue] = data.subarray(4 * pixel, 4 * pixel + 3);
    if (channels === 1) values[pixel] = (0.299 * red + 0.587 * green + 0.114 * blue) / unit;
    else values.set([red / unit, green / unit, blue / unit], 3 * pixel);
  }
  return values;
}
