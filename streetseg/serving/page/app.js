// The page of the service: sends an image, lays the mask over it, and names the class of each pixel.

import { EXACT, Failure, ask, forScreen, readMask } from "./service.js";
import { uprightPhoto } from "./upright.js";

const STEP = 1 / 64; // fraction of the longest side that an arrow key moves the crosshair

const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((each) => [each.id, each]));
const { canvas, confidence, crosshair, error, legend, opacity, probe, stage, status, token } = element;
const context = canvas.getContext("2d");

const UNSEEN = { name: "not seen by the model", color: [255, 255, 255] };

let model = null; // the answer of GET /model
let file = null; // the image sent last
let running = new AbortController(); // aborts its request
let shown = null; // the displayed result: {photo, mask, png, version, width, height, ids, counts, sure}
let zoom = 1;
const hidden = new Set(); // ids of the categories that are switched off
let point = null; // [column, row] of the crosshair when the keyboard moves it
let maskUrl = "";

// --- requests

async function loadModel(signal) {
  model = await (await ask("model", token.value, { signal })).json();
  hidden.clear();
  const score = model.metrics?.miou;
  element.model.textContent = model.name;
  element.version.textContent = model.version;
  element.score.textContent = score === undefined ? "–" : score.toFixed(3);
  if (!shown) drawLegend();
}

async function segment(image) {
  running.abort();
  const { signal } = (running = new AbortController());
  file = image;
  clear();
  status.textContent = `Segmenting ${file.name} …`;
  stage.ariaBusy = "true";
  try {
    const started = performance.now();
    const preview = uprightPhoto(file)
      .then((photo) => forScreen(photo, "medium"))
      .then((photo) => showPhoto(photo, signal), () => null);
    const body = new FormData();
    body.append("image", file);
    const response = await ask("segment", token.value, { method: "POST", body, signal });
    const png = await response.blob();
    const answered = performance.now() - started;
    const version = response.headers.get("X-Model-Version");
    if (version !== model?.version) await loadModel(signal);
    const colors = model.label_space.categories.map((category) => category.color);
    const [photo, mask, read] = await Promise.all([
      preview,
      createImageBitmap(png, EXACT).then((bitmap) => forScreen(bitmap, "pixelated")),
      readMask(png, colors, signal),
    ]);
    if (signal.aborted) return;
    if (!photo) throw new Failure("This browser cannot show the image.");
    shown = { photo, mask, png, version, ...read };
    showAnswer();
    if (confidence.checked) await loadConfidence(signal);
    if (signal.aborted) return;
    stage.ariaBusy = "false";
    element.version.textContent = version;
    element.answered.textContent = `${Math.round(answered)} ms`;
    element.total.textContent = `${Math.round(performance.now() - started)} ms`;
  } catch (reason) {
    if (!signal.aborted) fail(reason);
  }
}

// The probability of the class of each pixel, which the service draws: white is 1. If another model
// answers by now, the image is segmented again, since the two belong together.
async function loadConfidence(signal) {
  const body = new FormData();
  body.append("image", file);
  const response = await ask("confidence", token.value, { method: "POST", body, signal });
  const png = await response.blob();
  if (signal.aborted) return;
  if (response.headers.get("X-Model-Version") !== shown.version) return segment(file);
  const bitmap = await createImageBitmap(png, EXACT).then((bitmap) => forScreen(bitmap, "medium"));
  if (signal.aborted) return;
  shown.sure = { png, canvas: painted(bitmap) };
  draw();
}

// --- display

function clear() {
  shown = point = null;
  error.textContent = status.textContent = probe.textContent = "";
  for (const name of ["size", "answered", "total"]) element[name].textContent = "–";
  for (const name of ["retry", "access", "crosshair"]) element[name].hidden = true;
  element.tools.inert = true;
  drawLegend();
}

function fail({ message, code }) {
  clear();
  stage.ariaBusy = "false";
  show("prompt");
  // The service names the form field, which users do not see.
  const text = code ? message.replace("the field 'image'", file ? `“${file.name}”` : "the image") : message;
  error.textContent = text;
  element.access.hidden = code !== 401;
  element.retry.hidden = code >= 400 && code < 429;
  if (code === 401) token.focus();
}

function show(part) {
  element.prompt.hidden = part !== "prompt";
  for (const name of ["view", "tools", "keys"]) element[name].hidden = part === "prompt";
}

function showPhoto(photo, signal) {
  if (signal.aborted) return photo;
  [canvas.width, canvas.height] = [photo.width, photo.height];
  element.view.style.setProperty("--ratio", photo.width / photo.height);
  setZoom(1);
  context.drawImage(photo, 0, 0);
  show("frame");
  return photo;
}

