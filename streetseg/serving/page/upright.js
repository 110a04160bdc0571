// Photos as the service sees them: turned by their Exif orientation.

// Canvas transforms by orientation (Exif 2.32, section 4.6.4) of a stored image of width w and height h.
const TRANSFORMS = {
  2: (w, h) => [-1, 0, 0, 1, w, 0],
  3: (w, h) => [-1, 0, 0, -1, w, h],
  4: (w, h) => [1, 0, 0, -1, 0, h],
  5: (w, h) => [0, 1, 1, 0, 0, 0],
  6: (w, h) => [0, 1, -1, 0, h, 0],
  7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w, h) => [0, -1, 1, 0, 0, w],
};
const ORIENTATION = 0x0112;

// An upright bitmap. Browsers turn JPEG and PNG, but Chromium does not turn WebP: its Exif chunk is renamed, so that
// none does, and it is turned here.
export async function uprightPhoto(blob) {
  const data = new DataView(await blob.arrayBuffer());
  const exif = webpExif(data);
  if (exif === undefined) return createImageBitmap(blob, { imageOrientation: "from-image" });
  const transform = TRANSFORMS[orientation(data, exif + 8)];
  data.setUint32(exif, 0x4e4f4e45);
  const stored = await createImageBitmap(new Blob([data], { type: "image/webp" }));
  if (!transform) return stored;
  const { width, height } = stored;
  const matrix = transform(width, height);
  const canvas = new OffscreenCanvas(...(matrix[0] ? [width, height] : [height, width]));
  const context = canvas.getContext("2d");
  context.setTransform(...matrix);
  context.drawImage(stored, 0, 0);
  return canvas.transferToImageBitmap();
}

// Where the Exif chunk of a WebP begins (RFC 9649, section 2); undefined without one, or for another format.
function webpExif(data) {
  if (data.byteLength < 12 || text(data, 8) !== "WEBP") return undefined;
  for (let at = 12; at + 8 <= data.byteLength; ) {
    if (text(data, at) === "EXIF") return at;
    const length = data.getUint32(at + 4, true);
    at += 8 + length + (length % 2);
  }
  return undefined;
}

// The orientation in a TIFF structure at an offset, perhaps after "Exif\0\0"; 1 if there is none.
function orientation(data, offset) {
  try {
    const start = offset + (text(data, offset) === "Exif" ? 6 : 0);
    const little = data.getUint16(start) === 0x4949;
    const directory = start + data.getUint32(start + 4, little);
    const entries = data.getUint16(directory, little);
    for (let at = directory + 2; at < directory + 2 + 12 * entries; at += 12) {
      if (data.getUint16(at, little) === ORIENTATION) return data.getUint16(at + 8, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return 1;
}

function text(data, at) {
  return String.fromCharCode(...[0, 1, 2, 3].map((offset) => data.getUint8(at + offset)));
}
