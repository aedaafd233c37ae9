// The page asks the service twice for each film: for the answer, and for the picture of the film with box and lungs, because a browser
// cannot show DICOM. The heat is drawn here, so that its opacity and its task change without asking again. Nothing outlives the tab.
"use strict";

const HEAT = [255, 96, 0]; // as in the picture that `Accept: image/png` answers
const KEPT = 12; // films in the history: each holds its picture
const $ = (id) => document.getElementById(id);
const past = [];
let asking = null;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const sentenceCase = (field) => (field[0].toUpperCase() + field.slice(1)).replaceAll("_", " ");
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// ---- asking

function headers(accept) {
  const key = $("key").value.trim();
  return { Accept: accept, "Content-Type": "application/octet-stream", ...(key && { Authorization: `Bearer ${key}` }) };
}

function post(path, file, accept, kind, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of how far an upload is
    asking = request;
    request.open("POST", path);
    request.responseType = kind;
    for (const [name, value] of Object.entries(headers(accept))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : null);
    request.upload.onload = () => onProgress(null);
    request.onerror = () => reject({ title: "The service does not answer", detail: "Check the connection, then send the film again." });
    request.onabort = () => reject(null);
    request.onload = async () => {
      if (request.status === 200) return resolve(request.response);
      const text = kind === "blob" ? await request.response.text() : request.response;
      try {
        reject(JSON.parse(text));
      } catch {
        reject({ title: `The service answered ${request.status}`, detail: "Its log has the details." });
      }
    };
    request.send(file);
  });
}

async function ask(file) {
  asking?.abort();
  $("problem").hidden = true;
  $("status").textContent = "";
  busy("Sending", 0);
  const said = (share) => (share === null ? busy("Answering") : busy("Sending", share));
  try {
    const { answer, explained } = await answerOf(file, said);
    busy("Drawing");
    const picture = explained ? await post("/predict?opacity=0", file, "image/png", "blob", () => busy("Drawing")) : null;
    const film = { name: file.name || "pasted film", answer, url: picture && URL.createObjectURL(picture), at: new Date() };
    past.unshift(film);
    for (const old of past.splice(KEPT)) if (old.url) URL.revokeObjectURL(old.url);
    show(film);
    list();
    $("status").textContent = `${film.name}: ${sentence(answer)}`;
    $("answer").focus();
  } catch (problem) {
    if (problem) refuse(file, problem);
  } finally {
    asking = null;
    $("busy").hidden = true;
  }
}

async function answerOf(file, said) {
  try {
    const text = await post("/predict?explain=true", file, "application/json", "text", said);
    return { answer: JSON.parse(text), explained: true };
  } catch (problem) {
    if (problem?.type !== "/problems/no-evidence") throw problem; // an older version answers, but cannot show where
    return { answer: JSON.parse(await post("/predict", file, "application/json", "text", said)), explained: false };
  }
}

