// Runs the page's JavaScript on the images NUMBER-WIDTH-HEIGHT.rgba of a folder: see elsewhere.py.
import fs from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, runtime, program, model, size, folder] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const ort = require(runtime);
const cv = await require("@techstark/opencv-js");
const { predict } = await import(pathToFileURL(program));
const session = await ort.InferenceSession.create(fs.readFileSync(model));
for (const name of fs.readdirSync(folder).filter((each) => each.endsWith(".rgba"))) {
  const [number, width, height] = name.split(/[-.]/);
  const data = new Uint8Array(fs.readFileSync(`${folder}/${name}`));
  const image = { data, width: +width, height: +height };
  fs.writeFileSync(`${folder}/${number}.ids`, await predict(ort, cv, session, image, JSON.parse(size)));
}
process.exit(0);
