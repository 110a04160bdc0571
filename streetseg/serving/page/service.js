// Requests to the service, and how their answers are read.

const VIEW = 2048; // longest side, in pixels, of the displayed image

// Options of createImageBitmap for masks, whose colours are ids.
export const EXACT = { colorSpaceConversion: "none", premultiplyAlpha: "none" };

// An error shown to the user; `code` is the HTTP status, 0 if there is no answer.
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
    throw new Failure("The service does not answer, or accepts no image of this size.");
  });
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Failure(error ?? `The service answers with status ${response.status}.`, response.status);
}

// {width, height, ids, counts} of a mask, read in a worker so that the page stays responsive.
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

// A bitmap scaled down for display, with a `resizeQuality` of createImageBitmap.
export async function forScreen(original, resizeQuality) {
  const shrink = VIEW / Math.max(original.width, original.height);
  if (shrink >= 1) return original;
  const [resizeWidth, resizeHeight] = [original.width, original.height].map((n) => Math.max(1, Math.round(n * shrink)));
  const small = await createImageBitmap(original, { resizeWidth, resizeHeight, resizeQuality });
  original.close();
  return small;
}
