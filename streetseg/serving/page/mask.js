// A worker that reads category ids from a palette PNG, by colour.

const OPAQUE = 0xff000000;
const BAND = 256; // rows read at a time: the size of a canvas is limited
const WHITE = 0xffffffff, UNSEEN = 255; // pixels that the model does not see, unless a class is white

self.onmessage = async ({ data: { png, colors } }) => {
  try {
    const answer = await read(png, colors);
    self.postMessage(answer, [answer.ids.buffer]);
  } catch (error) {
    self.postMessage({ error: error.message });
  }
};

// {width, height, ids, counts}: ids row by row, counts of pixels by id.
async function read(png, colors) {
  const bitmap = await createImageBitmap(png, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, BAND).getContext("2d", { willReadFrequently: true });
  const known = new Map([[WHITE, UNSEEN]]);
  colors.forEach(([red, green, blue], id) => known.set((OPAQUE | (blue << 16) | (green << 8) | red) >>> 0, id));
  const ids = new Uint8Array(width * height);
  const counts = new Array(UNSEEN + 1).fill(0);
  let color, id;
  for (let top = 0; top < height; top += BAND) {
    context.drawImage(bitmap, 0, -top);
    const rows = Math.min(BAND, height - top);
    const pixels = new Uint32Array(context.getImageData(0, 0, width, rows).data.buffer);
    for (let at = 0; at < pixels.length; at++) {
      if (pixels[at] !== color) {
        color = pixels[at];
        id = known.get(color);
        if (id === undefined) throw new Error("the mask holds a colour of no class");
      }
      ids[top * width + at] = id;
      counts[id]++;
    }
  }
  return { width, height, ids, counts };
}