function showAnswer() {
  const { png, width, height } = shown;
  draw();
  drawLegend();
  element.tools.inert = false;
  element.size.textContent = `${width} × ${height}`;
  URL.revokeObjectURL(maskUrl);
  element["save-mask"].href = maskUrl = URL.createObjectURL(png);
  element["save-mask"].download = `${stem()}_mask.png`;
  const top = [...legend.rows].slice(0, 3).map((row) => row.innerText.replace(/\s+/, " "));
  status.textContent = `Segmented ${file.name}: ${top.join(", ")}.`;
}

const stem = () => file.name.replace(/\.\w+$/, "");

function painted(bitmap) {
  const copy = new OffscreenCanvas(bitmap.width, bitmap.height);
  copy.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
  return copy;
}

// A mask without the categories that are switched off.
function filtered(mask) {
  if (!hidden.size) return mask;
  const copy = painted(mask);
  const context = copy.getContext("2d");
  const image = context.getImageData(0, 0, copy.width, copy.height);
  const { data } = image;
  const key = (red, green, blue) => (red << 16) | (green << 8) | blue;
  const off = new Set([...hidden].map((id) => key(...model.label_space.categories[id].color)));
  for (let at = 0; at < data.length; at += 4) {
    if (off.has(key(data[at], data[at + 1], data[at + 2]))) data[at + 3] = 0;
  }
  context.putImageData(image, 0, 0);
  return copy;
}

function blend(target, photo, mask) {
  const { width, height } = target.canvas;
  target.globalAlpha = 1;
  target.drawImage(photo, 0, 0, width, height);
  target.globalAlpha = opacity.value / 100;
  target.imageSmoothingEnabled = false;
  target.drawImage(mask, 0, 0, width, height);
}

function draw() {
  element.percent.textContent = `${opacity.value} %`;
  const sure = confidence.checked && shown?.sure;
  element.sureness.hidden = !sure;
  if (shown) blend(context, shown.photo, sure ? sure.canvas : (shown.visible ??= filtered(shown.mask)));
}

function setZoom(factor) {
  zoom = Math.min(Math.max(factor, 1), 16);
  element.frame.style.setProperty("--zoom", zoom);
  element.view.classList.toggle("zoomed", zoom > 1);
  element.zoom.textContent = `${Math.round(100 * zoom)} %`;
}

// Zooms so that what is at a point of the window, by default the crosshair or the middle, stays there.
function zoomBy(factor, [x, y] = focus()) {
  const before = canvas.getBoundingClientRect();
  setZoom(zoom * factor);
  const after = canvas.getBoundingClientRect();
  element.view.scrollLeft += ((x - before.left) / before.width) * after.width - (x - after.left);
  element.view.scrollTop += ((y - before.top) / before.height) * after.height - (y - after.top);
}

function focus() {
  const { left, top, width, height } = (crosshair.hidden ? element.view : crosshair).getBoundingClientRect();
  return [left + width / 2, top + height / 2];
}

function switchCategory(id, on) {
  if (on) hidden.delete(id);
  else hidden.add(id);
  element.all.textContent = hidden.size ? "Show all" : "Hide all";
  if (shown) shown.visible = null;
  draw();
}

function drawLegend() {
  const categories = model?.label_space.categories ?? [];
  const counts = shown?.counts ?? [];
  const order = [...categories.keys()].sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0));
  legend.replaceChildren(
    ...order.map((id) => {
      const percent = shown ? (100 * counts[id]) / shown.ids.length : 0;
      const row = document.createElement("tr");
      const name = Object.assign(document.createElement("th"), { scope: "row" });
      const share = document.createElement("td");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !hidden.has(id) });
      box.addEventListener("change", () => switchCategory(id, box.checked));
      const label = document.createElement("label");
      label.append(box, swatch(categories[id].color), categories[id].name);
      name.append(label);
      share.textContent = shown ? `${percent.toFixed(1)} %` : "–";
      row.dataset.id = id;
      row.style.setProperty("--share", `${percent}%`);
      row.style.setProperty("--color", `rgb(${categories[id].color})`);
      row.append(name, share);
      return row;
    }),
  );
}

function swatch(color) {
  const span = Object.assign(document.createElement("span"), { className: "swatch" });
  span.style.backgroundColor = `rgb(${color})`;
  return span;
}

// --- the class under the pointer

