// What the page asks of the service, and how it reads the answers.

const VIEW = 2048; // longest side, in pixels, of what is drawn on the screen

// Options of createImageBitmap: for masks, whose colours are ids, and for photos.
export const EXACT = { colorSpaceConversion: "none", premultiplyAlpha: "none", resizeQuality: "pixelated" };
export const SMOOTH = { imageOrientation: "from-image", resizeQuality: "medium" };

// What a person is told went wrong; `code` is the status of the answer, 0 without one.
export class Failure extends Error {
  constructor(message, code = 0) {
    super(message);
    this.code = code;
  }
}

export async function ask(path, token, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers }).catch((reason) => {
    if (options.signal?.aborted) throw reason;
    throw new Failure("The service does not answer, or takes no picture of this size.");
  });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Failure(error ?? `The service answers with status ${response.status}.`, response.status);
}

// {width, height, ids, counts} of a mask, read beside the page so that it stays responsive.
export function readMask(png, colors, signal) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("mask.js", import.meta.url));
    const end = (settle, value) => {
      worker.terminate();
      settle(value);
    };
    signal.addEventListener("abort", () => end(reject, signal.reason));
    worker.onerror = () => end(reject, new Failure("The mask cannot be read."));
    worker.onmessage = ({ data }) =>
      data.error ? end(reject, new Failure(`The answer is unusable: ${data.error}.`)) : end(resolve, data);
    worker.postMessage({ png, colors });
  });
}

// A picture as it is drawn on the screen, not larger than need be.
export async function forScreen(blob, options) {
  const whole = await createImageBitmap(blob, options);
  const shrink = VIEW / Math.max(whole.width, whole.height);
  if (shrink >= 1) return whole;
  const [resizeWidth, resizeHeight] = [whole.width, whole.height].map((n) => Math.max(1, Math.round(n * shrink)));
  const small = await createImageBitmap(whole, { resizeWidth, resizeHeight, resizeQuality: options.resizeQuality });
  whole.close();
  return small;
}