function busy(stage, share) {
  $("busy").hidden = false;
  if ($("stage").textContent !== stage) $("stage").textContent = stage;
  if (share === undefined) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function refuse(file, problem) {
  const box = $("problem");
  box.replaceChildren(element("h3", `${problem.title ?? "Refused"} (${file.name || "pasted film"})`), element("p", problem.detail ?? ""));
  if (problem.advice) box.append(element("p", problem.advice));
  if (problem.status === 401) {
    $("access").open = true;
    $("key").focus();
  }
  if (problem.request_id) box.append(element("p", `Request ${problem.request_id}`));
  box.hidden = false;
  $("answer").hidden = true;
}

// ---- showing

const tasksOf = (answer) => Object.entries(answer).filter(([, value]) => value && typeof value === "object" && "probabilities" in value);

function sentence(answer) {
  return tasksOf(answer).map(([name, given]) => `${name} ${given.label}, ${percent(given.probability)}`).join("; ");
}

function show(film) {
  const { answer } = film;
  $("answer").hidden = false;
  $("answer-title").textContent = `Answer: ${film.name}`;
  $("warnings").replaceChildren(...answer.warnings.map((text) => element("li", text)));
  $("results").replaceChildren(...tasksOf(answer).map(([name, given]) => result(name, given)));
  trace(answer);
  picture(film);
}

function result(name, given) {
  const box = element("div", undefined, { class: "task" });
  box.append(element("h3", name));
  box.append(element("div", `${given.label} · ${percent(given.probability)}`, { class: "label" }), element("p", given.meaning));
  for (const [field, value] of Object.entries(given)) {
    if (field.endsWith("range")) box.append(element("p", `${sentenceCase(field)}: ${value[0]} to ${value[1]}`)); // as the task calls it
  }
  const table = element("table");
  table.append(element("caption", "Calibrated probability of each class"));
  for (const [label, share] of Object.entries(given.probabilities)) {
    const row = element("tr", undefined, label === given.label ? { class: "best" } : {});
    const bar = element("td", undefined, { class: "share" });
    bar.append(element("meter", percent(share), { min: 0, max: 1, value: share, "aria-label": label }));
    row.append(element("th", label, { scope: "row" }), bar, element("td", percent(share), { class: "number" }));
    table.append(row);
  }
  box.append(table, uncertainty(given.conformal));
  return box;
}

function uncertainty(set) {
  if (!set) return element("p", "This version was registered without limits for how sure it must be.");
  const classes = set.classes.length ? set.classes.join(" or ") : "none of the classes";
  const text = `${Math.round(100 * set.coverage)} % set: ${classes}.${set.abstain ? ` Abstains. ${set.abstain}` : ""}`;
  return element("p", text, set.abstain ? { class: "unsure" } : {});
}

function trace(answer) {
  const { model, lungs, film } = answer;
  const rows = {
    Version: `${model.name} ${model.version} (${model.alias})`,
    Bundle: model.digest.slice(0, 16),
    Lungs: `${lungs.verdict}, ${percent(lungs.coverage)} of the film`,
    Film: `${lungs.film_size.join(" × ")} pixels, ${film.source}${film.steps.length ? `, ${film.steps.join(", ")}` : ""}`,
    Quality: answer.quality.join(", ") || "nothing to remark",
    Time: `${Math.round(answer.timings_ms.total)} ms`,
    Request: answer.request_id,
  };
  $("trace").replaceChildren(...Object.entries(rows).flatMap(([term, text]) => [element("dt", term), element("dd", text)]));
}

function picture(film) {
  const explained = Boolean(film.url && film.answer.evidence);
  $("frame").hidden = $("layers").hidden = !explained;
  $("caption").textContent = explained
    ? "Yellow: what was judged. Blue: the lungs as found. Orange: where the network saw what speaks for it."
    : "This version cannot show where it saw its answers.";
  if (!explained) return;
  $("film").src = film.url;
  $("film").alt = `The film ${film.name} with the box that was judged and the lungs as found. ${sentence(film.answer)}.`;
  const names = Object.keys(film.answer.evidence);
  $("tasks").replaceChildren(
    ...names.map((name, i) => {
      const label = element("label", ` ${name} `);
      const radio = element("input", undefined, { type: "radio", name: "task", value: name });
      radio.checked = i === 0;
      radio.addEventListener("change", () => heat(film));
      label.prepend(radio);
      return label;
    }),
  );
  for (const radio of document.querySelectorAll("#questions input")) radio.onchange = () => heat(film);
  heat(film);
}

const chosen = (group) => document.querySelector(`input[name=${group}]:checked`).value;

function heat(film) {
  const evidence = film.answer.evidence[chosen("task")];
  const { map } = evidence[chosen("question")] ?? evidence.label; // classes without an order have none that is worse
  const [width, height] = film.answer.lungs.film_size;
  const [left, top, right, bottom] = film.answer.lungs.box;
  const coarse = element("canvas");
  coarse.width = map[0].length;
  coarse.height = map.length;
  const pixels = new ImageData(coarse.width, coarse.height);
  const peak = Math.max(...map.flat()) || 1;
  map.flat().forEach((value, i) => pixels.data.set([...HEAT, (255 * value) / peak], 4 * i));
  coarse.getContext("2d").putImageData(pixels, 0, 0);
  const sheet = $("heat");
  sheet.width = Math.min(width, 1024);
  sheet.height = Math.round((sheet.width * height) / width);
  const scale = sheet.width / width;
  const context = sheet.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(coarse, left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  see();
}

function see() {
  $("heat").style.opacity = $("opacity").value / 100;
  $("opacity-value").textContent = `${$("opacity").value} %`;
}

function list() {
  $("past").hidden = past.length === 0;
  $("history").replaceChildren(
    ...past.map((film) => {
      const entry = element("li");
      const button = element("button", `${film.at.toLocaleTimeString()} ${film.name}: ${sentence(film.answer)}`, { type: "button" });
      button.addEventListener("click", () => {
        $("problem").hidden = true;
        show(film);
        $("answer").focus();
      });
      entry.append(button);
      return entry;
    }),
  );
}

// ---- what people do

for (const link of document.querySelectorAll("footer a[data-shown]")) {
  link.addEventListener("click", async (event) => {
    event.preventDefault(); // a link cannot carry the key
    const found = await fetch(link.href, { headers: headers("*/*") }).catch(() => null);
    $("page-title").textContent = link.textContent;
    $("page-text").textContent = found ? await found.text() : "The service does not answer.";
    $("page").showModal();
  });
}
$("page-close").addEventListener("click", () => $("page").close());

$("form").addEventListener("submit", (event) => event.preventDefault());
$("choose").addEventListener("change", () => {
  const [file] = $("choose").files;
  if (file) ask(file);
  $("choose").value = ""; // the same film may be sent again
});
$("opacity").addEventListener("input", see);
$("forget").addEventListener("click", () => {
  for (const film of past.splice(0)) if (film.url) URL.revokeObjectURL(film.url);
  list();
  $("answer").hidden = true;
  $("film").removeAttribute("src");
  $("choose").focus();
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) ask(file);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // else the browser leaves the page for the film
    $("drop").classList.toggle("over", kind === "dragover");
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (file) ask(file);
  });
}