function name([column, row]) {
  const id = shown.ids[row * shown.width + column];
  const { name, color } = model.label_space.categories[id] ?? UNSEEN;
  const [x, y] = [(column + 0.5) / shown.width, (row + 0.5) / shown.height];
  const text = name + sureness(x, y);
  if (probe.textContent !== text) probe.replaceChildren(swatch(color), text);
  element.frame.style.setProperty("--x", `${100 * x}%`);
  element.frame.style.setProperty("--y", `${100 * y}%`);
  probe.classList.toggle("below", y < 0.2);
  for (const each of legend.rows) each.classList.toggle("here", each.dataset.id === String(id));
}

function sureness(x, y) {
  if (!confidence.checked || !shown.sure) return "";
  const map = shown.sure.canvas;
  const [value] = map.getContext("2d").getImageData(Math.floor(x * map.width), Math.floor(y * map.height), 1, 1).data;
  return `, ${Math.round(value / 2.55)} %`;
}

function leave() {
  probe.textContent = "";
  crosshair.hidden = true;
  for (const each of legend.rows) each.classList.remove("here");
}

const within = (value, length) => Math.min(Math.max(Math.floor(value), 0), length - 1);

function follow({ clientX, clientY }) {
  if (!shown) return;
  const box = canvas.getBoundingClientRect();
  crosshair.hidden = true;
  point = [
    within(((clientX - box.left) / box.width) * shown.width, shown.width),
    within(((clientY - box.top) / box.height) * shown.height, shown.height),
  ];
  name(point);
}

function steer(event) {
  const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, 0: 1 / zoom }[event.key];
  if (shown && factor && !event.ctrlKey && !event.metaKey) return zoomBy(factor);
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!shown || (!way && event.type === "keydown")) return;
  const { width, height } = shown;
  const step = event.shiftKey ? 1 : Math.ceil(Math.max(width, height) * STEP);
  const [x, y] = point ?? [width / 2, height / 2];
  const [right, down] = way ?? [0, 0];
  point = [within(x + right * step, width), within(y + down * step, height)];
  crosshair.hidden = false;
  name(point);
  crosshair.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (way) event.preventDefault();
}

canvas.addEventListener("pointermove", follow);
canvas.addEventListener("pointerdown", follow);
canvas.addEventListener("pointerleave", ({ pointerType }) => pointerType !== "touch" && leave());
canvas.addEventListener("keydown", steer);
canvas.addEventListener("focus", (event) => canvas.matches(":focus-visible") && steer(event));
canvas.addEventListener("blur", leave);

// --- choosing, dropping, pasting and saving images

for (const input of [element.file, element.camera]) {
  input.addEventListener("change", () => {
    if (input.files.length) segment(input.files[0]);
    input.value = ""; // allows choosing the same file again
  });
}

document.addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData.files.length) segment(clipboardData.files[0]);
});

const drag = (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  stage.classList.toggle("over", event.type === "dragover");
  if (event.type === "drop") segment(event.dataTransfer.files[0]);
};
for (const type of ["dragover", "dragleave", "drop"]) document.addEventListener(type, drag);

for (const button of document.querySelectorAll(".samples button")) {
  button.addEventListener("click", async () => {
    const { src } = button.querySelector("img");
    try {
      const blob = await (await ask(src, token.value)).blob();
      segment(new File([blob], src.split("/").pop(), { type: blob.type }));
    } catch (reason) {
      fail(reason);
    }
  });
}

opacity.addEventListener("input", draw);

element["zoom-in"].addEventListener("click", () => zoomBy(1.5));
element["zoom-out"].addEventListener("click", () => zoomBy(1 / 1.5));
element.view.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomBy(2 ** (-event.deltaY / 200), [event.clientX, event.clientY]);
  },
  { passive: false },
);

confidence.addEventListener("change", () => {
  const { signal } = running;
  if (confidence.checked && shown && !shown.sure) loadConfidence(signal).catch((why) => signal.aborted || fail(why));
  else draw();
});

element.all.addEventListener("click", () => {
  const on = hidden.size > 0;
  for (const box of legend.querySelectorAll("input")) {
    box.checked = on;
    switchCategory(Number(box.closest("tr").dataset.id), on);
  }
});

element["save-overlay"].addEventListener("click", async () => {
  const download = `${stem()}_overlay.png`;
  const { width, height, png } = shown;
  const sure = confidence.checked && shown.sure;
  const [photo, mask] = await Promise.all([uprightPhoto(file), createImageBitmap(sure ? sure.png : png, EXACT)]);
  const target = Object.assign(document.createElement("canvas"), { width, height });
  blend(target.getContext("2d"), photo, sure ? mask : filtered(mask));
  target.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { download });
    link.href = URL.createObjectURL(blob);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
});

// --- retry

const start = () => (file ? segment(file) : (clear(), loadModel().catch(fail)));
element.retry.addEventListener("click", start);
element.access.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
start();
